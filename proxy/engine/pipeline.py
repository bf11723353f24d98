"""Identify, decode, decide, record, mint, edit, record. Deny first, allow last; a record before anything leaves."""

from dataclasses import dataclass

from proxy.engine.ports import Clock, Entropy, Meter, Minter, Trail
from proxy.engine.seam import Clearance, ConnectionEnd, Denial, Outcome, Peer, Presented, Tunnel
from proxy.model.authority import Authority
from proxy.model.grant import Edits
from proxy.model.identity import Session
from proxy.model.intent import RequestView
from proxy.model.reason import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The edges, wired by `app`."""

    clock: Clock
    entropy: Entropy
    trail: Trail
    minter: Minter
    meter: Meter


class Engine:
    """The one way a request becomes bytes upstream. Lanes call it; they decide nothing themselves.

    Every method may raise anything (a port may break): the lane's guard turns that, cancellation and timeouts into
    `refuse(..., Reason.INTERNAL)` and a 503. Nothing has left when that happens.
    """

    async def authenticate(self, presented: Presented | None, peer: Peer) -> Session | Denial:
        """Return the session of a proxy password, or of the sidecar's own job when there is none."""
        raise NotImplementedError

    async def open_tunnel(self, session: Session, authority: Authority, peer: Peer) -> Tunnel | Denial:
        """Say whether any rule could let this job talk to this place. Called before the name is resolved."""
        raise NotImplementedError

    async def admit(self, session: Session, view: RequestView, peer: Peer) -> Clearance | Denial:
        """Decide one request and put the decision on record. A Clearance means: recorded, durable, may be sent."""
        raise NotImplementedError

    async def equip(self, clearance: Clearance, body_digest: str | None) -> Edits | Denial:
        """Mint what the decision granted and return the edits. A Denial here is already on record."""
        raise NotImplementedError

    async def refuse(self, reason: Reason, peer: Peer, session: Session | None, detail: str = "") -> Denial:
        """Record a refusal that the lane itself had to make (malformed, ambiguous, too slow) and return its answer."""
        raise NotImplementedError

    def conclude(self, flow_id: str, outcome: Outcome) -> None:
        """Record how an allowed exchange or a passed-through tunnel ended. Call exactly once for each."""
        raise NotImplementedError

    def close_connection(self, end: ConnectionEnd) -> None:
        """Record the end of a connection. Call exactly once for each accepted connection."""
        raise NotImplementedError
