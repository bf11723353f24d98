"""The strict gate: what is refused, what is stripped, and what the rest becomes."""

import pytest

from proxy.gateway.heads import (
    HeadReader,
    Request,
    connect_authority,
    find_head_end,
    forwardable_trailers,
    parse_request_head,
    parse_response_head,
    read_plain_request,
    read_tunnelled_request,
)
from proxy.model.authority import Authority
from proxy.model.errors import ProtocolError
from proxy.model.reason import Reason

HERE = Authority("origin.test", 443)


def head(*lines: str, target: str = "/", method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/{version}", *lines, "", ""]).encode("latin-1")


def tunnelled(*lines: str, target: str = "/", method: str = "GET", version: str = "1.1") -> Request:
    raw = head("Host: origin.test", *lines, target=target, method=method, version=version)
    return read_tunnelled_request(parse_request_head(raw), HERE)


MALFORMED: list[tuple[bytes, Reason]] = [
    (b"GET / HTTP/1.1\nHost: origin.test\n\n", Reason.REQUEST_MALFORMED),
    (b"GET / HTTP/1.1\r\nHost: origin.test\nX: y\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET / HTTP/1.1\r\nHost: origin.test\rX: y\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET / HTTP/1.1\r\nHost: origin.test\r\n X: folded\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET / HTTP/1.1\r\nHost: origin.test\r\n\tX: folded\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET / HTTP/1.1\r\n Host: origin.test\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET / HTTP/1.1\r\nHost: origin.test\r\nX: a\x00b\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET / HTTP/1.1\r\nHost: origin.test\r\nX: a\x7fb\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET / HTTP/1.1\r\nHost: origin.test\r\nX: a\x1bb\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET / HTTP/1.1\r\nHost : origin.test\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET / HTTP/1.1\r\n: origin.test\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET / HTTP/1.1\r\nHost origin.test\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET / HTTP/1.1\r\nH\xc3\xb6st: x\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET / HTTP/1.1\r\nX(y): x\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET  / HTTP/1.1\r\nHost: origin.test\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET /  HTTP/1.1\r\nHost: origin.test\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET\t/ HTTP/1.1\r\nHost: origin.test\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b" GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"\r\nGET / HTTP/1.1\r\nHost: origin.test\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET / HTTP/1.1 \r\nHost: origin.test\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET / HTTP/1.2\r\nHost: origin.test\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET / HTTP/0.9\r\nHost: origin.test\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET / HTTP/2.0\r\nHost: origin.test\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET / HTTP/9.9\r\nHost: origin.test\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET / http/1.1\r\nHost: origin.test\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET / HTTP/1.1x\r\nHost: origin.test\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET /\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: origin.test\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"GET /a\x00 HTTP/1.1\r\nHost: origin.test\r\n\r\n", Reason.REQUEST_MALFORMED),
    (b"PRI * HTTP/2.0\r\n\r\n", Reason.PROTOCOL_REFUSED),
    (b"SSH-2.0-OpenSSH_9\r\n\r\n", Reason.PROTOCOL_REFUSED),
    (b"\x16\x03\x01\r\n\r\n", Reason.PROTOCOL_REFUSED),
    (b"get / HTTP/1.1\r\nHost: origin.test\r\n\r\n", Reason.METHOD_UNKNOWN),
    (b"Get / HTTP/1.1\r\nHost: origin.test\r\n\r\n", Reason.METHOD_UNKNOWN),
    (b"G-E-T / HTTP/1.1\r\nHost: origin.test\r\n\r\n", Reason.METHOD_UNKNOWN),
    (b"TRACE / HTTP/1.1\r\nHost: origin.test\r\n\r\n", Reason.METHOD_UNKNOWN),
    (b"PROPFIND / HTTP/1.1\r\nHost: origin.test\r\n\r\n", Reason.METHOD_UNKNOWN),
    (b"BREW / HTTP/1.1\r\nHost: origin.test\r\n\r\n", Reason.METHOD_UNKNOWN),
    (head(*[f"X-{n}: y" for n in range(101)]), Reason.HEAD_TOO_LARGE),
]


@pytest.mark.parametrize("raw, reason", MALFORMED)
def test_a_head_that_is_not_strict_is_refused(raw: bytes, reason: Reason) -> None:
    """Bare line ends, folds, controls, odd spaces, versions and methods never get past the gate (T17, T21, B02)."""
    with pytest.raises(ProtocolError) as caught:
        parse_request_head(raw)
    assert caught.value.reason is reason


@pytest.mark.parametrize("octet", [n for n in range(256) if n not in {0x09, *range(0x20, 0x7F), *range(0x80, 0x100)}])
def test_no_control_passes_in_a_value(octet: int) -> None:
    """Of all octets only field-vchar, space and tab may stand in a value (RFC 9110 5.5)."""
    raw = b"GET / HTTP/1.1\r\nHost: origin.test\r\nX: a" + bytes([octet]) + b"b\r\n\r\n"
    with pytest.raises(ProtocolError):
        parse_request_head(raw)


def test_a_good_head_is_read() -> None:
    """Names are lowered, values stripped, order and target kept."""
    raw = head("Host: Origin.Test", "X-A:  b\t", "x-a:c", "Empty:", target="/p?q=1")
    read = parse_request_head(raw)
    assert (read.method, read.target, read.version) == ("GET", "/p?q=1", "1.1")
    assert read.fields.pairs == (("host", "Origin.Test"), ("x-a", "b"), ("x-a", "c"), ("empty", ""))


REPEATED = [
    head("Host: origin.test", "X-A: b"),
    head("Host: origin.test", "X-A: b", target="/other?q"),
    head("Host: origin.test", "X-A: b", method="POST"),
    head("Host: origin.test", "X-A: b").replace(b"HTTP/1.1", b"HTTP/1.0"),
    head("Host: origin.test", "X-A: c"),
    head("Host: origin.test", "Content-Length: 3", method="PUT"),
    head("Host: origin.test", "Content-Length: 3", method="PUT", target="/again"),
    head("Host: origin.test", "Transfer-Encoding: chunked", method="PUT"),
    head("Host: origin.test", "Transfer-Encoding: chunked", method="PUT", target="/again"),
    head("Host: origin.test", "X: " + "y" * 5000),
    head("Host: origin.test:443", method="CONNECT", target="origin.test:443"),
    head("Host: origin.test", "X-A: c"),
    head("Host: origin.test", "X-A: c"),
    head("Host: origin.test:443", method="CONNECT", target="origin.test:443"),
]


def test_a_connection_reads_each_head_as_if_it_were_the_first() -> None:
    """Fields that are repeated are read once, and mean the same under every request line."""
    reader = HeadReader()
    for _ in range(2):
        for raw in REPEATED:
            assert reader.read(raw) == parse_request_head(raw)


@pytest.mark.parametrize(
    "line",
    [
        b"GET /\x01 HTTP/1.1",
        b"GET  / HTTP/1.1",
        b"TRACE / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"get / HTTP/1.1",
        b"GET / HTTP/2.0",
    ],
)
def test_a_bad_line_before_known_fields_is_refused(line: bytes) -> None:
    """Knowing the fields excuses nothing of the line."""
    reader = HeadReader()
    good = head("Host: origin.test", "X-A: b")
    reader.read(good)
    with pytest.raises(ProtocolError):
        reader.read(good.replace(b"GET / HTTP/1.1", line))


@pytest.mark.parametrize(
    "buffer, end",
    [(b"", 0), (b"GET / HT", 0), (b"GET / HTTP/1.1\r", 0), (b"A\r\n\r\n", 5), (b"A\r\n\r\nrest", 5)],
)
def test_a_head_ends_at_its_empty_line(buffer: bytes, end: int) -> None:
    """An incomplete head is waited for, a complete one is cut exactly."""
    assert find_head_end(buffer) == end


@pytest.mark.parametrize(
    "buffer, reason",
    [
        (b"GET / HTTP/1.1\nHost: a\n\n", Reason.REQUEST_MALFORMED),
        (b"GET / HTTP/1.1\rHost: a", Reason.REQUEST_MALFORMED),
        (b"A" * 65_537, Reason.HEAD_TOO_LARGE),
        (b"A" * 65_533 + b"\r\n\r\n", Reason.HEAD_TOO_LARGE),
    ],
)
def test_a_head_that_can_only_be_refused_is_not_waited_for(buffer: bytes, reason: Reason) -> None:
    """A bare line end or 64 KiB without an end is refused at once (T16)."""
    with pytest.raises(ProtocolError) as caught:
        find_head_end(buffer)
    assert caught.value.reason is reason


INSIDE: list[tuple[list[str], str, Reason]] = [
    (["Host: other.test"], "/", Reason.AUTHORITY_MISMATCH),
    (["Host: origin.test:80"], "/", Reason.AUTHORITY_MISMATCH),
    (["Host: origin.test:8443"], "/", Reason.AUTHORITY_MISMATCH),
    (["Host: origin.test", "Host: origin.test"], "/", Reason.AUTHORITY_MISMATCH),
    (["Host: origin.test", "host: other.test"], "/", Reason.AUTHORITY_MISMATCH),
    (["Host: origin.test, other.test"], "/", Reason.AUTHORITY_INVALID),
    (["Host: user@origin.test"], "/", Reason.AUTHORITY_INVALID),
    (["Host: origin.test:"], "/", Reason.AUTHORITY_INVALID),
    (["Host:"], "/", Reason.AUTHORITY_INVALID),
    ([], "/", Reason.REQUEST_MALFORMED),
    (["Host: origin.test"], "https://origin.test/", Reason.AUTHORITY_MISMATCH),
    (["Host: origin.test"], "http://other.test/", Reason.AUTHORITY_MISMATCH),
    (["Host: origin.test"], "other.test:443", Reason.REQUEST_MALFORMED),
    (["Host: origin.test"], "*", Reason.AUTHORITY_MISMATCH),
    (["Host: origin.test"], "//other.test/", Reason.PATH_NOT_NORMAL),
    (["Host: origin.test"], "/a/../b", Reason.PATH_NOT_NORMAL),
    (["Host: origin.test"], "/a#b", Reason.PATH_NOT_NORMAL),
    (["Host: origin.test"], "/a?b#c", Reason.PATH_NOT_NORMAL),
    (["Host: origin.test", "Upgrade: websocket", "Connection: Upgrade"], "/", Reason.UPGRADE_REFUSED),
    (["Host: origin.test", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings"], "/", Reason.UPGRADE_REFUSED),
    (["Host: origin.test", "upgrade: H2C"], "/", Reason.UPGRADE_REFUSED),
    (["Host: origin.test", "Connection: upgrade"], "/", Reason.UPGRADE_REFUSED),
    (["Host: origin.test", "Expect: 200-ok"], "/", Reason.REQUEST_MALFORMED),
    (["Host: origin.test", "Expect: 100-continue", "Expect: 100-continue"], "/", Reason.REQUEST_MALFORMED),
    (["Host: origin.test", "Transfer-Encoding: gzip"], "/", Reason.FRAMING_AMBIGUOUS),
]


@pytest.mark.parametrize("lines, target, reason", INSIDE)
def test_a_request_inside_a_tunnel_stays_inside(lines: list[str], target: str, reason: Reason) -> None:
    """One Host equal to the CONNECT target, origin-form, a normal path, no upgrade (A02, A03, A05, A17, A18)."""
    with pytest.raises(ProtocolError) as caught:
        read_tunnelled_request(parse_request_head(head(*lines, target=target)), HERE)
    assert caught.value.reason is reason


def test_connect_inside_a_tunnel_is_refused() -> None:
    """There is no tunnel in a tunnel (A19)."""
    raw = head("Host: origin.test", method="CONNECT", target="origin.test:443")
    with pytest.raises(ProtocolError):
        read_tunnelled_request(parse_request_head(raw), HERE)


PLAIN: list[tuple[str, list[str], Reason]] = [
    ("/", ["Host: origin.test"], Reason.AUTHORITY_INVALID),
    ("*", ["Host: origin.test"], Reason.AUTHORITY_INVALID),
    ("http://origin.test/", ["Host: other.test"], Reason.AUTHORITY_MISMATCH),
    ("http://origin.test/", ["Host: origin.test:8080"], Reason.AUTHORITY_MISMATCH),
    ("http://origin.test/", [], Reason.REQUEST_MALFORMED),
    ("http://origin.test:0080/", ["Host: origin.test"], Reason.AUTHORITY_INVALID),
    ("http://user:pw@origin.test/", ["Host: origin.test"], Reason.AUTHORITY_INVALID),
    ("http://origin.test\\@other.test/", ["Host: origin.test"], Reason.REQUEST_MALFORMED),
    ("http:///", ["Host: origin.test"], Reason.AUTHORITY_INVALID),
    ("http://2130706433/", ["Host: 2130706433"], Reason.AUTHORITY_INVALID),
    ("http://0x7f.1/", ["Host: 0x7f.1"], Reason.AUTHORITY_INVALID),
    ("https://origin.test/", ["Host: origin.test"], Reason.PROTOCOL_REFUSED),
    ("ftp://origin.test/", ["Host: origin.test"], Reason.PROTOCOL_REFUSED),
    ("http://origin.test/a#b", ["Host: origin.test"], Reason.AUTHORITY_INVALID),
    ("http://origin.test/../a", ["Host: origin.test"], Reason.PATH_NOT_NORMAL),
]


@pytest.mark.parametrize("target, lines, reason", PLAIN)
def test_a_plain_request_names_one_place(target: str, lines: list[str], reason: Reason) -> None:
    """Absolute-form http with a canonical authority equal to Host, or nothing (A04, A07, A11)."""
    with pytest.raises(ProtocolError) as caught:
        read_plain_request(parse_request_head(head(*lines, target=target)))
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    "target, path, query",
    [
        ("http://Origin.Test./a?b", "/a", "b"),
        ("HTTP://origin.test:80/a?", "/a", ""),
        ("http://origin.test", "/", None),
        ("http://origin.test?x", "/", "x"),
    ],
)
def test_a_plain_request_becomes_a_view(target: str, path: str, query: str | None) -> None:
    """Every spelling of one authority is one authority; path and query are cut apart and kept."""
    view = read_plain_request(parse_request_head(head("Host: origin.test", target=target))).view
    assert (view.authority, view.path, view.query) == (Authority("origin.test", 80), path, query)


STRIPPED = [
    "Connection: close, X-Secret-Hop",
    "X-Secret-Hop: 1",
    "Keep-Alive: timeout=5",
    "Proxy-Authorization: Basic eDp5",
    "Proxy-Connection: keep-alive",
    "Proxy-Foo: x",
    "TE: trailers",
    "Trailer: X",
    "Forwarded: for=1.2.3.4",
    "X-Forwarded-For: 1.2.3.4",
    "X-Forwarded-Host: other.test",
    "X-Real-IP: 1.2.3.4",
    "X-HTTP-Method-Override: DELETE",
    "X-HTTP-Method: DELETE",
    "X-Method-Override: DELETE",
    "X-Original-URL: /admin",
    "X-Rewrite-URL: /admin",
    "HTTP2-Settings: AAMAAABkAAQAAP__",
    "Content-Length: 0",
    "Expect: 100-continue",
]


def test_hop_by_hop_and_overriding_fields_are_stripped() -> None:
    """No connection, proxy, forwarding or overriding field reaches the view (B02, C03, C06, T22)."""
    assert tunnelled(*STRIPPED, "Accept: */*").view.headers == (("accept", "*/*"),)


def test_naming_a_field_in_connection_cannot_hide_another() -> None:
    """`Connection: authorization` removes the job's field before the engine looks, never one we add later (C03)."""
    request = tunnelled("Connection: authorization, host, content-length", "Authorization: x", "Content-Length: 3")
    assert request.view.headers == ()
    assert request.view.body_length == 3


@pytest.mark.parametrize(
    "lines, version, keep, expects",
    [
        ([], "1.1", True, False),
        (["Connection: close"], "1.1", False, False),
        (["Connection: Keep-Alive"], "1.0", False, False),
        (["Expect: 100-Continue", "Content-Length: 3"], "1.1", True, True),
        (["Expect: 100-continue", "Content-Length: 3"], "1.0", False, False),
        (["Expect: 100-continue"], "1.1", True, False),
    ],
)
def test_connection_facts_are_read(lines: list[str], version: str, *, keep: bool, expects: bool) -> None:
    """HTTP/1.0 is not kept and knows no 100; an expectation without a body is none."""
    request = tunnelled(*lines, version=version, method="POST")
    assert (request.keep_alive, request.expects_continue) == (keep, expects)


@pytest.mark.parametrize(
    "raw, reason",
    [
        (head("Host: a.test:443", method="CONNECT", target="b.test:443"), Reason.AUTHORITY_MISMATCH),
        (head("Host: a.test:444", method="CONNECT", target="a.test:443"), Reason.AUTHORITY_MISMATCH),
        (head("Host: a.test", "Host: a.test", method="CONNECT", target="a.test:443"), Reason.AUTHORITY_MISMATCH),
        (head("Host: a.test", method="CONNECT", target="a.test"), Reason.AUTHORITY_INVALID),
        (head("Host: a.test", method="CONNECT", target="http://a.test:443"), Reason.AUTHORITY_INVALID),
        (head("Host: a.test", method="CONNECT", target="/"), Reason.AUTHORITY_INVALID),
        (head(method="CONNECT", target="a.test:443"), Reason.REQUEST_MALFORMED),
        (
            head("Host: a.test", "Content-Length: 5", method="CONNECT", target="a.test:443"),
            Reason.FRAMING_AMBIGUOUS,
        ),
    ],
)
def test_a_doubtful_connect_is_refused(raw: bytes, reason: Reason) -> None:
    """CONNECT names one host and port, agrees with Host, and has no body."""
    with pytest.raises(ProtocolError) as caught:
        connect_authority(parse_request_head(raw))
    assert caught.value.reason is reason


@pytest.mark.parametrize("host", ["a.test", "A.test:443", "a.test.:443"])
def test_a_connect_names_its_authority(host: str) -> None:
    """Host with or without the port is the same place."""
    raw = head(f"Host: {host}", method="CONNECT", target="A.TEST:443")
    assert connect_authority(parse_request_head(raw)) == Authority("a.test", 443)


RESPONSES = [
    b"HTTP/1.1 200 OK\nA: b\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/2 200\r\n\r\n",
    b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/1.1 2000 OK\r\n\r\n",
    b"HTTP/1.1 600 OK\r\n\r\n",
    b"HTTP/1.1 099 OK\r\n\r\n",
    b"HTTP/1.1  200 OK\r\n\r\n",
    b"ICY 200 OK\r\n\r\n",
    b"HTTP/1.1 200 O\x00K\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 101 + b"\r\n",
]


@pytest.mark.parametrize("raw", RESPONSES)
def test_a_malformed_answer_is_the_upstreams_fault(raw: bytes) -> None:
    """A response that could be framed twice, or is not HTTP/1.x, is refused as `upstream-malformed`."""
    with pytest.raises(ProtocolError) as caught:
        parse_response_head(raw, "GET")
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


def test_a_response_loses_what_is_not_for_the_job() -> None:
    """Hop-by-hop fields, Alt-Svc, Proxy-* and whatever Connection names stay behind (A21, T22)."""
    raw = (
        b'HTTP/1.1 200 OK\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nAlt-Svc: h3=":443"\r\nUpgrade: h2c\r\n'
        b"Proxy-Authenticate: Basic\r\nKeep-Alive: timeout=1\r\nTrailer: x\r\nContent-Length: 5\r\nETag: a\r\n\r\n"
    )
    response = parse_response_head(raw, "GET")
    assert response.fields == (("etag", "a"),)
    assert (response.framing.length, response.keep_alive) == (5, False)


def test_a_head_response_keeps_its_length() -> None:
    """HEAD and 304 say how long the body would have been, and have none."""
    response = parse_response_head(b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", "HEAD")
    assert response.fields == (("content-length", "5"),)
    assert response.framing.is_empty


def test_trailers_are_filtered_like_fields() -> None:
    """A trailer never frames, routes, sets a cookie or advertises another way."""
    raw = b"X-Sum: 1\r\nContent-Length: 5\r\nAlt-Svc: x\r\nSet-Cookie: a=b\r\nHost: b\r\nProxy-X: y\r\n"
    assert forwardable_trailers(raw) == (("x-sum", "1"),)
