"""Attacks on a credential through a real sidecar, byte by byte: use it for something else, or read it (B, C rows).

After every attack: nothing reached an upstream that should not, the reason is the right one and on record, the sidecar
still serves, its trail is whole, and the planted secret is nowhere.
"""

import json
import stat
from collections.abc import Iterator

import pytest
from cryptography import x509

from proxy.demo.aws import DemoPartError
from proxy.demo.sidecar import Sidecar
from tests.fakes.attacks import OPEN, PLAIN, READ, SECRET, AttackStage

BOTH = pytest.mark.parametrize("host", [SECRET, PLAIN], ids=["tunnel", "plain"])


@pytest.fixture(scope="module")
def attacked() -> Iterator[AttackStage]:
    made = AttackStage()
    made.start()
    yield made
    made.world.stop()


@pytest.fixture
def stage(attacked: AttackStage) -> Iterator[AttackStage]:
    """The stage of this file, seen to be unharmed after each attack."""
    yield attacked
    attacked.check_serving()
    assert attacked.leaks(attacked.session.secret) == []


NOT_NORMAL = {
    "dot-segments": "/api/../admin",
    "dot-segment-at-end": "/api/..",
    "single-dot": "/api/./hello",
    "empty-segment": "/api//hello",
    "empty-first-segment": "//api/hello",
    "dots-encoded": "/api/%2e%2e/admin",
    "dots-encoded-upper": "/api/%2E%2E/admin",
    "one-dot-encoded": "/api/.%2E/admin",
    "slash-encoded": "/api/..%2Fadmin",
    "backslash": "/api\\..\\admin",
    "backslash-encoded": "/api/..%5Cadmin",
    "encoded-twice": "/api/%252E%252E/admin",
    "encoded-thrice": "/api/%25252E%25252E/admin",
    "dots-with-parameter": "/api/..;x/admin",
    "parameter": "/api;x=1/hello",
    "parameter-at-end": "/api/hello;jsessionid=1",
    "parameter-encoded": "/api/hello%3Bx",
    "nul-encoded": "/api/hello%00.txt",
    "line-end-encoded": "/api/x%0D%0AX-Admin:%201",
    "not-utf-8": "/api/%FF",
    "overlong-dot": "/api/%C0%AE%C0%AE/admin",
    "surrogate": "/api/%ED%A0%80",
    "lower-case-hex": "/api/%c3%a9",
    "letter-encoded": "/ap%69/hello",
    "escape-cut-off": "/api/%2",
    "escape-not-hex": "/api/%zz",
    "percent-u": "/api/%u002e%u002e/admin",
}


@BOTH
@pytest.mark.parametrize("target", NOT_NORMAL.values(), ids=NOT_NORMAL.keys())
def test_a_path_that_can_be_read_in_two_ways(stage: AttackStage, host: str, target: str) -> None:
    """What a server could take for another path than the one the rule allows is refused, not repaired (B01)."""
    with stage.untouched():
        answer, address = stage.ask(host, stage.request(host, "GET", target))
    assert answer.status == 400
    stage.check_refused(answer, "path-not-normal", identified=host == SECRET)
    assert stage.end_of(address)["reason"] == "path-not-normal"


BROKEN_TARGETS = [
    pytest.param(SECRET, "/api/\x00", "request-malformed", id="nul"),
    pytest.param(SECRET, "/api/\xc3\xa9", "request-malformed", id="bytes-not-encoded"),
    pytest.param(SECRET, "/api/a b", "request-malformed", id="space"),
    pytest.param(SECRET, "/api/a\tb", "request-malformed", id="tab"),
    pytest.param(SECRET, "/api/hello#x", "path-not-normal", id="fragment"),
    pytest.param(SECRET, "/api/hello?a#x", "path-not-normal", id="fragment-in-query"),
    pytest.param(SECRET, "*", "authority-mismatch", id="asterisk"),
    pytest.param(SECRET, f"https://{SECRET}/api/hello", "authority-mismatch", id="absolute-in-a-tunnel"),
    pytest.param(SECRET, f"http://{PLAIN}/api/hello", "authority-mismatch", id="elsewhere-in-a-tunnel"),
    pytest.param(SECRET, "api/hello", "request-malformed", id="no-slash"),
    pytest.param(PLAIN, "/api/hello#x", "authority-invalid", id="fragment-plain"),
    pytest.param(PLAIN, "@other.test/api/hello", "authority-invalid", id="user-in-authority"),
    pytest.param(PLAIN, ":080/api/hello", "authority-invalid", id="port-padded"),
]


