"""Pass a tunnel through undecrypted: SNI checked first, then bytes both ways with back-pressure and half-close."""

import asyncio
from collections.abc import Callable
from time import monotonic

from proxy.engine.seam import Outcome
from proxy.gateway.hello import Hello, read_hello
from proxy.gateway.limits import Limits
from proxy.gateway.pool import Pool, Upstream
from proxy.gateway.wire import Wire
from proxy.model.authority import Authority, parse_host
from proxy.model.errors import JobgateError, ProtocolError
from proxy.model.identity import Session
from proxy.model.reason import Reason


class _Direction:
    """Bytes one way. Its end is passed on as a half-close."""

    __slots__ = ("_on_end", "_target", "ended")

    def __init__(self, target: Wire, on_end: Callable[[], None]) -> None:
        self._target = target
        self._on_end = on_end
        self.ended = False

    def feed(self, piece: bytes) -> None:
        """Pass on."""
        self._target.write(piece)

    def end(self) -> None:
        """Pass the end on."""
        if self.ended:
            return
        self.ended = True
        if not self._target.lost and self._target.transport.can_write_eof():
            self._target.send()
            self._target.transport.write_eof()
        self._on_end()


class PassThrough:
    """One tunnel with `inspect: false`, from the ClientHello to its outcome."""

    __slots__ = (
        "_authority",
        "_client",
        "_error",
        "_finished",
        "_limits",
        "_pool",
        "_session",
        "_started",
        "_upstream",
        "flow_id",
    )

    def __init__(
        self, pool: Pool, limits: Limits, client: Wire, session: Session, authority: Authority, flow_id: str
    ) -> None:
        self.flow_id: str | None = flow_id
        self._pool = pool
        self._limits = limits
        self._client = client
        self._session = session
        self._authority = authority
        self._upstream: Upstream | None = None
        self._error: JobgateError | None = None
        self._started = monotonic()
        self._finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> Outcome:
        """Carry the tunnel to its end and return how it ended. Never raises a JobgateError."""
        reason, detail = Reason.ALLOWED, ""
        self._client.on_lost = self._client_lost
        try:
            await self._check_hello()
            await self._relay()
        except JobgateError as error:
            reason, detail = error.reason, str(error)
        finally:
            self._client.on_lost = None
            self._client.source = None
            if self._upstream is not None:
                self._upstream.wire.abort()
        return self.outcome(reason, detail)

    def outcome(self, reason: Reason, detail: str = "") -> Outcome:
        """Return the facts so far under a reason."""
        wire = self._upstream.wire if self._upstream is not None else None
        return Outcome(
            reason=reason,
            sent_bytes=wire.bytes_out if wire is not None else 0,
            received_bytes=wire.bytes_in if wire is not None else 0,
            upstream=self._upstream.address if self._upstream is not None else None,
            milliseconds={"total": round((monotonic() - self._started) * 1000, 3)},
            detail=detail,
        )

    def check(self, now: float) -> None:
        """End a tunnel whose hello is late, that is silent, or one side of which takes nothing."""
        if self._upstream is None:
            if now - self._started > self._limits.handshake + self._limits.connect:
                self.fail(ProtocolError("no ClientHello in time", Reason.CLIENT_TLS))
            return
        for wire, reason in ((self._client, Reason.CLIENT_TIMEOUT), (self._upstream.wire, Reason.UPSTREAM_TIMEOUT)):
            if wire.stalled_since is not None and now - wire.stalled_since > self._limits.stalled:
                self.fail(ProtocolError("one side takes no bytes", reason))
        if now - max(self._client.touched, self._upstream.wire.touched) > self._limits.tunnel_idle:
            self.fail(ProtocolError("the tunnel is silent", Reason.CLIENT_TIMEOUT))

    def fail(self, error: JobgateError) -> None:
        """End the tunnel with an error."""
        if self._error is None:
            self._error = error
        self._client.fail(error if isinstance(error, ProtocolError) else ProtocolError(str(error), error.reason))
        self._finish()

    async def _check_hello(self) -> None:
        """Wait for a whole ClientHello and compare its SNI with the CONNECT host, before anything is dialled (A01)."""
        while True:
            hello = read_hello(self._client.buffer)
            if hello is not None:
                break
            if not await self._client.more():
                raise ProtocolError("the client left before its ClientHello", Reason.CLIENT_GONE)
        if hello.encrypted:  # the name that counts would be the hidden one (RFC 9849)
            raise ProtocolError("an encrypted ClientHello hides its SNI", Reason.PROTOCOL_REFUSED)
        if not _names(hello, self._authority):
            raise ProtocolError("SNI and CONNECT target differ", Reason.AUTHORITY_MISMATCH)

    async def _relay(self) -> None:
        key = (self._session.id, self._authority.host, self._authority.port, False)
        upstream = self._upstream = await self._pool.dial(key, half_close=True)
        if self._client.lost:
            raise ProtocolError("the client is gone", Reason.CLIENT_GONE)
        client, wire = self._client, upstream.wire
        both = (_Direction(wire, self._direction_ended), _Direction(client, self._direction_ended))
        client.source, wire.source = wire, client
        wire.on_lost = self._finish
        client.attach(both[0])
        wire.attach(both[1])
        await self._finished
        if self._error is not None:
            raise self._error

    def _direction_ended(self) -> None:
        upstream = self._upstream
        if upstream is not None and self._client.eof and upstream.wire.eof:
            self._finish()

    def _client_lost(self) -> None:
        self._finish()

    def _finish(self) -> None:
        if not self._finished.done():
            self._finished.set_result(None)


def _names(hello: Hello, authority: Authority) -> bool:
    if hello.server_name is None:
        return authority.is_address  # RFC 6066 3: no SNI for addresses; the engine has let this one pass by rule
    try:
        return parse_host(hello.server_name) == authority.host
    except ProtocolError:
        return False
