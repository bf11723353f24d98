"""How connections end: clocks, limits, drain, and exactly one record for each."""

import asyncio
import gc
from pathlib import Path

import pytest

from proxy.gateway.front import Connection
from proxy.gateway.lane import Exchange
from proxy.gateway.limits import Limits
from proxy.gateway.pumps import Pump
from proxy.gateway.relay import Relay
from proxy.gateway.wire import Wire
from proxy.model.errors import DialError
from proxy.model.grant import Edits, Secret
from proxy.model.reason import Reason
from tests.gateway.stage import IN_A_CROWD, OK, MakeStage, Stage, connect, inner, plain, until

pytestmark = IN_A_CROWD

SHORT = Limits(head=0.1, idle=0.1, body=0.1, stalled=0.2, response=0.1, linger=0.1, handshake=0.2, tunnel_idle=0.1)


@pytest.mark.parametrize(
    "words, status",
    [
        (b"", b""),
        (b"GET http://origin.test/ HT", b"HTTP/1.1 408 "),
        (plain("POST", "/", "Content-Length: 5", body=b"abc"), b"HTTP/1.1 408 "),
    ],
)
async def test_a_slow_client_is_not_waited_for(make_stage: MakeStage, words: bytes, status: bytes) -> None:
    """An idle connection is closed, a slow head or body is answered 408: no clock runs for ever (slowloris)."""
    stage = await make_stage(SHORT)
    stage.origin.answer = lambda got, writer: None
    client = await stage.client()
    client.send(words)
    assert (await client.rest()).startswith(status)
    await stage.settled()
    await stage.stop()


async def test_a_clock_that_fails_stops_no_other(make_stage: MakeStage) -> None:
    """The connection whose clock cannot be read is cut; the next one is answered in its time, and so is a third."""
    stage = await make_stage(SHORT)
    broken = await stage.client()
    await until(lambda: len(stage.gateway._tasks) == 1)
    (connection,) = stage.gateway._tasks.values()
    connection._since = "never"  # type: ignore[assignment]
    slow = await stage.client()
    slow.send(b"GET http://origin.test/ HT")

    assert await broken.rest() == b""
    assert (await slow.rest()).startswith(b"HTTP/1.1 408 ")
    third = await stage.client()
    assert await third.rest() == b""
    await stage.settled()
    await stage.stop()


async def test_dripping_one_byte_at_a_time_does_not_stop_the_clock(make_stage: MakeStage) -> None:
    """The head's clock starts with its first byte and is not reset by later ones."""
    stage = await make_stage(SHORT)
    client = await stage.client()
    answer = asyncio.get_running_loop().create_task(client.rest())
    for octet in b"GET http://origin.test/" * 4:
        if answer.done() or client.writer.transport.is_closing():
            break
        client.send(bytes([octet]))
        await asyncio.sleep(0.01)
    assert (await answer).startswith(b"HTTP/1.1 408 ")
    await stage.settled()
    await stage.stop()


@pytest.mark.parametrize(
    "reply, status, reason",
    [
        (b"", b" 504 ", Reason.UPSTREAM_TIMEOUT),
        (b"HTTP/1.1 200 OK\r\n", b" 504 ", Reason.UPSTREAM_TIMEOUT),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", b" 200 ", Reason.UPSTREAM_TIMEOUT),
    ],
)
async def test_a_slow_upstream_is_not_waited_for(
    make_stage: MakeStage, reply: bytes, status: bytes, reason: Reason
) -> None:
    """An upstream that stops before its answer is a 504, inside it a cut; both are on record (T33)."""
    stage = await make_stage(SHORT)
    stage.origin.reply = reply
    client = await stage.client()
    client.send(plain())
    got = await client.rest() if b"200" in status else (await client.reply())[1]
    assert status in got[:16]
    await until(lambda: bool(stage.engine.outcomes))
    assert stage.engine.last_outcome.reason is reason
    await stage.stop()


