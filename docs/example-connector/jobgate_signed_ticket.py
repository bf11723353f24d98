"""A connector of your own, whole: tickets that name the job, for a service that shares a key with jobgate.

A ticket is `PIPELINE:JOB:EXPIRY:HMAC`, in the header `x-ticket`. The service checks the HMAC and the expiry, and knows
which job is asking. Nothing in it is a secret that lives longer than the ticket.
"""

import hmac
from datetime import timedelta
from typing import ClassVar

from pydantic import Field

from proxy.connectors.parts import ConnectorParts, ScopeModel, fingerprint
from proxy.connectors.secret_sources import SecretSource, read_secret
from proxy.model.errors import CredentialError
from proxy.model.grant import PLAIN, Credential, Edits, MintRequest, Plan, Secret
from proxy.model.intent import Intent, RequestView
from proxy.model.reason import Reason


class SignedTicketScope(ScopeModel):
    """The `credential: {signed-ticket: ...}` block of a rule. What is not named here is an error in the rule."""

    audience: str = Field(pattern=r"^[a-z0-9.-]+$", description="The service's own name, signed into the ticket.")
    key: SecretSource = Field(description="Where the shared key is read from.")


class SignedTicketConnector:
    """Makes a ticket for each job, and puts it into `x-ticket`."""

    name: ClassVar[str] = "signed-ticket"
    Scope: ClassVar[type[SignedTicketScope]] = SignedTicketScope

    def __init__(self, parts: ConnectorParts) -> None:
        # The parts are all the outside there is: `parts.caller` makes HTTPS calls within limits, `parts.clock` tells
        # the time. Open no sockets and read no clocks of your own.
        self._parts = parts

    def plan(self, view: RequestView, intent: Intent, scope: SignedTicketScope) -> Plan:  # noqa: ARG002 - the interface
        """Say how a request will be served. Pure, and asked before anything is minted: refuse here what never fits."""
        if view.scheme != "https":
            raise CredentialError("a ticket is sent over TLS alone", Reason.CREDENTIAL_SCOPE)
        return PLAIN

    async def mint(self, request: MintRequest, scope: SignedTicketScope) -> Credential:
        """Make a ticket. The minter caches it for the session and asks again before it expires."""
        key = await read_secret(scope.key, self._parts)
        expires_at = self._parts.clock.now() + min(request.grant.lifetime, timedelta(minutes=15))
        named = ":".join([request.labels.get("pipeline", "-"), request.labels.get("job_id", "-")])
        text = f"{named}:{int(expires_at.timestamp())}"
        seal = hmac.digest(key.reveal().encode(), f"{scope.audience}\n{text}".encode(), "sha256").hex()
        return Credential(
            connector=self.name,
            secrets={"ticket": Secret(f"{text}:{seal}")},
            facts={"audience": scope.audience},  # what may stand in the trail; never a secret
            fingerprint=fingerprint(seal),
            expires_at=expires_at,
        )

    def apply(
        self,
        view: RequestView,  # noqa: ARG002 - the interface
        scope: SignedTicketScope,  # noqa: ARG002 - the interface
        credential: Credential,
        body_digest: str | None,  # noqa: ARG002 - the interface
    ) -> Edits:
        """Put the ticket on a request. Pure. `watch` is blanked wherever a response repeats it."""
        ticket = credential.secrets["ticket"]
        return Edits(remove=frozenset({"x-ticket"}), put=(("x-ticket", ticket),), watch=(ticket,))

    # Where an issuer takes credentials back, a member `revoke(credential, scope)` tells it so when the session ends.
