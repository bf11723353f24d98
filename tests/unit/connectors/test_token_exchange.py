"""The job's token is exchanged over TLS with a strict endpoint; every refusal is named and no token shows in it."""

import ssl
import traceback
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.connectors.parts import ConnectorParts
from proxy.connectors.token_exchange import TokenExchangeConnector, TokenExchangeScope
from proxy.demo.tls import StageRoot
from proxy.intents.fallback import decode as read
from proxy.model.authority import Authority
from proxy.model.errors import CredentialError
from proxy.model.grant import PLAIN, Credential, Grant, HeldToken, MintRequest, Secret
from proxy.model.intent import RequestView
from proxy.model.reason import Reason
from proxy.outbound import Outbound
from tests.fakes.clock import FixedClock
from tests.fakes.token_endpoint import TokenEndpoint

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PLANTED = "eyJplanted.subject.token"
AUDIENCE = "https://login.test"
TYPES = "urn:ietf:params:oauth:token-type:"
DENIED, MAYBE = Reason.CREDENTIAL_REFUSED, Reason.CREDENTIAL_UNAVAILABLE


@pytest.fixture
async def endpoint(tmp_path: Path) -> AsyncIterator[TokenEndpoint]:
    """A strict endpoint, and `tmp_path` as its root's folder."""
    made = TokenEndpoint(subject=PLANTED)
    async with made.serving(StageRoot(tmp_path).server_side("login", ("login.test",))):
        yield made


def scope(**given: Any) -> TokenExchangeScope:
    basic = {"endpoint": "https://login.test/token", "subject_token_audience": AUDIENCE}
    return TokenExchangeScope.model_validate(basic | given)


def request(lifetime: timedelta = timedelta(hours=1), *, token: str = PLANTED, left: float = 60) -> MintRequest:
    held = HeldToken(audience=AUDIENCE, token=Secret(token), expires_at=NOW + timedelta(seconds=left))
    grant = Grant(connector="token-exchange", scope={}, lifetime=lifetime, key="k")
    return MintRequest(grant=grant, session_id="s", labels={}, tokens={AUDIENCE: held})


def connector(endpoint: TokenEndpoint, folder: Path) -> TokenExchangeConnector:
    trust = ssl.create_default_context(cafile=str(folder / "stage-root.pem"))
    caller = Outbound(trust, {"login.test:443": Authority("127.0.0.1", endpoint.port)})
    return TokenExchangeConnector(ConnectorParts(caller=caller, clock=FixedClock(NOW)))


async def mint(served: TokenEndpoint, folder: Path, asked: MintRequest | None = None, **given: Any) -> Credential:
    return await connector(served, folder).mint(asked or request(), scope(**given))


async def refusal(
    served: TokenEndpoint, folder: Path, asked: MintRequest | None = None, **given: Any
) -> tuple[str, Reason]:
    with pytest.raises(CredentialError) as caught:
        await mint(served, folder, asked, **given)
    assert PLANTED not in "".join(traceback.format_exception(caught.value))
    return str(caught.value), caught.value.reason


