"""An exchange of job tokens and the API behind it, in one event loop: many flows at once, and everything is checked.

The exchange verifies each job's token and gives each job tokens of its own. The API takes a job's token for that
job's path and no other, and sends everything that it was sent back, in one of several ways.
"""

import asyncio
import contextlib
import gzip
import itertools
import json
import secrets
import ssl
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs

import jwt

HOST: Final = "exchange.test"
API: Final = "api.test"
AUDIENCE: Final = "https://exchange.test"


@dataclass(slots=True)
class Exchange:
    """`minted` counts tokens by job; `wrong` holds what an upstream must never see."""

    key: Any
    issuer: str
    minted: Counter[str] = field(default_factory=Counter)
    tokens: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    served: int = 0
    delay: float = 0.0
    asked: int = 0
    instead: tuple[int, dict[str, Any]] | None = None

    def exchange(self, body: str) -> tuple[int, dict[str, Any]]:
        """Answer one exchange (RFC 8693)."""
        self.asked += 1
        if self.instead is not None:
            return self.instead
        form = {name: values[0] for name, values in parse_qs(body, strict_parsing=True).items()}
        try:
            claims = jwt.decode(form["subject_token"], self.key, ["RS256"], audience=AUDIENCE, issuer=self.issuer)
        except jwt.PyJWTError:
            return 400, {"error": "invalid_grant"}
        job = claims["job_id"]
        token = f"issued-{secrets.token_hex(16)}"
        self.minted[job] += 1
        self.tokens[token] = job
        kind = "urn:ietf:params:oauth:token-type:access_token"
        return 200, {"access_token": token, "issued_token_type": kind, "token_type": "Bearer", "expires_in": 900}

    def check(self, head: str) -> None:
        """Note a request that carries another job's token, none, or what is the job's own."""
        line, *fields = head.split("\r\n")
        job = line.split(" ")[1].split("/")[2]
        sent = [each.partition(": ")[2] for each in fields if each.lower().startswith("authorization: ")]
        if len(sent) != 1 or self.tokens.get(sent[0].removeprefix("Bearer ")) != job:
            self.wrong.append(head)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of either host until it ends."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            for number in itertools.count():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip("\r\n")
                fields = dict(each.lower().split(": ", 1) for each in head.split("\r\n")[1:])
                body = await reader.readexactly(int(fields.get("content-length", "0")))
                if fields["host"] == HOST:
                    await asyncio.sleep(self.delay)
                    status, told = self.exchange(body.decode())
                    writer.write(_framed(status, json.dumps(told).encode()))
                else:
                    self.check(head)
                    self.served += 1
                    writer.write(_echo(number, head.encode("latin-1") + b"\r\n\r\n" + body))
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def listen(self, tls: ssl.SSLContext, port: int = 0) -> asyncio.Server:
        """Listen on loopback for both hosts."""
        return await asyncio.start_server(self.serve, "127.0.0.1", port, ssl=tls, backlog=1024)


def _framed(status: int, body: bytes, fields: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%s\r\n" % (status, len(body), fields) + body


def _echo(number: int, seen: bytes) -> bytes:
    """Send back what was seen: plain, in the head too, in tiny chunks, compressed, as an error."""
    token = next(line for line in seen.split(b"\r\n") if line.lower().startswith(b"authorization: "))[15:]
    match number % 5:
        case 0:
            return _framed(200, seen)
        case 1:
            return _framed(200, seen, b"X-Seen: %s\r\nSet-Cookie: session=%s\r\n" % (token, token))
        case 2:
            chunks = b"".join(
                b"%x\r\n%s\r\n" % (len(part), part) for part in map(bytes, itertools.batched(seen, 7, strict=False))
            )
            return b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
        case 3:
            return _framed(200, gzip.compress(seen), b"Content-Encoding: gzip\r\n")
        case _:
            return _framed(500, seen)
