"""One end of a connection. Bytes wait in `buffer` for the task that reads heads, or flow straight into a `Reader`.

Heads are awaited by a task, bodies are pushed by the event loop: no task wakes for a body's bytes. Back-pressure goes
from the side that is written to (`pause_writing`) to the side that is read from (`source.hold`).
"""

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol, cast

from proxy.gateway.heads import HEAD_LIMIT, find_head_end
from proxy.gateway.limits import Limits
from proxy.gateway.outbox import SMALL, Outbox
from proxy.model.errors import ProtocolError
from proxy.model.reason import Reason

_KEPT = HEAD_LIMIT + 4096


class Reader(Protocol):
    """Takes a body's bytes as they arrive. Must not raise."""

    def feed(self, piece: bytes) -> None:
        """Take one piece."""

    def end(self) -> None:
        """Note that no more will come."""


_LANDING_SIZE: Final = 256 * 1024


class Shared:
    """What the wires of one event loop share."""

    __slots__ = ("landing", "loop", "outbox", "write_high")

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self.loop: Final = loop
        self.write_high: Final = limits.write_high
        self.outbox: Final = Outbox(loop, limits.crowd)
        self.landing: Final = memoryview(bytearray(_LANDING_SIZE))
        """Where their bytes land. A loop fills it and tells the wire in one step, and the wire copies what is its own,
        so one serves them all. With a plain `asyncio.Protocol`, uvloop allocates as much anew for every TLS read."""


