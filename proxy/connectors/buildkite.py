"""The agent API on a job's behalf: with its agent's token, which the job itself need not hold, and for less.

Whoever holds an agent's token can have an identity minted for any audience. Here audiences are pinned, and what else
hands out credentials must be named by the rule. Source: Buildkite documentation, "Agent REST API"; buildkite/agent,
`api/client.go` (the `Token` scheme).
"""

from datetime import timedelta
from typing import ClassVar, Final

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from proxy.connectors.named import is_named, parts_of
from proxy.connectors.parts import ConnectorParts, ScopeModel, fingerprint
from proxy.connectors.secret_sources import SecretSource, read_secret
from proxy.model.errors import CredentialError
from proxy.model.grant import AGENT_TOKEN, PLAIN, Credential, Edits, MintRequest, Plan, Secret
from proxy.model.intent import EffectClass, Intent, RequestView
from proxy.model.reason import Reason

_MINT: Final = "oidc.mint"


class BuildkiteScope(ScopeModel):
    """Whose token is used, and for which audiences it may mint identities."""

    audiences: tuple[str, ...] = Field(
        (),
        strict=False,
        description="Audiences for which the job may have identity tokens minted. `default`: where it names none.",
        examples=[["sts.amazonaws.com"]],
    )
    source: SecretSource | None = Field(
        None, alias="from", description="Where the agent's token is read from. Default: the one the hook handed over."
    )
    intents: SkipJsonSchema[tuple[str, ...]] = Field(
        (), strict=False, description="The rule's own `intent` lines. Put here when the rule is read, never written."
    )


class BuildkiteConnector:
    """Puts the agent's token on calls that a job makes."""

    name: ClassVar[str] = "buildkite"
    Scope: ClassVar[type[BuildkiteScope]] = BuildkiteScope

    def __init__(self, parts: ConnectorParts) -> None:
        self._parts = parts

    def plan(self, view: RequestView, intent: Intent, scope: BuildkiteScope) -> Plan:  # noqa: ARG002 - the interface
        """Return the plain plan. Raises CredentialError for a call that the rule does not name closely enough."""
        for part in parts_of(intent):
            _check(part, scope)
        return PLAIN

    async def mint(self, request: MintRequest, scope: BuildkiteScope) -> Credential:
        """Take the agent's token. Raises CredentialError where there is none."""
        if scope.source is not None:
            secret = await read_secret(scope.source, self._parts)
        elif (held := request.tokens.get(AGENT_TOKEN)) is not None:
            secret = held.token
        else:
            raise CredentialError(
                "the session holds no agent token: hand one over as `agent_token` when opening it, or write `from`",
                Reason.CREDENTIAL_REFUSED,
            )
        lifetime = max(request.grant.lifetime, timedelta(seconds=1))
        return Credential(
            connector=self.name,
            secrets={"token": secret},
            facts={},
            fingerprint=fingerprint(secret.reveal()),
            expires_at=self._parts.clock.now() + lifetime,
        )

    def apply(self, view: RequestView, scope: BuildkiteScope, credential: Credential, body_digest: str | None) -> Edits:  # noqa: ARG002 - the interface
        """Return the field that carries the token."""
        secret = credential.secrets["token"]
        written = Secret(f"Token {secret.reveal()}")
        return Edits(remove=frozenset({"authorization"}), put=(("authorization", written),), watch=(secret,))


def _check(part: Intent, scope: BuildkiteScope) -> None:
    if part.protocol != "ci":
        raise _refused("an agent's token is for Buildkite's own API")
    if part.action == _MINT:
        audience = part.resource.id.partition("/")[2] or "default"
        if audience not in scope.audiences:
            raise _refused(f"the rule's `audiences` do not hold {audience}")
        return
    hands_out = part.effect in {EffectClass.CREDENTIAL, EffectClass.UNKNOWN}
    if hands_out and not is_named(scope.intents, part, part.action):
        raise _refused(f"`{part.action}` hands out credentials: name it in the rule's `intent`")


def _refused(why: str) -> CredentialError:
    return CredentialError(why, Reason.CREDENTIAL_SCOPE)