async def test_a_token_is_exchanged_for_a_bearer_token(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    """The form holds what RFC 8693 wants, and the result goes into Authorization."""
    given: dict[str, Any] = {"audience": ["api", "other"], "resource": ["https://api.test"], "scope": ["read", "write"]}
    credential = await mint(endpoint, tmp_path, requested_token_type="access_token", **given)
    assert endpoint.asked == [
        {
            "grant_type": ["urn:ietf:params:oauth:grant-type:token-exchange"],
            "subject_token": [PLANTED],
            "subject_token_type": [f"{TYPES}jwt"],
            "audience": ["api", "other"],
            "resource": ["https://api.test"],
            "scope": ["read write"],
            "requested_token_type": [f"{TYPES}access_token"],
        }
    ]
    view = RequestView(
        method="GET", scheme="https", authority=Authority("api.test", 443), path="/", query=None, headers=()
    )
    made = connector(endpoint, tmp_path)
    edits = made.apply(view, scope(), credential, None)
    assert made.plan(view, read(view), scope()) == PLAIN
    assert edits.remove == {"authorization"}
    name, value = edits.put[0]
    assert name == "authorization"
    assert isinstance(value, Secret)
    assert value.reveal() == "Bearer issued-0123456789"
    assert [each.reveal() for each in edits.watch] == ["issued-0123456789"]
    assert "issued-0123456789" not in f"{credential!r}{edits!r}{credential.facts}"


@pytest.mark.parametrize(
    "gives, lifetime, expected",
    [
        ({}, timedelta(hours=1), 600),
        ({}, timedelta(minutes=5), 300),
        ({"expires_in": ...}, timedelta(hours=1), 60),
        ({"expires_in": 1}, timedelta(hours=1), 1),
        ({"token_type": "bearer"}, timedelta(hours=1), 600),
    ],
)
async def test_the_shorter_life_counts(
    endpoint: TokenEndpoint, tmp_path: Path, gives: dict[str, Any], lifetime: timedelta, expected: int
) -> None:
    """The rule's or the endpoint's; where the endpoint says nothing, a minute."""
    endpoint.gives = gives
    credential = await mint(endpoint, tmp_path, request(lifetime))
    assert credential.expires_at == NOW + timedelta(seconds=expected)


@pytest.mark.parametrize(
    "given, token, expected",
    [
        ({}, "another", ("token endpoint: invalid_grant", DENIED)),
        ({"audience": ["elsewhere"]}, PLANTED, ("token endpoint: invalid_target", DENIED)),
        ({"resource": ["https://elsewhere.test"]}, PLANTED, ("token endpoint: invalid_target", DENIED)),
        ({"scope": ["forbidden"]}, PLANTED, ("token endpoint: invalid_scope", DENIED)),
        ({"endpoint": "https://login.test/other"}, PLANTED, ("token endpoint: status 404", DENIED)),
    ],
)
async def test_a_refusal_is_its_code(
    endpoint: TokenEndpoint, tmp_path: Path, given: dict[str, Any], token: str, expected: tuple[str, Reason]
) -> None:
    """Descriptions repeat what was sent, so they stay here."""
    assert await refusal(endpoint, tmp_path, request(token=token), **given) == expected


MALFORMED: list[dict[str, Any]] = [
    {"access_token": ...},
    {"access_token": ""},
    {"access_token": 5},
    {"access_token": "a b"},
    {"access_token": "a\r\nx: y"},
    {"access_token": "x" * 16385},
    {"token_type": "N_A"},
    {"token_type": ...},
    {"expires_in": 0},
    {"expires_in": -1},
    {"expires_in": "600"},
    {"expires_in": True},
    {"expires_in": 86_401},
    {"expires_in": 1e999},
]


@pytest.mark.parametrize("gives", MALFORMED, ids=str)
async def test_a_malformed_answer_is_no_credential(
    endpoint: TokenEndpoint, tmp_path: Path, gives: dict[str, Any]
) -> None:
    """Missing, odd and unbounded values are refused, not repaired."""
    endpoint.gives = gives
    assert (await refusal(endpoint, tmp_path))[1] is MAYBE


async def test_another_type_than_asked_for_is_refused(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    """What was asked for is checked against what came."""
    endpoint.gives = {"issued_token_type": f"{TYPES}jwt"}
    said, _ = await refusal(endpoint, tmp_path, requested_token_type="access_token")
    assert "another type" in said


async def test_facts_hold_no_token_that_an_endpoint_puts_there(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    """Facts are recorded: only a plain URN gets into them."""
    endpoint.gives = {"issued_token_type": PLANTED}
    credential = await mint(endpoint, tmp_path)
    assert dict(credential.facts) == {"endpoint": "https://login.test/token"}


@pytest.mark.parametrize(
    "raw, expected",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{{}", ("token endpoint: the answer is no JSON object", MAYBE)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", ("token endpoint: the answer is no JSON object", MAYBE)),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe",
            ("token endpoint: the answer is no JSON object", MAYBE),
        ),
        (b"HTTP/1.1 403 No\r\nContent-Length: 6\r\n\r\n<html>", ("token endpoint: status 403", DENIED)),
        (
            b"HTTP/1.1 302 Go\r\nLocation: https://evil.test\r\nContent-Length: 0\r\n\r\n",
            ("token endpoint: status 302", DENIED),
        ),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", ("token endpoint: status 500", MAYBE)),
        (b"HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n", ("token endpoint: status 429", MAYBE)),
        (
            b'HTTP/1.1 400 No\r\nContent-Length: 40\r\n\r\n{"error": "eyJplanted.subject.token aaa"}'[:-1],
            ("token endpoint: status 400", DENIED),
        ),
        (b"not HTTP at all\r\n\r\n", ("token endpoint: login.test did not answer in HTTP", MAYBE)),
    ],
)
async def test_a_garbled_answer_is_named(
    endpoint: TokenEndpoint, tmp_path: Path, raw: bytes, expected: tuple[str, Reason]
) -> None:
    """Bodies that are none, pages in place of answers, redirects and faults."""
    endpoint.raw = raw
    assert await refusal(endpoint, tmp_path) == expected


@pytest.mark.parametrize("method", ["basic", "post"])
@pytest.mark.parametrize("secret, is_right", [("s3cret:/+ %", True), ("wrong", False)])
async def test_jobgate_identifies_itself(
    endpoint: TokenEndpoint, tmp_path: Path, method: str, secret: str, *, is_right: bool
) -> None:
    """Id and secret survive any character, in the header or in the form (RFC 6749 2.3.1)."""
    endpoint.client = ("jobgate:1", "s3cret:/+ %")
    place = tmp_path / "client-secret"
    place.touch(mode=0o600)
    place.write_text(secret)
    client = {"id": "jobgate:1", "method": method, "secret": {"file": str(place)}}
    if is_right:
        await mint(endpoint, tmp_path, client=client)
    else:
        assert await refusal(endpoint, tmp_path, client=client) == ("token endpoint: invalid_client", DENIED)


@pytest.mark.parametrize(
    "asked, why",
    [
        (MintRequest(grant=request().grant, session_id="s", labels={}, tokens={}), "holds no token for the audience"),
        (request(left=0), "has expired"),
        (request(left=-5), "has expired"),
    ],
)
async def test_without_a_live_token_nothing_is_asked(
    endpoint: TokenEndpoint, tmp_path: Path, asked: MintRequest, why: str
) -> None:
    """The endpoint learns nothing of a job that has nothing to exchange."""
    said, reason = await refusal(endpoint, tmp_path, asked)
    assert why in said
    assert reason is DENIED
    assert endpoint.asked == []


@pytest.mark.parametrize(
    "given",
    [
        {"endpoint": "http://login.test/token"},
        {"endpoint": "https://user@login.test/token"},
        {"endpoint": "https://login.test/token?x=1"},
        {"endpoint": "https://login.test/token#x"},
        {"endpoint": "https://0x7f.1/token"},
        {"endpoint": "https://login.test:0443/token"},
        {"endpoint": "https://login.test/to ken"},
        {"subject_token_type": "saml2"},
        {"surprise": 1},
        {"client": {"id": "", "secret": {"file": "/x"}}},
        {"client": {"id": "x", "secret": "inline"}},
    ],
)
def test_a_scope_is_checked_when_the_rule_is_read(given: dict[str, Any]) -> None:
    """Plain http, userinfo, odd hosts, unknown keys and secrets written into the rule are refused."""
    with pytest.raises(ValidationError):
        scope(**given)


async def test_a_token_is_revoked_at_its_endpoint(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    """With the client's own identity; without an endpoint a token can only expire."""
    place = tmp_path / "client-secret"
    place.touch(mode=0o600)
    place.write_text("s3cret")
    client = {"id": "jobgate", "secret": {"file": str(place)}}
    endpoint.client = ("jobgate", "s3cret")
    given: dict[str, Any] = {"client": client, "revocation": "https://login.test/revoke"}
    credential = await mint(endpoint, tmp_path, **given)
    made = connector(endpoint, tmp_path)
    assert await made.revoke(credential, scope(client=client)) is False
    assert endpoint.revoked == []
    assert await made.revoke(credential, scope(**given)) is True
    assert endpoint.revoked == [credential.secrets["token"].reveal()]
    endpoint.client = ("another", "x")
    with pytest.raises(CredentialError, match="revocation endpoint: invalid_client"):
        await made.revoke(credential, scope(**given))
    endpoint.raw = b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(CredentialError, match="revocation endpoint: status 503"):
        await made.revoke(credential, scope(**given))


def test_a_revocation_endpoint_is_a_plain_https_url() -> None:
    """As the endpoint itself."""
    for url in ("http://login.test/revoke", "https://a_b:x/revoke", "https://login.test/r?x=1"):
        with pytest.raises(ValidationError):
            scope(revocation=url)
