"""How an issuer's claims become a Principal and a JobContext. PROFILES is the only list of providers. Pure."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from proxy.identity import buildkite, generic, github, gitlab, google
from proxy.identity.algorithms import ALGORITHMS
from proxy.identity.claims import Profile, read_fields
from proxy.model.errors import ConfigError
from proxy.model.identity import JobContext, Principal, TrustedIssuer, VerifiedClaims

PROFILES: Final = (buildkite.PROFILE, github.PROFILE, gitlab.PROFILE, google.PROFILE, generic.PROFILE)

_BY_PROVIDER: Final[Mapping[str, Profile]] = {profile.provider: profile for profile in PROFILES}
_MAX_LEEWAY: Final = timedelta(seconds=60)
_MAX_DRIFT: Final = 16

DEFAULTS: Final[Mapping[str, TrustedIssuer]] = {
    profile.provider: TrustedIssuer(
        provider=profile.provider, issuer=profile.issuer, audience="", bound={}, algorithms=profile.algorithms
    )
    for profile in PROFILES
    if profile.issuer is not None
}
"""Each provider's public issuer and algorithms; audience and bound claims are the operator's to say."""


def check_trusted(trusted: TrustedIssuer) -> None:
    """Refuse a trusted issuer that would believe too much. Raises ConfigError with what to write instead."""
    profile = _BY_PROVIDER.get(trusted.provider)
    if profile is None:
        raise ConfigError(f"issuers: no provider `{trusted.provider}`; choose one of {', '.join(_BY_PROVIDER)}")
    for fault in (
        *_address_faults(trusted),
        *_trust_faults(trusted, profile),
        *_limit_faults(trusted),
        *_mapping_faults(trusted),
    ):
        raise ConfigError(f"issuers: {trusted.provider}: {fault}")


def jwks_url_of(trusted: TrustedIssuer) -> str | None:
    """Return where the issuer's keys are by configuration; None means: its discovery document says."""
    profile = _BY_PROVIDER[trusted.provider]
    return trusted.jwks_url or (profile.jwks_url if trusted.issuer == profile.issuer else None)


def principal_of(claims: VerifiedClaims, trusted: TrustedIssuer, token_digest: str) -> tuple[Principal, JobContext]:
    """Return who the verified claims speak for, and of which run. Raises TokenError (`identity-claims`)."""
    fields: dict[str, Any] = dict(read_fields(_profile_of(trusted), claims))
    principal = Principal(
        provider=trusted.provider, issuer=trusted.issuer, subject=str(claims["sub"]), token_digest=token_digest
    )
    return principal, JobContext(**fields, claims=claims)


def find_drift(claims: VerifiedClaims, trusted: TrustedIssuer) -> tuple[str, ...]:
    """Return the claims no table knows, at most sixteen: the issuer has changed, and somebody should look."""
    profile = _profile_of(trusted)
    return tuple(sorted(name[:64] for name in claims if not profile.knows(name))[:_MAX_DRIFT])


def _profile_of(trusted: TrustedIssuer) -> Profile:
    if trusted.provider == generic.PROFILE.provider:
        return generic.build_profile(trusted.mapping)
    return _BY_PROVIDER[trusted.provider]


def _address_faults(trusted: TrustedIssuer) -> list[str]:
    faults = []
    for name, address in (("issuer", trusted.issuer), ("jwks_url", trusted.jwks_url)):
        if address is not None and not (address.startswith("https://") and address.isascii() and address.isprintable()):
            faults.append(f"`{name}` must be an https URL")
    if not trusted.audience:
        faults.append("`audience` is empty; use a name only this proxy has")
    return faults


def _trust_faults(trusted: TrustedIssuer, profile: Profile) -> list[str]:
    if not trusted.bound:
        wanted = " or ".join(f"`{name}`" for name in profile.anchors) or "a claim only your jobs have"
        return [f"`bound` is empty: anybody with an account at this issuer would be trusted; bind {wanted}"]
    if not all(name and value for name, value in trusted.bound.items()):
        return ["`bound` holds an empty name or value"]
    if trusted.issuer in profile.shared and not trusted.bound.keys() & set(profile.anchors):
        wanted = " or ".join(f"`{name}`" for name in profile.anchors)
        return [f"this issuer signs for all its customers: bind {wanted} to yours"]
    return []


def _limit_faults(trusted: TrustedIssuer) -> list[str]:
    faults = []
    if not trusted.algorithms or not set(trusted.algorithms) <= ALGORITHMS.keys():
        faults.append(f"`algorithms` must be some of {', '.join(ALGORITHMS)}")
    elif len({ALGORITHMS[name].kty for name in trusted.algorithms}) > 1:
        faults.append("`algorithms` must be of one key family")
    if not timedelta(0) <= trusted.leeway <= _MAX_LEEWAY:
        faults.append("`leeway` must be between 0s and 60s")
    if trusted.max_lifetime <= timedelta(0) or trusted.max_age <= timedelta(0):
        faults.append("`max_lifetime` and `max_age` must be longer than nothing")
    return faults


def _mapping_faults(trusted: TrustedIssuer) -> list[str]:
    if trusted.provider != generic.PROFILE.provider:
        return ["`mapping` belongs to the provider `generic`"] if trusted.mapping else []
    unknown = sorted(trusted.mapping.keys() - generic.FIELDS)
    if unknown:
        return [f"`mapping` fills no such field: {', '.join(unknown)}; choose of {', '.join(sorted(generic.FIELDS))}"]
    return [] if all(trusted.mapping.values()) else ["`mapping` names an empty claim"]
