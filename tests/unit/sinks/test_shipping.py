"""A destination gets what its routes pick: in order, at least once, over failures, refusals and restarts."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from proxy.audit.routing import Picker, Route
from proxy.model.record import AuditRecord, Fact, Kind
from proxy.sinks import shipping
from proxy.sinks.file import FileTrail, TrailSettings
from proxy.sinks.keys import make_signer
from proxy.sinks.port import Batch, SinkError
from proxy.sinks.shipping import Lane, Shipper

AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
ALL = Route(id="all", to=("s",))


@dataclass
class Recorded:
    """A sink that notes what it took. `answer` may raise."""

    answer: Callable[[Batch], None] = lambda _: None
    taken: list[dict[str, Any]] = field(default_factory=list)
    tries: int = 0
    is_closed: bool = False

    async def send(self, batch: Batch) -> None:
        self.tries += 1
        self.answer(batch)
        self.taken += batch.records

    async def close(self) -> None:
        self.is_closed = True

    @property
    def names(self) -> list[Any]:
        return [record["name"] for record in self.taken if "name" in record]


@dataclass
class Stage:
    """A trail, and shippers over it."""

    trail: FileTrail
    directory: Path
    refused: list[tuple[int, str]] = field(default_factory=list)

    async def add(self, *names: str, **facts: Fact) -> None:
        for name in names:
            await self.trail.append(AuditRecord(kind=Kind.CONNECTION, at=AT, facts={"name": name, **facts}))

    def shipper(self, sink: Recorded, *routes: Route, most: int = 4) -> Shipper:
        lane = Lane(
            name="s",
            origin="jobgate/test",
            directory=self.directory,
            head=lambda: self.trail.head.size,
            linger=0.01,
            most=most,
        )
        return Shipper(lane, Picker(routes or (ALL,)), sink, lambda number, said: self.refused.append((number, said)))


async def make_stage(tmp_path: Path) -> Stage:
    settings = TrailSettings(directory=tmp_path / "audit", reserve=0, segment_bytes=4096)
    return Stage(await FileTrail.open(settings, make_signer("jobgate/test"), lambda: AT), settings.directory)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a state of another task
            await asyncio.sleep(0.005)


def numbered(first: int, last: int) -> list[str]:
    return [f"n{number}" for number in range(first, last)]


async def test_everything_is_delivered_in_order_and_once(tmp_path: Path) -> None:
    """What was there, what comes, and what is written at the very end; the next start delivers nothing again."""
    stage = await make_stage(tmp_path)
    await stage.add(*numbered(0, 30))
    sink = Recorded()
    shipper = stage.shipper(sink)
    shipper.start()
    await stage.add(*numbered(30, 40))
    await until(lambda: len(sink.names) == 40)
    await stage.trail.close()
    await shipper.finish(5)
    assert sink.names == numbered(0, 40)
    assert [record["seq"] for record in sink.taken] == list(range(stage.trail.head.size))
    assert sink.taken[-1]["kind"] == Kind.TRAIL_CLOSED
    assert sink.is_closed
    again = Recorded()
    await stage.shipper(again).finish(5)
    second = stage.shipper(again)
    second.start()
    await second.finish(5)
    assert again.taken == []


async def test_only_what_routes_pick_is_sent(tmp_path: Path) -> None:
    """The cursor passes over the rest."""
    stage = await make_stage(tmp_path)
    await stage.add("a", tags={"to": "no"})
    await stage.add("b", tags={"to": "yes"})
    sink = Recorded()
    shipper = stage.shipper(sink, Route(id="r", to=("s",), tags={"to": ("yes",)}))
    shipper.start()
    await until(lambda: shipper.delivered == stage.trail.head.size)
    await shipper.finish(5)
    assert sink.names == ["b"]
    await stage.trail.close()


async def test_an_outcome_follows_its_decision_over_a_restart(tmp_path: Path) -> None:
    """Which flows are awaited is found out again from what stands before the cursor."""
    stage = await make_stage(tmp_path)
    facts: dict[str, Fact] = {"flow": "f1", "effect": "allow", "job": {"pipeline": "web"}}
    await stage.trail.append(AuditRecord(kind=Kind.DECISION, at=AT, facts=facts))
    route = Route(id="r", to=("s",), where={"pipeline": ("web",)})
    sink = Recorded()
    first = stage.shipper(sink, route)
    first.start()
    await until(lambda: len(sink.taken) == 1)
    await first.finish(5)
    for flow in ("f0", "f1"):
        await stage.trail.append(AuditRecord(kind=Kind.OUTCOME, at=AT, facts={"flow": flow}))
    second = stage.shipper(sink, route)
    second.start()
    await second.finish(5)
    assert [record["kind"] for record in sink.taken] == [Kind.DECISION, Kind.OUTCOME]
    await stage.trail.close()


async def test_what_is_not_taken_is_sent_again(tmp_path: Path) -> None:
    """Whatever was raised, ours or a library's: nothing after it is sent before it, and nothing is lost."""
    stage = await make_stage(tmp_path)
    await stage.add(*numbered(0, 3))
    errors = iter([SinkError("down", after=0.01), ValueError("secret"), SinkError("down")])

    def answer(_: Batch) -> None:
        if (error := next(errors, None)) is not None:
            raise error

    sink = Recorded(answer)
    shipper = stage.shipper(sink)
    shipper.start()
    await until(lambda: sink.tries == 2)
    assert shipper.failure is not None
    assert "secret" not in shipper.failure
    await until(lambda: len(sink.names) == 3)
    await shipper.finish(5)
    assert shipper.behind == 0
    assert sink.names == numbered(0, 3)
    await stage.trail.close()