@pytest.mark.parametrize("host, target, reason", BROKEN_TARGETS)
def test_a_target_that_is_none(stage: AttackStage, host: str, target: str, reason: str) -> None:
    """Raw bytes, fragments and targets in another form than the place allows are refused (B01)."""
    with stage.untouched():
        answer, _ = stage.ask(host, stage.request(host, "GET", target))
    stage.check_refused(answer, reason, identified=host == SECRET)


@BOTH
@pytest.mark.parametrize(
    "target", ["/api/@scope%2fname", "/api/%C3%A9", "/api/a%20b/", "/api/...", "/api/~a!$&'()*+,=:@"]
)
def test_what_has_one_reading_arrives_as_it_was(stage: AttackStage, host: str, target: str) -> None:
    """The refusals above are not for want of accepting odd paths: each of these reaches the origin byte by byte."""
    site = (stage.world.plain if host == PLAIN else stage.world.origin).site
    answer, _ = stage.ask(host, stage.request(host, "GET", target))
    assert (answer.status, answer.denial, site.seen[-1].target) == (404, {}, target)


METHODS = [
    pytest.param("get", "method-unknown", id="lower-case"),
    pytest.param("Get", "method-unknown", id="mixed-case"),
    pytest.param("G-E-T", "method-unknown", id="dashes"),
    pytest.param("TRACE", "method-unknown", id="trace"),
    pytest.param("TRACK", "method-unknown", id="track"),
    pytest.param("PROPFIND", "method-unknown", id="webdav"),
    pytest.param("PRI", "method-unknown", id="http2-preface"),
    pytest.param("A" * 5000, "method-unknown", id="very-long"),
    pytest.param("GET ", "request-malformed", id="space-behind"),
    pytest.param(" GET", "request-malformed", id="space-before"),
    pytest.param("GET\t", "request-malformed", id="tab-behind"),
    pytest.param("\x00GET", "request-malformed", id="nul-before"),
    pytest.param("\xef\xbb\xbfGET", "request-malformed", id="byte-order-mark"),
    pytest.param("", "request-malformed", id="empty"),
]


@BOTH
@pytest.mark.parametrize("method, reason", METHODS)
def test_a_method_spelt_otherwise(stage: AttackStage, host: str, method: str, reason: str) -> None:
    """Methods are read as they stand on the wire; TRACE, which would repeat the credential, is not one (B02, B03)."""
    with stage.untouched():
        answer, _ = stage.ask(host, stage.request(host, method, "/api/hello"))
    assert answer.status == (405 if reason == "method-unknown" else 400)
    stage.check_refused(answer, reason, identified=host == SECRET)


def test_a_tunnel_in_a_tunnel(stage: AttackStage) -> None:
    """CONNECT inside a tunnel opens nothing (B02)."""
    with stage.untouched():
        answer, _ = stage.ask(SECRET, stage.request(SECRET, "CONNECT", "denied.test:443"))
    stage.check_refused(answer, "protocol-refused")


OVERRIDES = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x-original-method", "X-Original-URL")


@pytest.mark.parametrize("name", [*OVERRIDES, "X-Rewrite-URL", "X-Original-Host", "X-Host"])
def test_a_field_that_says_otherwise_than_the_line(stage: AttackStage, name: str) -> None:
    """What the line says is decided and sent; fields that would overrule it at the server do not arrive (B02)."""
    lines = (f"{name}: DELETE", f"{name.upper()}: /admin")
    answer, _ = stage.ask(READ, stage.request(READ, "GET", "/echo", *lines))
    said = json.loads(answer.body)
    assert (said["method"], said["target"]) == ("GET", "/echo")
    assert [each for each, _ in said["headers"]] == ["host", "accept-encoding", "authorization"]
    with stage.untouched():
        answer, _ = stage.ask(READ, stage.request(READ, "POST", "/echo", f"{name}: GET", "Content-Length: 0"))
    stage.check_refused(answer, "no-rule")


