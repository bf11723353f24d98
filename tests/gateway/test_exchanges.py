"""Requests and responses through a real gateway: what passes, how it is framed, and what is recorded."""

import asyncio
from datetime import timedelta
from hashlib import sha256

import pytest

from proxy.gateway.limits import Limits
from proxy.model.grant import Edits, Grant, Secret
from proxy.model.reason import Reason
from tests.gateway.stage import HOST, IN_A_CROWD, OK, MakeStage, Stage, inner, plain, until

pytestmark = IN_A_CROWD


async def test_a_plain_request_is_rewritten_and_answered(stage: Stage) -> None:
    """The origin sees one normal form, without the proxy's password, and the job sees the answer."""
    client = await stage.client()

    client.send(plain("GET", "/a?b=c", "Accept:  */* ", "X-Forwarded-For: 1.2.3.4"))

    assert await client.reply() == (200, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", b"ok")
    assert stage.origin.seen == f"GET /a?b=c HTTP/1.1\r\nhost: {HOST}\r\naccept: */*\r\n\r\n".encode()
    assert stage.engine.presented == ["job"]


async def test_a_tunnelled_request_is_decided_and_answered(stage: Stage) -> None:
    """Inside TLS every request gets a decision of its own, and the outcome's facts are exact."""
    client = await stage.tunnel()

    for path in ("/one", "/two"):
        client.send(inner("POST", path, "Content-Length: 3", body=b"abc"))
        assert (await client.reply())[0] == 200

    assert [view.path for view in stage.engine.views] == ["/one", "/two"]
    outcome = stage.engine.last_outcome
    assert (outcome.reason, outcome.status, outcome.sent_bytes, outcome.received_bytes) == (Reason.ALLOWED, 200, 3, 2)
    assert outcome.sent_digest == sha256(b"abc").hexdigest()
    assert outcome.received_digest == sha256(b"ok").hexdigest()
    assert outcome.upstream == f"127.0.0.1:{stage.origin.secure_port}"
    assert {"decide", "connect", "total"} - set(outcome.milliseconds) in (set(), {"connect"})
    assert stage.origin.connections == 1


async def test_pipelined_requests_are_decided_one_by_one_in_order(stage: Stage) -> None:
    """The second of a pipelined pair gets its own decision, and its answer comes second (B12)."""
    stage.engine.denied_paths = {"/two"}
    client = await stage.client()

    client.send(plain("GET", "/one") + plain("GET", "/two") + plain("GET", "/three"))

    assert [(await client.reply())[0] for _ in range(3)] == [200, 403, 200]
    assert b"/two" not in stage.origin.seen


async def test_edits_are_the_last_word(stage: Stage) -> None:
    """The credential replaces the job's field, its underscore twin is dropped, and the query is the edit's."""
    stage.engine.edits = Edits(
        remove=frozenset({"authorization"}), put=(("authorization", Secret("Bearer real")),), query="signed=1"
    )
    client = await stage.tunnel()

    client.send(inner("GET", "/a?b", "Authorization: Bearer fake", "X_Api_Key: 1", "X-Kept: 1"))
    await client.reply()

    assert stage.origin.seen == (
        f"GET /a?signed=1 HTTP/1.1\r\nhost: {HOST}\r\nx-kept: 1\r\nauthorization: Bearer real\r\n\r\n".encode()
    )


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\x00", "\u20ac"])
async def test_an_edit_that_could_break_a_line_is_not_sent(stage: Stage, value: str) -> None:
    """A minted value with a line end in it reaches nobody."""
    stage.engine.edits = Edits(put=(("authorization", Secret(value)),))
    client = await stage.client()

    client.send(plain())

    assert (await client.reply())[0] == 503
    assert stage.origin.seen == b""


@pytest.mark.parametrize("secure", [False, True])
async def test_chunked_bodies_are_reframed_both_ways(stage: Stage, *, secure: bool) -> None:
    """Chunks are decoded, digested and written anew; a response's trailers arrive, a request's are dropped."""
    stage.origin.reply = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n02\r\nde\r\n0\r\nX-Sum: 1\r\nAlt-Svc: h3\r\n\r\n"
    )
    body = b"0003\r\nxyz\r\n0\r\nX-Late: 1\r\n\r\n"
    line = "Transfer-Encoding: chunked"
    client = await (stage.tunnel() if secure else stage.client())

    client.send(inner("POST", "/", line, body=body) if secure else plain("POST", "/", line, body=body))

    assert await client.head() == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    assert await client.reader.readuntil(b"x-sum: 1\r\n\r\n") == b"5\r\nabcde\r\n0\r\nx-sum: 1\r\n\r\n"
    assert stage.origin.seen.endswith(b"transfer-encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n")
    await until(lambda: bool(stage.engine.outcomes))
    assert stage.engine.last_outcome.received_digest == sha256(b"abcde").hexdigest()
    assert stage.engine.last_outcome.sent_digest == sha256(b"xyz").hexdigest()


