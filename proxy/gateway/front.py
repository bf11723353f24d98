"""One client connection: who is asking, CONNECT or absolute-form, TLS towards the job, then request after request.

Nothing is read ahead of a decision: bytes that come before our 200 are refused, and every request is decided on its own
(B12). However the connection dies, the engine hears of it exactly once.
"""

import asyncio
import base64
import contextlib
import ssl
from dataclasses import dataclass
from enum import Enum, auto
from time import monotonic
from typing import Final, cast

from proxy.engine.seam import ConnectionEnd, Denial, Outcome, Peer, Presented, Tunnel
from proxy.gateway.guard import Asked
from proxy.gateway.heads import (
    Head,
    HeadReader,
    connect_authority,
    read_plain_request,
    read_tunnelled_request,
)
from proxy.gateway.lane import Exchange, LaneParts, discard_body
from proxy.gateway.local import (
    AZURE_PATH,
    NOBODY,
    LocalAnswer,
    LocalQuestion,
    answer_aws,
    answer_azure,
    answer_google,
    read_local,
    write_local,
)
from proxy.gateway.ports import Leaves, Path
from proxy.gateway.replies import ESTABLISHED, write_denial
from proxy.gateway.tunnel import PassThrough
from proxy.gateway.wire import Wire
from proxy.model.authority import Authority
from proxy.model.errors import ProtocolError
from proxy.model.grant import Secret
from proxy.model.identity import Session
from proxy.model.reason import Reason

_NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "UNKNOWN_PROTOCOL"})
_WRONG_NAME: Final = frozenset({"CALLBACK_FAILED", "CLIENTHELLO_TLSEXT", "UNRECOGNIZED_NAME"})


class Phase(Enum):
    """What a connection waits for; decides which clock runs and what a drain does with it."""

    HEAD = auto()
    BUSY = auto()
    HANDSHAKE = auto()
    CLOSING = auto()


@dataclass(frozen=True, slots=True)
class FrontParts:
    """What every connection of a gateway shares."""

    path: Path
    leaves: Leaves
    lane: LaneParts


