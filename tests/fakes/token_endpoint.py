"""A token endpoint over TLS that reads RFC 8693 and RFC 6749 strictly, refuses by the book, and garbles on cue."""

import asyncio
import contextlib
import json
import ssl
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_TYPES = "urn:ietf:params:oauth:token-type:"
_ONCE = (
    "grant_type",
    "subject_token",
    "subject_token_type",
    "scope",
    "requested_token_type",
    "client_id",
    "client_secret",
)


type Form = dict[str, list[str]]


def first(form: Form, name: str) -> str:
    return form.get(name, [""])[0]


@dataclass(slots=True)
class TokenEndpoint:
    """What it accepts, what it gives, and what it was asked. `raw` replaces everything that it would answer."""

    subject: str
    client: tuple[str, str] | None = None
    gives: dict[str, Any] = field(default_factory=dict)
    raw: bytes | None = None
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    port: int = 0

    @contextlib.asynccontextmanager
    async def serving(self, side: ssl.SSLContext) -> AsyncIterator[None]:
        """Listen on loopback for as long as the block runs."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=side)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *fields = head.rstrip("\r\n").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in fields)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            writer.write(self.raw if self.raw is not None else _http(*self._answer(line, headers, body.decode())))
            await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def _revoke(self, headers: dict[str, str], form: Form) -> tuple[int, Any]:
        """RFC 7009 2.1 and 2.2: a token that nobody knows is no fault; a client that is not known is."""
        if form.keys() - {"token", "token_type_hint", "client_id", "client_secret"} or not first(form, "token"):
            return 400, {"error": "invalid_request"}
        if self.client is not None and self._client(headers, form) != self.client:
            return 401, {"error": "invalid_client"}
        self.revoked.append(first(form, "token"))
        return 200, {}

    def _answer(self, line: str, headers: dict[str, str], body: str) -> tuple[int, Any]:
        form: Form = {}
        for name, value in parse_qsl(body, keep_blank_values=True, strict_parsing=True):
            form.setdefault(name, []).append(value)
        self.asked.append(form)
        if line.startswith("POST /revoke HTTP/1.1"):
            return self._revoke(headers, form)
        if not line.startswith("POST /token HTTP/1.1"):
            return 404, {}
        code = next(self._faults(headers, form), None)
        if code is not None:
            description = f"{self.subject} {first(form, 'subject_token')}"  # as careless endpoints do
            return 401 if code == "invalid_client" else 400, {"error": code, "error_description": description}
        answer = {
            "access_token": "issued-0123456789",
            "issued_token_type": first(form, "requested_token_type") or f"{_TYPES}access_token",
            "token_type": "Bearer",
            "expires_in": 600,
        }
        return 200, {name: value for name, value in (answer | self.gives).items() if value is not ...}

    def _faults(self, headers: dict[str, str], form: Form) -> Iterator[str]:
        if headers.get("content-type") != "application/x-www-form-urlencoded":
            yield "invalid_request"
        if any(len(form.get(name, [])) > 1 for name in _ONCE):
            yield "invalid_request"
        if self.client is not None and self._client(headers, form) != self.client:
            yield "invalid_client"
        if first(form, "grant_type") != _GRANT:
            yield "unsupported_grant_type"
        if not first(form, "subject_token_type").startswith(_TYPES) or not first(form, "subject_token"):
            yield "invalid_request"
        if first(form, "subject_token") != self.subject:
            yield "invalid_grant"
        if "https://elsewhere.test" in form.get("resource", []) or "elsewhere" in form.get("audience", []):
            yield "invalid_target"
        if "forbidden" in first(form, "scope").split(" "):
            yield "invalid_scope"

    @staticmethod
    def _client(headers: dict[str, str], form: Form) -> tuple[str, str]:
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if scheme == "Basic":
            name, _, secret = b64decode(value).decode().partition(":")
            return unquote(name), unquote(secret)
        return first(form, "client_id"), first(form, "client_secret")


def _http(status: int, body: Any) -> bytes:
    content = json.dumps(body).encode()
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode() + content