async def test_a_body_until_close_is_chunked_for_the_job(stage: Stage) -> None:
    """A close-delimited answer ends where the upstream ends, and the job's connection lives on."""
    stage.origin.reply = b"HTTP/1.1 200 OK\r\n\r\nall of it"
    stage.origin.closes_after = 1
    client = await stage.client()

    client.send(plain())
    head = await client.head()
    assert b"transfer-encoding: chunked" in head
    assert (await client.reader.readuntil(b"0\r\n\r\n")).endswith(b"0\r\n\r\n")
    client.send(plain())

    assert b" 200 " in await client.head()


@pytest.mark.parametrize(
    "method, reply",
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\n\r\n"),
    ],
)
async def test_answers_without_a_body_do_not_wait_for_one(stage: Stage, method: str, reply: bytes) -> None:
    """HEAD, 204 and 304 end with their head, and the same two connections carry the next request."""
    stage.origin.reply = reply
    client = await stage.client()

    for _ in range(2):
        client.send(plain(method))
        assert await client.head() == reply

    assert stage.origin.connections == 1


async def test_http_1_0_is_answered_and_closed(stage: Stage) -> None:
    """An HTTP/1.0 client gets no chunks and no keep-alive."""
    stage.origin.reply = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    client = await stage.client()

    client.send(plain(version="1.0"))

    assert await client.rest() == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok"


async def test_a_half_closed_client_still_gets_its_answer(stage: Stage) -> None:
    """A client that has said all it has to say may shut down its sending side."""
    client = await stage.client()

    client.send(plain())
    client.writer.write_eof()

    assert (await client.rest()).endswith(b"ok")


@pytest.mark.parametrize("denied", [False, True])
async def test_an_expectation_is_decided_before_the_body(stage: Stage, *, denied: bool) -> None:
    """Denied: the final answer and no 100. Allowed: the upstream's own 100 is passed on, then the body flows (T26)."""

    def answer(got: bytearray, writer: asyncio.StreamWriter) -> None:
        if got.endswith(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n")
        if got.endswith(b"abc"):
            writer.write(OK)

    stage.origin.answer = answer
    stage.engine.denied_paths = {"/"} if denied else set()
    client = await stage.client()

    client.send(plain("PUT", "/", "Expect: 100-continue", "Content-Length: 3"))

    if denied:
        assert (await client.reply())[0] == 403
        assert stage.origin.seen == b""
    else:
        assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"abc")
        assert (await client.reply())[0] == 200


async def test_a_body_to_be_signed_is_taken_whole_first(stage: Stage) -> None:
    """When the digest is needed we say 100 ourselves, hash, equip, and send one counted body without an expectation."""
    stage.engine.needs_digest = True
    client = await stage.client()

    client.send(plain("PUT", "/", "Expect: 100-continue", "Transfer-Encoding: chunked"))
    assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert stage.dialer.dialled == []
    client.send(b"3\r\nabc\r\n", b"0\r\n\r\n")

    assert (await client.reply())[0] == 200
    assert stage.engine.digests == [sha256(b"abc").hexdigest()]
    assert stage.origin.seen.endswith(b"content-length: 3\r\n\r\nabc")
    assert b"expect" not in stage.origin.seen


@pytest.mark.parametrize(
    "line, body", [("Content-Length: 101", b""), ("Transfer-Encoding: chunked", b"65\r\n" + b"x" * 101)]
)
async def test_a_body_too_large_to_be_signed_is_refused(make_stage: MakeStage, line: str, body: bytes) -> None:
    """A body over the buffer's limit is a 413, announced or not, and nothing is dialled."""
    stage = await make_stage(Limits(buffered_body=100, linger=0.2))
    stage.engine.needs_digest = True
    client = await stage.client()

    client.send(plain("PUT", "/", line, body=body))

    assert (await client.reply())[0] == 413
    assert stage.dialer.dialled == []
    await stage.stop()
    assert stage.engine.last_outcome.reason is Reason.BODY_TOO_LARGE


