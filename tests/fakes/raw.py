"""A job's end of a proxy connection, byte by byte: it says what no client library would say, and reads the answers.

What comes back is kept in `heard`; `World.outputs` gets it too, so that searches for leaked secrets see every byte.
"""

import base64
import json
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from xml.etree import ElementTree as ET

from proxy.demo.sidecar import JobSession
from tests.fakes.sidecar import World

_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer. Field names are lower case; of repeated fields the last counts."""

    status: int
    fields: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def denial(self) -> dict[str, Any]:
        """What one of our own refusals says; empty for anybody else's answer."""
        if "proxy-status" not in self.fields or not self.body:
            return {}
        if self.fields["content-type"] == "application/xml":
            found = {element.tag: element.text or "" for element in ET.fromstring(self.body).iter()}
            names = {"reason": "Reason", "decision": "RequestId", "message": "Message"}
            return {"rule": found["Rule"].split(), **{name: found[tag] for name, tag in names.items()}}
        said: dict[str, Any] = json.loads(self.body)
        return said

    @property
    def reason(self) -> str | None:
        return self.denial.get("reason")


def password(session: JobSession | None) -> bytes:
    """The line that says who is asking; empty in sidecar mode."""
    if session is None:
        return b""
    return b"Proxy-Authorization: Basic " + base64.b64encode(f"job:{session.secret}".encode()) + b"\r\n"


class RawClient:
    """One connection to the sidecar's proxy port. Use it in a `with` block."""

    def __init__(self, world: World, session: JobSession | None) -> None:
        self._world = world
        self._session = session
        self.heard = b""
        self._unread = b""
        self._socket: socket.socket = socket.create_connection(("127.0.0.1", world.sidecar.port), _SECONDS)
        self.address = "{}:{}".format(*self._socket.getsockname())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._world.outputs.append(self.heard)

    @property
    def password(self) -> bytes:
        """The line that says who is asking; empty in sidecar mode."""
        return password(self._session)

    def send(self, words: bytes) -> None:
        """Send, as far as the other side still takes it: a refusal may come, and the end, before all is said."""
        try:
            self._socket.sendall(words)
        except (ConnectionError, ssl.SSLError):
            return

    def connect(self, place: str) -> Reply:
        """Ask for a tunnel to `host:port`."""
        self.send(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n".encode() + password(self._session) + b"\r\n")
        return self.reply("CONNECT")

    def start_tls(self, name: str | None, offers: Sequence[str] = ("http/1.1",), *, trusts: bool = True) -> None:
        """Shake hands inside the tunnel, trusting the sidecar's CA alone, or nobody. Raises ssl.SSLError."""
        side = ssl.create_default_context()
        if trusts:
            side = ssl.create_default_context(cafile=str(self._world.sidecar.certs / "ca.pem"))
        if name is None:
            side.check_hostname = False
        if offers:
            side.set_alpn_protocols(list(offers))
        self._socket = side.wrap_socket(self._socket, server_hostname=name)

    @property
    def protocol(self) -> str | None:
        """What ALPN agreed on."""
        return self._secure.selected_alpn_protocol()

    @property
    def certificate(self) -> bytes:
        """The leaf that was shown, in DER."""
        return self._secure.getpeercert(binary_form=True) or b""

    @property
    def _secure(self) -> ssl.SSLSocket:
        assert isinstance(self._socket, ssl.SSLSocket)
        return self._socket

    def tunnel(self, host: str) -> None:
        """Stand inside a tunnel to `host`, where requests go."""
        answer = self.connect(f"{host}:443")
        assert answer.status == 200, answer
        self.start_tls(host)

    def reply(self, method: str = "GET") -> Reply:
        """Read one whole answer to a request of `method`. Raises EOFError when there is none."""
        head = self._until(b"\r\n\r\n").decode("latin-1")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        pairs = [line.partition(":") for line in lines]
        fields = {name.lower(): value.strip() for name, _, value in pairs}
        status = int(first.split(" ")[1])
        if method in {"HEAD", "CONNECT"} and ("proxy-status" not in fields or method == "HEAD"):
            body = b""
        elif fields.get("transfer-encoding") == "chunked":
            body = self._chunks()
        else:
            body = self._exactly(int(fields.get("content-length", "0")))
        return Reply(status=status, fields=fields, body=body)

    def rest(self) -> bytes:
        """Read until the other side closes, politely or not."""
        try:
            while self._more():
                pass
        except (ConnectionError, ssl.SSLError):
            pass
        rest, self._unread = self._unread, b""
        return rest

    def end_input(self) -> None:
        """Say that no more will be sent, and go on listening."""
        self._socket.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """Vanish in the middle of a word, without a polite end."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self._socket.close()

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._until(b"\r\n"), 16):
            body += self._exactly(size)
            self._until(b"\r\n")
        while self._until(b"\r\n") != b"\r\n":
            pass
        return body

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._unread:
            if not self._more():
                raise EOFError(self.heard)
        head, mark, self._unread = self._unread.partition(mark)
        return head + mark

    def _exactly(self, size: int) -> bytes:
        while len(self._unread) < size:
            if not self._more():
                raise EOFError(self.heard)
        body, self._unread = self._unread[:size], self._unread[size:]
        return body

    def _more(self) -> bool:
        piece = self._socket.recv(65_536)
        self.heard += piece
        self._unread += piece
        return bool(piece)
