"""Our own calls: https to the named host or nothing, bounded in size and time, and silent about what they carried."""

import asyncio
import contextlib
import ssl
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from proxy.model.authority import Authority
from proxy.model.grant import Secret
from proxy.outbound import Answer, Call, Outbound, OutboundError

HOST = "login.test"
PLANTED = "planted-0123456789"
ROOT = trustme.CA()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

type Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]


class Server:
    """A TLS server on loopback that records request heads and answers as told."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.port = 0

    @contextlib.asynccontextmanager
    async def serving(self, behaviour: bytes | Behaviour, leaf: trustme.LeafCert | None = None) -> AsyncIterator[None]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(int(length[0].partition(b":")[2])) if length else b"")
                if isinstance(behaviour, bytes):
                    writer.write(behaviour)
                    await writer.drain()
                else:
                    await behaviour(reader, writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

        side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (leaf or ROOT.issue_cert(HOST)).configure_cert(side)
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=side)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            server.close_clients()
            await server.wait_closed()

    def outbound(self) -> Outbound:
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ROOT.configure_trust(trust)
        return Outbound(trust, {f"{HOST}:443": Authority("127.0.0.1", self.port)})

    async def ask(self, call: Call | None = None) -> Answer:
        return await self.outbound().call(call or Call(method="GET", url=f"https://{HOST}/x"))


async def refusal(server: Server, call: Call | None = None) -> str:
    with pytest.raises(OutboundError) as caught:
        await server.ask(call)
    assert PLANTED not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


async def test_a_call_is_made_and_answered() -> None:
    """Method, path, query, headers and body as given; names in lower case; nothing of ours but a plain agent."""
    server = Server()
    answer = b"HTTP/1.1 201 Made\r\nX-One: 1\r\nX-Two: a\r\nX-Two: b\r\nContent-Length: 5\r\n\r\nhello"
    async with server.serving(answer):
        headers: dict[str, str | Secret] = {"Authorization": Secret(PLANTED), "accept": "text/plain"}
        call = Call(method="POST", url=f"https://{HOST}/a/b?c=d", headers=headers, body=b"form=1")
        got = await server.ask(call)
    assert (got.status, got.body, got.headers["x-one"], got.headers["x-two"]) == (201, b"hello", "1", "b")
    assert server.bodies == [b"form=1"]
    lines = server.heads[0].decode().split("\r\n")
    assert lines[0] == "POST /a/b?c=d HTTP/1.1"
    assert {line.partition(":")[0].lower() for line in lines[1:] if line} == {
        "host", "user-agent", "accept-encoding", "connection", "content-length", "authorization", "accept",
    }  # fmt: skip
    assert f"authorization: {PLANTED}" in [line.lower() for line in lines]
    assert PLANTED not in repr(call)


@pytest.mark.parametrize("status", [204, 302, 304, 400, 401, 404, 500, 503])
async def test_every_status_is_an_answer(status: int) -> None:
    """No redirect is followed and no fault retried: the caller decides."""
    server = Server()
    body = b"" if status in {204, 304} else b"Content-Length: 0\r\n"
    async with server.serving(b"HTTP/1.1 %d X\r\nLocation: https://evil.test/\r\n" % status + body + b"\r\n"):
        assert (await server.ask()).status == status
    assert len(server.heads) == 1


@pytest.mark.parametrize(
    "url",
    [
        f"http://{HOST}/x",
        f"ftp://{HOST}/x",
        f"//{HOST}/x",
        f"https://user:{PLANTED}@{HOST}/x",
        "https:///x",
        f"https://[{PLANTED}/x",
        "https://0x7f.1/x",
        "https://login.test:0/x",
        f"https://{HOST}%2f{PLANTED}/x",
        PLANTED,
    ],
)
async def test_only_plain_https_urls_are_called(url: str) -> None:
    """Nothing is dialled for another scheme, userinfo or an odd host, and the URL is not repeated."""
    server = Server()
    async with server.serving(OK):
        await refusal(server, Call(method="GET", url=url))
    assert server.heads == []


@pytest.mark.parametrize(
    "headers",
    [
        {"x-a": "a\r\nx-b: b"},
        {"x-a": Secret(f"{PLANTED}\nx")},
        {"x-a": Secret(f"{PLANTED}\u20ac")},
        {"x a": "b"},
        {"": "b"},
    ],
)
async def test_what_cannot_be_put_as_http_is_refused(headers: dict[str, str | Secret]) -> None:
    """Line feeds and odd names never reach the wire; the value is not repeated."""
    server = Server()
    async with server.serving(OK):
        said = await refusal(server, Call(method="GET", url=f"https://{HOST}/", headers=headers))
    assert said == f"{HOST}: the call cannot be put as HTTP"
    assert server.heads == []


@pytest.mark.parametrize(
    "answer, fits",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001, False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1f4\r\n" + b"x" * 500 + b"\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"1f4\r\n" + b"x" * 500 + b"\r\n") * 3, False),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000, False),
    ],
)
async def test_a_body_beyond_its_limit_is_cut(answer: bytes, fits: bool) -> None:  # noqa: FBT001 - a column
    """However its length is told; the next call is not disturbed."""
    server = Server()
    call = Call(method="GET", url=f"https://{HOST}/", limit=1000)
    async with server.serving(answer):
        outbound = server.outbound()
        for _ in range(2):
            if fits:
                assert len((await outbound.call(call)).body) <= 1000
            else:
                with pytest.raises(OutboundError, match="more than 1000 bytes"):
                    await outbound.call(call)
    assert len(server.heads) == 2


async def _endless_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x: " + b"y" * 10_000 + b"\r\n")
        await writer.drain()


@pytest.mark.parametrize(
    "answer, why",
    [
        (b"SSH-2.0-x\r\n\r\n", "did not answer in HTTP"),
        (b"", "did not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "did not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "did not answer in HTTP"),
        (_endless_head, "did not answer in HTTP"),
    ],
)
async def test_what_is_no_whole_answer_is_a_fault(answer: bytes | Behaviour, why: str) -> None:
    """Other protocols, broken and endless heads, bodies cut short: never half an answer."""
    server = Server()
    async with server.serving(answer):
        assert await refusal(server) == f"{HOST} {why}"


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"])
async def test_a_silent_server_is_given_up(begun: bytes) -> None:
    """The time is for the whole call, not for each piece of it."""

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begun)
        await reader.read()

    server = Server()
    async with server.serving(stall):
        said = await refusal(server, Call(method="GET", url=f"https://{HOST}/", timeout=0.3))
    assert said == f"{HOST} did not answer in time"


@pytest.mark.parametrize(
    "leaf, why",
    [
        (ROOT.issue_cert("other.test"), "Hostname mismatch"),
        (trustme.CA().issue_cert(HOST), "unable to get local issuer"),
        (ROOT.issue_cert(HOST, not_after=datetime(2020, 1, 1, tzinfo=UTC)), "expired"),
    ],
)
async def test_a_wrong_certificate_gets_nothing(leaf: trustme.LeafCert, why: str) -> None:
    """Another name, another authority or another time: no byte of the call leaves."""
    server = Server()
    headers: dict[str, str | Secret] = {"authorization": Secret(PLANTED)}
    async with server.serving(OK, leaf):
        said = await refusal(server, Call(method="GET", url=f"https://{HOST}/", headers=headers))
    assert why in said
    assert server.heads == []


async def test_a_closed_port_is_a_fault() -> None:
    """The host is named, and what kind of failure it was."""
    server = Server()
    async with server.serving(OK):
        pass
    assert await refusal(server) == f"{HOST} cannot be reached: ConnectionRefusedError"


async def test_the_environments_proxies_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """We are the proxy."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server = Server()
    async with server.serving(OK):
        assert (await server.ask()).body == b"hello"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_addresses_are_redirected_by_their_own_spelling(host: str, tmp_path: Path) -> None:
    """`connect_to` names an IPv6 address in brackets; the certificate is still the address's."""
    server = Server()
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ROOT.configure_trust(trust)
    async with server.serving(OK, ROOT.issue_cert(host.strip("[]"))):
        outbound = Outbound(trust, {f"{host}:8443": Authority("127.0.0.1", server.port)})
        assert (await outbound.call(Call(method="GET", url=f"https://{host}:8443/"))).body == b"hello"
    assert f"host: {host}:8443" in server.heads[0].decode().lower()