def test_options_carries_no_credential(stage: AttackStage) -> None:
    """OPTIONS may be answered by anybody before the service and repeats what it gets: it goes without (B03)."""
    line = "Authorization: Bearer jobs-own"
    answer, _ = stage.ask(SECRET, stage.request(SECRET, "OPTIONS", "/echo", line))
    assert json.loads(answer.body)["headers"] == [["host", SECRET]]


PASSING_QUERIES = {
    "keys-twice": "a=1&a=2&A=3",
    "semicolons": "a=1;b=2",
    "ampersand-encoded": "a=1%26admin=1",
    "encoding-of-their-own": "%41=%6a&b=+&c=%2B&=&&d",
    "very-long": "q=" + "x" * 40_000,
    "half-an-escape": "a=%&b=%z",
}


@BOTH
@pytest.mark.parametrize("query", PASSING_QUERIES.values(), ids=PASSING_QUERIES.keys())
def test_a_query_is_never_rewritten(stage: AttackStage, host: str, query: str) -> None:
    """No rule reads a query, so none can be misled by one: it arrives byte by byte; on record is its digest (B04)."""
    site = (stage.world.plain if host == PLAIN else stage.world.origin).site
    answer, _ = stage.ask(host, stage.request(host, "GET", f"/api/hello?{query}"))
    assert (answer.status, site.seen[-1].target) == (200, f"/api/hello?{query}")
    record = stage.world.records("flow.decision")[-1]
    assert record["path"] == "/api/hello"
    assert query not in json.dumps(record)


QUERY_CREDENTIALS = {
    "plain": "access_token=jobs-own",
    "upper-case": "a=1&API_KEY=jobs-own",
    "letter-encoded": "%61pi_key=jobs-own",
    "second-of-two": "a=1;private_token=jobs-own",
    "dash-for-underscore": "api-key=jobs-own",
    "behind-much": "q=" + "x" * 30_000 + "&password=jobs-own",
    "without-value": "client_secret",
}


@BOTH
@pytest.mark.parametrize("query", QUERY_CREDENTIALS.values(), ids=QUERY_CREDENTIALS.keys())
def test_a_credential_in_a_query(stage: AttackStage, host: str, query: str) -> None:
    """A credential of the job's own in a query is refused, whatever its spelling, and repeated nowhere (B04, C05)."""
    with stage.untouched():
        answer, _ = stage.ask(host, stage.request(host, "GET", f"/api/hello?{query}"))
    record = stage.check_refused(answer, "credential-present")
    assert stage.leaks("jobs-own") == []
    assert "jobs-own" not in json.dumps(record)


PAIRS = [
    pytest.param(("GET", "/api/hello"), ("GET", "/admin"), [None, "no-rule"], id="another-path"),
    pytest.param(("GET", "/api/hello"), ("POST", "/api/hello"), [None, "no-rule"], id="another-method"),
    pytest.param(("GET", "/api/hello"), ("GET", "/api/hello?api_key=1"), [None, "credential-present"], id="a-key"),
    pytest.param(("GET", "/api/hello"), ("GET", "/api/../x"), [None, "path-not-normal"], id="a-broken-path"),
    pytest.param(("GET", "/admin"), ("GET", "/api/hello"), ["no-rule", None], id="denied-first"),
    pytest.param(("HEAD", "/api/hello"), ("GET", "/admin"), [None, "no-rule"], id="after-a-head"),
]


