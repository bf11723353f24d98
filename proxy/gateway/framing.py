"""Where a body ends. Sans-IO: bytes in, payload out; the result never depends on how the input was cut.

RFC 9112 sections 6 and 7, without its leniency: exactly one length, exactly `chunked`, no chunk extensions, CRLF only.
What we send is framed by us, so an upstream never sees a length we did not compute.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from proxy.model.errors import ProtocolError
from proxy.model.quick import quick
from proxy.model.reason import Reason

_LENGTH: Final = re.compile(r"(?:0|[1-9][0-9]{0,17})")
# Eight digits (4 GiB) are what servers pad to; longer sizes are only ever used to overflow a parser.
_CHUNK_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,8}\r\n")
_CHUNK_LINE_LIMIT: Final = 10
_TRAILERS_LIMIT: Final = 16_384
_TRAILERS: Final = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t \x21-\x7e\x80-\xff]*+\r\n)*+\r\n")

CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2


class Decoder(Protocol):
    """Takes the wire's bytes of one body and gives its payload."""

    done: bool
    """The body is complete; `rest` holds what came after it."""
    rest: bytes

    def feed(self, piece: bytes) -> bytes:
        """Return the payload in `piece`. Raises ProtocolError."""

    def end(self) -> None:
        """Note that the wire ended. Raises ProtocolError (`body-malformed`) unless that completes the body."""


class LengthDecoder:
    """A body of exactly `length` bytes."""

    __slots__ = ("_left", "done", "rest")

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0
        self.rest = b""

    def feed(self, piece: bytes) -> bytes:
        """Return the payload in `piece`."""
        if self._left > len(piece):
            self._left -= len(piece)
            return piece
        payload, self.rest = piece[: self._left], piece[self._left :]
        self._left = 0
        self.done = True
        return payload

    def end(self) -> None:
        """Refuse: a counted body does not end with the connection."""
        if not self.done:
            raise _broken("the connection ended inside a body")


class CloseDecoder:
    """A response body that lasts until the upstream closes."""

    __slots__ = ("done", "rest")

    def __init__(self) -> None:
        self.done = False
        self.rest = b""

    def feed(self, piece: bytes) -> bytes:
        """Return all of it."""
        return piece

    def end(self) -> None:
        """Complete the body."""
        self.done = True


class ChunkedDecoder:
    """A chunked body. `trailers` holds the raw trailer lines, checked but not interpreted, once it is done."""

    __slots__ = ("_held", "_left", "_state", "done", "rest", "trailers")

    def __init__(self) -> None:
        self.done = False
        self.rest = b""
        self.trailers = b""
        self._held = b""
        self._left = 0
        self._state: Callable[[bytes, int, list[bytes]], int] = self._read_size

    def feed(self, piece: bytes) -> bytes:
        """Return the payload in `piece`; raises ProtocolError at the first byte that is not strict."""
        if self._held:
            piece, self._held = self._held + piece, b""
        payload: list[bytes] = []
        at, end = 0, len(piece)
        while at < end and not self.done:
            after = self._state(piece, at, payload)
            if after == at:
                break  # the state needs more than there is
            at = after
        if self.done:
            self.rest = piece[at:]
        else:
            self._held = piece[at:]
        return payload[0] if len(payload) == 1 else b"".join(payload)

    def end(self) -> None:
        """Refuse: a chunked body ends with its last chunk."""
        if not self.done:
            raise _broken("the connection ended inside a chunked body")

    def _read_size(self, piece: bytes, at: int, _: list[bytes]) -> int:
        line = _CHUNK_SIZE.match(piece, at)
        if line is None:
            if len(piece) - at >= _CHUNK_LINE_LIMIT or _could_be_size(piece[at:]) is False:
                raise _broken("a chunk size is not one to eight hex digits and CRLF")
            return at
        self._left = int(piece[at : line.end() - 2], 16)
        self._state = self._read_payload if self._left else self._read_trailers
        return line.end()

    def _read_payload(self, piece: bytes, at: int, payload: list[bytes]) -> int:
        part = piece[at : at + self._left]
        payload.append(part)
        self._left -= len(part)
        if not self._left:
            self._state = self._read_break
        return at + len(part)

    def _read_break(self, piece: bytes, at: int, _: list[bytes]) -> int:
        found = piece[at : at + 2]
        if found == b"\r\n":
            self._state = self._read_size
            return at + 2
        if found != b"\r":
            raise _broken("a chunk is longer or shorter than its size says")
        return at

    def _read_trailers(self, piece: bytes, at: int, _: list[bytes]) -> int:
        if piece.startswith(b"\r\n", at):
            self.done = True
            return at + 2
        stop = piece.find(b"\r\n\r\n", at)
        if stop < 0:
            if len(piece) - at > _TRAILERS_LIMIT:
                raise _broken("the trailers are too large")
            return at
        if _TRAILERS.fullmatch(piece, at, stop + 4) is None or stop - at > _TRAILERS_LIMIT:
            raise _broken("the trailers are not header fields")
        self.trailers = piece[at : stop + 2]
        self.done = True
        return stop + 4


