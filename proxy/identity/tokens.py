"""Verify an identity token: a signed JWT of one trusted issuer for this proxy alone (RFC 7519, RFC 8725). Pure.

Every check is ours and takes `now`; only the signature primitive is PyJWT's. Messages name the check or the claim,
never the token.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from proxy.identity.algorithms import is_signed_by
from proxy.identity.strict import decode_base64url, load_object
from proxy.model.errors import TokenError
from proxy.model.identity import KeySet, TrustedIssuer, UnverifiedToken, VerificationKey, VerifiedClaims
from proxy.model.reason import Reason

MAX_TOKEN: Final = 16 * 1024
"""Characters. Buildkite's are 1.6 KB, GitHub's 2 KB."""

MAX_KEY_ID: Final = 256
MAX_TRIED_KEYS: Final = 8
"""Keys of one key id that are tried: an issuer that publishes duplicates must not make us verify for seconds."""

_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt", "application/jwt"})
# Known and without effect here: we never take a key or a certificate from the token it would vouch for.
_HARMLESS: Final = frozenset({"x5t", "x5t#S256"})
_HEADER: Final = frozenset({"alg", "kid", "typ"}) | _HARMLESS
_MAX_TIME: Final = 253_402_300_799
"""The last second a `datetime` can hold: 9999-12-31T23:59:59Z."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedHeader:
    """What a token says of itself. Nobody has checked it: use it to choose keys, and for nothing else."""

    issuer: str
    kid: str | None
    algorithm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    header: UnverifiedHeader
    claims: Mapping[str, Any] = field(repr=False)
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def is_token(text: str) -> bool:
    """Return whether a proxy password has the shape of a signed JWT rather than of a session secret."""
    return text.count(".") >= 2


