"""A body that the decision needs is taken first, to a limit; nothing leaves meanwhile, and then all of it does."""

from hashlib import sha256

import pytest

from proxy.gateway.limits import Limits
from proxy.model.intent import BodyPrefix, BodyWanted
from proxy.model.reason import Reason
from tests.gateway.stage import IN_A_CROWD, OK, MakeStage, Stage, inner, plain, until

pytestmark = IN_A_CROWD

END = b"the very end"
LARGE = b"0004" + bytes(range(256)) * 4096 + END
CHUNKED = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (LARGE[:3], LARGE[3:70_000], LARGE[70_000:]))


def starts(data: bytes) -> bool:
    return len(data) >= 4


@pytest.mark.parametrize(
    "line, body, payload",
    [
        ("Content-Length: 3", b"abc", b"abc"),
        ("Transfer-Encoding: chunked", b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"abc"),
        ("Transfer-Encoding: chunked", b"0\r\n\r\n", b""),
        ("Content-Length: 0", b"", b""),
        ("X: no body", b"", b""),
    ],
)
async def test_a_whole_body_is_shown_and_sent(stage: Stage, line: str, body: bytes, payload: bytes) -> None:
    """The engine sees the payload, the origin gets it counted, and the connection goes on."""
    stage.engine.wanted = BodyWanted(limit=3)
    client = await stage.tunnel()

    client.send(inner("POST", "/one", line, body=body) + inner("POST", "/two", line, body=body))

    assert [(await client.reply())[0] for _ in range(2)] == [200, 200]
    shown = [view.body for view in stage.engine.views]
    assert shown == [None, BodyPrefix(data=payload, is_whole=True)] * 2
    assert stage.origin.seen.count(b"content-length: %d\r\n\r\n%s" % (len(payload), payload)) == 2
    await stage.stop()
    assert stage.engine.last_outcome.sent_bytes == len(payload)
    assert stage.engine.last_outcome.sent_digest == (sha256(payload).hexdigest() if payload else None)
    assert stage.engine.unbalanced() == []


@pytest.mark.parametrize(
    "line, body",
    [(f"Content-Length: {len(LARGE)}", LARGE), ("Transfer-Encoding: chunked", CHUNKED + b"0\r\n\r\n")],
)
@pytest.mark.parametrize("cut", [1, 4, 5, 300, 66_000])
async def test_a_prefix_is_shown_and_the_rest_streams(stage: Stage, line: str, body: bytes, cut: int) -> None:
    """The engine sees the beginning; the origin gets all of it, once, in order."""
    stage.engine.wanted = BodyWanted(limit=100_000, enough=starts)
    stage.origin.answer = lambda seen, writer: writer.write(OK) if seen.endswith((END, b"0\r\n\r\n")) else None
    client = await stage.client()

    client.send(plain("POST", "/pack", line), body[:cut])
    await until(lambda: bool(stage.engine.views))
    client.send(body[cut:])

    assert (await client.reply())[0] == 200
    shown = stage.engine.views[-1].body
    assert shown is not None
    assert not shown.is_whole
    assert LARGE.startswith(shown.data)
    await stage.stop()
    assert stage.engine.last_outcome.sent_digest == sha256(LARGE).hexdigest()
    assert stage.engine.last_outcome.sent_bytes == len(LARGE)
    if line.startswith("Content"):
        assert stage.origin.seen.endswith(LARGE)


async def test_nothing_is_dialled_while_a_body_is_read(stage: Stage) -> None:
    """The job is told to go on by us; the upstream is asked for nothing until the second answer."""
    stage.engine.wanted = BodyWanted(limit=10)
    client = await stage.client()

    client.send(plain("PUT", "/", "Expect: 100-continue", "Content-Length: 3"))
    assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert stage.dialer.dialled == []
    client.send(b"abc")

    assert (await client.reply())[0] == 200
    assert b"expect" not in stage.origin.seen


async def test_a_prefix_and_an_expectation(stage: Stage) -> None:
    """Having told the job to go on, we do not pass its expectation to the upstream, nor a second 100 to the job."""
    stage.engine.wanted = BodyWanted(limit=100_000, enough=starts)
    client = await stage.client()

    client.send(plain("PUT", "/", "Expect: 100-continue", f"Content-Length: {len(LARGE)}"))
    assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(LARGE)

    assert (await client.reply())[0] == 200
    assert b"expect" not in stage.origin.seen