async def test_interim_answers_pass_in_our_words(stage: Stage) -> None:
    """A 103 passes with its links; a 100 nobody asked for does not."""
    stage.origin.reply = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX: y\r\n\r\n" + OK
    client = await stage.client()

    client.send(plain())

    assert await client.head() == b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    assert (await client.reply())[0] == 200


async def test_an_early_answer_ends_an_upload(stage: Stage) -> None:
    """An upstream that answers before it has the whole body is heard, and the connection is not used again."""
    stage.origin.reply = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"
    client = await stage.client()

    client.send(plain("PUT", "/", "Content-Length: 1000000"), b"x" * 1000)

    status, head, _ = await client.reply()
    assert status == 413
    assert b"connection: close" in head
    await until(lambda: bool(stage.engine.outcomes))
    assert stage.engine.last_outcome.sent_bytes == 1000


async def test_cookies_made_with_our_credential_stay_here(stage: Stage) -> None:
    """A session cookie obtained with a minted credential is a credential: the job does not get it (C07)."""
    stage.engine.grant = Grant(connector="header", scope={}, lifetime=timedelta(minutes=5), key="k")
    stage.origin.reply = b"HTTP/1.1 200 OK\r\nset-cookie: s=1\r\ncontent-length: 2\r\n\r\nok"
    client = await stage.client()

    client.send(plain())

    assert b"set-cookie" not in (await client.reply())[1]
    stage.engine.passes_cookies = True  # a rule says otherwise
    client.send(plain())
    assert b"set-cookie: s=1" in (await client.reply())[1]


SMUGGLED = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nokk",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\nX: y\n\n",
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
    b"SSH-2.0-OpenSSH\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 101 + b"\r\n",
]


@pytest.mark.parametrize("reply", SMUGGLED)
async def test_an_answer_that_could_be_read_twice_is_a_502(stage: Stage, reply: bytes) -> None:
    """Nothing of a malformed answer reaches the job, and the connection it came on is never used again."""
    stage.origin.reply = reply
    client = await stage.client()

    client.send(plain())
    status, _, body = await client.reply()
    stage.origin.reply = OK
    client.send(plain())

    assert (status, (await client.reply())[0]) == (502, 200)
    assert b"upstream-malformed" in body
    assert stage.origin.connections == 2


async def test_bytes_after_an_answer_poison_the_connection(stage: Stage) -> None:
    """A second answer nobody asked for is dropped with its connection, not given to the next request."""
    stage.origin.reply = OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
    client = await stage.client()

    client.send(plain())
    first = await client.reply()
    stage.origin.reply = OK
    client.send(plain())

    assert (first[2], (await client.reply())[2]) == (b"ok", b"ok")
    assert stage.origin.connections == 2


async def test_an_upstream_that_dies_inside_its_answer_is_seen_to_have_died(stage: Stage) -> None:
    """A cut body is never passed off as whole: the job's connection breaks, the record says why."""
    stage.origin.reply = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"
    stage.origin.closes_after = 1
    client = await stage.client()

    client.send(plain())

    assert b"connection: close" not in await client.rest()
    await stage.settled()
    assert stage.engine.last_outcome.reason is Reason.UPSTREAM_CLOSED


async def test_sessions_never_share_an_upstream_connection(stage: Stage) -> None:
    """Two sessions on one client connection get two upstream connections; one session reuses its own (B13)."""
    client = await stage.client()

    for session in ("a", "b", "a", "b"):
        client.send(plain(session=session))
        await client.reply()

    assert stage.origin.connections == 2


@pytest.mark.parametrize("method, status", [("GET", 200), ("POST", 502)])
async def test_a_dead_kept_connection_is_tried_again_only_when_that_is_safe(
    stage: Stage, method: str, status: int
) -> None:
    """An idempotent request is sent once more on a new connection; any other is not sent twice."""
    client = await stage.client()
    client.send(plain())
    await client.reply()

    def die(got: bytearray, writer: asyncio.StreamWriter) -> None:
        stage.origin.answer = None
        writer.transport.abort()

    stage.origin.answer = die
    client.send(plain(method))

    assert (await client.reply())[0] == status


async def test_a_client_that_leaves_ends_the_exchange(stage: Stage) -> None:
    """When the job hangs up the upstream does not keep working for nobody, and the record says so."""
    stage.origin.answer = lambda got, writer: None
    client = await stage.client()
    client.send(plain())
    await until(lambda: bool(stage.origin.seen))

    client.abort()
    await stage.settled()

    assert stage.engine.last_outcome.reason is Reason.CLIENT_GONE
