"""A gateway on loopback between raw sockets: a scripted origin behind it, a fake engine beside it, bytes in front."""

import asyncio
import base64
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import lru_cache

import pytest
import trustme

from proxy.gateway.limits import Limits
from proxy.gateway.server import Gateway
from proxy.model.authority import Authority
from proxy.model.errors import DialError
from tests.fakes.engine import FakeEngine

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
PATIENCE = 10.0
HOST = "origin.test"


@lru_cache(maxsize=1)
def authority() -> trustme.CA:
    return trustme.CA()


@lru_cache(maxsize=8)
def server_tls(host: str) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(host).configure_cert(tls)
    tls.set_alpn_protocols(["http/1.1"])
    return tls


@lru_cache(maxsize=1)
def client_tls() -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False  # these clients attack; the certificate is not what is tested
    authority().configure_trust(tls)
    return tls


class StubLeaves:
    """`gateway.ports.Leaves` with certificates made once; refuses any SNI but the host, as the real one does."""

    def context_for(self, host: str) -> ssl.SSLContext:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf_for(host).configure_cert(tls)
        tls.set_alpn_protocols(["http/1.1"])

        def check(_: object, name: str | None, __: object) -> int | None:
            return None if name == host else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

        tls.sni_callback = check
        return tls


@lru_cache(maxsize=8)
def leaf_for(host: str) -> trustme.LeafCert:
    return authority().issue_cert(host)


class Origin:
    """A server that records every connection's bytes and answers by script.

    `answer` is called with the bytes so far of a connection and its writer whenever more have come; the default
    answers every complete head with `reply`.
    """

    def __init__(self) -> None:
        self.received: list[bytearray] = []
        self.reply: bytes = OK
        self.answer: Callable[[bytearray, asyncio.StreamWriter], None] | None = None
        self.closes_after: int | None = None
        self.reads = True
        self.port = 0
        self.secure_port = 0
        self.connections = 0
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def seen(self) -> bytes:
        return b"".join(bytes(part) for part in self.received)

    async def start(self) -> None:
        plain = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        secure = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=server_tls(HOST))
        self._servers = [plain, secure]
        self.port, self.secure_port = (server.sockets[0].getsockname()[1] for server in self._servers)

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    def kick(self) -> None:
        """Close every connection at once."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        mine = bytearray()
        self.received.append(mine)
        answered = 0
        try:
            while self.reads and (piece := await reader.read(262_144)):
                mine += piece
                if self.answer is not None:
                    self.answer(mine, writer)
                    continue
                while mine.count(b" HTTP/1.1\r\n") > answered and b"\r\n\r\n" in mine:
                    answered += 1
                    writer.write(self.reply)
                    if self.closes_after is not None and answered >= self.closes_after:
                        return
            if not self.reads:
                await writer.wait_closed()
        except (OSError, ssl.SSLError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()
            with suppress(OSError, ssl.SSLError):
                await writer.wait_closed()


IN_A_CROWD = pytest.mark.parametrize("make_stage", ["few", "crowd"], indirect=True)
"""Mark of tests that are run once more with everything small sent at the end of a turn."""


class StageDialer:
    """`gateway.ports.Dialer` towards the origin, whatever the authority; counts, and fails on cue."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self.dialled: list[Authority] = []
        self.error: DialError | None = None

    async def connect[P: asyncio.BaseProtocol](
        self, authority: Authority, *, secure: bool, protocol_factory: Callable[[], P]
    ) -> tuple[asyncio.Transport, P, str]:
        self.dialled.append(authority)
        if self.error is not None:
            raise self.error
        port = self._origin.secure_port if secure else self._origin.port
        transport, protocol = await asyncio.get_running_loop().create_connection(
            protocol_factory,
            "127.0.0.1",
            port,
            ssl=client_tls() if secure else None,
            server_hostname=HOST if secure else None,
        )
        return transport, protocol, f"127.0.0.1:{port}"


class Client:
    """A raw socket to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)

    async def head(self) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)

    async def reply(self) -> tuple[int, bytes, bytes]:
        """One counted answer: status, head, body."""
        head = await self.head()
        size = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
        body = await asyncio.wait_for(self.reader.readexactly(int(size.split(b":")[1])), PATIENCE)
        return int(head.split(b" ")[1]), head, body

    async def rest(self) -> bytes:
        """Everything until the gateway closes, cut short by a reset if there is one."""
        got = b""
        with suppress(OSError, ssl.SSLError):
            while piece := await asyncio.wait_for(self.reader.read(65_536), PATIENCE):
                got += piece
        return got

    async def start_tls(self, name: str | None = HOST, alpn: tuple[str, ...] = ()) -> None:
        tls = client_tls()
        if alpn:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            tls.check_hostname = False
            authority().configure_trust(tls)
            tls.set_alpn_protocols(list(alpn))
        await asyncio.wait_for(self.writer.start_tls(tls, server_hostname=name or ""), PATIENCE)

    def abort(self) -> None:
        """Leave with a reset: a mere FIN could be a half-close, which is served."""
        raw = self.writer.get_extra_info("socket")
        if raw is not None and raw.fileno() >= 0:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def password(name: str = "job") -> bytes:
    return b"Proxy-Authorization: Basic " + base64.b64encode(b"job:" + name.encode()) + b"\r\n"


def plain(
    method: str = "GET",
    path: str = "/",
    *lines: str,
    session: str | None = "job",
    body: bytes = b"",
    version: str = "1.1",
) -> bytes:
    """A request to the proxy itself."""
    head = [f"{method} http://{HOST}{path} HTTP/{version}", f"Host: {HOST}", *lines]
    auth = password(session) if session is not None else b""
    return "\r\n".join(head).encode("latin-1") + b"\r\n" + auth + b"\r\n" + body


def inner(method: str = "GET", path: str = "/", *lines: str, body: bytes = b"") -> bytes:
    """A request inside a tunnel."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {HOST}", *lines, "", ""]).encode("latin-1") + body


def connect(target: str = f"{HOST}:443", session: str | None = "job") -> bytes:
    auth = password(session) if session is not None else b""
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n".encode() + auth + b"\r\n"


class Stage:
    """Everything of one test."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.origin = Origin()
        self.engine = FakeEngine()
        self.dialer = StageDialer(self.origin)
        self.gateway = Gateway(engine=self.engine, dialer=self.dialer, leaves=StubLeaves(), limits=limits)
        self.port = 0
        self._clients: list[Client] = []

    async def start(self) -> "Stage":
        await self.origin.start()
        _, self.port = await self.gateway.listen("127.0.0.1", 0)
        return self

    async def stop(self) -> None:
        for client in self._clients:
            client.abort()
        await self.gateway.drain(0.5)
        await self.origin.stop()

    async def client(self) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        client = Client(reader, writer)
        self._clients.append(client)
        return client

    async def tunnel(self, name: str | None = HOST, target: str = f"{HOST}:443") -> Client:
        client = await self.client()
        client.send(connect(target))
        status = (await client.head()).split(b" ")[1]
        assert status == b"200"
        await client.start_tls(name)
        return client

    async def settled(self) -> None:
        """Wait until every connection is closed and recorded."""
        await until(lambda: self.gateway.open_connections == 0)


type MakeStage = Callable[..., Awaitable[Stage]]


async def until(is_true: Callable[[], bool]) -> None:
    """Poll a fact until it holds."""
    async with asyncio.timeout(PATIENCE):
        while not is_true():  # noqa: ASYNC110 - the fact belongs to code that knows no test's event
            await asyncio.sleep(0.005)