@pytest.mark.parametrize(
    "reason, status", [(Reason.ADDRESS_REFUSED, 403), (Reason.NAME_UNRESOLVED, 502), (Reason.UPSTREAM_TLS, 502)]
)
async def test_a_failed_dial_is_answered_with_its_reason(stage: Stage, reason: Reason, status: int) -> None:
    """The job learns the kind of failure, never the address or the error's text, and may ask again."""
    stage.dialer.error = DialError("10.0.0.1 said something", reason)
    client = await stage.client()
    for _ in range(2):
        client.send(plain())
        got = await client.reply()
        assert got[0] == status
        assert b"10.0.0.1" not in got[2]
    assert stage.engine.last_outcome.reason is reason


async def test_a_reader_that_stops_is_cut_and_memory_stays_bounded(make_stage: MakeStage) -> None:
    """A client that never reads stops its upstream, and is cut when its time is up."""
    stage = await make_stage(Limits(stalled=0.3, linger=0.1, write_high=65_536))
    sent = 0

    def flood(got: bytearray, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")

        async def pour() -> None:
            nonlocal sent
            try:
                while True:
                    writer.write(b"x" * 100_000)
                    sent += 100_000
                    await writer.drain()
            except OSError:
                pass

        tasks.append(asyncio.get_running_loop().create_task(pour()))

    tasks: list[asyncio.Task[None]] = []
    stage.origin.answer = flood
    client = await stage.client()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it reads as well
    client.send(plain())
    await stage.settled()
    assert stage.engine.last_outcome.reason is Reason.CLIENT_TIMEOUT
    assert sent < 32 << 20
    await stage.stop()
    await asyncio.gather(*tasks)
    assert stage.engine.unbalanced() == []


async def test_an_upstream_that_stops_reading_holds_the_upload(make_stage: MakeStage) -> None:
    """Back-pressure reaches the job: an upload nobody takes is not taken in by us."""
    stage = await make_stage(Limits(stalled=0.4, linger=0.1, write_high=65_536))
    stage.origin.reads = False
    client = await stage.client()
    client.send(plain("PUT", "/", "Content-Length: 1000000000"))
    sent = 0
    while stage.engine.outcomes == {}:
        client.send(b"x" * 100_000)
        sent += 100_000
        try:
            async with asyncio.timeout(0.5):
                await client.writer.drain()
        except (TimeoutError, OSError):
            break
    await until(lambda: bool(stage.engine.outcomes))
    assert sent < 32 << 20
    assert stage.engine.last_outcome.reason is Reason.UPSTREAM_TIMEOUT
    await stage.stop()


@pytest.mark.parametrize("secure", [False, True])
async def test_a_large_body_streams_through_whole(stage: Stage, *, secure: bool) -> None:
    """Eight MiB each way arrive byte for byte, counted and digested."""
    size = 8 << 20

    def answer(got: bytearray, writer: asyncio.StreamWriter) -> None:
        if len(got) >= size:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"y" * size)

    stage.origin.answer = answer
    client = await (stage.tunnel() if secure else stage.client())
    line = f"Content-Length: {size}"
    client.send((inner if secure else plain)("PUT", "/", line), b"x" * size)
    _, _, body = await client.reply()
    assert body == b"y" * size
    outcome = stage.engine.last_outcome if stage.engine.outcomes else None
    await until(lambda: bool(stage.engine.outcomes))
    outcome = stage.engine.last_outcome
    assert (outcome.sent_bytes, outcome.received_bytes) == (size, size)


async def test_an_echoed_credential_is_blanked_and_counted(stage: Stage) -> None:
    """What we put on the request does not come back in head or body, and lengths still hold (C01)."""
    secret = "s3cr3t-value-for-this-test"
    stage.engine.edits = Edits(put=(("authorization", Secret(secret)),), watch=(Secret(secret),))
    body = f"you sent {secret}!".encode()
    stage.origin.reply = f"HTTP/1.1 200 OK\r\nx-echo: {secret}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    client = await stage.client()
    client.send(plain("GET", "/", "Accept-Encoding: br, gzip;q=0.5, zstd"))
    _, head, got = await client.reply()
    assert secret.encode() not in head + got
    assert got.startswith(b"you sent *")
    assert b"accept-encoding: gzip;q=0.5\r\n" in stage.origin.seen
    await until(lambda: bool(stage.engine.outcomes))
    assert stage.engine.last_outcome.redactions == 2


