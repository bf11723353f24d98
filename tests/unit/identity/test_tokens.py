"""Verify a token: the happy path in every algorithm, and every claim and check on its own."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from proxy.identity.tokens import (
    MAX_TOKEN,
    UnverifiedHeader,
    digest_token,
    is_token,
    peek_unverified,
    peek_unverified_claims,
    replay_key,
    verify,
)
from proxy.model.errors import TokenError
from proxy.model.identity import KeySet, TrustedIssuer, UnverifiedToken, VerifiedClaims
from proxy.model.reason import Reason
from tests.fakes import claims as shapes
from tests.fakes.keys import SigningKey, encode, encode_json, key_set, signing_key

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
SECOND = int(NOW.timestamp())
ISSUER = "https://agent.buildkite.com"
KEY = signing_key("RS256")
KEYS = key_set(ISSUER, KEY)
TRUSTED = TrustedIssuer(
    provider="buildkite", issuer=ISSUER, audience=shapes.AUDIENCE, bound={"organization_slug": "acme"}
)


def claims_with(**changes: Any) -> dict[str, Any]:
    return shapes.buildkite(NOW, **changes)


def refusal(
    token: UnverifiedToken, keys: KeySet = KEYS, trusted: TrustedIssuer = TRUSTED, now: datetime = NOW
) -> Reason:
    with pytest.raises(TokenError) as caught:
        verify(token, keys, trusted, now)
    message = str(caught.value)
    assert not any(part and part in message for part in token.split(".") if len(part) > 8)
    return caught.value.reason


@pytest.mark.parametrize(
    "algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
)
@pytest.mark.parametrize("kid", [True, False])
def test_valid_tokens_of_every_algorithm_are_accepted(algorithm: str, kid: bool) -> None:  # noqa: FBT001 - a column
    """A valid token is accepted, with or without a key id."""
    key = SigningKey(algorithm, "k", signing_key(algorithm).private)
    token = key.sign(claims_with(), None if kid else {"kid": None})

    found = verify(token, key_set(ISSUER, key), replace(TRUSTED, algorithms=(algorithm,)), NOW)

    assert found["pipeline_slug"] == "web"


@pytest.mark.parametrize(
    "header",
    [
        {"typ": None},
        {"typ": "jwt"},
        {"typ": "at+jwt"},
        {"typ": "application/at+jwt"},
        {"x5t": "abc"},
        {"x5t#S256": "abc"},
        {"kid": "key-1"},
    ],
)
def test_harmless_header_fields_are_accepted(header: dict[str, object]) -> None:
    """Fields real issuers send do not keep a token out."""
    assert verify(KEY.sign(claims_with(), header), KEYS, TRUSTED, NOW)["sub"]


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": [shapes.AUDIENCE]},
        {"nbf": ...},
        {"jti": "x"},
        {"unknown": {"nested": [1, 2.5, None]}},
        {"iat": SECOND - 7200, "nbf": SECOND - 7200, "exp": SECOND},
        {"iat": SECOND + 30, "nbf": SECOND + 30},
        {"exp": SECOND - 29, "iat": SECOND - 300, "nbf": SECOND - 300},
        {"exp": SECOND + 7200},
        {"build_number": 0},
        {"step_key": None},
    ],
)
def test_valid_variations_are_accepted(changes: dict[str, Any]) -> None:
    """One-element audiences, absent `nbf`, and times at the very edge are still valid."""
    verify(KEY.sign(claims_with(**changes)), KEYS, TRUSTED, NOW)


AUDIENCES: list[object] = [
    ..., None, "", [], [""], 1, True, {}, shapes.AUDIENCE + "/", shapes.AUDIENCE.upper(), " " + shapes.AUDIENCE,
    shapes.AUDIENCE[:-1], "sts.amazonaws.com", [shapes.AUDIENCE, "other"], [shapes.AUDIENCE, shapes.AUDIENCE],
    ["other", shapes.AUDIENCE], [[shapes.AUDIENCE]], {shapes.AUDIENCE: 1}, shapes.AUDIENCE + "\0", [None],
    "https://jobgate.test/\u0430cme", f"{shapes.AUDIENCE} other", f"{shapes.AUDIENCE},other",
]  # fmt: skip
ISSUERS: list[object] = [
    ..., None, "", 1, [ISSUER], {}, ISSUER + "/", ISSUER.upper(), "https://AGENT.buildkite.com", ISSUER[:-1],
    "http://agent.buildkite.com", "https://agent.buildkite.com.evil.test", "https://evil.test/" + ISSUER,
    "https://agent.buildkite.com:443", "https://agent.buildkite.com#", "https://agent.buildk\u0456te.com",
    " " + ISSUER, ISSUER + "\n", ISSUER + "?x", "https://x@agent.buildkite.com",
]  # fmt: skip
TIMES: list[object] = [
    None, "", "1", str(SECOND), True, False, -1, float(SECOND), SECOND + 0.5, 1e308, [SECOND], {}, 2**62, -(2**62),
    253402300800, "1e9", "0x10", "NaN",
]  # fmt: skip
SUBJECTS: list[object] = [..., None, "", 1, [], ["x"], True, {}]
OWNERS: list[object] = [
    ..., None, "", "Acme", "ACME", "acme ", " acme", "acm", "acme2", "acme-evil", "*", "acme\0", ["acme"], {"acme": 1},
    1, True, "\u0430cme", "acme\u200b", "acme\u0301", "evil", 1.0,
]  # fmt: skip
# Names that look like the claim are not the claim.
OWNER_NAMES = (
    "Organization_slug", "organization_slug ", "organization_slu\u0261", "organization_slu\u0121", "organization-slug",
    "organization_slug\0", "\ufefforganization_slug",
)  # fmt: skip
CLAIM_ROWS: list[tuple[dict[str, Any], Reason]] = [
    *[({"aud": value}, Reason.IDENTITY_AUDIENCE) for value in AUDIENCES],
    *[({"iss": value}, Reason.IDENTITY_ISSUER) for value in ISSUERS],
    *[({name: value}, Reason.IDENTITY_CLAIMS) for name in ("exp", "iat", "nbf") for value in TIMES],
    *[({name: ...}, Reason.IDENTITY_CLAIMS) for name in ("exp", "iat")],
    *[({"sub": value}, Reason.IDENTITY_CLAIMS) for value in SUBJECTS],
    *[({"organization_slug": value}, Reason.IDENTITY_CLAIMS) for value in OWNERS],
    *[({"organization_slug": ..., name: "acme"}, Reason.IDENTITY_CLAIMS) for name in OWNER_NAMES],
    *[({"exp": ..., name: SECOND + 60}, Reason.IDENTITY_CLAIMS) for name in ("Exp", "e\u0445p", "exp ", "expires")],
    *[({"aud": ..., name: shapes.AUDIENCE}, Reason.IDENTITY_AUDIENCE) for name in ("Aud", "a\u057dd", "azp")],
    ({"exp": SECOND - 30}, Reason.IDENTITY_EXPIRED),
    ({"exp": SECOND - 31}, Reason.IDENTITY_EXPIRED),
    ({"exp": 0, "iat": 0}, Reason.IDENTITY_EXPIRED),
    ({"exp": 1}, Reason.IDENTITY_EXPIRED),
    ({"iat": SECOND - 400, "nbf": SECOND - 400, "exp": SECOND - 100}, Reason.IDENTITY_EXPIRED),
    ({"iat": SECOND + 31, "nbf": SECOND}, Reason.IDENTITY_NOT_YET),
    ({"nbf": SECOND + 31}, Reason.IDENTITY_NOT_YET),
    ({"nbf": SECOND + 10**6, "exp": SECOND + 10**7}, Reason.IDENTITY_NOT_YET),
    ({"iat": SECOND + 20, "nbf": SECOND, "exp": SECOND + 20}, Reason.IDENTITY_LIFETIME),
    ({"iat": SECOND + 20, "nbf": SECOND, "exp": SECOND + 10}, Reason.IDENTITY_LIFETIME),
    ({"exp": SECOND + 7201}, Reason.IDENTITY_LIFETIME),
    ({"exp": SECOND + 86400 * 365}, Reason.IDENTITY_LIFETIME),
    ({"exp": 253402300799}, Reason.IDENTITY_LIFETIME),
    ({"iat": 0, "nbf": 0}, Reason.IDENTITY_LIFETIME),
]


@pytest.mark.parametrize("changes,reason", CLAIM_ROWS, ids=range(len(CLAIM_ROWS)))
def test_wrong_claims_are_refused(changes: dict[str, Any], reason: Reason) -> None:
    """A properly signed token whose claims are not exactly right is refused for exactly that."""
    assert refusal(KEY.sign(claims_with(**changes))) is reason


def test_age_is_bounded_by_itself() -> None:
    """A token that has not expired is refused all the same once it is too old."""
    trusted = replace(TRUSTED, max_age=timedelta(minutes=1))
    claims = claims_with(exp=SECOND + 3600)
    token = KEY.sign(claims)

    verify(token, KEYS, trusted, NOW + timedelta(seconds=90))
    assert refusal(token, trusted=trusted, now=NOW + timedelta(seconds=91)) is Reason.IDENTITY_LIFETIME


@pytest.mark.parametrize(
    "bound,stated,accepted",
    [
        ({"project_id": "7"}, 7, True),
        ({"project_id": "7"}, "7", True),
        ({"project_id": "7"}, 7.0, False),
        ({"project_id": "7"}, "07", False),
        ({"project_id": "true"}, True, True),
        ({"project_id": "1"}, True, False),
        ({"project_id": "false"}, False, True),
        ({"project_id": "None"}, None, False),
        ({"project_id": "['7']"}, ["7"], False),
        ({"project_id": "7", "organization_slug": "acme"}, "7", True),
        ({"project_id": "7", "organization_slug": "other"}, "7", False),
        ({"project_id": "7", "absent": "x"}, "7", False),
    ],
)
def test_every_bound_claim_must_be_equal(bound: dict[str, str], stated: object, *, accepted: bool) -> None:
    """Numbers and booleans compare by their plain spelling; nothing else compares at all."""
    token, trusted = KEY.sign(claims_with(project_id=stated)), replace(TRUSTED, bound=bound)

    if accepted:
        verify(token, KEYS, trusted, NOW)
    else:
        assert refusal(token, trusted=trusted) is Reason.IDENTITY_CLAIMS


def test_keys_of_another_issuer_are_not_used() -> None:
    """Keys are only good for the issuer they came from."""
    assert refusal(KEY.sign(claims_with()), key_set("https://other.test", KEY)) is Reason.IDENTITY_ISSUER


def test_duplicate_key_ids_are_each_tried_up_to_a_bound() -> None:
    """Two keys under one id both work; a hundred do not make us verify a hundred times."""
    other = SigningKey("RS256", "key-1", signing_key("RS256", "other").private)
    token = KEY.sign(claims_with())

    verify(token, key_set(ISSUER, other, KEY), TRUSTED, NOW)
    assert refusal(token, key_set(ISSUER, *[other] * 8, KEY)) is Reason.IDENTITY_SIGNATURE


def test_peeking_reads_what_chooses_the_keys() -> None:
    """Issuer, key id and algorithm can be had before anything is verified."""
    token = KEY.sign(claims_with())

    assert peek_unverified(token) == UnverifiedHeader(issuer=ISSUER, kid="key-1", algorithm="RS256")
    assert peek_unverified_claims(token)["step_key"] == "upload"
    assert repr(peek_unverified(token)).count("acme") == 0


def test_digest_and_shape_of_texts() -> None:
    """Any text has a digest; only what has two dots is taken for a token."""
    assert len(digest_token(UnverifiedToken("\ud800"))) == 64
    assert is_token("a.b.c")
    assert is_token("a.b.c.d.e")
    assert not is_token("jgs_abc.def")


def test_replay_key_is_the_token_whatever_its_spelling() -> None:
    """`jti` names a token; without one, what was signed does, so that a twisted signature is still the same token."""
    plain, named = VerifiedClaims({"iss": ISSUER}), VerifiedClaims({"iss": ISSUER, "jti": "one"})

    assert replay_key(UnverifiedToken("a.b.c"), named) == replay_key(UnverifiedToken("d.e.f"), named)
    assert replay_key(UnverifiedToken("a.b.c"), plain) == replay_key(UnverifiedToken("a.b.X"), plain)
    assert replay_key(UnverifiedToken("a.b.c"), plain) != replay_key(UnverifiedToken("a.X.c"), plain)
    for useless in ("", 1, None, ["x"]):
        odd = VerifiedClaims({"iss": ISSUER, "jti": useless})
        assert replay_key(UnverifiedToken("a.b.c"), odd) == replay_key(UnverifiedToken("a.b.c"), plain)
    assert replay_key(UnverifiedToken("a.b.c"), named) != replay_key(
        UnverifiedToken("a.b.c"), VerifiedClaims({"iss": "https://other.test", "jti": "one"})
    )


def test_length_is_bounded_before_anything_is_parsed() -> None:
    """A token of 16 KiB is read; one character more is refused unread."""
    header = encode_json({"alg": "RS256", "kid": "key-1"})
    room = MAX_TOKEN - len(header) - 2 - 342
    claims = claims_with(filler="")
    claims["filler"] = "x" * (room * 3 // 4 - len(encode_json(claims)) * 3 // 4 - 2)
    token = KEY.sign_parts(header, encode_json(claims))

    assert MAX_TOKEN - 8 <= len(token) <= MAX_TOKEN
    verify(token, KEYS, TRUSTED, NOW)
    assert refusal(UnverifiedToken(encode(b"x" * MAX_TOKEN))) is Reason.IDENTITY_OVERSIZED
    assert refusal(UnverifiedToken("." * (MAX_TOKEN + 1))) is Reason.IDENTITY_OVERSIZED
