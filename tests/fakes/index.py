"""A real Python index, pypiserver, behind TLS and a password: what it stores is what arrived, and by whom."""

import ssl
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pypiserver  # type: ignore[import-untyped]

HOST = "index.test"

type Environ = dict[str, Any]
type StartResponse = Callable[..., Any]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    tls: ssl.SSLContext

    def get_request(self) -> tuple[Any, Any]:
        accepted, address = super().get_request()
        return self.tls.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that break connections."""


class _Exchange(WSGIRequestHandler):
    def setup(self) -> None:
        self.request.settimeout(30)
        self.request.do_handshake()
        super().setup()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's signature
        """Say nothing."""


class PythonIndex:
    """The running index. `credential` is the Authorization it wants; `asked` is what it was asked for."""

    def __init__(self, folder: Path, tls: ssl.SSLContext, credential: str) -> None:
        folder.mkdir()
        self.folder = folder
        self.credential = credential
        self.asked: list[str] = []
        self._app = pypiserver.app(roots=[folder], authenticate=[], password_file=".", disable_fallback=True)
        self._server = make_server("127.0.0.1", 0, self._answer, server_class=_Server, handler_class=_Exchange)
        self._server.tls = tls
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def place(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def files(self) -> set[str]:
        """The distributions it has."""
        return {path.name for path in self.folder.iterdir()}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.asked.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        if environ.get("HTTP_AUTHORIZATION") != self.credential:
            start_response("401 Unauthorized", [("WWW-Authenticate", "Basic"), ("Content-Length", "0")])
            return [b""]
        answer: Iterable[bytes] = self._app(environ, start_response)
        return answer
