"""An agent's token goes on calls that a rule names closely enough, and its audiences are pinned."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from proxy.connectors.buildkite import BuildkiteConnector, BuildkiteScope
from proxy.connectors.parts import ConnectorParts
from proxy.model.authority import Authority
from proxy.model.errors import CredentialError
from proxy.model.grant import AGENT_TOKEN, PLAIN, Grant, HeldToken, MintRequest, Secret
from proxy.model.intent import EffectClass, Intent, RequestView, Resource
from proxy.model.reason import Reason
from proxy.outbound import Answer, Call
from tests.fakes.clock import FixedClock

NOW = datetime(2030, 1, 1, tzinfo=UTC)
VIEW = RequestView(
    method="POST", scheme="https", authority=Authority("a.test", 443), path="/", query=None, headers=(), body_length=0
)


class NoCaller:
    async def call(self, call: Call) -> Answer:
        raise AssertionError(call)


CONNECTOR = BuildkiteConnector(ConnectorParts(caller=NoCaller(), clock=FixedClock(NOW)))


def intent(action: str, resource: str, effect: EffectClass = EffectClass.CREDENTIAL, protocol: str = "ci") -> Intent:
    return Intent(
        protocol=protocol, action=action, resource=Resource(type="ci", id=resource), effect=effect, exact=True
    )


def scope(*intents: str, **given: object) -> BuildkiteScope:
    return BuildkiteScope.model_validate({"audiences": ["a", "default"], "intents": intents, **given})


SERVED = [
    (intent("oidc.mint", "audience/a"), ()),
    (intent("oidc.mint", "audience"), ()),
    (intent("meta.set", "meta/x", EffectClass.WRITE), ("ci meta.set **",)),
    (intent("secret.get", "secret/x"), ("ci secret.get secret/x",)),
]
REFUSED = [
    (intent("oidc.mint", "audience/b"), ("ci oidc.mint audience/b",)),
    (intent("oidc.mint", "audience/a/b"), ()),
    (intent("secret.get", "secret/x"), ("ci credential **",)),
    (intent("unknown", "v3/x", EffectClass.UNKNOWN), ("ci unknown-not **",)),
    (intent("meta.set", "meta/x", EffectClass.WRITE, protocol="http"), ()),
]


@pytest.mark.parametrize("asked, lines", SERVED)
def test_what_is_named_is_served(asked: Intent, lines: tuple[str, ...]) -> None:
    """Pinned audiences, the default one where it is pinned, what a line names."""
    assert CONNECTOR.plan(VIEW, asked, scope(*lines)) == PLAIN


@pytest.mark.parametrize("asked, lines", REFUSED)
def test_what_hands_out_more_is_refused(asked: Intent, lines: tuple[str, ...]) -> None:
    """Other audiences, credentials that only a class names, other services."""
    with pytest.raises(CredentialError) as caught:
        CONNECTOR.plan(VIEW, asked, scope(*lines))
    assert caught.value.reason is Reason.CREDENTIAL_SCOPE


async def test_the_token_is_the_hooks_or_a_files(tmp_path: Path) -> None:
    """Put on as `Token X` in place of what the job sent, and watched for; none at all is a refusal."""
    grant = Grant(connector="buildkite", scope={}, lifetime=timedelta(minutes=5), key="k")
    handed = {AGENT_TOKEN: HeldToken(audience=AGENT_TOKEN, token=Secret("planted-1"), expires_at=NOW)}
    asked = MintRequest(grant=grant, session_id="s", labels={}, tokens=handed)
    credential = await CONNECTOR.mint(asked, scope())
    edits = CONNECTOR.apply(VIEW, scope(), credential, None)
    ((name, value),) = edits.put
    assert isinstance(value, Secret)
    assert (name, value.reveal(), edits.remove) == ("authorization", "Token planted-1", frozenset({"authorization"}))
    assert [secret.reveal() for secret in edits.watch] == ["planted-1"]
    assert credential.expires_at == NOW + timedelta(minutes=5)
    place = tmp_path / "token"
    place.touch(mode=0o600)
    place.write_text("planted-2\n")
    held = await CONNECTOR.mint(asked, scope(**{"from": {"file": str(place)}}))
    assert held.secrets["token"].reveal() == "planted-2"
    with pytest.raises(CredentialError, match="no agent token"):
        await CONNECTOR.mint(MintRequest(grant=grant, session_id="s", labels={}, tokens={}), scope())