async def test_too_many_connections_are_turned_away(make_stage: MakeStage) -> None:
    """The one over the limit gets a 503 at once, and a record."""
    stage = await make_stage(Limits(connections=1))
    first = await stage.client()
    first.send(plain())
    await first.reply()
    second = await stage.client()
    assert (await second.rest()).startswith(b"HTTP/1.1 503 ")
    assert stage.engine.ends[0].reason is Reason.OVERLOADED
    await stage.stop()


async def test_a_drain_finishes_what_was_asked_and_closes_the_rest(make_stage: MakeStage) -> None:
    """Idle connections close, an open exchange gets its answer with `connection: close`, none is accepted (T46)."""
    stage = await make_stage()
    stage.origin.answer = lambda got, writer: None
    idle, busy = await stage.client(), await stage.client()
    busy.send(plain())
    await until(lambda: bool(stage.origin.seen))

    drain = asyncio.get_running_loop().create_task(stage.gateway.drain(5))
    assert await idle.rest() == b""
    for writer in list(stage.origin._writers):
        writer.write(OK)
    assert b"connection: close" in (await busy.reply())[1]
    await drain

    with pytest.raises(OSError, match=r"refused|Connect"):
        await stage.client()
    assert (stage.gateway.open_connections, stage.engine.unbalanced()) == (0, [])
    await stage.origin.stop()


async def test_a_drain_that_runs_out_ends_everything_on_record(make_stage: MakeStage) -> None:
    """What is not done in time is cut and concluded as interrupted."""
    stage = await make_stage()
    stage.origin.answer = lambda got, writer: None
    client = await stage.client()
    client.send(plain())
    await until(lambda: bool(stage.origin.seen))
    await stage.gateway.drain(0.05)
    assert stage.engine.last_outcome.reason in {Reason.INTERRUPTED, Reason.CLIENT_GONE}
    assert (stage.gateway.open_connections, stage.engine.unbalanced()) == (0, [])
    await stage.origin.stop()


async def test_renewed_upstreams_are_used_no_more(make_stage: MakeStage) -> None:
    """A connection that was kept is closed; one that is in use ends its exchange, and is not kept either."""
    stage = await make_stage()
    waiting: list[asyncio.StreamWriter] = []
    busy, idle = await stage.client(), await stage.client()
    stage.origin.answer = lambda _, writer: waiting.append(writer)
    busy.send(plain())
    await until(lambda: len(waiting) == 1)
    stage.origin.answer = None
    idle.send(plain())
    await idle.reply()
    await until(lambda: stage.gateway._pool.kept == 1)

    stage.gateway.renew_upstreams()
    assert stage.gateway._pool.kept == 0
    waiting[0].write(OK)
    assert (await busy.reply())[0] == 200
    assert stage.origin.connections == 2
    busy.send(plain())
    assert (await busy.reply())[0] == 200
    assert stage.origin.connections == 3
    await until(lambda: stage.gateway._pool.kept == 1)
    await stage.stop()


async def test_a_unix_socket_is_served(stage: Stage, tmp_path: Path) -> None:
    """The same gateway answers on a Unix socket."""
    path = tmp_path / "gateway"
    await stage.gateway.listen_unix(path)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(plain())
    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 OK")
    writer.close()
    await stage.settled()
    assert stage.engine.ends[0].peer.address == "unix"


async def test_the_end_of_a_connection_counts_what_passed(stage: Stage) -> None:
    """One record per connection: whose, where to, how many requests and bytes (E01, E03)."""
    client = await stage.client()
    client.send(plain(), plain())
    await client.reply()
    await client.reply()
    client.abort()
    await stage.settled()
    (end,) = stage.engine.ends
    assert (end.requests, end.session_id, str(end.authority)) == (2, "job", "origin.test:80")
    assert (end.bytes_in, end.reason) == (len(plain()) * 2, Reason.ALLOWED)


