"""A centrally held secret in a header, for services that have nothing better: bearer, basic or a field of their own."""

from datetime import timedelta
from typing import ClassVar, Self

from pydantic import Field, model_validator

from proxy.connectors.fields import FieldModel, place
from proxy.connectors.parts import ConnectorParts, fingerprint
from proxy.connectors.secret_sources import SecretSource, read_secret
from proxy.model.grant import PLAIN, Credential, Edits, MintRequest, Plan
from proxy.model.intent import Intent, RequestView


class HeaderScope(FieldModel):
    """Which field carries the secret, how, and where the secret comes from."""

    source: SecretSource = Field(alias="from", description="Where the secret is read from.")

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        if (self.scheme == "basic") != (self.username is not None):
            raise ValueError("`username` goes with `scheme: basic`, and `basic` needs it")
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
        return place(scope, scope.username, credential.secrets["secret"])
