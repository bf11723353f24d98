"""Read a TLS ClientHello far enough to know which server it asks for. Strict and bounded; nothing is decrypted.

RFC 8446 4.1.2 and 5.1, RFC 6066 3. What is not exactly one server name of type host_name, or none, is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from proxy.model.errors import ProtocolError
from proxy.model.reason import Reason

MAX_HELLO: Final = 32 * 1024
MAX_RECORDS: Final = 256
"""Four times what the largest hello needs in the smallest fragments TLS can agree on, 512 bytes (RFC 6066 4)."""
_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_ALPN: Final = 16
_ENCRYPTED: Final = 0xFE0D


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What a ClientHello says in the clear. `encrypted`: it offers a second, hidden hello (ECH)."""

    server_name: str | None
    alpn: tuple[str, ...]
    encrypted: bool


def read_hello(buffer: bytes) -> Hello | None:
    """Return the hello at the start of `buffer`, None while more bytes are needed.

    Raises ProtocolError (`protocol-refused`) for anything that is no well-formed ClientHello.
    """
    body = _read_handshake(buffer)
    if body is None:
        return None
    try:
        return _read_body(_Cursor(body))
    except (IndexError, UnicodeDecodeError):
        raise _refused("the ClientHello is cut short or not ASCII") from None


def _read_handshake(buffer: bytes) -> bytes | None:
    """Join the records that carry the hello and return its body, None while incomplete."""
    body = bytearray()
    declared = records = at = 0
    while len(buffer) - at >= 5:
        records += 1
        if records > MAX_RECORDS:  # one byte in each, sent one by one, would cost more to join than to send
            raise _refused("the ClientHello is cut into too many records")
        if buffer[at] != _HANDSHAKE or buffer[at + 1] != 3:
            raise _refused("this is not TLS")
        length = int.from_bytes(buffer[at + 3 : at + 5])
        if not 0 < length <= 16384:
            raise _refused("a TLS record of an impossible size")
        body += buffer[at + 5 : at + 5 + length]
        declared += length
        if body and body[0] != _CLIENT_HELLO:
            raise _refused("TLS does not begin with a ClientHello")
        if len(body) >= 4:
            whole = _whole_length(body, declared)
            if len(body) >= whole:
                return bytes(body[4:whole])
        at += 5 + length
    if buffer[at:] and (buffer[at] != _HANDSHAKE or buffer[at + 1 : at + 2] not in (b"", b"\x03")):
        raise _refused("this is not TLS")
    if len(buffer) > 2 * MAX_HELLO:
        raise _refused("the ClientHello is larger than 32 KiB")
    return None


def _whole_length(body: bytes | bytearray, declared: int) -> int:
    """Return the message's length with its header, of which the records so far `declared` that many bytes."""
    whole = 4 + int.from_bytes(body[1:4])
    if whole > MAX_HELLO:
        raise _refused("the ClientHello is larger than 32 KiB")
    if declared > whole:
        raise _refused("something follows the ClientHello in its own record")
    return whole


class _Cursor:
    """Walks bytes; a read past the end is an IndexError."""

    __slots__ = ("_at", "_bytes")

    def __init__(self, content: bytes) -> None:
        self._bytes = content
        self._at = 0

    def at_end(self) -> bool:
        return self._at == len(self._bytes)

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._bytes):
            raise IndexError(count)
        self._at += count
        return self._bytes[self._at - count : self._at]

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width))

    def vector(self, width: int) -> "_Cursor":
        return _Cursor(self.take(self.number(width)))


def _read_body(cursor: _Cursor) -> Hello:
    cursor.take(2 + 32)  # legacy_version, random
    cursor.vector(1)  # session id
    cursor.vector(2)  # cipher suites
    cursor.vector(1)  # compression methods
    name: str | None = None
    alpn: tuple[str, ...] = ()
    seen: set[int] = set()
    for kind, content in _extensions(cursor):
        if kind in seen:
            raise _refused("a TLS extension is given twice")
        seen.add(kind)
        if kind == _SERVER_NAME:
            name = _read_name(content)
        elif kind == _ALPN:
            alpn = tuple(_read_protocols(content))
    return Hello(server_name=name, alpn=alpn, encrypted=_ENCRYPTED in seen)


def _extensions(cursor: _Cursor) -> Iterator[tuple[int, _Cursor]]:
    if cursor.at_end():
        return
    listing = cursor.vector(2)
    if not cursor.at_end():
        raise _refused("bytes after the ClientHello's extensions")
    while not listing.at_end():
        yield listing.number(2), listing.vector(2)


def _read_name(content: _Cursor) -> str:
    names = content.vector(2)
    if names.number(1) != 0:
        raise _refused("a server name that is no host name")
    name = names.vector(2)
    if not (names.at_end() and content.at_end()) or name.at_end():
        raise _refused("not exactly one server name")
    text = bytearray()
    while not name.at_end():
        text += name.take(1)
    return text.decode("ascii")


def _read_protocols(content: _Cursor) -> Iterator[str]:
    listing = content.vector(2)
    while not listing.at_end():
        protocol = listing.vector(1)
        text = bytearray()
        while not protocol.at_end():
            text += protocol.take(1)
        yield text.decode("latin-1")


def _refused(why: str) -> ProtocolError:
    return ProtocolError(why, Reason.PROTOCOL_REFUSED)
