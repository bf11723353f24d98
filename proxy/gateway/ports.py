"""What the wire needs from its neighbours: the path behind it, and the parts that dial, name and hide."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Protocol

from proxy.engine.seam import Clearance, ConnectionEnd, Denial, Outcome, Peer, Presented, Tunnel
from proxy.model.authority import Authority
from proxy.model.grant import Edits
from proxy.model.identity import Session
from proxy.model.intent import BodyWanted, RequestView
from proxy.model.reason import Reason


class Path(Protocol):
    """The path of a request, `proxy.engine.pipeline.Engine`. Any method may raise anything, or never return."""

    async def authenticate(self, presented: Presented | None, peer: Peer) -> Session | Denial:
        """Return the session of a proxy password."""

    async def open_tunnel(self, session: Session, authority: Authority, peer: Peer) -> Tunnel | Denial:
        """Say whether any rule could let this job talk to this place."""

    async def admit(self, session: Session, view: RequestView, peer: Peer) -> Clearance | Denial | BodyWanted:
        """Decide one request, on record; or ask for so much of its body first."""

    def equip_at_once(self, clearance: Clearance) -> Edits | None:
        """Return the edits where nothing has to be waited for, else None: ask `equip`."""

    async def equip(self, clearance: Clearance, body_digest: str | None) -> Edits | Denial:
        """Mint and return the edits; a Denial is on record and concluded."""

    async def refuse(
        self, reason: Reason, peer: Peer, session: Session | None, detail: str = "", authority: Authority | None = None
    ) -> Denial:
        """Record a refusal of the lane's own."""

    def conclude(self, flow_id: str, outcome: Outcome) -> None:
        """Record how an exchange or tunnel ended."""

    def close_connection(self, end: ConnectionEnd) -> None:
        """Record the end of a connection."""


class Dialer(Protocol):
    """`proxy.gateway.dialing.Dialer`."""

    async def connect[P: asyncio.BaseProtocol](
        self, authority: Authority, *, secure: bool, protocol_factory: Callable[[], P]
    ) -> tuple[asyncio.Transport, P, str]:
        """Resolve once, filter, dial the vetted address and verify its certificate. Raises DialError."""


class Leaves(Protocol):
    """`proxy.gateway.tls.LeafContexts`."""

    def context_for(self, host: str) -> ssl.SSLContext:
        """Return a server context for exactly this host, which refuses any other SNI."""
