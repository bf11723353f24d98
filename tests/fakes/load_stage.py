"""A sidecar with an exchange and an API behind it, and jobs that ask from one event loop: for load and for faults."""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

from jwt import PyJWK

from proxy.demo.issuer import ISSUER
from proxy.demo.sidecar import JobSession
from tests.fakes.exchange import API, AUDIENCE, HOST, Exchange
from tests.fakes.raw import password
from tests.fakes.sidecar import World, rule


@dataclass(slots=True)
class LoadStage:
    """A sidecar, the exchange and the API, and jobs by their ids."""

    world: World = field(default_factory=World)
    exchange: Exchange = field(init=False)
    tls: ssl.SSLContext = field(init=False)
    server: asyncio.Server = field(init=False)
    port: int = 0
    sessions: dict[str, JobSession] = field(default_factory=dict)
    leaked: list[bytes] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    cut: int = 0

    @asynccontextmanager
    async def running(self, jobs: int) -> AsyncIterator[None]:
        world = self.world
        self.exchange = Exchange(PyJWK(world.issuer.jwks()["keys"][0]).key, ISSUER)  # type: ignore[index]
        self.tls = world.root.server_side("exchange", (HOST, API))
        self.server = await self.exchange.listen(self.tls)
        self.port = self.server.sockets[0].getsockname()[1]
        place = f"127.0.0.1:{self.port}"
        block = {"endpoint": f"https://{HOST}/token", "subject_token_audience": AUDIENCE}
        made = rule("api", API, credential={"token-exchange": block})
        world.rules = [{**made, "path": "/job/**", "method": ["GET", "POST"]}]
        world.places = {f"{HOST}:443": place, f"{API}:443": place}
        world.settings = {"limits": {"connections": 2048}}
        try:
            await asyncio.to_thread(world.start)
            for _ in range(jobs):
                known = world.issuer.add_job()
                tokens = world.token(known), [world.token(known, AUDIENCE)]
                self.sessions[known.job_id] = await asyncio.to_thread(world.sidecar.open_session, *tokens)
            yield
        finally:
            await asyncio.to_thread(world.stop)
            await self.go_away()

    async def go_away(self) -> None:
        """Stop listening, for both hosts."""
        self.server.close()
        self.server.close_clients()
        await self.server.wait_closed()

    async def come_back(self) -> None:
        """Listen where it was."""
        self.server = await self.exchange.listen(self.tls, self.port)

    async def connect(self, job: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Stand inside a tunnel to the API."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.world.sidecar.port)
        writer.write(
            f"CONNECT {API}:443 HTTP/1.1\r\nHost: {API}:443\r\n".encode() + password(self.sessions[job]) + b"\r\n"
        )
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        side = ssl.create_default_context(cafile=str(self.world.sidecar.certs / "ca.pem"))
        await writer.start_tls(side, server_hostname=API)
        return reader, writer

    async def ask(self, job: str, wire: tuple[asyncio.StreamReader, asyncio.StreamWriter], number: int) -> bool:
        """Send one request, mostly allowed, and search the whole answer; False once the connection is over."""
        reader, writer = wire
        path = "/other/" if number % 7 == 3 else f"/job/{job}/{number}"
        body = b"x" * (number % 300) if number % 3 == 1 else b""
        method = "DELETE" if number % 11 == 5 else "POST" if body else "GET"
        fields = f"Host: {API}\r\nAuthorization: Bearer own-{job}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(f"{method} {path} HTTP/1.1\r\n{fields}".encode() + body)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            answer = head + await _read_body(reader, head.lower())
        except (OSError, asyncio.IncompleteReadError) as error:
            answer = error.partial if isinstance(error, asyncio.IncompleteReadError) else b""
            self.cut += 1
            head = b""
        if b"issued-" in answer:
            self.leaked.append(answer)
        if head:
            status = int(head[9:12])
            self.statuses[status] = self.statuses.get(status, 0) + 1
        return bool(head) and b"connection: close" not in head.lower()

    async def work(self, numbers: "count[int]", flows: int, seed: int) -> None:
        """Be one of many clients: some requests of one job, then of another."""
        chance = random.Random(seed)
        while True:
            job = chance.choice(list(self.sessions))
            wire = await self.connect(job)
            for _ in range(chance.randrange(1, 120)):
                if (number := next(numbers)) >= flows:
                    wire[1].close()
                    return
                if not await self.ask(job, wire, number):
                    break
            wire[1].close()


async def _read_body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    if b"transfer-encoding: chunked" not in head:
        length = next(line[16:] for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
        return await reader.readexactly(int(length))
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append((await reader.readexactly(size + 2))[:-2])
    await reader.readuntil(b"\r\n")
    return b"".join(parts)
