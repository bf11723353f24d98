"""Uploads that sign every chunk (`aws-chunked`): each is verified as the placeholder signed it, and signed again.

`HEX-SIZE;chunk-signature=HEX64 CRLF data CRLF`, a last chunk of size 0, then in trailer mode fields and
`x-amz-trailer-signature`. A signature's width is fixed, so no length changes. One chunk is held at a time: its
signature goes before its data, and nothing of a chunk leaves unverified. Source: S3 API Reference, "Signature
calculations for the Authorization header: transferring payload in multiple chunks", "... with trailing headers".
"""

import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Final

from proxy.connectors.sigv4 import EMPTY_DIGEST, Verified
from proxy.model.errors import ProtocolError
from proxy.model.reason import Reason

MAX_CHUNK: Final = 1 << 20
"""Bytes of one chunk that are held. SDKs send 64 KiB to 128 KiB."""
_MAX_TRAILER: Final = 8192
_HEAD: Final = re.compile(rb"([0-9a-fA-F]{1,8});chunk-signature=([0-9a-f]{64})")
_MAX_HEAD: Final = 8 + len(";chunk-signature=") + 64
# Some clients end a field with a line feed of its own before CRLF, as the documentation's example does.
_TRAILER: Final = re.compile(rb"([A-Za-z0-9-]{1,128}):[ \t]*([!-~]{0,1024})[ \t]*\n?")
_LAST: Final = re.compile(rb"(x-amz-trailer-signature:)([0-9a-f]{64})", re.IGNORECASE)
_CRLF: Final = b"\r\n"


class ChunkResigner:
    """One upload on its way from a client's chain of signatures to ours."""

    __slots__ = ("_buffer", "_has_trailer", "_head", "_inbound", "_left", "_outbound", "_size", "_step", "_theirs")

    def __init__(self, inbound: Verified, outbound: Verified, *, decoded_length: int, has_trailer: bool) -> None:
        self._inbound = inbound
        self._outbound = outbound
        self._left = decoded_length
        self._has_trailer = has_trailer
        self._buffer = bytearray()
        self._head = b""
        self._size = 0
        self._theirs = ""
        self._step: Callable[[], bytes | None] | None = self._read_head

    def feed(self, piece: bytes) -> bytes:
        """Return the chunks that are whole by now, signed again. Raises ProtocolError (`signing-broken`)."""
        self._buffer += piece
        ready = bytearray()
        while self._step is not None:
            made = self._step()
            if made is None:
                return bytes(ready)
            ready += made
        if self._buffer:
            raise _broken("something follows the last chunk")
        return bytes(ready)

    def feed_last(self, piece: bytes) -> bytes:
        """As `feed`. Raises ProtocolError also where the last chunk is not among it."""
        ready = self.feed(piece)
        if self._step is not None:
            raise _broken("the body ends before its last chunk")
        return ready

    def finish(self) -> bytes:
        """As `feed_last`, for no piece."""
        return self.feed_last(b"")

    def _read_head(self) -> bytes | None:
        at = self._buffer.find(_CRLF)
        if at < 0 and len(self._buffer) <= _MAX_HEAD + 1:
            return None
        found = _HEAD.fullmatch(self._buffer[: max(at, 0)])
        if found is None:
            raise _broken("a chunk does not begin with its size and signature")
        self._size, self._theirs = int(found[1], 16), found[2].decode()
        if self._size > MAX_CHUNK:
            raise ProtocolError(f"a signed chunk is over {MAX_CHUNK} bytes; send smaller ones", Reason.BODY_TOO_LARGE)
        if self._size > self._left or (not self._size and self._left):
            raise _broken("the chunks are not as long as x-amz-decoded-content-length says")
        self._left -= self._size
        self._head = bytes(found[1])
        del self._buffer[: at + 2]
        self._step = self._read_chunk
        return b""

    def _read_chunk(self) -> bytes | None:
        ends_here = not self._size and self._has_trailer  # the last chunk's data is the trailer
        if len(self._buffer) < self._size + (0 if ends_here else 2):
            return None
        data = bytes(self._buffer[: self._size])
        if not ends_here and self._buffer[self._size : self._size + 2] != _CRLF:
            raise _broken("a chunk is longer than its size")
        del self._buffer[: self._size + (0 if ends_here else 2)]
        ours = self._pass_on("AWS4-HMAC-SHA256-PAYLOAD", EMPTY_DIGEST, hashlib.sha256(data).hexdigest())
        if self._size:
            self._step = self._read_head
        else:
            self._step = self._read_trailer if self._has_trailer else None
        head = self._head + b";chunk-signature=" + ours + _CRLF
        return head if ends_here else head + data + _CRLF

    def _read_trailer(self) -> bytes | None:
        at = self._buffer.find(_CRLF + _CRLF)
        if at < 0:
            if len(self._buffer) > _MAX_TRAILER:
                raise _broken("the trailer is too long")
            return None
        *lines, last = bytes(self._buffer[:at]).split(_CRLF)
        found = _LAST.fullmatch(last)
        if found is None or not lines:
            raise _broken("the trailer does not end with its signature")
        self._theirs = found[2].decode()
        del self._buffer[: at + 4]
        ours = self._pass_on("AWS4-HMAC-SHA256-TRAILER", _digest_trailer(lines))
        self._step = None
        return _CRLF.join((*lines, found[1] + ours, b"", b""))

    def _pass_on(self, algorithm: str, *lines: str) -> bytes:
        """Verify the signature before this, and return ours in its place. Both chains go on from there."""
        expected = self._inbound.seal.sign(algorithm, self._inbound.signature, *lines)
        if not hmac.compare_digest(expected, self._theirs):
            raise _broken("a chunk's signature is not the one that the placeholder makes of it")
        self._inbound = Verified(self._inbound.seal, expected)
        ours = self._outbound.seal.sign(algorithm, self._outbound.signature, *lines)
        self._outbound = Verified(self._outbound.seal, ours)
        return ours.encode()


def _digest_trailer(lines: list[bytes]) -> str:
    made = hashlib.sha256()
    names = set()
    for line in lines:
        found = _TRAILER.fullmatch(line)
        if found is None or found[1].lower() in names:
            raise _broken("the trailer holds what is no field, or one twice")
        names.add(found[1].lower())
        made.update(found[1].lower() + b":" + found[2] + b"\n")
    return made.hexdigest()


def _broken(why: str) -> ProtocolError:
    return ProtocolError(why, Reason.SIGNING_BROKEN)