_PARTIAL_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{0,8}|[0-9A-Fa-f]{1,8}\r")


def _could_be_size(piece: bytes) -> bool:
    return _PARTIAL_SIZE.fullmatch(piece) is not None


@quick
@dataclass(frozen=True, slots=True)
class Framing:
    """How one message's body is delimited: a length, CHUNKED or UNTIL_CLOSE."""

    length: int

    @property
    def is_empty(self) -> bool:
        """Whether there is no body at all."""
        return self.length == 0

    def decoder(self) -> Decoder:
        """Return a fresh decoder."""
        if self.length == CHUNKED:
            return ChunkedDecoder()
        if self.length == UNTIL_CLOSE:
            return CloseDecoder()
        return LengthDecoder(self.length)


EMPTY: Final = Framing(0)
_IN_CHUNKS: Final = Framing(CHUNKED)
_TO_THE_END: Final = Framing(UNTIL_CLOSE)


def frame_request(lengths: Sequence[str], codings: Sequence[str], version: str) -> Framing:
    """Return a request's framing from its Content-Length and Transfer-Encoding values.

    Raises ProtocolError (`framing-ambiguous`) for both at once, for a repeated or odd length, and for any coding but
    exactly `chunked` on HTTP/1.1 (RFC 9112 6.1: the rest is how requests are smuggled).
    """
    return _frame(lengths, codings, version, EMPTY)


def frame_response(method: str, status: int, lengths: Sequence[str], codings: Sequence[str], version: str) -> Framing:
    """Return a response's framing (RFC 9112 6.3). Raises ProtocolError as `frame_request` does."""
    framing = _frame(lengths, codings, version, _TO_THE_END)
    return EMPTY if has_no_body(method, status) else framing


def has_no_body(method: str, status: int) -> bool:
    """Whether a response has no body whatever its fields say."""
    return method == "HEAD" or status in {204, 304} or status < 200


def _frame(lengths: Sequence[str], codings: Sequence[str], version: str, otherwise: Framing) -> Framing:
    if codings:
        if lengths or len(codings) > 1 or codings[0].lower() != "chunked" or version != "1.1":
            raise _ambiguous("Transfer-Encoding is not exactly one `chunked` on its own")
        return _IN_CHUNKS
    if not lengths:
        return otherwise
    if len(lengths) > 1 or _LENGTH.fullmatch(lengths[0]) is None:
        raise _ambiguous("Content-Length is not exactly one plain number")
    return Framing(int(lengths[0])) if lengths[0] != "0" else EMPTY


def encode_chunk(payload: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the three parts of one chunk, for `writelines`. An empty payload would end the body: refused."""
    if not payload:
        raise ValueError("an empty chunk ends the body")
    return (b"%x\r\n" % len(payload), payload, b"\r\n")


def end_chunks(trailers: bytes = b"") -> bytes:
    """Return the last chunk with checked trailer lines, each ending in CRLF."""
    return b"0\r\n" + trailers + b"\r\n"


def _ambiguous(why: str) -> ProtocolError:
    return ProtocolError(f"framing refused: {why}", Reason.FRAMING_AMBIGUOUS)


def _broken(why: str) -> ProtocolError:
    return ProtocolError(f"body refused: {why}", Reason.BODY_MALFORMED)
