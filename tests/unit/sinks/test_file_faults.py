"""The trail when the disk fails: at every call, with or without having done the work, once or for good.

The promise in every row: what was acknowledged is in the trail once; what failed is not; what was posted arrives, in
order; the chain verifies; and without a restart the trail takes records again.
"""

import asyncio
import errno
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from proxy.audit.verify import Report
from proxy.model.errors import AuditError
from proxy.model.record import AuditRecord, Fact, Kind
from proxy.sinks.file import FileTrail, TrailSettings
from proxy.sinks.keys import make_signer
from proxy.sources.trail import read_keys, read_lines, verify_trail
from tests.fakes.disk import Fault, FaultyDisk, Plan

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def record(**facts: Fact) -> AuditRecord:
    return AuditRecord(kind=Kind.CONNECTION, at=AT, facts=facts)


async def open_trail(directory: Path, disk: FaultyDisk, **settings: Any) -> FileTrail:
    chosen = {"reserve": 0, "retry": 0.002, "checkpoint_records": 4, "segment_bytes": 1000, **settings}
    return await FileTrail.open(
        TrailSettings(directory=directory, **chosen), make_signer("jobgate/test"), lambda: AT, disk=disk
    )


async def open_when_free(directory: Path) -> FileTrail:
    """Open what an earlier trail may still be letting go of: its thread outlives `close_within` on a busy machine."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await open_trail(directory, FaultyDisk())
            except AuditError as error:
                if "is writing to" not in str(error):
                    raise
                await asyncio.sleep(0.005)


def verify(directory: Path) -> Report:
    return verify_trail(directory, read_keys(sorted(directory.glob("key-*.pub"))))


def names(directory: Path) -> list[Any]:
    records = [json.loads(line) for line in read_lines(directory)]
    return [each["name"] for each in records if "name" in each]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a condition of the disk, which raises no event
            await asyncio.sleep(0.001)


@dataclass
class Told:
    """What the users of a trail were told."""

    acknowledged: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    posted: list[str] = field(default_factory=list)


async def use(trail: FileTrail, label: str, told: Told) -> None:
    """Eight rounds of three appends at once and one post: enough to rotate and to sign."""

    async def append(name: str) -> None:
        try:
            await trail.append(record(name=name))
        except AuditError:
            told.refused.append(name)
        else:
            told.acknowledged.append(name)

    for n in range(8):
        trail.post(record(name=f"{label}-posted-{n}"))
        told.posted.append(f"{label}-posted-{n}")
        await asyncio.gather(*(append(f"{label}-{n}-{m}") for m in range(3)))


def check(directory: Path, told: Told) -> None:
    report = verify(directory)
    assert report.findings == ()
    found = names(directory)
    assert len(found) == len(set(found))
    assert set(told.acknowledged) <= set(found)
    assert not set(told.refused) & set(found)
    assert [name for name in found if "posted" in name] == told.posted


CALLS = 24
FAULTS = {
    "nothing done": Fault(),
    "half done": Fault(done=0.5),
    "all done": Fault(done=1.0),
    "disk full": Fault(errno.ENOSPC, done=0.3),
}


def fail_once(at: int, fault: Fault) -> Plan:
    return lambda method, number: fault if number == at else None


def fail_and_stick(at: int, fault: Fault) -> Plan:
    """The call fails, and so does the first attempt to undo it."""
    state = {"undo": False}

    def plan(method: str, number: int) -> Fault | None:
        if number == at:
            state["undo"] = True
            return fault
        if method == "truncate" and state["undo"]:
            state["undo"] = False
            return Fault()
        return None

    return plan


@pytest.mark.parametrize("plan", [fail_once, fail_and_stick])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("durability", ["fsync", "write"])
async def test_any_call_may_fail(
    tmp_path: Path, plan: Callable[[int, Fault], Plan], fault: Fault, durability: str
) -> None:
    """Whichever call fails, and however, the trail recovers by itself and holds exactly what was promised."""
    for at in range(CALLS):
        disk, told = FaultyDisk(), Told()
        trail = await open_trail(tmp_path / f"{at}", disk, durability=durability)
        disk.plan = plan(len(disk.calls) + at, fault)
        await use(trail, "during", told)
        await until(trail.is_writable)
        await use(trail, "after", told)
        assert {name for name in told.refused if name.startswith("after")} == set()
        await trail.close()
        assert trail.lost == 0
        check(tmp_path / f"{at}", told)


async def test_the_table_reaches_every_kind_of_call(tmp_path: Path) -> None:
    """The calls gone through above include creating, writing, syncing: records, segments and checkpoints."""
    disk = FaultyDisk()
    trail = await open_trail(tmp_path / "a", disk)
    begun = len(disk.calls)
    await use(trail, "x", Told())
    made = disk.calls[begun:]
    await trail.close()
    assert {"create", "write", "sync"} <= set(made[:CALLS])
    assert len(list((tmp_path / "a").glob("trail-*.jsonl"))) > 2
    assert len(made) >= CALLS


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("durability", ["fsync", "write"])
async def test_power_may_go_at_any_call(tmp_path: Path, fault: Fault, durability: str) -> None:
    """Whichever call is the last, and however done, the next start continues and no promise is broken."""
    for at in range(CALLS):
        disk, told = FaultyDisk(), Told()
        trail = await open_trail(tmp_path / f"{at}", disk, durability=durability, close_within=0.01)
        last = len(disk.calls) + at

        def plan(method: str, number: int, last: int = last) -> Fault | None:
            return None if number < last else fault if number == last else Fault()

        disk.plan = plan
        await use(trail, "before", told)
        with suppress(AuditError):  # posts that nobody waited for may be lost with the power
            await trail.close()
        again = await open_when_free(tmp_path / f"{at}")
        await use(again, "after", told)
        await again.close()
        found = names(tmp_path / f"{at}")
        assert verify(tmp_path / f"{at}").findings == ()
        assert set(told.acknowledged) <= set(found)
        assert len(found) == len(set(found))


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_start_may_fail_at_any_call(tmp_path: Path, fault: Fault) -> None:
    """A trail that cannot be begun is an error, leaves nothing in the way, and the next start works."""
    counted = FaultyDisk()
    await (await open_trail(tmp_path / "counted", counted, reserve=4096)).close()
    begin = counted.calls.index("sync", counted.calls.index("open_append")) + 1
    assert begin >= 6
    for at in range(begin):
        with pytest.raises(AuditError, match="cannot be begun"):
            await open_trail(tmp_path / f"{at}", FaultyDisk(fail_once(at, fault)), reserve=4096)
        told = Told()
        trail = await open_trail(tmp_path / f"{at}", FaultyDisk(), reserve=4096)
        await use(trail, "after", told)
        await trail.close()
        check(tmp_path / f"{at}", told)


async def test_while_the_disk_is_full_nothing_is_promised(tmp_path: Path) -> None:
    """Full: appends fail at once, posts wait. Free again: posts come first, and a record says what happened."""
    disk = FaultyDisk()
    trail = await open_trail(tmp_path / "a", disk)
    disk.plan = lambda method, number: Fault(errno.ENOSPC) if method in {"write", "create"} else None
    with pytest.raises(AuditError):
        await trail.append(record(name="first"))
    assert not trail.is_writable()
    for n in range(100):
        with pytest.raises(AuditError, match="fails on demand"):
            await trail.append(record(name=f"refused-{n}"))
        trail.post(record(name=n))
    assert trail.failure is not None
    disk.plan = lambda method, number: None
    await until(trail.is_writable)
    await trail.append(record(name="last"))
    await trail.close()
    assert names(tmp_path / "a") == [*range(100), "last"]
    repaired = [json.loads(line) for line in read_lines(tmp_path / "a") if b"trail.repaired" in line]
    assert [each["refused"] for each in repaired] == [101]
    assert verify(tmp_path / "a").findings == ()


async def test_the_reserve_lets_outcomes_be_written_on_a_full_disk(tmp_path: Path) -> None:
    """Out of space, the reserve is given up for what was posted; nothing new is allowed until it is back."""
    disk = FaultyDisk()
    trail = await open_trail(tmp_path / "a", disk, reserve=65536)
    reserve = tmp_path / "a" / "reserve"
    assert reserve.stat().st_size == 65536

    def full(method: str, number: int) -> Fault | None:
        no_room = method in {"write", "create", "reserve"} and (method == "reserve" or reserve.exists())
        return Fault(errno.ENOSPC) if no_room else None

    disk.plan = full
    trail.post(record(name="outcome"))
    await until(lambda: "outcome" in names(tmp_path / "a"))
    assert not reserve.exists()
    assert not trail.is_writable()
    with pytest.raises(AuditError):
        await trail.append(record(name="new"))
    trail.post(record(name="another"))
    await until(lambda: "another" in names(tmp_path / "a"))
    disk.plan = lambda method, number: None
    await until(trail.is_writable)
    assert reserve.stat().st_size == 65536
    await trail.close()
    assert not reserve.exists()
    assert verify(tmp_path / "a").findings == ()


async def test_a_disk_that_hangs_makes_the_trail_unwritable(tmp_path: Path) -> None:
    """A sync that takes too long is a failure before it ends; when it ends well, all is well again."""
    hang = threading.Event()
    disk = FaultyDisk()
    trail = await open_trail(tmp_path / "a", disk, stall=0.05)

    def slow(method: str, number: int) -> None:
        if method == "sync":
            hang.wait(20)

    disk.plan = slow
    waiting = asyncio.create_task(trail.append(record(name="slow")))
    await until(lambda: not trail.is_writable())
    with pytest.raises(AuditError, match="behind"):
        await trail.append(record(name="refused"))
    assert not waiting.done()
    hang.set()
    await waiting
    assert trail.head.size == 2
    assert trail.is_writable()
    await trail.close()
    assert names(tmp_path / "a") == ["slow"]


async def test_the_backlog_is_bounded(tmp_path: Path) -> None:
    """Too much waiting: not writable. Twice as much: posts are dropped, counted, and the count is put on record."""
    disk = FaultyDisk(lambda method, number: None)
    trail = await open_trail(tmp_path / "a", disk, backlog=10)
    disk.plan = lambda method, number: Fault() if method in {"write", "create"} else None
    for n in range(10):
        assert trail.is_writable()
        trail.post(record(name=n))
    assert not trail.is_writable()
    for n in range(10, 25):
        trail.post(record(name=n))
    assert (trail.lost, trail.pending) == (5, 20)
    await until(lambda: trail.failure == "write fails on demand")
    disk.plan = lambda method, number: None
    await until(trail.is_writable)
    with pytest.raises(AuditError, match="5 records"):
        await trail.close()
    assert names(tmp_path / "a") == list(range(20))
    repaired = [json.loads(line) for line in read_lines(tmp_path / "a") if b"trail.repaired" in line]
    assert repaired[-1]["lost"] == 5


async def test_a_trail_that_cannot_close_cleanly_says_so(tmp_path: Path) -> None:
    """Records that the disk never took are counted in the error of close, which comes in time."""
    disk = FaultyDisk()
    trail = await open_trail(tmp_path / "a", disk, close_within=0.02)
    disk.plan = lambda method, number: Fault()
    trail.post(record(name="a"))
    trail.post(record(name="b"))
    with pytest.raises(AuditError, match="2 records"):
        await trail.close()


async def test_a_writer_that_breaks_is_not_silent(tmp_path: Path) -> None:
    """A fault of ours in the writer makes the trail unwritable and tells whoever waits."""
    disk = FaultyDisk()
    trail = await open_trail(tmp_path / "a", disk)

    def broken(method: str, number: int) -> Fault | None:
        raise ZeroDivisionError

    disk.plan = broken
    with pytest.raises(AuditError):
        await trail.append(record(name="a"))
    assert not trail.is_writable()
    trail.post(record(name="b"))
    assert trail.lost == 1
    disk.plan = lambda method, number: None
    with pytest.raises(AuditError):
        await trail.close()
