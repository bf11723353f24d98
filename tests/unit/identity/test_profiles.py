"""What may be trusted at all, and who verified claims speak for."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from proxy.identity.profiles import DEFAULTS, PROFILES, check_trusted, find_drift, jwks_url_of, principal_of
from proxy.model.errors import ConfigError
from proxy.model.identity import TrustedIssuer, VerifiedClaims
from tests.fakes import claims as shapes

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
BOUND = {
    "buildkite": {"organization_slug": "acme"},
    "github": {"repository_owner_id": "7"},
    "gitlab": {"namespace_id": "70"},
    "google": {"sub": "104000000000000000001"},
}


def trusted_for(provider: str, **changes: Any) -> TrustedIssuer:
    base = DEFAULTS.get(provider) or TrustedIssuer(
        provider=provider, issuer="https://id.acme.test", audience="", bound={"azp": "ci"}
    )
    return replace(base, **{"audience": shapes.AUDIENCE, "bound": BOUND.get(provider, base.bound), **changes})


def test_the_list_of_providers() -> None:
    """Five providers, in reading order; four have a public issuer."""
    assert [profile.provider for profile in PROFILES] == ["buildkite", "github", "gitlab", "google", "generic"]
    assert {name: default.issuer for name, default in DEFAULTS.items()} == {
        "buildkite": "https://agent.buildkite.com",
        "github": "https://token.actions.githubusercontent.com",
        "gitlab": "https://gitlab.com",
        "google": "https://accounts.google.com",
    }


@pytest.mark.parametrize("provider", ["buildkite", "github", "gitlab", "google", "generic"])
def test_a_bound_issuer_is_trusted(provider: str) -> None:
    """Provider, audience and a bound claim are all an operator has to say."""
    check_trusted(trusted_for(provider))


@pytest.mark.parametrize(
    "provider,changes,wanted",
    [
        ("buildkite", {"bound": {}}, "bind `organization_slug` or `organization_id`"),
        ("github", {"bound": {}}, "`repository_owner_id`"),
        ("gitlab", {"bound": {}}, "`namespace_id` or `project_id`"),
        ("google", {"bound": {}}, "`sub` or `email`"),
        ("generic", {"bound": {}}, "a claim only your jobs have"),
        ("buildkite", {"bound": {"pipeline_slug": "web"}}, "signs for all its customers"),
        ("github", {"bound": {"repository": "acme/web"}}, "signs for all its customers"),
        ("gitlab", {"bound": {"project_path": "acme/web"}}, "signs for all its customers"),
        ("google", {"bound": {"email_verified": "true"}}, "signs for all its customers"),
        ("buildkite", {"bound": {"organization_slug": ""}}, "empty name or value"),
        ("buildkite", {"bound": {"": "x", "organization_slug": "acme"}}, "empty name or value"),
        ("circleci", {}, "no provider `circleci`; choose one of buildkite"),
        ("buildkite", {"audience": ""}, "`audience` is empty"),
        ("buildkite", {"issuer": "http://agent.buildkite.com"}, "`issuer` must be an https URL"),
        ("buildkite", {"issuer": "https://agent.buildk\u0456te.com"}, "`issuer` must be an https URL"),
        ("buildkite", {"issuer": "https://agent.buildkite.com\n"}, "`issuer` must be an https URL"),
        ("buildkite", {"jwks_url": "file:///keys"}, "`jwks_url` must be an https URL"),
        ("buildkite", {"algorithms": ()}, "`algorithms` must be some of RS256"),
        ("buildkite", {"algorithms": ("none",)}, "`algorithms` must be some of"),
        ("buildkite", {"algorithms": ("RS256", "HS256")}, "`algorithms` must be some of"),
        ("buildkite", {"algorithms": ("RS256", "ES256")}, "one key family"),
        ("buildkite", {"leeway": timedelta(seconds=61)}, "`leeway`"),
        ("buildkite", {"leeway": timedelta(seconds=-1)}, "`leeway`"),
        ("buildkite", {"max_lifetime": timedelta(0)}, "`max_lifetime`"),
        ("buildkite", {"max_age": timedelta(0)}, "`max_age`"),
        ("buildkite", {"mapping": {"step": "x"}}, "`mapping` belongs to the provider `generic`"),
        ("generic", {"mapping": {"stepp": "x"}}, "fills no such field: stepp; choose of actor"),
        ("generic", {"mapping": {"claims": "x"}}, "no such field: claims"),
        ("generic", {"mapping": {"step": ""}}, "empty claim"),
    ],
)
def test_too_much_trust_is_refused(provider: str, changes: dict[str, Any], wanted: str) -> None:
    """An issuer that would let strangers in, or cannot work, is refused with what to write."""
    with pytest.raises(ConfigError, match="issuers: ") as caught:
        check_trusted(trusted_for(provider, **changes))
    assert wanted in str(caught.value)


def test_own_instances_still_need_a_bound_claim_but_any() -> None:
    """On one's own GitLab any claim will do; none will not."""
    own = trusted_for(
        "gitlab", issuer="https://git.acme.test", bound={"project_path": "acme/web"}, algorithms=("RS512",)
    )

    check_trusted(own)
    with pytest.raises(ConfigError, match="`bound` is empty"):
        check_trusted(replace(own, bound={}))


def test_principal_and_context_come_from_the_claims() -> None:
    """The principal names issuer, subject and token; the context keeps every claim."""
    claims = VerifiedClaims(shapes.buildkite(NOW))

    principal, job = principal_of(claims, trusted_for("buildkite"), "d" * 64)

    assert (principal.provider, principal.issuer, principal.token_digest) == (
        "buildkite",
        "https://agent.buildkite.com",
        "d" * 64,
    )
    assert principal.subject == claims["sub"]
    assert job.claims is claims
    assert job.pipeline == "web"


def test_unknown_claims_are_drift() -> None:
    """What no table knows is reported, bounded in number and length, and refuses nothing."""
    many = {f"new_{number:03}": 1 for number in range(40)}
    claims = VerifiedClaims({**shapes.buildkite(NOW), **many, "z" * 500: 1, "agent_tag:size": "big"})
    drift = find_drift(claims, trusted_for("buildkite"))

    assert drift == tuple(f"new_{number:03}" for number in range(16))
    assert find_drift(VerifiedClaims({"z" * 500: 1}), trusted_for("buildkite")) == ("z" * 64,)
    for provider, shape in (
        ("buildkite", shapes.buildkite),
        ("github", shapes.github),
        ("gitlab", shapes.gitlab),
        ("google", shapes.google),
    ):
        assert find_drift(VerifiedClaims(shape(NOW)), trusted_for(provider)) == ()
    assert find_drift(VerifiedClaims({"anything": 1}), trusted_for("generic")) == ()


def test_where_the_keys_are() -> None:
    """Google keeps its keys at another host; an operator may say so of any issuer; else discovery says."""
    assert jwks_url_of(trusted_for("google")) == "https://www.googleapis.com/oauth2/v3/certs"
    assert jwks_url_of(trusted_for("google", issuer="https://id.acme.test")) is None
    assert jwks_url_of(trusted_for("buildkite")) is None
    assert jwks_url_of(trusted_for("buildkite", jwks_url="https://x.test/k")) == "https://x.test/k"