class Connection:
    """The job's side of one accepted connection."""

    __slots__ = (
        "_authority",
        "_end",
        "_head_since",
        "_heads",
        "_parts",
        "_phase",
        "_requests",
        "_session",
        "_since",
        "_unread",
        "_work",
        "peer",
        "wire",
    )

    def __init__(self, parts: FrontParts, wire: Wire, peer: Peer) -> None:
        self._parts = parts
        self.wire = wire
        self.peer = peer
        self._session: Session | None = None
        self._authority: Authority | None = None
        self._heads = HeadReader()
        self._requests = 0
        self._end: tuple[Reason, str] = (Reason.ALLOWED, "")
        self._phase = Phase.HEAD
        self._since = monotonic()
        self._head_since: float | None = None
        self._unread = False
        self._work: Exchange | PassThrough | None = None

    async def run(self) -> None:
        """Serve until either side has had enough."""
        try:
            await self._serve_plain()
        except ProtocolError as error:
            await self._refuse(error)
        except asyncio.CancelledError:
            self._end = (Reason.INTERRUPTED, "")
            self.wire.abort()
        except Exception as error:  # noqa: BLE001 - the last catch of a connection: close it, record it, keep serving
            self._end = (Reason.INTERNAL, type(error).__name__)
            self.wire.abort()
        finally:
            try:
                await self._hang_up()
            finally:
                self.wire.abort()
                self._record_end()

    @property
    def is_idle(self) -> bool:
        """Whether nothing has been asked that is not answered."""
        return self._phase is Phase.HEAD and not self.wire.buffer

    def check(self, now: float) -> None:
        """Run the clock of the current phase."""
        limits = self._parts.lane.limits
        if self._work is not None:
            self._work.check(now)
        elif self._phase is Phase.HEAD:
            self._check_head(now)
        elif self._phase is Phase.CLOSING and now - self._since > limits.linger:
            self.wire.abort()
        stalled = self.wire.stalled_since
        if self._work is None and stalled is not None and now - stalled > limits.stalled:
            self.wire.abort()

    def _check_head(self, now: float) -> None:
        limits = self._parts.lane.limits
        if not self.wire.buffer:
            self._head_since = None
            if now - self._since > limits.idle:
                self.wire.fail(ProtocolError("idle", Reason.CLIENT_TIMEOUT))
            return
        if self._head_since is None:
            self._head_since = self.wire.touched
        if now - self._head_since > limits.head:
            self.wire.fail(ProtocolError("the request head did not arrive in time", Reason.HEAD_TOO_SLOW))

    def close_idle(self) -> None:
        """Close if idle; used by a drain."""
        if self.is_idle:
            self._end = (Reason.DRAINING, "")
            self.wire.close()

    # -- requests to the proxy itself

    async def _serve_plain(self) -> None:
        while (head := await self._next_head()) is not None:
            if head.method == "CONNECT":
                keep = await self._connect(head)
            elif (question := read_local(head)) is not None:
                keep = await self._answer_local(head, question)
            else:
                request = read_plain_request(head)
                self._authority = request.view.authority
                session = await self._identify(head)
                if isinstance(session, Denial):
                    keep = self._answer(
                        session, keep=request.keep_alive and request.framing.is_empty, method=head.method
                    )
                else:
                    keep = await self._exchange(Exchange(self._parts.lane, self.wire, self.peer, session, request))
            if not keep or self._parts.lane.is_draining():
                return

    async def _answer_local(self, head: Head, question: LocalQuestion) -> bool:
        """Tell an SDK the placeholders of whoever it is: by the mark in its path, by its password, or by none."""
        if question.is_ping:
            answer = answer_google(question.path, "")
        elif question.mark is None:
            values = head.values("x-identity-header" if question.path == AZURE_PATH else "authorization")
            presented = Presented(secret=Secret(values[0])) if values and values[0] != NOBODY else None
            session = await self._parts.lane.guard.authenticate(presented, self.peer)
            if isinstance(session, Denial):
                return self._answer(session, keep=False, method=head.method)
            self._session = session
            answer = _answer_session(question, session)
        else:
            answer = answer_google(question.path, question.mark)
        self.wire.write(write_local(answer, without_body=head.method == "HEAD"))
        return False

    async def _next_head(self) -> Head | None:
        self._enter(Phase.HEAD)
        if self.wire.stalled_since is not None:
            await self.wire.drained()
        raw = await self.wire.read_head()
        if raw is None:
            return None
        self._requests += 1
        self._enter(Phase.BUSY)
        return self._heads.read(raw)

    async def _exchange(self, exchange: Exchange) -> bool:
        outbox = self._parts.lane.outbox
        self._work = exchange
        outbox.busy += 1
        try:
            keep = await exchange.run()
        finally:
            outbox.busy -= 1
            self._work = None
        self._unread = not keep
        return keep

    async def _identify(self, head: Head) -> Session | Denial:
        try:
            presented = _read_presented(head)
        except ProtocolError as error:
            return await self._parts.lane.guard.refuse(
                error.reason, Asked(self.peer, None, self._authority), str(error)
            )
        found = await self._parts.lane.guard.authenticate(presented, self.peer)
        if isinstance(found, Session):
            self._session = found
        return found

    def _answer(self, denial: Denial, *, keep: bool, method: str = "GET", inside_tunnel: bool = False) -> bool:
        keep = keep and not self._parts.lane.is_draining()
        self._end = (denial.reason, denial.detail) if not keep else self._end
        self._unread = not keep
        reply = write_denial(denial, keep=keep, inside_tunnel=inside_tunnel, without_body=method == "HEAD")
        self.wire.write(reply)
        return keep

    # -- CONNECT

    async def _connect(self, head: Head) -> bool:
        """Decide a CONNECT; on yes, serve the tunnel to its end. Return whether the connection may go on as before."""
        authority = self._authority = connect_authority(head)
        self._refuse_early_bytes()
        keep = head.version == "1.1"
        session = await self._identify(head)
        if isinstance(session, Denial):
            return self._answer(session, keep=keep)
        tunnel = await self._parts.lane.guard.open_tunnel(session, authority, self.peer)
        if isinstance(tunnel, Denial):
            return self._answer(tunnel, keep=keep)
        if tunnel.inspect:
            await self._inspect(session, authority)
        else:
            await self._pass_through(session, authority, tunnel)
        return False

    def _refuse_early_bytes(self) -> None:
        if self.wire.buffer:
            raise ProtocolError("bytes were sent before the tunnel was open", Reason.PROTOCOL_REFUSED)

    async def _pass_through(self, session: Session, authority: Authority, tunnel: Tunnel) -> None:
        lane = self._parts.lane
        outcome = Outcome(reason=Reason.INTERRUPTED)
        passage = self._work = PassThrough(lane.pool, lane.limits, self.wire, session, authority, tunnel.flow_id)
        try:
            if self.wire.buffer:
                outcome = passage.outcome(Reason.PROTOCOL_REFUSED)
            else:
                self.wire.write(ESTABLISHED)
                outcome = await passage.run()
        finally:
            self._work = None
            lane.guard.conclude(tunnel.flow_id, outcome)
        self._end = (outcome.reason, outcome.detail)
        if outcome.reason is not Reason.ALLOWED:
            self.wire.abort()

    async def _inspect(self, session: Session, authority: Authority) -> None:
        self._refuse_early_bytes()
        context = self._parts.leaves.context_for(authority.host)
        await self._start_tls(context)
        try:
            while (head := await self._next_head()) is not None:
                request = read_tunnelled_request(head, authority)
                if not await self._exchange(Exchange(self._parts.lane, self.wire, self.peer, session, request)):
                    return
        except ProtocolError as error:
            await self._refuse(error, inside_tunnel=True)

    async def _start_tls(self, context: ssl.SSLContext) -> None:
        """Answer 200 and become the TLS server in one step: no byte is read in between. Raises ProtocolError."""
        wire = self.wire
        if wire.lost:
            raise ProtocolError("the client is gone", Reason.CLIENT_GONE)
        self._enter(Phase.HANDSHAKE)
        wire.half_close = False  # TLS has no half-close we could keep: uvloop ends both directions
        wire.write(ESTABLISHED)
        wire.send()
        try:
            transport = await asyncio.get_running_loop().start_tls(
                wire.transport,
                wire,
                context,
                server_side=True,
                ssl_handshake_timeout=self._parts.lane.limits.handshake,
            )
        except (OSError, TimeoutError, RuntimeError) as error:
            wire.abort()
            if not wire.lost:
                wire.connection_lost(None)  # a failed handshake leaves the protocol untold
            raise _handshake_fault(error) from None
        wire.use(cast("asyncio.Transport", transport))

    # -- endings

    async def _refuse(self, error: ProtocolError, *, inside_tunnel: bool = False) -> None:
        """Record what this connection did wrong, answer if it still listens, and end it."""
        self._end = (error.reason, str(error))
        if error.reason is Reason.CLIENT_TIMEOUT and self._phase is Phase.HEAD and not self.wire.buffer:
            return  # an idle connection that is closed is no refusal
        asked = Asked(self.peer, self._session, self._authority)
        denial = await self._parts.lane.guard.refuse(error.reason, asked, str(error))
        if not self.wire.lost:
            self._answer(denial, keep=False, inside_tunnel=inside_tunnel)

    async def _hang_up(self) -> None:
        """Close so that the client can read our last words: bytes it still sends are dropped, to a limit."""
        self._enter(Phase.CLOSING)
        wire, limits = self.wire, self._parts.lane.limits
        if wire.lost:
            return
        wire.source = None
        wire.closed = asyncio.get_running_loop().create_future()
        if self._unread and not wire.eof:
            wire.release()
            await discard_body(wire, None, limits.linger_bytes)
        wire.close()
        if not wire.lost:
            await wire.closed

    def end_session(self, session_id: str) -> None:
        """Cut what is under way for a session that has ended; the next question would be denied anyway."""
        if self._session is not None and self._session.id == session_id and self._work is not None:
            self._work.fail(ProtocolError("the session has ended", Reason.SESSION_EXPIRED))

    def end_flows(self, flow_ids: frozenset[str]) -> None:
        """Cut what is under way here if it is one of these flows."""
        if self._work is not None and self._work.flow_id in flow_ids:
            self._work.fail(ProtocolError("an operator has stopped this", Reason.KILLED))

    def _record_end(self) -> None:
        reason, detail = self._end
        end = ConnectionEnd(
            peer=self.peer,
            authority=self._authority,
            session_id=self._session.id if self._session is not None else None,
            requests=self._requests,
            bytes_in=self.wire.bytes_in,
            bytes_out=self.wire.bytes_out,
            reason=reason,
            detail=detail,
        )
        # The connection is over either way; a trail that cannot take this denies the next question.
        with contextlib.suppress(BaseException):
            self._parts.path.close_connection(end)

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._since = monotonic()


