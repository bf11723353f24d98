"""The trail on disk, in good times. What happens when the disk fails: test_file_faults.py."""

import asyncio
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from proxy.audit.chain import Head
from proxy.engine.ports import Trail
from proxy.model.errors import AuditError
from proxy.model.record import AuditRecord, Fact, Kind
from proxy.sinks.file import FileTrail, TrailSettings
from proxy.sinks.keys import make_signer

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def record(kind: Kind = Kind.CONNECTION, **facts: Fact) -> AuditRecord:
    return AuditRecord(kind=kind, at=START, facts=facts)


def decision(flow: str, effect: str = "allow") -> AuditRecord:
    return record(Kind.DECISION, flow=flow, effect=effect)


async def open_trail(directory: Path, **settings: Any) -> FileTrail:
    ticks = count()
    return await FileTrail.open(
        TrailSettings(directory=directory, reserve=0, **settings),
        make_signer("jobgate/test"),
        lambda: START + timedelta(seconds=next(ticks)),
    )


def lines(directory: Path) -> Iterator[bytes]:
    for path in sorted(directory.glob("trail-*.jsonl")):
        yield from path.read_bytes().splitlines(keepends=True)


def records(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(directory)]


async def test_an_appended_record_is_on_disk_and_linked(tmp_path: Path) -> None:
    """When append returns, the line is in the file, names the line before it by digest, and is the trail's head."""
    trail: Trail = await open_trail(tmp_path / "a")
    await trail.append(record(note="x"))
    written = list(lines(tmp_path / "a"))
    found = json.loads(written[1])
    assert (found["seq"], found["note"]) == (1, "x")
    assert found["prev"] == sha256(written[0]).hexdigest()
    assert isinstance(trail, FileTrail)
    assert trail.head == Head(2, sha256(written[1]).hexdigest())
    await trail.close()


async def test_records_keep_their_order_and_their_number(tmp_path: Path) -> None:
    """Appended by 50 tasks at once or posted, each record is in the trail once, numbered without a gap."""
    trail = await open_trail(tmp_path / "a")
    for n in range(50):
        trail.post(record(posted=n))
    await asyncio.gather(*(trail.append(record(appended=n)) for n in range(50)))
    await trail.close()
    found = records(tmp_path / "a")
    assert [r["seq"] for r in found] == list(range(102))
    assert [r["posted"] for r in found if "posted" in r] == list(range(50))
    assert [r["appended"] for r in found if "appended" in r] == list(range(50))


