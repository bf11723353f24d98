"""A real credential is known by its form, wherever a credential may stand; a placeholder is not one."""

from base64 import b64encode, urlsafe_b64encode
from hashlib import sha256

import pytest

from proxy.engine.misuse import (
    examine,
    find_real_credential,
    is_another_jobs,
    is_astray,
    read_sent,
    sent_fingerprints,
)
from proxy.model.placeholder import PUBLIC, derive_placeholders

LETTERS = "Ab0" * 40
REAL = {
    "aws_access_key": "AKIA" + "ABCDEFGH23456723",
    "buildkite_token": "bkua_" + "0a" * 20,
    "crates_io_token": "cio" + LETTERS[:32],
    "docker_hub_token": "dckr_pat_" + LETTERS[:27],
    "github_token": "ghp_" + LETTERS[:36],
    "gitlab_token": "glpat-" + LETTERS[:20],
    "google_key": "AIza" + LETTERS[:35],
    "npm_token": "npm_" + LETTERS[:36],
    "openai_key": "sk-proj-" + LETTERS[:40],
    "pypi_token": "pypi-AgE" + LETTERS[:50],
    "rubygems_key": "rubygems_" + "0a" * 24,
    "slack_token": "xoxb-" + LETTERS[:20],
    "stripe_key": "sk_live_" + LETTERS[:20],
    "vault_token": "hvs." + LETTERS[:24],
}


def sent(value: str, query: str | None = None) -> tuple[str, ...]:
    return read_sent((("authorization", value),), query, ["authorization"])


@pytest.mark.parametrize("kind", REAL)
@pytest.mark.parametrize("form", ["{}", "Bearer {}", "token {}", "Token token={}", "AWS4-HMAC-SHA256 Credential={}/x"])
def test_real_credentials_are_known_behind_any_scheme(kind: str, form: str) -> None:
    """Whole, behind a scheme, inside a list of parameters."""
    assert (
        find_real_credential(read_sent((("authorization", form.format(REAL[kind])),), None, ["authorization"])) == kind
    )
    assert find_real_credential(read_sent((), f"a=b&key={REAL[kind]}&c", [])) == kind


@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
def test_real_credentials_are_known_inside_basic(encode: object) -> None:
    """As user name or password, with or without padding."""
    assert callable(encode)
    for pair in (f"x:{REAL['github_token']}", f"{REAL['npm_token']}:", f"__token__:{REAL['pypi_token']}"):
        text = encode(pair.encode()).decode()
        for value in (f"Basic {text}", f"basic  {text.rstrip('=')}"):
            assert find_real_credential(read_sent((("authorization", value),), None, ["authorization"])) is not None


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer placeholder",
        "Basic",
        "Basic !!!",
        "Basic a",
        "Basic " + b64encode(b"job:placeholder").decode(),
        "AWS4-HMAC-SHA256 Credential=JOBGATEPLACEHOLDER00/20300101/eu-west-1/s3/aws4_request",
        "ghp_short",
        "AKIAIOSFODNN7EXAMPLE",
        "not-ghp_" + LETTERS[:36],
        "xAKIA" + "ABCDEFGH23456723",
        "AKIA" + "ABCDEFGH234567234",
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJqb2IifQ.c2ln",
    ],
)
def test_a_placeholder_is_no_real_credential(value: str) -> None:
    """What has no vendor's form is removed, not refused."""
    assert find_real_credential(read_sent((("authorization", value),), "page=1", ["authorization"])) is None


def test_only_credential_fields_are_looked_at() -> None:
    """A token in a field that is forwarded as it is has another rule; nothing is read twice."""
    assert find_real_credential(read_sent((("x-note", REAL["npm_token"]),), None, ["authorization"])) is None


def test_what_was_sent_is_known_by_its_fingerprint() -> None:
    """The whole value, what stands behind its scheme, and a password."""

    def named(text: str) -> str:
        return sha256(text.encode()).hexdigest()[:16]

    bearer = sent_fingerprints(
        read_sent((("authorization", "Bearer secret-1"), ("x-other", "y")), None, ["authorization"])
    )
    assert named("secret-1") in bearer
    assert named("y") not in bearer
    basic = "Basic " + b64encode(b"user:secret-2").decode()
    assert named("secret-2") in sent_fingerprints(read_sent((("authorization", basic),), None, ["authorization"]))
    assert named("secret-3") in sent_fingerprints(read_sent((("x-api-key", "secret-3"),), None, ["x-api-key"]))


MINE = derive_placeholders("my-password")
THEIRS = derive_placeholders("their-password")


@pytest.mark.parametrize("form", [("", 0), ("ghs_", 40), ("npm_", 40), ("pypi-", 0), ("hvs.", 95), ("rubygems_", 57)])
def test_a_placeholder_is_told_by_whose_it_is(form: tuple[str, int]) -> None:
    """Mine is no finding, another job's is, behind a scheme, as a password and in a query; neither looks real."""
    for whose, is_other in ((MINE, False), (THEIRS, True), (PUBLIC, True)):
        text = whose.token(*form)
        basic = b64encode(f"job:{text}".encode()).decode()
        for texts in (sent(f"Bearer {text}"), sent(f"Basic {basic}"), sent("", f"a=b&c={text}")):
            assert is_another_jobs(texts, MINE) is is_other
            assert find_real_credential(texts) is None


@pytest.mark.parametrize(
    "prefix, host",
    [
        ("ghs_", "api.github.com"),
        ("ghs_", "github.com"),
        ("npm_", "registry.npmjs.org"),
        ("", "releases.s3.eu-west-1.amazonaws.com"),
    ],
)
def test_a_placeholder_has_hosts_that_it_is_for(prefix: str, host: str) -> None:
    """Where clients send it without being asked it is no finding."""
    assert not is_astray(sent(f"Bearer {MINE.token(prefix)}"), host)


@pytest.mark.parametrize(
    "prefix, host",
    [
        ("ghs_", "evilgithub.com"),
        ("ghs_", "registry.npmjs.org"),
        ("", "github.com"),
        ("jobgate-", "github.com"),
    ],
)
def test_a_placeholder_elsewhere_is_a_finding(prefix: str, host: str) -> None:
    """What is no placeholder is none anywhere."""
    assert is_astray(sent(f"Bearer {MINE.token(prefix)}"), host)
    assert not is_astray(sent("Bearer x"), host)


def test_the_texts_of_a_request_are_its_credential_fields_and_its_query() -> None:
    """Nothing else is looked at, and of nothing nothing."""
    assert sent("Bearer x", "a=b") == ("Bearer x", "a=b")
    assert read_sent((("x-note", "y"),), None, []) == ()


def test_what_a_request_carries_is_looked_at_once() -> None:
    """A real credential is named, another job's placeholder too, and everything else by its fingerprint."""
    names = frozenset({"authorization"})
    nothing = examine(names, (("x-note", "y"),), None, MINE)
    assert (nothing.texts, nothing.finding, nothing.fingerprints) == ((), None, frozenset())
    mine = examine(names, (("authorization", f"Bearer {MINE.token()}"),), "a=b", MINE)
    assert mine.stripped == names
    assert mine.texts == (f"Bearer {MINE.token()}", "a=b")
    assert mine.finding is None
    assert mine.fingerprints == sent_fingerprints(mine.texts)
    assert examine(names, (("authorization", REAL["npm_token"]),), None, MINE).finding == "npm_token"
    assert examine(names, (), f"x={THEIRS.token()}", MINE).finding == "placeholder of another job"
    assert "npm_" not in repr(examine(names, (("authorization", REAL["npm_token"]),), None, MINE)).replace("npm_t", "")
