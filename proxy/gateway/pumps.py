"""Move one body from one wire to another, pushed by the event loop, with back-pressure, re-framed and digested."""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Protocol

from proxy.gateway.framing import ChunkedDecoder, Decoder, encode_chunk, end_chunks
from proxy.gateway.wire import Wire
from proxy.model.errors import ProtocolError
from proxy.model.grant import AnswerReader
from proxy.model.reason import Reason


class Cleaner(Protocol):
    """Changes a body on its way: `proxy.gateway.echo.EchoGuard`, or a `BodyRewriter` of a credential's."""

    def feed(self, piece: bytes) -> bytes:
        """Return what may pass of the bytes so far. Raises ProtocolError to cut the body."""

    def feed_last(self, piece: bytes) -> bytes:
        """Return what may pass of the last bytes, and what was held back. Raises ProtocolError to cut the body."""

    def finish(self) -> bytes:
        """Return what was held back. Raises ProtocolError to cut the body."""


class Tally:
    """Bytes and SHA-256 of a body's payload."""

    __slots__ = ("_hash", "size")

    def __init__(self) -> None:
        self.size = 0
        self._hash: hashlib._Hash | None = None

    def add(self, payload: bytes) -> None:
        """Count a piece."""
        self.size += len(payload)
        if self._hash is None:
            self._hash = hashlib.sha256(payload, usedforsecurity=False)
        else:
            self._hash.update(payload)

    @property
    def digest(self) -> str | None:
        """The hex digest, None for no bytes at all."""
        return None if self._hash is None else self._hash.hexdigest()


class Pump:
    """One body on its way. `done` is set, or given the ProtocolError that broke it, exactly once."""

    __slots__ = (
        "_chunked",
        "_cleaner",
        "_decoder",
        "_gone",
        "_on_end",
        "_reader",
        "_source",
        "_target",
        "_trailers",
        "_waiter",
        "error",
        "finished",
        "tally",
    )

    def __init__(
        self,
        source: Wire,
        target: Wire,
        decoder: Decoder,
        *,
        chunked: bool,
        gone: Reason,
        tally: Tally | None = None,
        cleaner: Cleaner | None = None,
        reader: AnswerReader | None = None,
        trailers: Callable[[bytes], bytes] | None = None,
        on_end: Callable[[ProtocolError | None], None] | None = None,
    ) -> None:
        self._source = source
        self._target = target
        self._decoder = decoder
        self._chunked = chunked
        self._gone = gone
        self._cleaner = cleaner
        self._reader = reader
        self._trailers = trailers
        self._on_end = on_end
        self._waiter: asyncio.Future[None] | None = None
        self.tally = Tally() if tally is None else tally
        self.finished = False
        self.error: ProtocolError | None = None

    def start(self, first: bytes = b"") -> None:
        """Begin, with the payload that was taken before and what the source has kept."""
        self._target.source = self._source
        if first:
            self._begin_with(first)
        if self.finished:
            return
        self._source.attach(self)
        if not self.finished and self._target.stalled_since is not None:
            self._source.hold()

    def _begin_with(self, payload: bytes) -> None:
        try:
            ready = payload if self._cleaner is None else self._cleaner.feed(payload)
        except ProtocolError as error:
            self.stop(error)
            return
        if ready:
            self.tally.add(ready)
            self._write(ready)

    def feed(self, piece: bytes) -> None:
        """Forward the payload of one piece."""
        try:
            payload = self.convert(piece)
        except ProtocolError as error:
            self.stop(error)
            return
        if payload:
            self._write(payload)
        if self._decoder.done:
            self._complete()

    def convert(self, piece: bytes) -> bytes:
        """Return the payload to forward, counted. Raises ProtocolError."""
        payload = self._decoder.feed(piece)
        if self._cleaner is not None:
            if self._decoder.done:
                payload = self._cleaner.feed_last(payload)
            elif payload:
                payload = self._cleaner.feed(payload)
        if payload:
            self.tally.add(payload)
        if self._reader is not None:
            self._reader.feed(payload)
            if self._decoder.done:
                self._reader.finish()
        return payload

    def end(self) -> None:
        """Note the source's end: completion for a body until close, a fault for any other."""
        if self.finished:
            return
        try:
            if self._source.broken:
                raise ProtocolError("the connection broke before the body's end", Reason.BODY_MALFORMED)  # noqa: TRY301
            self._decoder.end()
            payload = self._cleaner.finish() if self._cleaner is not None else b""
        except ProtocolError as error:
            self.stop(error)
            return
        if self._reader is not None:
            self._reader.feed(payload)
            self._reader.finish()
        if payload:
            self.tally.add(payload)
            self._write(payload)
        self._complete()

    def stop(self, error: ProtocolError | None) -> None:
        """End here, broken or no longer wanted. Only the first call counts."""
        if self.finished:
            return
        self.finished = True
        self.error = None if error is None else error.with_traceback(None)  # raised here, it would hold us
        self._source.detach(self._decoder.rest)
        if self._target.source is self._source:
            self._target.source = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        tell, self._on_end, self._trailers = self._on_end, None, None  # ways back to whoever pumps
        if tell is not None:
            tell(error)

    async def wait(self) -> None:
        """Return when the body is through. Raises the ProtocolError that broke it."""
        if not self.finished:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self.error is not None:
            raise ProtocolError(str(self.error), self.error.reason)

    def closing_bytes(self) -> bytes:
        """Return what ends a chunked body: the last chunk and the trailers that may pass."""
        if not self._chunked:
            return b""
        raw = self._decoder.trailers if isinstance(self._decoder, ChunkedDecoder) else b""
        return end_chunks(self._trailers(raw) if raw and self._trailers is not None else b"")

    def _write(self, payload: bytes) -> None:
        if self._target.lost:
            self.stop(ProtocolError("the receiving side is gone", self._gone))
        elif self._chunked:
            self._target.write(*encode_chunk(payload))
        else:
            self._target.write(payload)

    def _complete(self) -> None:
        if self.finished:
            return
        if self._chunked:
            self._target.write(self.closing_bytes())
        self.stop(None)


class Discard:
    """Reads and drops a body of a refused request, up to a limit; then says so once."""

    __slots__ = ("_decoder", "_left", "_on_end", "_source", "finished")

    def __init__(self, source: Wire, decoder: Decoder | None, limit: int, on_end: Callable[[bool], None]) -> None:
        self._source = source
        self._decoder = decoder
        self._left = limit
        self._on_end = on_end
        self.finished = False

    def feed(self, piece: bytes) -> None:
        """Drop one piece."""
        self._left -= len(piece)
        if self._decoder is not None:
            try:
                self._decoder.feed(piece)
            except ProtocolError:
                self._finish(whole=False)
                return
            if self._decoder.done:
                self._finish(whole=True)
                return
        if self._left < 0:
            self._finish(whole=False)

    def end(self) -> None:
        """Note that the source ended."""
        self._finish(whole=False)

    def _finish(self, *, whole: bool) -> None:
        if self.finished:
            return
        self.finished = True
        self._source.detach(self._decoder.rest if self._decoder is not None else b"")
        self._on_end(whole)