@pytest.mark.parametrize("pipelined", [False, True], ids=["in-turn", "pipelined"])
@pytest.mark.parametrize("first, second, reasons", PAIRS)
def test_each_request_of_a_connection_is_decided(
    stage: AttackStage, first: tuple[str, str], second: tuple[str, str], reasons: list[str | None], *, pipelined: bool
) -> None:
    """An allowed request opens nothing for the next on the same connection, nor does a denied one close it (B12)."""
    asked = len(stage.world.origin.seen)
    words = [stage.request(READ, method, target, "Content-Length: 0") for method, target in (first, second)]
    with stage.client() as client:
        client.tunnel(READ)
        client.send(b"".join(words) if pipelined else words[0])
        answers = [client.reply(first[0])]
        client.send(b"" if pipelined else words[1])
        answers.append(client.reply(second[0]))
    assert [answer.reason for answer in answers] == reasons
    for answer, reason in zip(answers, reasons, strict=True):
        assert reason is None or stage.check_refused(answer, reason)["host"] == READ
    assert len(stage.world.origin.seen) == asked + 1


def test_a_connection_outlives_no_session(stage: AttackStage) -> None:
    """On an open connection, after its session's end, nothing more is sent (B12)."""
    session = stage.open()
    with stage.client(session) as client:
        client.tunnel(SECRET)
        client.send(stage.request(SECRET, "GET", "/api/hello"))
        assert client.reply().status == 200
        stage.world.sidecar.close_session(session)
        with stage.untouched():
            client.send(stage.request(SECRET, "GET", "/api/hello"))
            stage.check_refused(client.reply(), "session-expired")


@BOTH
def test_an_upstream_connection_belongs_to_one_session(stage: AttackStage, host: str) -> None:
    """Two jobs never share a connection to a service; one job's requests do (B13)."""
    counts = (stage.world.plain if host == PLAIN else stage.world.origin).site.counts
    sessions, grown = [stage.open(), stage.open()], []
    for number in (0, 0, 1, 1, 0):
        before = counts.connections
        with stage.client(sessions[number]) as client:
            if host != PLAIN:
                client.tunnel(host)
            client.send(stage.request(host, "GET", "/api/hello", session=sessions[number]))
            assert client.reply().status == 200
        stage.end_of(client.address)
        grown.append(counts.connections - before)
    assert grown == [1, 0, 1, 0, 0]


def test_a_client_connection_shared_by_two_jobs(stage: AttackStage) -> None:
    """On one connection to the proxy each request is its own password's: no session is inherited (B13)."""
    sessions = [stage.open(pipeline_slug="storefront"), stage.open(pipeline_slug="payments")]
    counts = stage.world.plain.site.counts
    before = counts.connections
    with stage.client() as client:
        for session in (*sessions, sessions[0]):
            client.send(stage.request(PLAIN, "GET", "/api/hello", session=session))
            assert client.reply().status == 200
            assert stage.world.records("flow.decision")[-1]["session"] == session.id
        assert counts.connections == before + 2
        with stage.untouched():
            client.send(f"GET http://{PLAIN}/api/hello HTTP/1.1\r\nHost: {PLAIN}\r\n\r\n".encode())
            stage.check_refused(client.reply(), "identity-missing", identified=False)


CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
SMUGGLED = [
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "protocol-refused", id="http2-preface"),
    pytest.param(b"GET /api/hello HTTP/2.0\r\nHost: {}\r\n\r\n", "request-malformed", id="http2-on-the-line"),
    pytest.param(
        b"GET /api/hello HTTP/1.1\r\n:path: /admin\r\nHost: {}\r\n\r\n", "request-malformed", id="pseudo-field"
    ),
    pytest.param(b"GET /api/hello HTTP/1.1\r\nHost: {}\r\nUpgrade: h2c\r\n\r\n", "upgrade-refused", id="h2c"),
    pytest.param(
        b"GET /api/hello HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\n\r\n", "upgrade-refused", id="upgrade"
    ),
    pytest.param(
        b"POST /api/hello HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
        "framing-ambiguous",
        id="length-and-chunks",
    ),
    pytest.param(
        b"POST /api/hello HTTP/1.1\r\nHost: {}\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\nhello",
        "framing-ambiguous",
        id="two-lengths",
    ),
    pytest.param(
        b"POST /api/hello HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: xchunked\r\n\r\n" + CHUNKS,
        "framing-ambiguous",
        id="another-coding",
    ),
    pytest.param(
        b"POST /api/hello HTTP/1.0\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
        "framing-ambiguous",
        id="chunks-in-http-1-0",
    ),
    pytest.param(b"GET /api/hello HTTP/1.1\nHost: {}\n\n", "request-malformed", id="bare-line-feeds"),
]