def _answer_session(question: LocalQuestion, session: Session) -> LocalAnswer:
    if question.is_google:
        return answer_google(question.path, session.placeholders.mark)
    return answer_azure(session, question.resource) if question.path == AZURE_PATH else answer_aws(session)


def _read_presented(head: Head) -> Presented | None:
    """Return what `Proxy-Authorization` carries: a Basic password (or its user, when alone) or a Bearer token."""
    values = head.values("proxy-authorization")
    if not values:
        return None
    scheme, _, worth = values[0].partition(" ")
    worth = worth.strip(" ")
    if len(values) == 1 and scheme.lower() == "bearer" and worth:
        return Presented(secret=Secret(worth))
    if len(values) == 1 and scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(worth, validate=True).decode("latin-1").partition(":")
        except ValueError:  # not base64, or not even ASCII
            user = password = ""
        if password or user:
            return Presented(secret=Secret(password or user))
    raise ProtocolError("Proxy-Authorization is neither one Basic nor one Bearer credential", Reason.IDENTITY_MALFORMED)


def _handshake_fault(error: Exception) -> ProtocolError:
    """Say what went wrong in our words; OpenSSL's reason is one of a fixed list of names."""
    name = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
    if name in _NOT_TLS:
        return ProtocolError("what follows CONNECT is not TLS", Reason.PROTOCOL_REFUSED)
    if name in _WRONG_NAME:
        return ProtocolError("SNI is missing or differs from the CONNECT host", Reason.AUTHORITY_MISMATCH)
    return ProtocolError(f"the client's TLS handshake failed {name}".rstrip(), Reason.CLIENT_TLS)
