"""What every connector is, and what it is given."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from proxy.model.grant import Credential, Edits, HeldToken, MintRequest, Plan, Secret
from proxy.model.intent import Intent, RequestView
from proxy.model.placeholder import PUBLIC
from proxy.outbound import Answer, Call


class Caller(Protocol):
    """Our own calls; `proxy.outbound.Outbound`."""

    async def call(self, call: Call) -> Answer:
        """Return the answer. Raises OutboundError."""


class Clock(Protocol):
    """The wall clock."""

    def now(self) -> datetime:
        """Return the time in UTC."""


class Issuer(Protocol):
    """Who signs tokens about jobs for jobgate itself; `connectors.own_issuer.OwnIssuer`."""

    async def mint(self, request: MintRequest, audience: str) -> HeldToken:
        """Return a token about the request's job. Raises CredentialError."""


def _find_public(key_id: str) -> Secret | None:
    return PUBLIC.aws_secret if key_id == PUBLIC.aws_key else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorParts:
    """The edges a connector may use.

    `find_secret` returns what an open session signs with under this access key id, None for a key that is no
    placeholder. `issuer` is jobgate's own, where one is set.
    """

    caller: Caller
    clock: Clock
    find_secret: Callable[[str], Secret | None] = _find_public
    issuer: Issuer | None = None


class ScopeModel(BaseModel):
    """Base of every connector's `credential:` block: what it does not know it refuses."""

    # Built when first used: most rule sets use one connector.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)


class Connector(Protocol):
    """Mints and applies credentials for one kind of upstream."""

    name: ClassVar[str]
    """What a rule calls it."""
    Scope: ClassVar[type[BaseModel]]
    """The rule's block. Validated when rules are loaded, and again when a grant is first used."""

    def plan(self, view: RequestView, intent: Intent, scope: Any) -> Plan:
        """Return how `view` will be served, and what narrower credential its intent needs. Pure.

        Raises CredentialError when it can never be served with this scope.
        """

    async def mint(self, request: MintRequest, scope: Any) -> Credential:
        """Return a new credential. Raises CredentialError; its text never holds what an issuer answered in secret."""

    def apply(self, view: RequestView, scope: Any, credential: Credential, body_digest: str | None) -> Edits:
        """Return the edits that put `credential` on `view`. Pure."""


@runtime_checkable
class Revoking(Protocol):
    """A connector whose issuer takes credentials back."""

    async def revoke(self, credential: Credential, scope: Any) -> bool:
        """Make `credential` void at its issuer; False when this issuer cannot. Raises CredentialError."""


def fingerprint(text: str) -> str:
    """Return the name a secret has in records: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def recordable(facts: Mapping[str, object]) -> dict[str, str]:
    """Return the facts that are there, as text."""
    return {name: str(value) for name, value in facts.items() if value is not None}
