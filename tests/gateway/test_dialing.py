"""Dialling on real sockets: resolved once, vetted whole, dialled by address, verified by name, nothing left open."""

import asyncio
import contextlib
import socket
import ssl
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Protocol

import pytest
import trustme

from proxy.gateway.addresses import AddressPolicy
from proxy.gateway.dialing import Dialer, DialLimits, resolve_by_system
from proxy.gateway.tls import upstream_context
from proxy.model.authority import Authority
from proxy.model.errors import DialError
from proxy.model.reason import Reason
from tests.fakes.tools import skip_loudly
from tests.gateway.stage import until

HOST = "origin.test"
LOOPBACK = AddressPolicy(allowed=(ip_network("127.0.0.0/8"), ip_network("::1/128")))
QUICK = DialLimits(total=1.0, resolve=0.5)


class Names:
    """A resolver that counts, and gives the next of its answers each time it is asked; the last one for ever."""

    def __init__(self, *answers: Sequence[str] | BaseException | None) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, BaseException):
            raise answer
        assert answer is not None
        return answer


class Server:
    """Counts what connects, and greets."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self, tls: ssl.SSLContext | None, host: str, port: int) -> None:
        self._server = await asyncio.start_server(self._greet, host, port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(OSError, ssl.SSLError):
            writer.write(b"hello")
            await reader.read()
            writer.close()
            await writer.wait_closed()


class Serve(Protocol):
    """Starts a server on loopback."""

    async def __call__(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0) -> Server: ...


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[Server] = []

    async def start(tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0) -> Server:
        servers.append(Server())
        await servers[-1].start(tls, host, port)
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trust(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    path = tmp_path_factory.mktemp("trust") / "roots.pem"
    path.write_bytes(authority.cert_pem.bytes())
    return upstream_context(path)


class Greeting(asyncio.Protocol):
    """Hears what the server says."""

    def __init__(self) -> None:
        self.heard = b""

    def data_received(self, data: bytes) -> None:
        self.heard += data


def make_dialer(
    trust: ssl.SSLContext,
    names: Names,
    policy: AddressPolicy = LOOPBACK,
    connect_to: Mapping[str, Authority] | None = None,
) -> Dialer:
    return Dialer(policy, trust, resolve=names, limits=QUICK, connect_to=connect_to)


async def dial(dialer: Dialer, host: str, port: int, *, secure: bool = False) -> str:
    """Connect, hear the greeting, hang up; return the address dialled."""
    transport, greeting, address = await dialer.connect(Authority(host, port), secure=secure, protocol_factory=Greeting)
    try:
        await until(lambda: greeting.heard == b"hello")
    finally:
        transport.abort()
    return address


async def refusal(dialer: Dialer, host: str, port: int, *, secure: bool = False) -> Reason:
    """Why nothing was connected; whatever the reason, no socket is left behind."""
    before = open_sockets()
    with pytest.raises(DialError) as caught:
        await dial(dialer, host, port, secure=secure)
    await until(lambda: open_sockets() <= before)
    return caught.value.reason


def open_sockets() -> int:
    """How many ends of connections this process holds."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(entry.readlink()).startswith("socket:")
    return found


@contextlib.contextmanager
def deaf(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port whose backlog is full: the kernel drops whoever knocks. Yields the port."""
    with contextlib.ExitStack() as held:
        listener = held.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(3):
            knock = held.enter_context(socket.socket())
            knock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                knock.connect(listener.getsockname())
        yield listener.getsockname()[1]


@contextlib.contextmanager
def mute() -> Iterator[int]:
    """A port that accepts and never says a word. Yields it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def test_a_name_is_resolved_once_and_its_address_dialled(trust: ssl.SSLContext, serve: Serve) -> None:
    """One question per connection, and the address that was vetted is the one dialled, whatever comes later (A09)."""
    server = await serve()
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    assert await dial(make_dialer(trust, names), HOST, server.port) == f"127.0.0.1:{server.port}"
    assert names.asked == [(HOST, server.port)]


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.1"],
        ["93.184.215.14", "127.0.0.1"],
        ["127.0.0.1", "93.184.215.14"],
        ["::ffff:127.0.0.1"],
        ["93.184.215.14", "::1"],
        ["169.254.169.254"],
        ["0.0.0.0"],
        ["not-an-address"],
        ["::1%lo"],
    ],
)
async def test_a_name_with_one_bad_address_is_refused_whole(
    trust: ssl.SSLContext, serve: Serve, answer: list[str]
) -> None:
    """A resolver that mixes private with public is lying about one of them: nothing is dialled (A07, A08)."""
    server = await serve()
    assert (
        await refusal(make_dialer(trust, Names(answer), AddressPolicy()), HOST, server.port) is Reason.ADDRESS_REFUSED
    )
    assert server.connections == 0


