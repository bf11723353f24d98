"""A centrally held secret in a header, for services that have nothing better: bearer, basic or a field of their own."""

from base64 import b64encode
from datetime import timedelta
from typing import ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from proxy.connectors.parts import ConnectorParts, ScopeModel, fingerprint
from proxy.connectors.secret_sources import SecretSource, read_secret
from proxy.model.grant import PLAIN, Credential, Edits, MintRequest, Plan, Secret
from proxy.model.intent import Intent, RequestView

# Fields that frame the message or steer a hop: a secret in one of them would change what is sent, not who sends it.
_NEVER: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "expect", "te", "trailer", "upgrade", "via"}
)


class HeaderScope(ScopeModel):
    """Which field carries the secret, how, and where the secret comes from."""

    name: str = Field(
        "authorization",
        pattern=r"^[A-Za-z][A-Za-z0-9-]*$",
        max_length=64,
        description="The header field. Default: authorization.",
        examples=["x-api-key"],
    )
    scheme: Literal["bearer", "basic", "raw"] = Field(
        "bearer", description="`bearer`: Bearer SECRET. `basic`: USERNAME and SECRET. `raw`: the secret alone."
    )
    username: str | None = Field(
        None, max_length=255, pattern=r"^[!-9;-~]+$", description="For `basic`.", examples=["x-access-token"]
    )
    source: SecretSource = Field(alias="from", description="Where the secret is read from.")

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        if (self.scheme == "basic") != (self.username is not None):
            raise ValueError("`username` goes with `scheme: basic`, and `basic` needs it")
        if self.name.lower() in _NEVER or self.name.lower().startswith("proxy-"):
            raise ValueError(f"`{self.name}` frames the message and cannot carry a secret")
        return self


class HeaderConnector:
    """Reads a secret, keeps it for the grant's lifetime, and puts it into a header."""

    name: ClassVar[str] = "header"
    Scope: ClassVar[type[HeaderScope]] = HeaderScope

    def __init__(self, parts: ConnectorParts) -> None:
        self._parts = parts

    def plan(self, view: RequestView, intent: Intent, scope: HeaderScope) -> Plan:  # noqa: ARG002 - the interface
        """Return the plain plan: a header needs no body."""
        return PLAIN

    async def mint(self, request: MintRequest, scope: HeaderScope) -> Credential:
        """Read the secret. Raises CredentialError."""
        secret = await read_secret(scope.source, self._parts)
        now = self._parts.clock.now()
        return Credential(
            connector=self.name,
            secrets={"secret": secret},
            facts={"field": scope.name.lower()},
            fingerprint=fingerprint(secret.reveal()),
            expires_at=now + max(request.grant.lifetime, timedelta(seconds=1)),
        )

    def apply(self, view: RequestView, scope: HeaderScope, credential: Credential, body_digest: str | None) -> Edits:  # noqa: ARG002 - the interface
        """Return the field that carries the secret."""
        secret = credential.secrets["secret"]
        value, spelled = _compose(scope, secret)
        return Edits(remove=frozenset({scope.name.lower()}), put=((scope.name.lower(), value),), watch=spelled)


def _compose(scope: HeaderScope, secret: Secret) -> tuple[Secret, tuple[Secret, ...]]:
    """Return the field's value, and every text that must not come back."""
    if scope.scheme == "raw":
        return secret, (secret,)
    if scope.scheme == "bearer":
        return Secret(f"Bearer {secret.reveal()}"), (secret,)
    pair = b64encode(f"{scope.username}:{secret.reveal()}".encode()).decode()
    return Secret(f"Basic {pair}"), (secret, Secret(pair))