@pytest.mark.parametrize("words, reason", SMUGGLED)
def test_a_message_with_two_ends(stage: AttackStage, words: bytes, reason: str) -> None:
    """HTTP/2 and whatever leaves a message's end in doubt is refused; what follows it is no request (B14)."""
    follows = stage.request(SECRET, "GET", "/api/hello")
    with stage.untouched(), stage.client() as client:
        client.tunnel(SECRET)
        client.send(words.replace(b"{}", SECRET.encode()) + follows)
        stage.check_refused(client.reply(), reason)
    assert stage.end_of(client.address)["requests"] == 2  # with CONNECT: what follows was not read


def test_a_body_that_nobody_announced(stage: AttackStage) -> None:
    """Bytes behind a request without a length are not its body: they are the next request, and decided (B14)."""
    asked = len(stage.world.origin.seen)
    with stage.client() as client:
        client.tunnel(SECRET)
        client.send(stage.request(SECRET, "POST", "/echo") + stage.request(SECRET, "GET", "/admin"))
        assert json.loads(client.reply().body)["body"] == ""
        stage.check_refused(client.reply(), "no-rule")
    assert len(stage.world.origin.seen) == asked + 1


@pytest.mark.parametrize("offers", [("h2",), ("h2", "http/1.1"), ()], ids=["h2-only", "h2-first", "none"])
def test_http2_is_not_agreed_on(stage: AttackStage, offers: tuple[str, ...]) -> None:
    """A client that offers HTTP/2 gets HTTP/1.1 or no agreement, and its preface is refused (B14)."""
    with stage.untouched(), stage.client() as client:
        assert client.connect(f"{SECRET}:443").status == 200
        client.start_tls(SECRET, offers)
        assert client.protocol == ("http/1.1" if "http/1.1" in offers else None)
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        stage.check_refused(client.reply(), "protocol-refused")


OWN = "jobs-own-credential-0123456789"
FIELDS = {
    "named-in-connection": ("Connection: Authorization, x-amz-date, Host, Content-Length", "Connection: keep-alive"),
    "twice": (f"Authorization: Bearer {OWN}", f"AUTHORIZATION: Basic {OWN}"),
    "twin": (f"X_Api_Key: {OWN}", "X_Forwarded_User: root", "X_HTTP_Method_Override: DELETE", f"HTTP_AUTH: {OWN}"),
    "cookies": (f"Cookie: session={OWN}", f"Cookie2: {OWN}", f"X-Csrf-Token: {OWN}"),
    "aws": (f"X-Amz-Security-Token: {OWN}", f"Authorization: AWS4-HMAC-SHA256 Credential={OWN}"),
    "clouds": (f"X-Vault-Token: {OWN}", f"X-Goog-Iam-Authorization-Token: {OWN}", f"Metadata-Api-Key: {OWN}"),
    "forges": (f"Private-Token: {OWN}", f"Job-Token: {OWN}", f"npm-otp: {OWN}", f"X-JFrog-Art-Api: {OWN}"),
    "to-the-proxy": (f"Proxy-Authorization: Bearer {OWN}", "Proxy-Connection: keep-alive", f"Proxy-Anything: {OWN}"),
    "hop-by-hop": ("Keep-Alive: timeout=5", "TE: trailers", "Connection: X-Private", f"X-Private: {OWN}"),
    "forwarded": ("Forwarded: for=1.1.1.1;host=admin", "X-Forwarded-Host: admin", f"X-Forwarded-User: {OWN}"),
}  # fmt: skip