def digest_token(token: UnverifiedToken) -> str:
    """Return the SHA-256 of a token in hex: names it in records without holding it."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def replay_key(token: UnverifiedToken, claims: VerifiedClaims) -> tuple[str, str]:
    """Return what makes a verified token the same token: issuer and `jti`, else issuer and digest of what was signed.

    The signature is left out: ECDSA signatures have a second valid spelling that anybody can compute.
    """
    issuer = str(claims["iss"])
    jti = claims.get("jti")
    if isinstance(jti, str) and jti:
        return issuer, f"jti:{jti}"
    return issuer, "sha256:" + sha256(token.rpartition(".")[0].encode("ascii")).hexdigest()


def peek_unverified(token: UnverifiedToken) -> UnverifiedHeader:
    """Read issuer, key id and algorithm, to choose the keys. Raises TokenError when the token is not well-formed."""
    return _take_apart(token).header


def peek_unverified_claims(token: UnverifiedToken) -> Mapping[str, Any]:
    """Read the claims of a token that someone else will verify. Raises TokenError when it is not well-formed."""
    return _take_apart(token).claims


def verify(token: UnverifiedToken, keys: KeySet, trusted: TrustedIssuer, now: datetime) -> VerifiedClaims:
    """Return the claims of `token` once signature, issuer, audience, times and bound claims hold.

    Raises TokenError whose reason is the first check that failed.
    """
    parts = _take_apart(token)
    if parts.header.issuer != trusted.issuer or keys.issuer != trusted.issuer:
        raise TokenError("`iss` is not the trusted issuer", Reason.IDENTITY_ISSUER)
    if parts.header.algorithm not in trusted.algorithms:
        raise TokenError("`alg` is not one this issuer signs with", Reason.IDENTITY_ALGORITHM)
    _check_signature(parts, _choose_keys(parts.header, keys))
    _check_audience(parts.claims, trusted.audience)
    _check_times(parts.claims, trusted, now)
    if not isinstance(parts.claims.get("sub"), str) or not parts.claims["sub"]:
        raise TokenError("`sub` is missing or not a text", Reason.IDENTITY_CLAIMS)
    _check_bound(parts.claims, trusted.bound)
    return VerifiedClaims(dict(parts.claims))


def _take_apart(token: UnverifiedToken) -> _Parts:
    if len(token) > MAX_TOKEN:
        raise TokenError("longer than 16 KiB", Reason.IDENTITY_OVERSIZED)
    segments = token.split(".")
    if len(segments) != 3 or not all(segments):
        raise TokenError("not three non-empty parts: only a signed JWT in compact form is accepted")
    try:
        header, claims, signature = (decode_base64url(segment) for segment in segments)
    except ValueError as error:
        raise TokenError(f"a part is {error}") from None
    stated = _load(claims, "claims")
    return _Parts(
        header=_read_header(_load(header, "header"), stated),
        claims=stated,
        signed=token.rpartition(".")[0].encode("ascii"),
        signature=signature,
    )


def _load(raw: bytes, name: str) -> dict[str, Any]:
    try:
        return load_object(raw)
    except ValueError as error:
        raise TokenError(f"the {name}: {error}") from None


def _read_header(header: Mapping[str, Any], claims: Mapping[str, Any]) -> UnverifiedHeader:
    # An allow-list: `crit`, `jku`, `x5u`, `jwk`, `b64`, `zip`, `cty` and what comes next change how a token is read.
    if not header.keys() <= _HEADER:
        raise TokenError("the header has a field that is not accepted")
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str):
        raise TokenError("`alg` is missing or not a text", Reason.IDENTITY_ALGORITHM)
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise TokenError("`typ` is not that of an identity or access token")
    if "kid" in header and not (isinstance(kid, str) and 0 < len(kid) <= MAX_KEY_ID and kid.isprintable()):
        raise TokenError("`kid` is not a short text")
    issuer = claims.get("iss")
    if not isinstance(issuer, str):
        raise TokenError("`iss` is missing or not a text", Reason.IDENTITY_ISSUER)
    return UnverifiedHeader(issuer=issuer, kid=kid, algorithm=algorithm)


def _choose_keys(header: UnverifiedHeader, keys: KeySet) -> tuple[VerificationKey, ...]:
    named = [key for key in keys.keys if header.kid is None or key.kid == header.kid]
    if not named:
        raise TokenError("`kid` names no key of the issuer", Reason.IDENTITY_KEY)
    fitting = [key for key in named if key.algorithm == header.algorithm]
    if not fitting:
        raise TokenError("`alg` is not the algorithm of the issuer's key", Reason.IDENTITY_ALGORITHM)
    return tuple(fitting[:MAX_TRIED_KEYS])


def _check_signature(parts: _Parts, keys: tuple[VerificationKey, ...]) -> None:
    if not any(is_signed_by(parts.header.algorithm, key.key, parts.signed, parts.signature) for key in keys):
        raise TokenError("the signature does not verify", Reason.IDENTITY_SIGNATURE)


def _check_audience(claims: Mapping[str, Any], audience: str) -> None:
    # A token that others accept too can be passed on by any of them: ours must be the only audience.
    if claims.get("aud") not in (audience, [audience]):
        raise TokenError("`aud` is not this proxy's audience, or not that alone", Reason.IDENTITY_AUDIENCE)


def _check_times(claims: Mapping[str, Any], trusted: TrustedIssuer, now: datetime) -> None:
    issued, expires = _read_time(claims, "iat"), _read_time(claims, "exp")
    starts = _read_time(claims, "nbf") if "nbf" in claims else issued
    seconds, leeway = now.timestamp(), trusted.leeway.total_seconds()
    if seconds >= expires + leeway:
        raise TokenError("`exp` has passed", Reason.IDENTITY_EXPIRED)
    if max(issued, starts) > seconds + leeway:
        raise TokenError("`iat` or `nbf` lies in the future", Reason.IDENTITY_NOT_YET)
    if not 0 < expires - issued <= trusted.max_lifetime.total_seconds():
        raise TokenError("`exp` is not after `iat` by at most the allowed lifetime", Reason.IDENTITY_LIFETIME)
    if seconds - issued > trusted.max_age.total_seconds() + leeway:
        raise TokenError("`iat` is longer ago than allowed", Reason.IDENTITY_LIFETIME)


def _read_time(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_TIME:
        raise TokenError(f"`{name}` is missing or not a whole number of seconds", Reason.IDENTITY_CLAIMS)
    return value


def _check_bound(claims: Mapping[str, Any], bound: Mapping[str, str]) -> None:
    for name, wanted in bound.items():
        if _as_text(claims.get(name)) != wanted:
            raise TokenError(f"the claim `{name}` is not the bound value", Reason.IDENTITY_CLAIMS)


def _as_text(value: object) -> str | None:
    """Write a claim as an operator binds it. None for what has no plain spelling: it equals nothing."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    return None