async def test_a_dead_destination_is_left_for_the_next_start(tmp_path: Path) -> None:
    """Stopping does not wait for it; the next start begins with the first record that it has not got."""
    stage = await make_stage(tmp_path)
    await stage.add(*numbered(0, 9))
    taken = itertools.count()

    def answer(_: Batch) -> None:
        if next(taken) >= 1:
            raise SinkError("down")

    sink = Recorded(answer)
    shipper = stage.shipper(sink)
    shipper.start()
    await until(lambda: sink.tries >= 2)
    shipper.measure()
    assert shipper.behind > 0
    await shipper.finish(5)
    good = Recorded()
    second = stage.shipper(good)
    second.start()
    await second.finish(5)
    assert sink.names + good.names == numbered(0, 9)
    second.measure()
    assert second.behind == 0
    await stage.trail.close()


async def test_a_record_that_is_never_taken_does_not_hold_the_others(tmp_path: Path) -> None:
    """Halved until it stands alone, put on record once, and left in the trail."""
    stage = await make_stage(tmp_path)
    await stage.add(*numbered(0, 11))

    def answer(batch: Batch) -> None:
        if any(record.get("name") == "n5" for record in batch.records):
            raise SinkError("bad data", is_final=True)

    sink = Recorded(answer)
    shipper = stage.shipper(sink, most=100)
    shipper.start()
    await until(lambda: len(sink.names) == 10)
    await shipper.finish(5)
    assert sink.names == [*numbered(0, 5), *numbered(6, 11)]
    assert [said for _, said in stage.refused] == ["bad data"]
    await stage.trail.close()


async def test_a_destination_that_takes_nothing_is_held_not_skipped(tmp_path: Path) -> None:
    """Refusing one record is about the record; refusing all is about the destination, or a setting."""
    stage = await make_stage(tmp_path)
    await stage.add(*numbered(0, 40))

    def answer(_: Batch) -> None:
        raise SinkError("bad data", is_final=True)

    sink = Recorded(answer)
    shipper = stage.shipper(sink, most=100)
    shipper.start()
    await until(lambda: len(stage.refused) == shipping.MOST_REFUSALS and sink.tries > 20)
    await shipper.finish(5)
    assert len(stage.refused) == shipping.MOST_REFUSALS
    assert shipper.delivered == 0
    await stage.trail.close()


async def test_a_refusal_of_a_refusal_is_not_put_on_record(tmp_path: Path) -> None:
    """It would make another, without end."""
    stage = await make_stage(tmp_path)
    await stage.trail.append(AuditRecord(kind=Kind.SINK_REFUSED, at=AT, facts={"sink": "s"}))

    def answer(batch: Batch) -> None:
        if batch.records[-1]["kind"] == Kind.SINK_REFUSED:
            raise SinkError("bad data", is_final=True)

    shipper = stage.shipper(Recorded(answer), Route(id="r", to=("s",), kinds=("sink.refused",)))
    shipper.start()
    await until(lambda: shipper.delivered == stage.trail.head.size)
    await shipper.finish(5)
    assert stage.refused == []
    await stage.trail.close()


async def test_a_trail_that_cannot_be_read_is_a_failure_that_passes(tmp_path: Path) -> None:
    """A cursor of another trail holds the destination and says so; removed, everything is delivered."""
    stage = await make_stage(tmp_path)
    await stage.add("a")
    cursor = stage.directory / "cursor-s"
    cursor.write_text('{"origin": "other", "next": 1}')
    sink = Recorded()
    shipper = stage.shipper(sink)
    shipper.start()
    await until(lambda: shipper.failure is not None)
    assert "is of another trail" in str(shipper.failure)
    cursor.unlink()
    await until(lambda: sink.names == ["a"])
    await shipper.finish(5)
    await stage.trail.close()


async def test_a_cursor_ahead_of_the_trail_is_said(tmp_path: Path) -> None:
    """A trail begun anew beside an old cursor would be delivered from its middle on: it is held instead."""
    stage = await make_stage(tmp_path)
    (stage.directory / "cursor-s").write_text('{"origin": "jobgate/test", "next": 1000}')
    sink = Recorded()
    shipper = stage.shipper(sink)
    shipper.start()
    await until(lambda: shipper.failure is not None)
    assert "is ahead of the trail" in str(shipper.failure)
    await shipper.finish(5)
    assert sink.taken == []
    await stage.trail.close()


async def test_a_segment_that_is_away_for_a_while_loses_nothing(tmp_path: Path) -> None:
    """What was read before the fault and not delivered is read again after it."""
    stage = await make_stage(tmp_path)
    await stage.add(*numbered(0, 60))
    last = sorted(stage.directory.glob("trail-*"))[-2]
    away = last.rename(stage.directory / "away")
    sink = Recorded()
    shipper = stage.shipper(sink, most=1000)
    shipper.start()
    await until(lambda: shipper.failure is not None)
    away.rename(last)
    await until(lambda: len(sink.names) == 60)
    await shipper.finish(5)
    assert sink.names == numbered(0, 60)
    await stage.trail.close()
