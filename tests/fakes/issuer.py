"""A real OIDC issuer over HTTPS on loopback: publishes keys, mints tokens, and misbehaves on cue.

with Issuer() as issuer:
    token = issuer.mint(shapes.buildkite(now, issuer.url))
    issuer.answers[KEYS_PATH] = Cue(status=500)
"""

import json
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import trustme

from proxy.model.identity import UnverifiedToken
from tests.fakes.keys import SigningKey, signing_key

DISCOVERY_PATH = "/.well-known/openid-configuration"
KEYS_PATH = "/.well-known/jwks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """What to answer instead. `hang` waits until the issuer stops; `cut` closes in the middle of the body."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False
    cut: bool = False


class Issuer:
    """Starts at once on a free port. `asked` lists the paths requested, in order."""

    def __init__(self, *keys: SigningKey, authority: trustme.CA | None = None, names: tuple[str, ...] = ()) -> None:
        self.keys = list(keys) or [signing_key("RS256")]
        self.answers: dict[str, Cue] = {}
        self.asked: list[str] = []
        self.changes: dict[str, Any] = {}
        self.authority = authority or trustme.CA()
        self._stopping = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _serving(self))
        self._server.daemon_threads = True
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("127.0.0.1", "localhost", *names).configure_cert(tls)
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The issuer's name: what stands in `iss`."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def trust(self) -> ssl.SSLContext:
        """A client context that trusts this issuer's certificate alone."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.authority.configure_trust(context)
        return context

    def mint(self, claims: Mapping[str, Any], header: Mapping[str, object] | None = None) -> UnverifiedToken:
        """Sign claims with the newest key."""
        return self.keys[-1].sign(claims, header)

    def rotate(self, kid: str, *, keep: bool = True) -> SigningKey:
        """Begin to sign with a new key; without `keep` the old ones are no longer published."""
        fresh = signing_key(self.keys[-1].algorithm, kid)
        self.keys = [*self.keys, fresh] if keep else [fresh]
        return fresh

    def document(self, path: str) -> Cue:
        """What is answered at a path."""
        if path in self.answers:
            return self.answers[path]
        if path == DISCOVERY_PATH:
            stated = {"issuer": self.url, "jwks_uri": self.url + KEYS_PATH, **self.changes}
            return Cue(body=json.dumps(stated).encode())
        if path == KEYS_PATH:
            return Cue(body=json.dumps({"keys": [key.jwk() for key in self.keys]}).encode())
        return Cue(status=404)

    def stop(self) -> None:
        """Stop serving; what hangs is let go."""
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait_for_stop(self) -> None:
        """Block the thread of a request that hangs."""
        self._stopping.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _serving(issuer: Issuer) -> type[BaseHTTPRequestHandler]:
    class Serving(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            issuer.asked.append(self.path)
            cue = issuer.document(self.path)
            if cue.hang:
                issuer.wait_for_stop()
            self.send_response(cue.status)
            for name, value in {"Content-Type": "application/json", **cue.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(cue.body)))
            self.end_headers()
            self.wfile.write(cue.body[: len(cue.body) // 2] if cue.cut else cue.body)
            self.close_connection = self.close_connection or cue.cut

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                self.close_connection = True  # the client broke off: often the point of the test

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            pass

    return Serving