async def test_cancelling_an_append_loses_no_record(tmp_path: Path) -> None:
    """Whoever stops waiting still has a record in the trail, whole."""
    trail = await open_trail(tmp_path / "a")
    tasks = [asyncio.create_task(trail.append(record(n=n))) for n in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await trail.close()
    assert [r["n"] for r in records(tmp_path / "a")[1:-1]] == list(range(20))


async def test_a_restart_continues_the_chain(tmp_path: Path) -> None:
    """The next run's first record follows the last run's last one, whose open flows it closes as interrupted."""
    first = await open_trail(tmp_path / "a")
    for flow in ("one", "two", "three", "four"):
        await first.append(decision(flow))
    await first.append(decision("five", effect="deny"))
    await first.append(record(Kind.OUTCOME, flow="two", reason="allowed"))
    await first.append(decision("three", effect="deny"))
    await first.close()

    second = await open_trail(tmp_path / "a")
    await second.close()
    third = await open_trail(tmp_path / "a")
    await third.close()

    found = records(tmp_path / "a")
    assert [r["seq"] for r in found] == list(range(len(found)))
    opened = [r for r in found if r["kind"] == "trail.opened"]
    assert [r["interrupted"] for r in opened] == [0, 2, 0]
    closed = [r["flow"] for r in found if r.get("reason") == "interrupted"]
    assert closed == ["one", "four"]


@pytest.mark.parametrize("tail", [b'{"v":1,"seq":3,"pr', b"\0" * 4096, b'{"v":1,"seq"\0\0\0\n{"v":1}\n'])
async def test_a_torn_end_is_cut_off_and_noted(tmp_path: Path, tail: bytes) -> None:
    """What a crash left half written goes, the record of the next start says how much, and the chain continues."""
    first = await open_trail(tmp_path / "a")
    await first.append(record(n=1))
    await first.close()
    segment = next((tmp_path / "a").glob("trail-*.jsonl"))
    with segment.open("ab") as file:
        file.write(tail)

    second = await open_trail(tmp_path / "a")
    await second.close()

    found = records(tmp_path / "a")
    assert [r["seq"] for r in found] == [0, 1, 2, 3, 4]
    assert found[3]["torn"] == len(tail)
    assert found[3]["after"] == segment.name


async def test_an_altered_trail_is_not_written_on(tmp_path: Path) -> None:
    """A whole line that does not verify stops the start, and is left as it is."""
    first = await open_trail(tmp_path / "a")
    await first.append(record(note="before"))
    await first.append(record(note="after"))
    await first.close()
    segment = next((tmp_path / "a").glob("trail-*.jsonl"))
    altered = segment.read_bytes().replace(b"before", b"BEFORE")
    segment.write_bytes(altered)

    with pytest.raises(AuditError, match="audit verify"):
        await open_trail(tmp_path / "a")
    assert segment.read_bytes() == altered


async def test_one_writer_at_a_time(tmp_path: Path) -> None:
    """A second writer is told who holds the trail; once that one closes, the trail is free."""
    first = await open_trail(tmp_path / "a")
    with pytest.raises(AuditError, match=f"pid {os.getpid()}"):
        await open_trail(tmp_path / "a")
    await first.append(record())
    await first.close()
    await (await open_trail(tmp_path / "a")).close()


async def test_segments_rotate_by_size(tmp_path: Path) -> None:
    """A full segment is followed by one named after its first record; the chain runs through."""
    trail = await open_trail(tmp_path / "a", segment_bytes=4096)
    for n in range(100):
        await trail.append(record(n=n))
    await trail.close()
    names = sorted(path.name for path in (tmp_path / "a").glob("trail-*.jsonl"))
    assert len(names) > 2
    for name in names:
        first = json.loads((tmp_path / "a" / name).read_bytes().splitlines()[0])
        assert name == f"trail-{first['seq']:012d}.jsonl"
    assert [r["seq"] for r in records(tmp_path / "a")] == list(range(102))


async def test_segments_rotate_by_age(tmp_path: Path) -> None:
    """A segment older than allowed takes no further record."""
    trail = await open_trail(tmp_path / "a", segment_age=0.0)
    await trail.append(record(n=1))
    await trail.append(record(n=2))
    await trail.close()
    assert len(list((tmp_path / "a").glob("trail-*.jsonl"))) == 3


async def test_files_are_closed_to_others(tmp_path: Path) -> None:
    """The directory is 0700; records, checkpoints and lock are 0600."""
    trail = await open_trail(tmp_path / "a")
    await trail.close()
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    secret = [p for p in (tmp_path / "a").iterdir() if p.suffix != ".pub"]
    assert {p.stat().st_mode & 0o777 for p in secret} == {0o600}
    assert {p.name for p in secret} == {"trail-000000000000.jsonl", "checkpoints", "lock"}


async def test_a_closed_trail_takes_nothing(tmp_path: Path) -> None:
    """After close nothing is writable, an append says so, and closing again does nothing."""
    trail = await open_trail(tmp_path / "a")
    await trail.close()
    await trail.close()
    assert not trail.is_writable()
    with pytest.raises(AuditError):
        await trail.append(record())


async def test_a_record_that_cannot_be_encoded(tmp_path: Path) -> None:
    """Appended, it is an error at once; posted, its flow and the fault are on record all the same."""
    trail = await open_trail(tmp_path / "a")
    with pytest.raises(AuditError):
        await trail.append(record(seq=1))
    trail.post(record(Kind.OUTCOME, flow="f1", prev="x"))
    await trail.close()
    last = records(tmp_path / "a")[-2]
    assert (last["flow"], last["kind"]) == ("f1", "flow.outcome")
    assert "unrecordable" in last["detail"]


async def test_what_a_tee_does_changes_nothing(tmp_path: Path) -> None:
    """A tee sees the durable lines; one that breaks breaks nothing."""
    seen: list[bytes] = []

    def broken(payload: bytes) -> None:
        raise RuntimeError

    trail = await FileTrail.open(
        TrailSettings(directory=tmp_path / "a"),
        make_signer("jobgate/test"),
        lambda: START,
        tees=(broken, seen.append),
    )
    await trail.append(record(n=1))
    await trail.close()
    assert b"".join(seen) == b"".join(lines(tmp_path / "a"))
