"""A held secret goes into one header, shaped as the rule asks, and is watched for in every spelling it is sent in."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.connectors.header import HeaderConnector, HeaderScope
from proxy.connectors.parts import ConnectorParts, fingerprint
from proxy.intents.fallback import decode as read
from proxy.model.authority import Authority
from proxy.model.errors import CredentialError
from proxy.model.grant import PLAIN, Credential, Edits, Grant, MintRequest
from proxy.model.intent import RequestView
from proxy.outbound import Answer, Call
from tests.fakes.clock import FixedClock

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PLANTED = "planted-0123456789"
VIEW = RequestView(
    method="GET", scheme="https", authority=Authority("a.test", 443), path="/", query=None, headers=(), body_length=0
)


class NoCaller:
    async def call(self, call: Call) -> Answer:
        raise AssertionError(call)


CONNECTOR = HeaderConnector(ConnectorParts(caller=NoCaller(), clock=FixedClock(NOW)))


def scope(path: Path | str = "/secret", **given: Any) -> HeaderScope:
    return HeaderScope.model_validate({"from": {"file": str(path)}, **given})


def plant(path: Path) -> None:
    path.touch(mode=0o600)
    path.write_text(f"{PLANTED}\n")


async def mint(path: Path, lifetime: timedelta = timedelta(hours=1), **given: Any) -> tuple[HeaderScope, Credential]:
    plant(path)
    chosen = scope(path, **given)
    grant = Grant(connector="header", scope={}, lifetime=lifetime, key="k")
    return chosen, await CONNECTOR.mint(MintRequest(grant=grant, session_id="s", labels={}, tokens={}), chosen)


def shown(edits: Edits) -> dict[str, str]:
    return {name: value if isinstance(value, str) else value.reveal() for name, value in edits.put}


PAIR = b64encode(f"x-access-token:{PLANTED}".encode()).decode()


@pytest.mark.parametrize(
    "given, field, value, watched",
    [
        ({}, "authorization", f"Bearer {PLANTED}", {PLANTED}),
        ({"scheme": "raw", "name": "X-Api-Key"}, "x-api-key", PLANTED, {PLANTED}),
        ({"scheme": "raw"}, "authorization", PLANTED, {PLANTED}),
        ({"name": "Private-Token"}, "private-token", f"Bearer {PLANTED}", {PLANTED}),
        ({"scheme": "basic", "username": "x-access-token"}, "authorization", f"Basic {PAIR}", {PLANTED, PAIR}),
    ],
)
async def test_each_scheme_composes_its_value(
    tmp_path: Path, given: dict[str, Any], field: str, value: str, watched: set[str]
) -> None:
    """The job's own field is removed, ours is put, and all that must not come back is watched."""
    chosen, credential = await mint(tmp_path / "secret", **given)
    edits = CONNECTOR.apply(VIEW, chosen, credential, None)
    assert edits.remove == {field}
    assert shown(edits) == {field: value}
    assert {each.reveal() for each in edits.watch} == watched
    assert edits.query is None
    assert CONNECTOR.plan(VIEW, read(VIEW), chosen) == PLAIN
    assert PLANTED not in f"{edits!r}{credential!r}"
    assert PAIR not in f"{edits!r}{credential!r}"


@pytest.mark.parametrize(
    "lifetime, expected", [(timedelta(hours=1), timedelta(hours=1)), (timedelta(0), timedelta(seconds=1))]
)
async def test_what_is_minted_lives_as_long_as_its_grant(
    tmp_path: Path, lifetime: timedelta, expected: timedelta
) -> None:
    """Then the secret is read again, so that a rotated one is picked up."""
    _, credential = await mint(tmp_path / "secret", lifetime)
    assert credential.expires_at == NOW + expected
    assert credential.fingerprint == fingerprint(PLANTED)
    assert dict(credential.facts) == {"field": "authorization"}


async def test_a_source_that_fails_is_a_refusal(tmp_path: Path) -> None:
    """Nothing is minted without the secret."""
    grant = Grant(connector="header", scope={}, lifetime=timedelta(hours=1), key="k")
    with pytest.raises(CredentialError, match="No such file"):
        await CONNECTOR.mint(MintRequest(grant=grant, session_id="s", labels={}, tokens={}), scope(tmp_path / "none"))


@pytest.mark.parametrize(
    "given",
    [
        {"scheme": "basic"},
        {"username": "x"},
        {"scheme": "raw", "username": "x"},
        {"scheme": "basic", "username": "a:b"},
        {"scheme": "basic", "username": "a b"},
        {"scheme": "basic", "username": "a\n"},
        {"scheme": "basic", "username": ""},
        {"scheme": "digest"},
        {"name": ""},
        {"name": "a b"},
        {"name": "a:b"},
        {"name": "a\n"},
        {"name": "x" * 65},
        {"surprise": 1},
        *({"name": name} for name in ("Host", "content-length", "Transfer-Encoding", "Connection", "TE", "Upgrade")),
        *({"name": name} for name in ("Expect", "Trailer", "Via", "Proxy-Authorization", "proxy-connection")),
    ],
)
def test_what_would_change_the_message_is_no_scope(given: dict[str, Any]) -> None:
    """Framing fields, half a basic pair and unknown keys are refused when the rule is read."""
    with pytest.raises(ValidationError):
        scope(**given)