async def test_a_thousand_flips_of_a_name_reach_nothing_private(trust: ssl.SSLContext, serve: Serve) -> None:
    """However a resolver alternates, what is dialled is what was vetted (A09, G08): 1,000 answers, 0 connections."""
    server = await serve()
    names = Names(*[[address] for _ in range(500) for address in ("127.0.0.1", "::ffff:7f00:1")], ["127.0.0.1"])
    dialer = make_dialer(trust, names, AddressPolicy())
    reasons = [await refusal(dialer, HOST, server.port) for _ in range(1000)]
    assert set(reasons) == {Reason.ADDRESS_REFUSED}
    assert len(names.asked) == 1000
    assert server.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_an_address_is_never_resolved(trust: ssl.SSLContext, serve: Serve, host: str) -> None:
    """A literal goes straight to the filter; the resolver hears nothing (A10)."""
    server = await serve(host=host)
    names = Names(["127.0.0.9"])
    assert await dial(make_dialer(trust, names), host, server.port) == str(Authority(host, server.port))
    assert await refusal(make_dialer(trust, names, AddressPolicy()), host, server.port) is Reason.ADDRESS_REFUSED
    assert names.asked == []


@pytest.mark.parametrize(
    "answer", [socket.gaierror(-2, "unknown"), OSError(), [], None, UnicodeError()], ids=["no", "os", "[]", "hang", "u"]
)
async def test_a_name_that_does_not_resolve_is_said_so(
    trust: ssl.SSLContext, answer: Sequence[str] | BaseException | None
) -> None:
    """Unknown, empty, broken or hanging: one reason, in time."""
    assert await refusal(make_dialer(trust, Names(answer)), HOST, 443) is Reason.NAME_UNRESOLVED


async def test_the_systems_resolver_is_asked_by_default(trust: ssl.SSLContext, serve: Serve) -> None:
    """Without a resolver of its own the dialer asks the system's, which knows this machine's names."""
    server = await serve()
    assert "127.0.0.1" in await resolve_by_system("localhost", 1)
    assert (await dial(Dialer(LOOPBACK, trust), "localhost", server.port)).endswith(f":{server.port}")


async def test_a_closed_port_is_unreachable(trust: ssl.SSLContext, serve: Serve) -> None:
    """Refused by one address or by all of them, plain or TLS."""
    server = await serve()
    server.stop()
    names = Names(["127.0.0.2", "127.0.0.3"])
    for secure in (False, True):
        found = await refusal(make_dialer(trust, names), HOST, server.port, secure=secure)
        assert found is Reason.UPSTREAM_UNREACHABLE


async def test_the_next_address_is_tried_beside_a_silent_or_closed_one(trust: ssl.SSLContext, serve: Serve) -> None:
    """One address that drops us and one that refuses do not stand in the way of a third (RFC 8305)."""
    server = await serve()
    before = open_sockets()
    with deaf("127.0.0.2", server.port):
        found = await dial(make_dialer(trust, Names(["127.0.0.2", "127.0.0.3", "127.0.0.1"])), HOST, server.port)
    assert found == f"127.0.0.1:{server.port}"
    await until(lambda: open_sockets() <= before)


async def test_only_so_many_addresses_are_tried_but_all_are_vetted(trust: ssl.SSLContext, serve: Serve) -> None:
    """The ninth address is not dialled; a private one hidden there is still a refusal."""
    server = await serve()
    closed = [f"127.0.1.{number}" for number in range(1, 9)]
    unreachable = await refusal(make_dialer(trust, Names([*closed, "127.0.0.1"])), HOST, server.port)
    assert unreachable is Reason.UPSTREAM_UNREACHABLE
    assert server.connections == 0
    hidden = await refusal(make_dialer(trust, Names([*closed, "10.0.0.1"])), HOST, server.port)
    assert hidden is Reason.ADDRESS_REFUSED


