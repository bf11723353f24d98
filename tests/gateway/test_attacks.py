"""Attack tables over raw sockets: authorities that disagree, smuggled requests, other protocols in a tunnel."""

import itertools
import ssl

import h11
import pytest

from proxy.gateway.limits import Limits
from proxy.model.reason import Reason
from tests.gateway.stage import HOST, Client, MakeStage, Stage, connect, inner, password, plain, until

NAMES = (HOST, "other.test")
HOSTS = (HOST, f"{HOST}:443", f"{HOST}:80", f"{HOST}:8443", "other.test", "other.test:443")
TARGETS = ("/", f"https://{HOST}/", "https://other.test/", f"http://{HOST}/", "other.test:443")


@pytest.mark.parametrize("name", [*NAMES, None])
@pytest.mark.parametrize("target", [f"{HOST}:443", f"{HOST}:8443"])
async def test_authorities_agree_or_nothing_is_dialled(make_stage: MakeStage, name: str | None, target: str) -> None:
    """Over CONNECT x SNI x Host x request target x port only the rows that name one place reach an origin (G03)."""
    stage = await make_stage(Limits(linger=2))
    port = target.rpartition(":")[2]
    for host, form in itertools.product(HOSTS, TARGETS):
        agrees = (
            name == HOST and form == "/" and host in {HOST: {"443": (HOST, f"{HOST}:443")}}[HOST].get(port, (target,))
        )
        before = len(stage.dialer.dialled)
        client = await stage.client()
        client.send(connect(target))
        await client.head()
        try:
            await client.start_tls(name)
        except (ssl.SSLError, OSError):
            assert name != HOST
            continue
        client.send(f"GET {form} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        status, _, _ = await client.reply()
        assert (status == 200) is agrees, (host, form)
        assert (len(stage.dialer.dialled) > before) <= agrees
    await stage.stop()
    assert all(str(place) == target for place in stage.dialer.dialled)


@pytest.mark.parametrize("name", ["other.test", None])
async def test_a_wrong_or_missing_sni_ends_the_handshake(stage: Stage, name: str | None) -> None:
    """The tunnel's certificate is for the CONNECT host alone; any other name sees an alert, and a record (A01, A06)."""
    client = await stage.client()
    client.send(connect())
    await client.head()
    with pytest.raises((ssl.SSLError, OSError)):
        await client.start_tls(name)
    await stage.settled()
    assert stage.engine.ends[0].reason in {Reason.AUTHORITY_MISMATCH, Reason.CLIENT_TLS}
    assert stage.dialer.dialled == []


NOT_TLS = [
    inner(),
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x00\x1c\xab\xcd\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01",
    connect(),
    b"\x16\x03\x01\xff\xff" + b"\x00" * 100,
    b"\x80\x2e\x01\x03\x01" + b"\x00" * 60,
    b"EHLO job\r\n",
    b"\x05\x01\x00",
]


@pytest.mark.parametrize("words", NOT_TLS)
@pytest.mark.parametrize("inspect", [True, False])
async def test_what_is_not_tls_does_not_enter_a_tunnel(make_stage: MakeStage, words: bytes, *, inspect: bool) -> None:
    """Plain HTTP, SSH, DNS over TCP, SMTP, SOCKS or a second CONNECT: the origin sees nothing (A14..A16, A19)."""
    stage = await make_stage(Limits(handshake=0.5, linger=0.1, stalled=0.5, connect=0.1, head=0.5))
    stage.engine.inspect = inspect
    client = await stage.client()
    client.send(connect())
    await client.head()

    client.send(words)
    await client.rest()

    await stage.settled()
    assert stage.engine.ends[0].reason in {Reason.PROTOCOL_REFUSED, Reason.CLIENT_TLS, Reason.CLIENT_GONE}
    assert stage.origin.connections == 0
    await stage.stop()


async def test_bytes_before_our_200_are_refused(stage: Stage) -> None:
    """Nothing that was sent on the guess of a 200 is carried."""
    client = await stage.client()
    client.send(connect() + b"\x16\x03\x01early")
    assert (await client.reply())[0] == 403
    assert stage.engine.refusals[0][0] is Reason.PROTOCOL_REFUSED


@pytest.mark.parametrize("offer", [("h2",), ("h2", "http/1.1"), ("http/1.1",), ("spdy/3",), ()])
async def test_only_http_1_1_is_agreed_on(stage: Stage, offer: tuple[str, ...]) -> None:
    """ALPN offers http/1.1 and nothing else; an h2-only client gets no h2 (A20)."""
    client = await stage.client()
    client.send(connect())
    await client.head()
    await client.start_tls(alpn=offer)
    tls = client.writer.get_extra_info("ssl_object")
    assert tls.selected_alpn_protocol() in {None, "http/1.1"}
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert (await client.reply())[0] == 403
    assert stage.origin.connections == 0


AUTH = password().decode("ascii").rstrip("\r\n")
BASE = f"POST http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n{AUTH}\r\n"
EVIL = f"POST http://{HOST}/evil HTTP/1.1\r\nHost: {HOST}\r\n{AUTH}\r\n\r\n"
NAMES_OF_CODING = ("Transfer-Encoding", "TRANSFER-ENCODING")
CODINGS = (
    ": chunked\r\n",
    ":chunked\r\n",
    ": Chunked\r\n",
    ":  chunked\t\r\n",
    " : chunked\r\n",
    "\t: chunked\r\n",
    ": xchunked\r\n",
    ": chunked, identity\r\n",
    ": identity, chunked\r\n",
    ": chunked\r\nTransfer-Encoding: identity\r\n",
    ": \x0bchunked\r\n",
    ": chunked\x00\r\n",
    ":\r\n chunked\r\n",
    ": chun\r\n ked\r\n",
    "\r\n: chunked\r\n",
    ": chunked\n",
    ": chunked\rX: y\r\n",
    ': "chunked"\r\n',
    ": chunked;a=b\r\n",
    ": ,chunked\r\n",
    ": chunked,\r\n",
    ": \u00a0chunked\r\n",
    "_: chunked\r\n",
)
LENGTHS = (
    "Content-Length: 0\r\n",
    f"Content-Length: {len(EVIL)}\r\n",
    "Content-Length: 5\r\nContent-Length: 0\r\n",
    "Content-Length: 0, 5\r\n",
    "Content-Length: +0\r\n",
    "Content-Length: 0x5\r\n",
    "Content-Length : 0\r\n",
    "Content-Length:\r\n 0\r\n",
    "Content-Length: -1\r\n",
    "Content_Length: 5\r\n",
    "",
)


def smuggled() -> list[bytes]:
    return [
        (BASE + head + "\r\n0\r\n\r\n" + EVIL).encode("latin-1")
        for name, coding, length in itertools.product(NAMES_OF_CODING, CODINGS, LENGTHS)
        for head in (length + name + coding, name + coding + length)
    ]


async def test_the_origin_sees_what_was_decided_and_nothing_else(make_stage: MakeStage) -> None:
    """Over a corpus of smuggling forms the origin's requests are exactly the admitted ones, each head ours (G04)."""
    stage = await make_stage(Limits(linger=0.05, upstream_kept=0))
    rows = smuggled()
    for at in range(0, len(rows), 64):
        clients: list[Client] = []
        for row in rows[at : at + 64]:
            client = await stage.client()
            client.send(row)
            client.writer.write_eof()
            clients.append(client)
        for client in clients:
            await client.rest()
            client.abort()
    await stage.settled()
    seen = [request for part in stage.origin.received for request in read_requests(bytes(part))]
    assert len(rows) > 1000
    assert len(seen) == len(stage.engine.opened) == len(stage.engine.outcomes)
    assert [request.target for request in seen].count(b"/evil") == sum(v.path == "/evil" for v in stage.engine.views)
    assert {name for request in seen for name, _ in request.headers} <= {
        b"host", b"content-length", b"transfer-encoding", b"content_length", b"transfer-encoding_",
    }  # fmt: skip
    await stage.stop()


def read_requests(received: bytes) -> list[h11.Request]:
    """What an independent parser makes of one connection's bytes."""
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(received)
    requests: list[h11.Request] = []
    while (event := parser.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
        if isinstance(event, h11.Request):
            requests.append(event)
        if isinstance(event, h11.EndOfMessage):
            parser.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            parser.send(h11.EndOfMessage())
            parser.start_next_cycle()
    return requests


REFUSED: list[tuple[bytes, int, Reason]] = [
    (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 403, Reason.PROTOCOL_REFUSED),
    (b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n", 400, Reason.AUTHORITY_INVALID),
    (b"GET http://origin.test/ HTTP/1.1\nHost: origin.test\n\n", 400, Reason.REQUEST_MALFORMED),
    (b"TRACE http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n", 405, Reason.METHOD_UNKNOWN),
    (b"GET http://origin.test/ HTTP/1.1\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431, Reason.HEAD_TOO_LARGE),
    (b"GET http://origin.test/ HTTP/1.1\r\nX: " + b"y" * 70_000, 431, Reason.HEAD_TOO_LARGE),
    (plain("GET", "/", "Upgrade: websocket", "Connection: Upgrade"), 403, Reason.UPGRADE_REFUSED),
    (plain("GET", "/", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings"), 403, Reason.UPGRADE_REFUSED),
    (plain("GET", "/a/%2e%2e/b"), 400, Reason.PATH_NOT_NORMAL),
    (plain("GET", "/mitmproxy-0.crl;"), 400, Reason.PATH_NOT_NORMAL),
    (plain("GET", "/", "Content-Length: 1", "Transfer-Encoding: chunked"), 400, Reason.FRAMING_AMBIGUOUS),
]


@pytest.mark.parametrize("words, status, reason", REFUSED)
async def test_a_refused_request_is_answered_recorded_and_closed(
    stage: Stage, words: bytes, status: int, reason: Reason
) -> None:
    """The job reads why, the trail holds it, the connection ends, and the engine decided nothing (E01, T16, T17)."""
    client = await stage.client()
    client.send(words)
    client.writer.write_eof()
    got = await client.rest()
    assert got.startswith(f"HTTP/1.1 {status} ".encode())
    await stage.settled()
    assert [found for found, _ in stage.engine.refusals] == [reason]
    assert [end.reason for end in stage.engine.ends] == [reason]
    assert (stage.engine.views, stage.origin.connections) == ([], 0)


async def test_magic_hosts_are_hosts_like_any_other(stage: Stage) -> None:
    """Nothing is answered locally: mitm.it gets a decision, and here a denial (A23)."""
    stage.engine.denied_hosts = {"mitm.it"}
    client = await stage.client()
    client.send(b"GET http://mitm.it/ HTTP/1.1\r\nHost: mitm.it\r\n" + password() + b"\r\n")
    assert (await client.reply())[0] == 403
    assert stage.dialer.dialled == []


async def test_a_broken_chunk_inside_an_upload_is_cut(stage: Stage) -> None:
    """A body that turns malformed on its way ends the exchange on both sides, with the reason on record."""
    stage.origin.answer = lambda got, writer: None
    client = await stage.client()
    client.send(plain("POST", "/", "Transfer-Encoding: chunked", body=b"3\r\nabc\r\n"))
    await until(lambda: stage.origin.seen.endswith(b"abc\r\n"))
    client.send(b"3;x=y\r\n")
    await client.rest()
    await stage.settled()
    assert stage.engine.last_outcome.reason is Reason.BODY_MALFORMED
    assert b"0\r\n\r\n" not in stage.origin.seen