async def test_many_calls_at_once_are_all_answered() -> None:
    """More calls than places wait for one another within their own time."""
    server = Server()
    async with server.serving(OK):
        outbound = server.outbound()
        call = Call(method="GET", url=f"https://{HOST}/", timeout=30)
        answers = await asyncio.gather(*(outbound.call(call) for _ in range(100)))
    assert {answer.body for answer in answers} == {b"hello"}


@pytest.mark.parametrize(
    "place",
    [
        "169.254.169.254",
        "169.254.170.2",
        "169.254.1.1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fe80::a9fe:a9fe",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
    ],
)
async def test_metadata_services_are_never_called(place: str) -> None:
    """Whoever names them, a rule or the operator, and in whatever spelling."""
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    outbound = Outbound(trust, {f"{HOST}:443": Authority(place, 9)})
    with pytest.raises(OutboundError, match="an address that is never called"):
        await outbound.call(Call(method="GET", url=f"https://{HOST}/"))


async def test_the_next_address_is_tried() -> None:
    """A name may lead to an address where nothing listens before it leads to the right one."""
    server = Server()
    async with server.serving(OK):
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ROOT.configure_trust(trust)
        outbound = Outbound(trust, {f"{HOST}:443": Authority("both.test", server.port)})
        found = [(2, 1, 6, "", (address, server.port)) for address in ("127.0.0.77", "127.0.0.1")]

        async def resolve(*_: object, **__: object) -> list[object]:
            return list(found)

        with pytest.MonkeyPatch.context() as patch:
            loop = asyncio.get_running_loop()
            original = loop.getaddrinfo

            async def choose(host: str, *rest: object, **more: object) -> object:
                return await resolve() if host == "both.test" else await original(host, *rest, **more)  # type: ignore[arg-type]

            patch.setattr(loop, "getaddrinfo", choose)
            assert (await outbound.call(Call(method="GET", url=f"https://{HOST}/"))).body == b"hello"
            found[0] = (2, 1, 6, "", ("169.254.169.254", server.port))
            with pytest.raises(OutboundError, match="never called"):
                await outbound.call(Call(method="GET", url=f"https://{HOST}/"))