async def test_a_passed_through_tunnel_carries_bytes_both_ways(stage: Stage) -> None:
    """With `inspect: false` TLS is the job's and the origin's own; the outcome counts the bytes."""
    stage.engine.inspect = False
    stage.origin.port = stage.origin.secure_port
    client = await stage.tunnel()
    client.send(inner())
    assert (await client.reply())[0] == 200
    client.abort()
    await stage.settled()
    outcome = stage.engine.last_outcome
    assert outcome.reason is Reason.ALLOWED
    assert outcome.sent_bytes > len(inner())
    assert outcome.received_bytes > len(OK)
    assert stage.engine.views == []


@pytest.mark.parametrize("name", ["other.test", None])
async def test_a_passed_through_tunnel_checks_the_sni_first(stage: Stage, name: str | None) -> None:
    """A ClientHello for another name, or for none, is not passed on, and nothing is dialled (A01, A06)."""
    stage.engine.inspect = False
    client = await stage.client()
    client.send(connect())
    await client.head()
    with pytest.raises(OSError):  # noqa: PT011 - ssl.SSLError or a reset, both OSError
        await client.start_tls(name)
    await stage.settled()
    assert stage.engine.last_outcome.reason is Reason.AUTHORITY_MISMATCH
    assert stage.dialer.dialled == []


async def test_a_silent_tunnel_is_ended(make_stage: MakeStage) -> None:
    """A tunnel without a byte either way does not stay for ever."""
    stage = await make_stage(SHORT)
    stage.engine.inspect = False
    stage.origin.port = stage.origin.secure_port
    await stage.tunnel()
    await stage.settled()
    assert stage.engine.last_outcome.reason is Reason.CLIENT_TIMEOUT
    await stage.stop()


@pytest.mark.parametrize(
    "end", ["close", "reset", "malformed", "denied", "cut", "untunnelled", "idle", "lost upstream", "broken answer"]
)
async def test_what_is_closed_leaves_nothing_behind(make_stage: MakeStage, end: str) -> None:
    """However a connection ends, all that it held is freed at once: what a collection must find may wait for hours."""
    stage = await make_stage(SHORT if end == "idle" else None)
    stage.engine.denied_paths.add("/denied")
    gc.collect()
    gc.disable()
    try:
        before = _alive()
        for _ in range(3):
            await _end_by(stage, end)
        stage.origin.kick()
        await stage.settled()
        await until(lambda: stage.gateway._pool.kept == 0)
        await until(lambda: _alive() == before)
    finally:
        gc.enable()
    await stage.stop()


async def _end_by(stage: Stage, end: str) -> None:
    client = await (stage.client() if end == "untunnelled" else stage.tunnel())
    client.send(plain() if end == "untunnelled" else inner())
    assert (await client.reply())[0] == 200
    match end:
        case "malformed":
            client.send(inner("GET", "/", "Content-Length: x"))
            status = (await client.reply())[0]
            assert status == 400
        case "denied":
            client.send(inner(path="/denied"))
            assert (await client.reply())[0] == 403
        case "cut":
            client.send(inner("PUT", "/", "Content-Length: 9", body=b"1234"))
            await until(lambda: stage.origin.received[-1].endswith(b"1234"))
        case "lost upstream":
            stage.origin.answer = lambda _, writer: writer.transport.abort()
            client.send(inner("POST", "/", "Content-Length: 0"))
            assert (await client.reply())[0] == 502
            stage.origin.answer = None
        case "broken answer":
            stage.origin.answer = _break_off
            client.send(inner())
            await client.rest()
            stage.origin.answer = None
        case "idle":
            await client.rest()
        case _:
            pass
    if end in {"reset", "cut"}:
        client.abort()
    else:
        client.writer.close()


def _break_off(_: bytearray, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
    writer.close()


def _alive() -> int:
    return sum(type(each) in {Wire, Connection, Exchange, Relay, Pump} for each in gc.get_objects())
