"""Attacks on the trail through a real sidecar: do something that leaves no record, or a record that lies (C11, E rows).

Beside what `test_attacks_credentials` holds after every attack: each connection and each allowed flow has an end on
record, whatever the client does, and no text of a job's choosing can add, hide, alter or dress up a record.
"""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import pytest

from proxy.control.client import ControlError
from proxy.demo.web import Exchange, Site
from tests.fakes.attacks import PLAIN, SECRET, AttackStage
from tests.fakes.raw import RawClient, password
from tests.fakes.sidecar import rule, wait_until

CANARY = "canary-of-the-upstream"
REFUSING, STRANGE, BROKEN, KEYLESS = "refusing.test", "strange.test", "broken.test", "keyless.test"


class BrokenExchange(Exchange):
    """Answers in ways that no server should, by the path asked for."""

    def answer(self) -> None:
        self.wfile.write(
            {
                "/garbage": f"{CANARY} no HTTP\r\n\r\n".encode(),
                "/two-lengths": f"HTTP/1.1 200 {CANARY}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".encode(),
                "/switch": f"HTTP/1.1 101 {CANARY}\r\nUpgrade: {CANARY}\r\n\r\n".encode(),
                "/line-feed": f"HTTP/1.1 200 OK\nX-A: {CANARY}\n\n".encode(),
            }.get(self.path.partition("?")[0], b"")
        )
        self.close_connection = True


@pytest.fixture(scope="module")
def attacked() -> Iterator[AttackStage]:
    made, broken = AttackStage(), Site(BrokenExchange, None)
    broken.start()
    world, gone = made.world, made.world.folder / "gone"
    gone.write_text("x")
    gone.chmod(0o600)
    world.settings["limits"] = {"head": "1s"}
    world.places = {
        f"{REFUSING}:443": "127.0.0.1:1",
        f"{STRANGE}:443": world.internet.site.place,
        f"{KEYLESS}:443": world.origin.site.place,
        f"{BROKEN}:80": broken.place,
    }
    made.more = [
        rule("broken", [REFUSING, STRANGE, f"http://{BROKEN}"]),
        rule("keyless", KEYLESS, credential={"header": {"from": {"file": str(gone)}}}),
    ]
    made.start()
    gone.unlink()
    yield made
    world.stop()
    broken.stop()


@pytest.fixture
def stage(attacked: AttackStage) -> Iterator[AttackStage]:
    """The stage of this file, seen to be unharmed after each attack."""
    yield attacked
    attacked.check_serving()
    assert attacked.leaks(attacked.session.secret) == []


