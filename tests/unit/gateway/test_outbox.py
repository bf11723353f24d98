"""What a crowd has to send goes at the end of the turn, whole and in order; what nobody waits with goes at once."""

import asyncio
from typing import Any, cast

import pytest

from proxy.gateway.limits import Limits
from proxy.gateway.outbox import SMALL, Outbox
from proxy.gateway.wire import Shared, Wire


class Transport:
    """Keeps what it is given, and in which order."""

    def __init__(self, taken: list[tuple[str, bytes]], name: str) -> None:
        self.taken, self.name, self.closed = taken, name, False

    def write(self, piece: bytes) -> None:
        self.taken.append((self.name, piece))

    def writelines(self, pieces: tuple[bytes, ...]) -> None:
        self.taken.append((self.name, b"".join(pieces)))

    def close(self) -> None:
        self.taken.append((self.name, b"closed"))
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str) -> None:
        """Say nothing."""

    def set_write_buffer_limits(self, high: int) -> None:
        """Take any."""


class Stage:
    """Two wires of one loop, and what their transports were given."""

    def __init__(self, busy: int) -> None:
        self.taken: list[tuple[str, bytes]] = []
        self.shared = Shared(asyncio.get_running_loop(), Limits())
        self.shared.outbox.busy = busy
        self.a, self.b = (self._wire(name) for name in "ab")

    def _wire(self, name: str) -> Wire:
        wire = Wire(self.shared)
        wire.use(cast("Any", Transport(self.taken, name)))
        return wire


async def test_few_do_not_wait() -> None:
    """With nobody else about, a piece is sent where it is written."""
    stage = Stage(busy=1)
    stage.a.write(b"1")
    assert stage.taken == [("a", b"1")]


async def test_a_crowd_sends_at_the_end_of_the_turn() -> None:
    """Each wire once, whole, in the order in which they first had something; nothing before, nothing twice."""
    stage = Stage(busy=100)
    stage.b.write(b"1")
    stage.a.write(b"2")
    stage.b.write(b"3")
    assert stage.taken == []
    assert (stage.a.bytes_out, stage.b.bytes_out) == (1, 2)
    await asyncio.sleep(0)
    assert stage.taken == [("b", b"13"), ("a", b"2")]
    stage.a.write(b"4")
    await asyncio.sleep(0)
    assert stage.taken == [("b", b"13"), ("a", b"2"), ("a", b"4")]


@pytest.mark.parametrize("last", [(b"x" * (SMALL + 1),), (b"2\r\n", b"xx", b"\r\n")], ids=["long", "chunk"])
async def test_nothing_overtakes_what_waits(last: tuple[bytes, ...]) -> None:
    """A long piece and a chunk go at once, behind what waited."""
    stage = Stage(busy=100)
    stage.a.write(b"head")
    stage.a.write(*last)
    assert b"".join(piece for _, piece in stage.taken) == b"head" + b"".join(last)
    await asyncio.sleep(0)
    assert b"".join(piece for _, piece in stage.taken) == b"head" + b"".join(last)


async def test_a_long_piece_never_waits() -> None:
    """A streamed body is felt by back-pressure at once."""
    stage = Stage(busy=100)
    stage.a.write(b"x" * (SMALL + 1))
    assert len(stage.taken) == 1


async def test_the_crowd_may_be_gone_before_the_turn_is_over() -> None:
    """What is written then goes behind what waits."""
    stage = Stage(busy=100)
    stage.a.write(b"1")
    stage.shared.outbox.busy = 0
    stage.a.write(b"2")
    await asyncio.sleep(0)
    assert stage.taken == [("a", b"12")]


async def test_last_words_are_sent_before_the_end() -> None:
    """Closing sends what waits; what is aborted or lost sends nothing more."""
    stage = Stage(busy=100)
    stage.a.write(b"sorry")
    stage.a.close()
    assert stage.taken == [("a", b"sorry"), ("a", b"closed")]
    stage.b.write(b"never")
    stage.b.abort()
    await asyncio.sleep(0)
    assert stage.taken == [("a", b"sorry"), ("a", b"closed")]


async def test_a_wire_that_was_lost_sends_nothing() -> None:
    """Its transport is not touched again."""
    stage = Stage(busy=100)
    stage.a.write(b"1")
    stage.a.connection_lost(None)
    await asyncio.sleep(0)
    assert stage.taken == []


async def test_one_call_of_the_loop_serves_them_all() -> None:
    """However many wait."""
    calls: list[int] = []

    class One:
        def send(self) -> None:
            calls.append(1)

    outbox = Outbox(asyncio.get_running_loop(), 8)
    for _ in range(3):
        outbox.add(One())
    await asyncio.sleep(0)
    assert calls == [1, 1, 1]
