"""An origin that real clients talk to: it echoes, digests, redirects, serves ranges and waits on cue."""

import hashlib
import ssl
import threading
from urllib.parse import parse_qs, urlsplit

from proxy.demo.web import Exchange, Seen, Site

PATTERN = bytes(range(256)) * 256


def made_bytes(count: int) -> bytes:
    """The same bytes for the same count, on both sides."""
    return (PATTERN * (count // len(PATTERN) + 1))[:count]


class Origin:
    """A running origin. `gate` holds back the second half of `/slow` until it is set."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.site = Site(_OriginExchange, tls)
        self.site.origin = self  # type: ignore[attr-defined]
        self.gate = threading.Event()
        self.waiting = threading.Event()
        self.files: dict[str, tuple[str, bytes]] = {}
        self.mark = threading.Lock()
        self.uploads: list[tuple[str, int, str]] = []

    @property
    def seen(self) -> list[Seen]:
        return self.site.seen

    def start(self) -> None:
        self.site.start()

    def stop(self) -> None:
        self.gate.set()
        self.site.stop()


class _OriginExchange(Exchange):
    def answer(self) -> None:
        place = urlsplit(self.path)
        origin: Origin = self.server.origin  # type: ignore[attr-defined]
        first, _, rest = place.path.lstrip("/").partition("/")
        if place.path in origin.files:
            kind, content = origin.files[place.path]
            self.read_body()
            self.reply(200, content, {"Content-Type": kind})
        elif first == "echo":
            self._echo()
        elif first == "digest":
            self._digest(origin, place.path)
        elif first == "bytes":
            self._bytes(made_bytes(int(rest)))
        elif first == "redirect":
            self.read_body()
            self.reply(302, b"", {"Location": parse_qs(place.query)["to"][0]})
        elif first == "forbidden":
            self._forbid()
        elif first == "slow":
            self._slow(origin)
        elif first == "hello":
            self.read_body()
            self.reply(200, b"hello\n", {"Content-Type": "text/plain"})
        else:
            self.read_body()
            self.reply(404, b"nothing here\n")

    def _echo(self) -> None:
        body = self.read_body()
        fields = [[name, value] for name, value in self.headers.items()]
        self.reply_json(
            200,
            {"method": self.command, "target": self.path, "headers": fields, "body": body.decode("latin-1")[:4096]},
        )

    def _forbid(self) -> None:
        """Refuse as AWS does, with the caller's own credential where a scope and a resource would stand."""
        self.read_body()
        sent = self.headers.get("authorization", "").removeprefix("Bearer ")
        said = f"User: ci is not authorized to perform: s3:GetObject on resource: arn:aws:s3:::b/{sent}"
        fields = {"WWW-Authenticate": f'Bearer error="insufficient_scope",scope="{sent}"'}
        self.reply(403, f"<Code>AccessDenied</Code><Message>{said}</Message>".encode(), fields)

    def _digest(self, origin: Origin, path: str) -> None:
        digest, length = hashlib.sha256(), 0
        for block in self.body_blocks():
            digest.update(block)
            length += len(block)
        origin.uploads.append((path, length, digest.hexdigest()))
        self.reply_json(200, {"length": length, "sha256": digest.hexdigest()})

    def _bytes(self, content: bytes) -> None:
        self.read_body()
        headers = {"Accept-Ranges": "bytes", "ETag": f'"{len(content)}"', "Content-Type": "application/octet-stream"}
        wanted = self.headers.get("range", "")
        if wanted.startswith("bytes="):
            first = int(wanted.removeprefix("bytes=").partition("-")[0])
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
            self.reply(206, content[first:], headers)
            return
        self.reply(200, content, headers)

    def _slow(self, origin: Origin) -> None:
        self.read_body()
        self.send_response(200)
        self.send_header("Content-Length", "12")
        self.end_headers()
        self.wfile.write(b"first.")
        self.wfile.flush()
        origin.waiting.set()
        origin.gate.wait(60)
        self.wfile.write(b"second")