NO_REQUESTS = [
    pytest.param(b"\r\n\r\n", "request-malformed", id="empty-lines"),
    pytest.param(b"GET\r\n\r\n", "request-malformed", id="method-alone"),
    pytest.param(b"GET /api/hello\r\n\r\n", "request-malformed", id="http-0-9"),
    pytest.param(b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", "request-malformed", id="version-unknown"),
    pytest.param(b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", "request-malformed", id="two-spaces"),
    pytest.param(b"GET / HTTP/1.1\nHost: x\n\n", "request-malformed", id="line-feeds"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "authority-invalid", id="as-to-a-server"),
    pytest.param(b"GET https://secret.test/ HTTP/1.1\r\nHost: secret.test\r\n\r\n", "protocol-refused", id="https"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "protocol-refused", id="http2-preface"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "request-malformed", id="tls"),
    pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", "request-malformed", id="ssh"),
    pytest.param(b"\x05\x01\x00", "request-malformed", id="socks"),
    pytest.param(b"\x00\x1d\xab\xcd\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01x", "request-malformed", id="dns"),
    pytest.param(b"EHLO job\r\n", "request-malformed", id="smtp"),
    pytest.param(b"CONNECT secret.test:443", "request-malformed", id="half-a-line"),
    pytest.param(b"A" * 70_000, "head-too-large", id="one-endless-line"),
]


@pytest.mark.parametrize("words, reason", NO_REQUESTS)
def test_what_is_no_request(stage: AttackStage, words: bytes, reason: str) -> None:
    """Bytes that never become a request leave a refusal and the end of their connection, counted (E01, E05)."""
    with stage.untouched(), stage.client() as client:
        client.send(words)
        client.end_input()
        record = stage.check_refused(client.reply(), reason, identified=False)
    assert record["client"] == client.address
    end = stage.end_of(client.address)
    assert (end["reason"], end["bytes_in"], end["bytes_out"]) == (reason, len(words), len(client.heard))
    assert end["connection"] == record["connection"]


def test_a_request_that_never_ends(stage: AttackStage) -> None:
    """Whoever begins a head and falls silent is told so, and recorded, when the time for a head is up (E01)."""
    with stage.untouched(), stage.client() as client:
        client.send(b"GET http://plain.test/api/hello HTTP/1.1\r\nHost: pl")
        stage.check_refused(client.reply(), "head-too-slow", identified=False)
    assert stage.end_of(client.address)["requests"] == 0


def test_a_connection_that_says_nothing(stage: AttackStage) -> None:
    """Even that is on record (E01)."""
    with stage.untouched(), stage.client() as client:
        client.end_input()
        assert client.rest() == b""
    end = stage.end_of(client.address)
    assert (end["requests"], end["bytes_in"], end["bytes_out"], end["reason"]) == (0, 0, 0, "allowed")


HELLO = b"5\r\nhello\r\n"
BODIES = [
    pytest.param(HELLO + b"0\r\nX Sum: 1\r\n\r\n", "body-malformed", id="trailer-that-is-no-field"),
    pytest.param(HELLO + b"0\r\nX-Sum: 1\n\r\n\r\n", "body-malformed", id="trailer-with-a-line-feed"),
    pytest.param(HELLO + b"0\r\nX-Sum: \x00\r\n\r\n", "body-malformed", id="trailer-with-a-nul"),
    pytest.param(HELLO + b"0\r\nX-Sum: " + b"y" * 20_000 + b"\r\n\r\n", "body-malformed", id="trailers-too-large"),
    pytest.param(b"5;ext=1\r\nhello\r\n0\r\n\r\n", "body-malformed", id="chunk-extension"),
    pytest.param(b"fffffffff\r\nhello", "body-malformed", id="size-too-large"),
    pytest.param(b"-5\r\nhello\r\n0\r\n\r\n", "body-malformed", id="size-negative"),
    pytest.param(b"5\r\nhelloworld\r\n0\r\n\r\n", "body-malformed", id="longer-than-its-size"),
    pytest.param(None, "client-gone", id="cut-in-the-trailers"),
]


@pytest.mark.parametrize("body, reason", BODIES)
def test_a_body_that_breaks(stage: AttackStage, body: bytes | None, reason: str) -> None:
    """A flow whose body breaks in its last bytes ends on record like any other, and is no upload (E02)."""
    target = f"/digest/{time.monotonic_ns()}"
    uploads = len(stage.world.origin.uploads)
    with stage.client() as client:
        client.tunnel(SECRET)
        client.send(
            stage.request(SECRET, "POST", target, "Transfer-Encoding: chunked", body=body or HELLO + b"0\r\nX-S")
        )
        if body is None:
            wait_until(lambda: stage.world.flows(path=target))
            client.cut()
        else:
            assert client.reply().reason == reason
    flow = stage.world.ended(path=target)
    assert (flow.effect, flow.reason) == ("allow", reason)
    assert stage.end_of(client.address)["requests"] == 2
    assert len(stage.world.origin.uploads) == uploads


def test_a_body_with_good_trailers(stage: AttackStage) -> None:
    """The refusals above are not for want of knowing trailers (E02)."""
    body = HELLO + b"0\r\nX-Sum: 1\r\n\r\n"
    answer, _ = stage.ask(
        SECRET, stage.request(SECRET, "POST", "/digest/good", "Transfer-Encoding: chunked", body=body)
    )
    assert json.loads(answer.body) == {"length": 5, "sha256": sha256(b"hello").hexdigest()}
    flow = stage.world.ended(path="/digest/good")
    (outcome,) = [each for each in stage.world.records("flow.outcome") if each["flow"] == flow.flow_id]
    assert (outcome["sent"], outcome["sent_sha256"]) == (5, sha256(b"hello").hexdigest())


def say_nothing(client: RawClient) -> None:
    client.end_input()


def say(words: bytes) -> Callable[[RawClient], None]:
    def speak(client: RawClient) -> None:
        client.send(words)
        client.rest()

    return speak


def shake_for(name: str | None) -> Callable[[RawClient], None]:
    def shake(client: RawClient) -> None:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            client.start_tls(name)

    return shake


def trust_nobody(client: RawClient) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        client.start_tls(SECRET, trusts=False)


def shake_and_leave(client: RawClient) -> None:
    client.start_tls(SECRET)


def vanish(client: RawClient) -> None:
    client.cut()


HANDSHAKES = [
    pytest.param(say_nothing, "client-tls", id="nothing"),
    pytest.param(vanish, "client-tls", id="vanishes"),
    pytest.param(say(b"SSH-2.0-OpenSSH_9.6\r\n"), "protocol-refused", id="ssh"),
    pytest.param(say(b"GET /api/hello HTTP/1.1\r\nHost: secret.test\r\n\r\n"), "protocol-refused", id="plain-http"),
    pytest.param(say(b"\x00\x1d\xab\xcd\x01\x00\x00\x01"), "protocol-refused", id="dns"),
    pytest.param(say(b"\x81\x85mask....."), "protocol-refused", id="websocket-frame"),
    pytest.param(shake_for("other.test"), "authority-mismatch", id="another-name"),
    pytest.param(shake_for(None), "authority-mismatch", id="no-name"),
    pytest.param(trust_nobody, "client-tls", id="does-not-trust-us"),
    pytest.param(shake_and_leave, "allowed", id="shakes-and-leaves"),
]


@pytest.mark.parametrize("act, reason", HANDSHAKES)
def test_a_tunnel_without_a_request(stage: AttackStage, act: Callable[[RawClient], None], reason: str) -> None:
    """After CONNECT anything may happen but a request: the record says where to, who, and what (E03..E05)."""
    with stage.untouched(), stage.client() as client:
        assert client.connect(f"{SECRET}:443").status == 200
        act(client)
    end = stage.end_of(client.address)
    assert (end["reason"], end["host"], end["port"], end["requests"]) == (reason, SECRET, 443, 1)
    assert end["session"] == stage.session.id


def test_a_client_that_vanishes_in_the_midst_of_a_flow(stage: AttackStage) -> None:
    """While an upstream takes its time the client resets its connection: both end on record (E04)."""
    origin = stage.world.origin
    origin.waiting.clear()
    with stage.client() as client:
        client.tunnel(SECRET)
        client.send(stage.request(SECRET, "GET", "/slow"))
        assert origin.waiting.wait(10)
        client.cut()
    flow = stage.world.ended(path="/slow")
    origin.gate.set()
    assert (flow.effect, flow.reason) == ("allow", "client-gone")
    assert stage.end_of(client.address)["requests"] == 2


def test_a_client_that_vanishes_before_it_is_met(stage: AttackStage) -> None:
    """A connection that is reset before it is accepted is not taken for one from the Unix socket (E01, E04)."""
    before = len(stage.world.records("connection.closed"))
    os.kill(stage.world.sidecar.pid, signal.SIGSTOP)
    try:
        with stage.client() as client:
            client.send(b"GET\r\n\r\n")
            client.cut()
    finally:
        os.kill(stage.world.sidecar.pid, signal.SIGCONT)
    wait_until(lambda: len(stage.world.records("connection.closed")) > before)
    assert stage.world.records("connection.closed")[-1]["client"] != "unix"


EVIL = "\x1b[31mred\x1b]0;title\x07\r\n"
NOT_HTTP = [
    pytest.param(
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: eA==", "upgrade-refused", id="websocket"
    ),
    pytest.param(f"X-A: {EVIL}", "request-malformed", id="terminal-codes"),
    pytest.param("X-A: a\x00b", "request-malformed", id="nul"),
    pytest.param('X-A: 1\r\n{"v":1,"seq":0,"kind":"flow.decision"}', "request-malformed", id="a-record-of-its-own"),
]


@pytest.mark.parametrize("line, reason", NOT_HTTP)
def test_what_is_no_http_inside_a_tunnel(stage: AttackStage, line: str, reason: str) -> None:
    """Websockets, and fields that try to write on the trail, are refused with their session's name (E05, E06)."""
    with stage.untouched():
        answer, _ = stage.ask(SECRET, stage.request(SECRET, "GET", "/api/hello", line))
    stage.check_refused(answer, reason)


PLACES = {
    "terminal-codes": ("ev\x1b[31mil.test:443", "request-malformed"),
    "line-end": ("evil\rx.test:443", "request-malformed"),
    "right-to-left": ("se\u202ecret.test:443", "request-malformed"),
    "full-width": ("\uff53ecret.test:443", "request-malformed"),
    "wildcard": ("*.test:443", "authority-invalid"),
    "quote": ('a"b.test:443', "request-malformed"),
    "user": (f"{SECRET}@denied.test:443", "authority-invalid"),
    "very-long": ("x" * 300 + ".test:443", "authority-invalid"),
    "port-padded": (f"{SECRET}:0443", "authority-invalid"),
    "no-port": (SECRET, "authority-invalid"),
    "another-port": (f"{SECRET}:22", "no-rule"),
    "dns-port": (f"{SECRET}:53", "no-rule"),
    "look-alike": ("xn--scret-cva.test:443", "no-rule"),
    "no-rule": ("denied.test:443", "no-rule"),
    "loopback": ("127.0.0.1:443", "no-rule"),
}


@pytest.mark.parametrize("place, reason", PLACES.values(), ids=PLACES.keys())
def test_a_place_that_lies(stage: AttackStage, place: str, reason: str) -> None:
    """A host that would dress up a record, or is not one a rule names, is refused unlooked-up (E05, E06)."""
    with stage.untouched(), stage.client() as client:
        answer = client.connect(place)
    record = stage.check_refused(answer, reason, identified=reason == "no-rule")
    assert ("host" in record) is (reason == "no-rule")


CLAIMS: list[Any] = [
    pytest.param({"step_key": EVIL}, "identity-claims", id="terminal-codes-in-a-step"),
    pytest.param({"build_branch": 'main\n{"v":1,"seq":9}'}, "identity-claims", id="a-record-in-a-branch"),
    pytest.param({"pipeline_slug": "a\x00b"}, "identity-claims", id="nul-in-a-pipeline"),
    pytest.param({"build_branch": "\ud800x"}, "identity-malformed", id="half-a-character"),
    pytest.param({"build_branch": "b" * 20_000}, "identity-oversized", id="a-very-long-branch"),
]


@pytest.mark.parametrize("facts, reason", CLAIMS)
def test_a_claim_that_writes_on_the_trail(stage: AttackStage, facts: dict[str, Any], reason: str) -> None:
    """A claim with control characters, or without end, opens no session; its text is not on record (E06)."""
    with pytest.raises(ControlError) as caught:
        stage.open(**facts)
    assert caught.value.slug == reason
    wait_until(lambda: [each["reason"] for each in stage.world.records("session.refused")][-1:] == [reason])
    assert not [
        name for name, text in facts.items() if json.dumps(text)[1:-1] in json.dumps(stage.world.sidecar.records())
    ]


@pytest.mark.parametrize("branch", ["main\u202etxt.exe", "ma\u200bin", "m\u0430in", "main[bold]", '"},{"', "b" * 1024])
def test_a_branch_that_looks_like_another(stage: AttackStage, branch: str) -> None:
    """What is allowed in a branch stands on record escaped, so that no eye and no terminal is misled (E06)."""
    session = stage.open(build_branch=branch)
    with stage.client(session) as client:
        client.tunnel(SECRET)
        client.send(stage.request(SECRET, "GET", "/api/hello"))
        assert client.reply().status == 200
    record = stage.world.ended(path="/api/hello")
    (decision,) = [each for each in stage.world.records("flow.decision") if each["flow"] == record.flow_id]
    assert decision["job"]["branch"] == branch


FLOODS = [
    pytest.param(("GET", "/api/" + "p" * 100_000), (), "head-too-large", id="url-of-100-kb"),
    pytest.param(("G" * 100_000, "/api/"), (), "head-too-large", id="method-of-100-kb"),
    pytest.param(("GET", "/api/"), ("X-A: 1",) * 101, "head-too-large", id="101-fields"),
    pytest.param(("GET", "/api/"), ("X-A: 1",) * 10_000, "head-too-large", id="10000-fields"),
    pytest.param(("GET", "/api/"), ("X-A: " + "v" * 70_000,), "head-too-large", id="field-of-70-kb"),
    pytest.param(("GET", "/other/" + "p" * 60_000), (), "no-rule", id="path-of-60-kb"),
]


@pytest.mark.parametrize("line, fields, reason", FLOODS)
def test_a_flood_of_text(stage: AttackStage, line: tuple[str, str], fields: tuple[str, ...], reason: str) -> None:
    """However much is said, a record stays small; what is cut stands there with its length and digest (E07)."""
    with stage.untouched():
        answer, _ = stage.ask(SECRET, stage.request(SECRET, *line, *fields))
    record = stage.check_refused(answer, reason)
    assert len(json.dumps(record)) < 8192
    if reason == "no-rule":
        assert (
            f"[truncated: {len(line[1])} characters, sha256 {sha256(line[1].encode()).hexdigest()}]" in record["path"]
        )


@pytest.mark.parametrize("length", [17_000, 30_000])
def test_a_flood_of_a_password(stage: AttackStage, length: int) -> None:
    """A password longer than any token is refused unread (E07)."""
    who = b"Proxy-Authorization: Basic " + b64encode(b"job:" + b"x" * length)
    with stage.untouched(), stage.client() as client:
        client.send(f"GET http://{PLAIN}/api/hello HTTP/1.1\r\nHost: {PLAIN}\r\n".encode() + who + b"\r\n\r\n")
        stage.check_refused(client.reply(), "identity-oversized", identified=False)


FAILURES = [
    pytest.param(BROKEN, "/garbage", "upstream-malformed", id="garbage"),
    pytest.param(BROKEN, "/two-lengths", "upstream-malformed", id="two-lengths"),
    pytest.param(BROKEN, "/switch", "upstream-malformed", id="switched-protocols"),
    pytest.param(BROKEN, "/line-feed", "upstream-malformed", id="line-feeds"),
    pytest.param(BROKEN, "/nothing", "upstream-closed", id="nothing"),
    pytest.param(REFUSING, "/x", "upstream-unreachable", id="nobody-listens"),
    pytest.param(STRANGE, "/x", "upstream-tls", id="another-hosts-certificate"),
    pytest.param(KEYLESS, "/x", "credential-unavailable", id="secret-file-gone"),
]


@pytest.mark.parametrize("host, path, reason", FAILURES)
def test_an_error_page_says_nothing_it_was_told(stage: AttackStage, host: str, path: str, reason: str) -> None:
    """Our own answers are fixed words and a record's name: no field, no upstream's text, no exception (C11)."""
    own = "canary-of-the-job"
    line = f"X-A: {own}"
    words = stage.request(host, "GET", f"{path}?q={own}", line)
    if host == BROKEN:
        words = f"GET http://{host}{path}?q={own} HTTP/1.1\r\nHost: {host}\r\n{line}\r\n".encode() + password(
            stage.session
        )
        words += b"\r\n"
    with stage.client() as client:
        if host != BROKEN:
            client.tunnel(host)
        client.send(words)
        answer = client.reply()
    assert answer.reason == reason
    assert answer.denial.keys() == {"reason", "rule", "decision", "message", "what_to_do"}
    said = client.heard.decode()
    assert [text for text in (CANARY, own, "Traceback", "Error", "proxy/", "127.0.0.1") if text in said] == []
    flow = stage.world.ended(path=path, place=host)
    assert (flow.effect, flow.reason, flow.flow_id) == ("allow", reason, answer.denial["decision"])


def jobgate(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "proxy", *arguments], capture_output=True, check=False, timeout=60)


def test_after_all_of_it(stage: AttackStage) -> None:
    """The trail is whole for a stranger too, every line is one record in ASCII, no flow is open, no terminal harmed."""
    audit = str(stage.world.sidecar.audit)
    verified = jobgate("audit", "verify", audit)
    assert (verified.returncode, verified.stderr) == (0, b"")
    assert verified.stdout.startswith(b"intact: ")
    written = b"".join(path.read_bytes() for path in sorted(stage.world.sidecar.audit.glob("*.jsonl")))
    assert {byte for byte in written if not 32 <= byte < 127} == {ord("\n")}
    lines = [json.loads(line) for line in written.splitlines()]
    assert [line["seq"] for line in lines] == list(range(len(lines)))
    shown = jobgate("audit", "show", audit)
    assert shown.returncode == 0
    text = shown.stdout.decode()
    assert [sign for sign in text if not sign.isprintable() and sign != "\n"] == []
    decided = {line["flow"] for line in lines if line["kind"] == "flow.decision" and line["effect"] == "allow"}
    ended = [line["flow"] for line in lines if line["kind"] == "flow.outcome"]
    assert (set(ended), len(ended)) == (decided, len(decided))
