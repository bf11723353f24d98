"""A destination for audit data over TLS: notes what it is sent, and answers as a test says, in a thread of its own."""

import gzip
import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Sent:
    """One request; `body` unpacked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def rows(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


type Reply = tuple[int, dict[str, str], bytes]


@dataclass(slots=True)
class Collector:
    """`answer` says what is answered to a request; `seen` is what came, answered or not."""

    tls: ssl.SSLContext
    answer: Callable[[Sent], Reply] = lambda _: (200, {}, b"{}")
    seen: list[Sent] = field(default_factory=list)
    _server: ThreadingHTTPServer = field(init=False)

    def start(self) -> None:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                sent = Sent(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                collector.seen.append(sent)
                status, headers, answer = collector.answer(sent)
                if status == 0:  # cut off after the request was taken
                    self.close_connection = True
                    self.connection.close()
                    return
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(answer))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