@pytest.mark.parametrize(
    "line, body, taken",
    [
        ("Content-Length: 11", b"x" * 11, 0),  # announced: not worth the reading
        ("Transfer-Encoding: chunked", b"b\r\n" + b"x" * 11 + b"\r\n0\r\n\r\n", 11),
    ],
)
async def test_a_body_over_the_limit_is_shown_as_a_part(stage: Stage, line: str, body: bytes, taken: int) -> None:
    """The engine hears that there is more than it may see, and denies; the rest is dropped and the connection kept."""
    stage.engine.wanted = BodyWanted(limit=10)
    client = await stage.client()
    stage.engine.denied_paths = {"/large"}

    client.send(plain("PUT", "/large", line, body=body) + plain("GET", "/next"))

    assert (await client.reply())[0] == 403
    shown = stage.engine.views[1].body
    assert shown is not None
    assert len(shown.data) == taken
    assert (await client.reply())[0] == 200
    assert b"/large" not in stage.origin.seen


async def test_a_body_shown_may_still_have_to_be_signed(stage: Stage) -> None:
    """After a prefix the rest is taken too where a digest is needed, and all of it is sent."""
    stage.engine.wanted = BodyWanted(limit=100, enough=starts)
    stage.engine.needs_digest = True
    client = await stage.client()

    client.send(plain("PUT", "/", "Content-Length: 2000"), b"y" * 50)
    await until(lambda: bool(stage.engine.views))
    client.send(b"y" * 1950)

    assert (await client.reply())[0] == 200
    assert stage.engine.digests == [sha256(b"y" * 2000).hexdigest()]
    assert stage.origin.seen.endswith(b"y" * 2000)


async def test_an_engine_that_is_never_content_is_a_denial(stage: Stage) -> None:
    """Asking a second time is a fault of ours: refused, with nothing sent."""
    stage.engine.wanted, stage.engine.is_insatiable = BodyWanted(limit=10), True
    client = await stage.client()

    client.send(plain("PUT", "/", "Content-Length: 3", body=b"abc"))

    assert (await client.reply())[0] == 503
    assert stage.dialer.dialled == []
    assert stage.engine.refusals == [(Reason.INTERNAL, "")]


@pytest.mark.parametrize(
    "line, body, reason",
    [
        ("Transfer-Encoding: chunked", b"zz\r\n", Reason.BODY_MALFORMED),
        ("Content-Length: 30", b"abc", Reason.CLIENT_GONE),
    ],
)
async def test_a_body_that_breaks_while_it_is_read_is_refused(
    stage: Stage, line: str, body: bytes, reason: Reason
) -> None:
    """Malformed, or cut short by the job: on record, and nothing is dialled."""
    stage.engine.wanted = BodyWanted(limit=100)
    client = await stage.client()

    client.send(plain("PUT", "/", line, body=body))
    if reason is Reason.CLIENT_GONE:
        client.writer.write_eof()
    await until(lambda: bool(stage.engine.refusals))

    assert stage.engine.refusals[0][0] is reason
    assert stage.dialer.dialled == []


async def test_a_body_that_stalls_while_it_is_read_is_refused(make_stage: MakeStage) -> None:
    """A job that stops sending what the decision waits for is not waited for."""
    stage = await make_stage(Limits(body=0.2, linger=0.2))
    stage.engine.wanted = BodyWanted(limit=100)
    client = await stage.client()

    client.send(plain("PUT", "/", "Content-Length: 30", body=b"abc"))
    await until(lambda: bool(stage.engine.refusals))

    assert stage.engine.refusals[0][0] is Reason.CLIENT_TIMEOUT
    assert stage.dialer.dialled == []


async def test_bodies_that_are_read_share_one_budget(make_stage: MakeStage) -> None:
    """What one worker holds for decisions is bounded; when it is spent the next body is refused, and later taken."""
    stage = await make_stage(Limits(buffered_total=1000, linger=0.2))
    stage.engine.wanted = BodyWanted(limit=10_000)
    first, second = await stage.client(), await stage.client()

    first.send(plain("PUT", "/first", "Content-Length: 901", body=b"x" * 900))
    await until(lambda: len(stage.engine.views) == 1)
    second.send(plain("PUT", "/second", "Content-Length: 200", body=b"x" * 200))
    assert (await second.reply())[0] == 503
    first.send(b"x")
    assert (await first.reply())[0] == 200

    third = await stage.client()
    third.send(plain("PUT", "/third", "Content-Length: 900", body=b"x" * 900))
    assert (await third.reply())[0] == 200