@pytest.mark.parametrize("lines", FIELDS.values(), ids=FIELDS.keys())
def test_no_field_of_the_job_stands_beside_ours(stage: AttackStage, lines: tuple[str, ...]) -> None:
    """Whatever the job names, doubles or sends along, the service gets one credential, and it is ours (C03..C06)."""
    answer, _ = stage.ask(SECRET, stage.request(SECRET, "POST", "/echo", "Content-Length: 5", *lines, body=b"hello"))
    said = json.loads(answer.body)
    assert [name for name, _ in said["headers"]] == ["host", "accept-encoding", "authorization", "content-length"]
    assert (said["method"], said["body"]) == ("POST", "hello")
    assert stage.world.origin.seen[-1].headers["authorization"] == f"Bearer {stage.world.secret}"
    record = stage.world.records("flow.decision")[-1]
    assert OWN not in json.dumps(record)


TO_US = ("to-the-proxy", "hop-by-hop", "forwarded", "cookies", "aws", "clouds", "forges")


@pytest.mark.parametrize("name", TO_US)
def test_what_is_said_to_the_proxy_stays_there(stage: AttackStage, name: str) -> None:
    """On plain http, where the job's password stands beside the rest, none of it is sent on (C05, C06)."""
    lines = [line for line in FIELDS[name] if not line.startswith("Proxy-Authorization")]
    answer, _ = stage.ask(PLAIN, stage.request(PLAIN, "GET", "/echo", *lines))
    assert json.loads(answer.body)["headers"] == [["host", PLAIN]]


FOLDED = [
    pytest.param("Authorization: Bearer\r\n x", "request-malformed", id="folded"),
    pytest.param("Authorization : Bearer x", "request-malformed", id="space-before-the-colon"),
    pytest.param("Authori\x00zation: Bearer x", "request-malformed", id="nul-in-a-name"),
    pytest.param("Authorization: Bearer\x00x", "request-malformed", id="nul-in-a-value"),
    pytest.param("Authorization: a\rX-B: c", "request-malformed", id="bare-return"),
    pytest.param("Upgrade: websocket\r\nConnection: Upgrade", "upgrade-refused", id="websocket"),
    pytest.param(f"Host: {OPEN}", "authority-mismatch", id="host-twice"),
    pytest.param("Expect: 200-ok", "request-malformed", id="another-expectation"),
]


@pytest.mark.parametrize("line, reason", FOLDED)
def test_a_field_with_two_readings(stage: AttackStage, line: str, reason: str) -> None:
    """A field that another reader could split, join or name otherwise ends the request (C04, C06)."""
    with stage.untouched():
        answer, _ = stage.ask(SECRET, stage.request(SECRET, "GET", "/api/hello", line))
    stage.check_refused(answer, reason)


@pytest.mark.parametrize("name", ["SSLKEYLOGFILE", "MITMPROXY_SSLKEYLOGFILE"])
def test_tls_secrets_are_never_logged(stage: AttackStage, name: str) -> None:
    """With a key log asked for the proxy does not start, and writes none (C09)."""
    file = stage.world.folder / name.lower()
    second = Sidecar(stage.world.folder / f"second-{name.lower()}", stage.world.whole_settings())
    with pytest.raises(DemoPartError, match=f"{name} is set"):
        second.start({name: str(file)})
    assert not file.exists()


def test_the_key_that_signs_is_nowhere(stage: AttackStage) -> None:
    """The CA's key is never written, leaves have a key of their own, and the rest is private (C10)."""
    folder = stage.world.sidecar.folder
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert [path for path in files if b"PRIVATE KEY" in path.read_bytes()] == []
    root = x509.load_pem_x509_certificate((stage.world.sidecar.certs / "ca.pem").read_bytes())
    with stage.client() as client:
        client.tunnel(SECRET)
        leaf = x509.load_der_x509_certificate(client.certificate)
    leaf.verify_directly_issued_by(root)
    assert leaf.public_key() != root.public_key()
    private = [
        path for path in (stage.world.sidecar.audit, *stage.world.sidecar.audit.iterdir()) if path.suffix != ".pub"
    ]
    loose = [path for path in private if path.stat().st_mode & (stat.S_IRWXO | stat.S_IRWXG)]
    assert loose == []