async def test_silence_has_an_end(trust: ssl.SSLContext) -> None:
    """An upstream that drops our SYN, and one that accepts and never speaks TLS, are given up in time."""
    with deaf() as port:
        assert await refusal(make_dialer(trust, Names(["127.0.0.1"])), HOST, port) is Reason.UPSTREAM_TIMEOUT
    with mute() as port:
        found = await refusal(make_dialer(trust, Names(["127.0.0.1"])), HOST, port, secure=True)
        assert found is Reason.UPSTREAM_TIMEOUT


async def test_a_verified_upstream_is_connected(trust: ssl.SSLContext, serve: Serve, authority: trustme.CA) -> None:
    """By name and by address, the certificate decides; HTTP/1.1 is what is asked for."""
    tls = server_tls(authority.issue_cert(HOST, "127.0.0.1"))
    tls.set_alpn_protocols(["h2", "http/1.1"])
    server = await serve(tls)
    names = Names(["127.0.0.1"])
    for host in (HOST, "127.0.0.1"):
        assert await dial(make_dialer(trust, names), host, server.port, secure=True) == f"127.0.0.1:{server.port}"
    transport, _, _ = await make_dialer(trust, names).connect(
        Authority(HOST, server.port), secure=True, protocol_factory=Greeting
    )
    assert transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
    transport.abort()


def server_tls(leaf: trustme.LeafCert) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(tls)
    return tls


def old_tls(leaf: trustme.LeafCert) -> ssl.SSLContext:
    tls = server_tls(leaf)
    tls.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tls.minimum_version = ssl.TLSVersion.TLSv1
        tls.maximum_version = ssl.TLSVersion.TLSv1_1
    return tls


NOW = datetime.now(UTC)
BAD_UPSTREAMS: dict[str, Callable[[trustme.CA], ssl.SSLContext]] = {
    "another name": lambda ca: server_tls(ca.issue_cert("other.test")),
    "a wildcard too short": lambda ca: server_tls(ca.issue_cert("*.origin.test")),
    "the address, not the name": lambda ca: server_tls(ca.issue_cert("127.0.0.1")),
    "only a common name": lambda ca: server_tls(ca.issue_cert("other.test", common_name=HOST)),
    "expired": lambda ca: server_tls(ca.issue_cert(HOST, not_after=NOW - timedelta(days=1))),
    "not yet valid": lambda ca: server_tls(
        ca.issue_cert(HOST, not_before=NOW + timedelta(days=1), not_after=NOW + timedelta(days=2))
    ),
    "a stranger's authority": lambda _: server_tls(trustme.CA().issue_cert(HOST)),
    "TLS 1.1": lambda ca: old_tls(ca.issue_cert(HOST)),
}


@pytest.mark.parametrize("fault", BAD_UPSTREAMS)
async def test_an_upstream_that_cannot_be_verified_is_refused(
    trust: ssl.SSLContext, serve: Serve, authority: trustme.CA, fault: str
) -> None:
    """Wrong name, wrong time, wrong authority, old protocol: no byte of a request is sent (C13, G40)."""
    server = await serve(BAD_UPSTREAMS[fault](authority))
    found = await refusal(make_dialer(trust, Names(["127.0.0.1"])), HOST, server.port, secure=True)
    assert found is Reason.UPSTREAM_TLS


async def test_what_is_not_tls_is_refused(trust: ssl.SSLContext, serve: Serve) -> None:
    """A plain greeting where TLS was asked for is a TLS fault."""
    server = await serve()
    found = await refusal(make_dialer(trust, Names(["127.0.0.1"])), HOST, server.port, secure=True)
    assert found is Reason.UPSTREAM_TLS


@pytest.mark.parametrize(
    "rule, host, goes",
    [
        ("origin.test:{port}", "origin.test", True),
        ("*.test:{port}", "origin.test", True),
        ("*.test:{port}", "deep.origin.test", True),
        ("*.origin.test:{port}", "origin.test", False),
        ("*.rigin.test:{port}", "origin.test", False),
        ("origin.test:1", "origin.test", False),
        ("*.0.0.9:{port}", "127.0.0.9", False),
    ],
)
async def test_connect_to_redirects_exactly_what_it_names(
    trust: ssl.SSLContext,
    serve: Serve,
    authority: trustme.CA,
    rule: str,
    host: str,
    goes: bool,  # noqa: FBT001
) -> None:
    """Exact, or a suffix at a label's edge, with the same port; the certificate is still the asked host's."""
    server = await serve(server_tls(authority.issue_cert(host)))
    target = {rule.format(port=server.port): Authority("127.0.0.1", server.port)}
    names = Names(socket.gaierror(-2, "unknown"))
    dialer = make_dialer(trust, names, AddressPolicy(), target)
    if goes:
        assert await dial(dialer, host, server.port, secure=True) == f"127.0.0.1:{server.port}"
        assert names.asked == []
    else:
        assert await refusal(dialer, host, server.port, secure=True) in {Reason.NAME_UNRESOLVED, Reason.ADDRESS_REFUSED}


