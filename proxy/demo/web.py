"""A small threaded HTTP/1.1 server for the stage: loopback, a port the OS picks, TLS shaken in the caller's thread."""

import json
import socket
import ssl
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BLOCK = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request as a server of the stage saw it. Header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]


class Exchange(BaseHTTPRequestHandler):
    """One connection. Subclasses define `answer`; the body is read by `read_body` or `body_blocks`."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    wbufsize = -1

    def setup(self) -> None:
        """Shake hands here, in this connection's own thread: a client that stalls stalls only itself."""
        if isinstance(self.request, ssl.SSLSocket):
            self.request.settimeout(self.timeout)
            self.request.do_handshake()
        super().setup()

    def answer(self) -> None:
        """Answer the request whose head was read."""
        raise NotImplementedError

    def _do(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        site: Site = self.server  # type: ignore[assignment] # a Site makes these and nothing else does
        with site.lock:
            site.seen.append(Seen(method=self.command, target=self.path, headers=headers))
        self.answer()
        self.wfile.flush()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_LOCK = do_UNLOCK = _do  # noqa: N815 - the base class's names

    def body_blocks(self) -> Iterator[bytes]:
        """Give out the request body, whichever way it is framed."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            yield from self._chunks()
            return
        left = int(self.headers.get("content-length") or 0)
        while left > 0 and (block := self.rfile.read(min(left, BLOCK))):
            left -= len(block)
            yield block

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def read_body(self) -> bytes:
        """Return the whole request body."""
        return b"".join(self.body_blocks())

    def reply(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Send one whole answer."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def reply_json(self, status: int, value: object) -> None:
        """Send one JSON answer."""
        self.reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's signature
        """Say nothing: what was seen is kept in `Site.seen`."""


@dataclass(slots=True, eq=False)
class _Counts:
    connections: int = 0
    failed_handshakes: list[str] = field(default_factory=list)


class Site(ThreadingHTTPServer):
    """A running server. `seen` lists every request, `counts.connections` every connection, broken ones too."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, exchange: type[Exchange], tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), exchange)
        self.tls = tls
        self.lock = threading.Lock()
        self.seen: list[Seen] = []
        self.counts = _Counts()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def port(self) -> int:
        """The port the OS picked."""
        return int(self.server_address[1])

    @property
    def place(self) -> str:
        """`127.0.0.1:PORT`, for a `connect_to` map."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Serve in a thread of its own; nothing more when it does already."""
        if not self._thread.is_alive():
            self._thread.start()

    def stop(self) -> None:
        """Stop serving and free the port."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        self.server_close()

    def server_bind(self) -> None:
        """Bind without the base class's reverse look-up of our own name: the demo asks no name server anything."""
        socket.socket.bind(self.socket, self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", self.server_address[1]

    def get_request(self) -> tuple[Any, Any]:
        """Accept; TLS is shaken later, in the connection's thread."""
        accepted, address = self.socket.accept()
        self.counts.connections += 1
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is None:
            return accepted, address
        return self.tls.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's signature
        """Note a connection that broke. Clients of a proxy under test break connections; that is not our failure."""
        self.counts.failed_handshakes.append(f"{client_address}: {sys.exception()!r}")