class Wire(asyncio.BufferedProtocol):
    """A transport and what is known about it. Used for the job's side and for upstreams alike."""

    __slots__ = (
        "_error",
        "_held",
        "_landing",
        "_loop",
        "_outbox",
        "_outgoing",
        "_reader",
        "_scanned",
        "_waiter",
        "_write_waiter",
        "broken",
        "buffer",
        "bytes_in",
        "bytes_out",
        "closed",
        "eof",
        "half_close",
        "lost",
        "on_connected",
        "on_lost",
        "source",
        "stalled_since",
        "touched",
        "transport",
        "write_high",
    )

    def __init__(self, shared: Shared) -> None:
        self._loop = shared.loop
        self._landing = shared.landing
        self._outbox = shared.outbox
        self._outgoing = b""
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.buffer = b""
        self.eof = False
        self.lost = False
        self.broken = False
        self.half_close = True
        self.source: Wire | None = None
        self.stalled_since: float | None = None
        self.bytes_in = 0
        self.bytes_out = 0
        self.touched = monotonic()
        self.write_high = shared.write_high
        self.on_connected: Callable[[Wire], None] | None = None
        self.on_lost: Callable[[], None] | None = None
        self.closed: asyncio.Future[None] | None = None
        self._error: ProtocolError | None = None
        self._held = False
        self._reader: Reader | None = None
        self._scanned = 0
        self._waiter: asyncio.Future[None] | None = None
        self._write_waiter: asyncio.Future[None] | None = None

    # -- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self.use(cast("asyncio.Transport", transport))
        if self.on_connected is not None:
            self.on_connected(self)

    def use(self, transport: asyncio.Transport) -> None:
        """Speak through `transport` from now on."""
        self.transport = transport
        self._held = False
        transport.set_write_buffer_limits(high=self.write_high)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the interface
        """Say where bytes may land."""
        return self._landing

    def buffer_updated(self, nbytes: int) -> None:
        """Pass the bytes that landed to the reader, or keep them for the task."""
        data = bytes(self._landing[:nbytes])
        self.bytes_in += nbytes
        self.touched = monotonic()
        if self._reader is not None:
            self._reader.feed(data)
            return
        self.buffer = self.buffer + data if self.buffer else data
        if len(self.buffer) > _KEPT:
            self.hold()
        self._wake()

    def eof_received(self) -> bool:
        """Note the end of what the other side sends; keep a plain connection open for our answer."""
        self.eof = True
        self.broken = not _said_goodbye(self.transport.get_extra_info("ssl_object"))
        if self._reader is not None:
            self._reader.end()
        self._wake()
        return self.half_close

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that nothing can be sent or received any more. Without an end before it, the other side did not end."""
        self.broken = self.broken or exc is not None or not self.eof
        self.lost = self.eof = True
        self.stalled_since = None
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.end()
        self._wake()
        self._wake_writer()
        if self.closed is not None and not self.closed.done():
            self.closed.set_result(None)
        if self.on_lost is not None:
            self.on_lost()
        # It knows us, as the reader does: together we would stay until a collection, tens of KiB for each connection.
        self.transport = cast("asyncio.Transport", None)

    def pause_writing(self) -> None:
        """Stop reading from whoever feeds us."""
        self.stalled_since = monotonic()
        if self.source is not None:
            self.source.hold()

    def resume_writing(self) -> None:
        """Read from them again."""
        self.stalled_since = None
        if self.source is not None:
            self.source.release()
        self._wake_writer()

    # -- called by the lane

    def hold(self) -> None:
        """Stop reading from the network: TCP tells the other side."""
        if not self._held and not self.lost:
            self._held = True
            self.transport.pause_reading()

    def release(self) -> None:
        """Read from the network again."""
        if self._held and not self.lost:
            self._held = False
            self.transport.resume_reading()

    def write(self, *pieces: bytes) -> None:
        """Send bytes, small ones at the end of this turn if there is a crowd; after the end they are dropped."""
        if self.lost or self.transport.is_closing():
            return
        if len(pieces) > 1:
            self.send()
            self.bytes_out += sum(map(len, pieces))
            self.transport.writelines(pieces)
            return
        piece = pieces[0]
        self.bytes_out += len(piece)
        if self._outgoing:
            self._outgoing += piece
            if len(self._outgoing) > SMALL:
                self.send()
        elif self._outbox.busy >= self._outbox.crowd and len(piece) <= SMALL:
            self._outgoing = piece
            self._outbox.add(self)
        else:
            self.transport.write(piece)

    def send(self) -> None:
        """Hand what waits to the transport."""
        waiting, self._outgoing = self._outgoing, b""
        if waiting and not self.lost and not self.transport.is_closing():
            self.transport.write(waiting)

    async def drained(self) -> None:
        """Wait until the other side takes what was written. Raises what `fail` was given."""
        while self.stalled_since is not None and not self.lost:
            if self._error is not None:
                raise self._error
            self._write_waiter = self._loop.create_future()
            try:
                await self._write_waiter
            finally:
                self._write_waiter = None

    async def more(self) -> bool:
        """Wait for bytes beyond those in `buffer`; False at the end. Raises what `fail` was given."""
        size = len(self.buffer)
        if (waiter := self._wait_for_more()) is not None:
            try:
                await waiter
            finally:
                self._waiter = waiter = None
        return len(self.buffer) > size

    async def read_head(self) -> bytes | None:
        """Return the next complete head; None when the other side ended before its first byte. Raises ProtocolError."""
        scanned = 0
        while True:
            size = len(self.buffer)
            if size:
                end = find_head_end(self.buffer, scanned)
                if end:
                    head, self.buffer = self.buffer[:end], self.buffer[end:]
                    return head
                scanned = max(0, size - 3)
            if (waiter := self._wait_for_more()) is not None:
                try:
                    await waiter
                finally:
                    self._waiter = waiter = None  # an error from it would hold us, and we it
            if len(self.buffer) == size:
                if size:
                    raise ProtocolError("the connection ended inside a head", Reason.REQUEST_MALFORMED)
                return None

    def _wait_for_more(self) -> asyncio.Future[None] | None:
        """Return what is done when more is here, or no more will come; None when that is so already."""
        if self._error is not None:
            raise self._error
        if self.eof:
            return None
        self.release()
        waiter = self._waiter = self._loop.create_future()
        return waiter

    def attach(self, reader: Reader) -> None:
        """Push everything to `reader` from now on, beginning with what has been kept."""
        self._reader = reader
        if self.buffer:
            kept, self.buffer = self.buffer, b""
            reader.feed(kept)
        if self._reader is reader:
            if self.eof:
                reader.end()
            else:
                self.release()

    def detach(self, rest: bytes = b"") -> None:
        """Keep bytes for the task again, beginning with `rest`."""
        self._reader = None
        self.buffer = rest + self.buffer if self.buffer else rest

    def fail(self, error: ProtocolError) -> None:
        """Make the task that waits here, or waits here next, see `error`."""
        if self._error is None:
            self._error = error
        for waiter in (self._waiter, self._write_waiter):
            if waiter is not None and not waiter.done():
                waiter.set_exception(error)

    def close(self) -> None:
        """Close once everything written has been handed over."""
        if not self.lost and self.transport is not None:
            self.send()
            self.transport.close()

    def abort(self) -> None:
        """Close now; what was not handed over is lost."""
        self._error = None  # as an error that was raised it knows who waited for us
        if not self.lost and self.transport is not None:
            self.transport.abort()

    def reset(self) -> None:
        """Close now with a reset, so that what was sent cannot be taken for the whole."""
        endpoint = None if self.lost or self.transport is None else self.transport.get_extra_info("socket")
        if endpoint is not None and endpoint.fileno() >= 0:
            with socket.socket(fileno=os.dup(endpoint.fileno())) as twin, contextlib.suppress(OSError):
                twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _wake_writer(self) -> None:
        if self._write_waiter is not None and not self._write_waiter.done():
            self._write_waiter.set_result(None)


def _said_goodbye(session: ssl.SSLObject | None) -> bool:
    """Return whether TLS was ended by the other side itself, not by whoever sits on the wire (RFC 8446 6.1)."""
    if session is None:
        return True
    try:
        return session.read(1) == b""
    except ssl.SSLZeroReturnError:
        return True
    except (ssl.SSLError, ValueError):
        return False