async def test_a_redirection_does_not_change_who_must_answer(
    trust: ssl.SSLContext, serve: Serve, authority: trustme.CA
) -> None:
    """Where it is dialled is the operator's word; whom it must prove to be is still the job's."""
    server = await serve(server_tls(authority.issue_cert("elsewhere.test", "127.0.0.1")))
    dialer = make_dialer(trust, Names([]), connect_to={f"{HOST}:443": Authority("127.0.0.1", server.port)})
    assert await refusal(dialer, HOST, 443, secure=True) is Reason.UPSTREAM_TLS


@pytest.mark.parametrize(
    "target, own", [("169.254.169.254", None), ("fd00:ec2::254", None), ("127.0.0.1", 0), ("0.0.0.0", 0)]
)
async def test_a_redirection_opens_neither_metadata_nor_ourselves(
    trust: ssl.SSLContext, serve: Serve, target: str, own: int | None
) -> None:
    """What nobody may open, an operator's slip does not open either (A08, A22)."""
    server = await serve()
    port = 80 if own is None else server.port
    policy = AddressPolicy(allowed=LOOPBACK.allowed, own=frozenset({("127.0.0.1", server.port)}))
    dialer = make_dialer(trust, Names([]), policy, {f"{HOST}:443": Authority(target, port)})
    assert await refusal(dialer, HOST, 443) is Reason.ADDRESS_REFUSED
    assert server.connections == 0


async def test_a_proxy_that_listens_everywhere_is_reached_by_no_address(trust: ssl.SSLContext, serve: Serve) -> None:
    """Any address of this machine leads back to us then, opened or not; other ports of it do not (A22)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: asks the kernel which address it would use
        except OSError:
            skip_loudly("this machine has no address but loopback")
        mine = str(probe.getsockname()[0])
    server, other = await serve(host="0.0.0.0"), await serve(host=mine)
    policy = AddressPolicy(allowed=(ip_network("0.0.0.0/0"),), own=frozenset({("0.0.0.0", server.port)}))
    assert await refusal(make_dialer(trust, Names([mine]), policy), HOST, server.port) is Reason.ADDRESS_REFUSED
    assert server.connections == 0
    assert await dial(make_dialer(trust, Names([mine]), policy), HOST, other.port) == f"{mine}:{other.port}"


async def test_a_new_policy_counts_from_the_next_connection(trust: ssl.SSLContext, serve: Serve) -> None:
    """Listeners are known after they are bound: the dialer is told, and keeps to it."""
    server = await serve()
    dialer = make_dialer(trust, Names(["127.0.0.1"]))
    await dial(dialer, HOST, server.port)
    dialer.use(AddressPolicy())
    assert await refusal(dialer, HOST, server.port) is Reason.ADDRESS_REFUSED


@pytest.mark.parametrize("where", ["resolving", "connecting", "shaking hands"])
async def test_a_dial_that_is_cancelled_leaves_nothing_open(trust: ssl.SSLContext, where: str) -> None:
    """Whoever stops waiting, at whatever point, leaves no socket behind."""
    before = open_sockets()
    with deaf() as deaf_port, mute() as mute_port:
        names, port, secure = {
            "resolving": (Names(None), 443, False),
            "connecting": (Names(["127.0.0.1"]), deaf_port, False),
            "shaking hands": (Names(["127.0.0.1"]), mute_port, True),
        }[where]
        within = open_sockets()
        for delay in (0, 0, 0.001, 0.05):
            waiting = asyncio.ensure_future(dial(make_dialer(trust, names), HOST, port, secure=secure))
            await asyncio.sleep(delay)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        await until(lambda: open_sockets() <= within)
    await until(lambda: open_sockets() <= before)
