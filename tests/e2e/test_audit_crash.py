"""The trail against real trouble: kill -9 at any moment, a disk that is really full, one that turns read-only."""

import asyncio
import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proxy.audit.verify import Report
from proxy.model.errors import AuditError
from proxy.model.record import AuditRecord, Kind
from proxy.sinks.file import FileTrail, TrailSettings
from proxy.sinks.keys import make_signer
from proxy.sources.trail import read_keys, read_lines, verify_trail

ROOT = Path(__file__).resolve().parents[2]

# Appends from 50 tasks at once; says each record's number on stdout only once it was acknowledged, one write per line.
WRITER = """
import asyncio, itertools, os, sys
from datetime import UTC, datetime
from pathlib import Path
from proxy.model.record import AuditRecord, Kind
from proxy.sinks.file import FileTrail, TrailSettings
from proxy.sinks.keys import make_signer

async def main() -> None:
    numbers = itertools.count(int(sys.argv[2]))
    settings = TrailSettings(directory=Path(sys.argv[1]), segment_bytes=20_000, checkpoint_records=37, reserve=0)
    trail = await FileTrail.open(settings, make_signer("jobgate/test"), lambda: datetime.now(UTC))
    async def job() -> None:
        while True:
            n = next(numbers)
            facts = {"flow": f"f{n}", "effect": "allow", "n": n}
            await trail.append(AuditRecord(kind=Kind.DECISION, at=datetime.now(UTC), facts=facts))
            os.write(1, b"%d\\n" % n)
            if n % 3:
                trail.post(AuditRecord(kind=Kind.OUTCOME, at=datetime.now(UTC), facts={"flow": f"f{n}"}))
    os.write(1, b"ready\\n")
    await asyncio.gather(*(job() for _ in range(50)))

asyncio.run(main())
"""


def verify(directory: Path) -> Report:
    return verify_trail(directory, read_keys(sorted(directory.glob("key-*.pub"))))


def run_and_kill(directory: Path, first: int, after: float) -> list[int]:
    """Start a writer, let it write for a moment, kill it; return the numbers it was told are durable."""
    command = [sys.executable, "-c", WRITER, str(directory), str(first)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(after)
        writer.kill()
        said = writer.stdout.read()
    return [int(line) for line in said.splitlines(keepends=True) if line.endswith(b"\n")]


def test_fifty_kills_lose_nothing_that_was_promised(tmp_path: Path) -> None:
    """After each kill -9 the next start continues; all acknowledged records are there, chained, once (G20 to G22)."""
    rng = random.Random(7)
    directory, acknowledged = tmp_path / "audit", set[int]()
    for n in range(50):
        acknowledged.update(run_and_kill(directory, n * 1_000_000, rng.random() * 0.03))
        assert verify(directory).findings == ()

    async def open_once() -> None:
        await (await FileTrail.open(settings(directory), make_signer("jobgate/test"), now)).close()

    asyncio.run(open_once())
    report = verify(directory)
    assert report.findings == ()
    assert report.open_flows == ()
    assert report.torn == 0
    found = [json.loads(line).get("n") for line in read_lines(directory)]
    numbers = [n for n in found if n is not None]
    assert len(acknowledged) > 500
    assert len(numbers) == len(set(numbers))
    assert acknowledged <= set(numbers)


def now() -> datetime:
    return datetime.now(UTC)


def settings(directory: Path, reserve: int = 0) -> TrailSettings:
    return TrailSettings(directory=directory, reserve=reserve, retry=0.01, segment_bytes=100_000)


def record(n: int) -> AuditRecord:
    return AuditRecord(kind=Kind.CONNECTION, at=now(), facts={"n": n, "pad": "x" * 1000})


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB of its own."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"NOT RUN: a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a condition of the disk, which raises no event
            await asyncio.sleep(0.005)


async def fill(trail: FileTrail) -> int:
    """Append until the disk is full; return how many were acknowledged."""
    for count in itertools.count():
        try:
            await trail.append(record(count))
        except AuditError:
            return count
    raise AssertionError


async def test_a_full_disk_denies_and_recovers(small_disk: Path) -> None:
    """Really full: nothing is promised, the reserve takes the outcomes; with room again all goes on by itself (G26)."""
    trail = await FileTrail.open(settings(small_disk / "audit", reserve=65536), make_signer("jobgate/test"), now)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 600_000)
    count = await fill(trail)
    assert count > 100
    assert not trail.is_writable()
    for n in range(10):
        trail.post(record(10_000 + n))
    await until(lambda: trail.pending == 0)
    with pytest.raises(AuditError):
        await trail.append(record(20_000))
    ballast.unlink()
    await until(trail.is_writable)
    await trail.append(record(30_000))
    await trail.close()
    report = verify(small_disk / "audit")
    assert report.findings == ()
    numbers = [json.loads(line).get("n") for line in read_lines(small_disk / "audit")]
    assert [n for n in numbers if n is not None] == [*range(count), *range(10_000, 10_010), 30_000]


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


async def test_a_disk_that_turns_read_only_denies_and_recovers(small_disk: Path) -> None:
    """A new segment cannot be begun: nothing is promised. Writable again: posts first, then new records."""
    chosen = replace(settings(small_disk / "audit"), segment_bytes=1)
    trail = await FileTrail.open(chosen, make_signer("jobgate/test"), now)
    await trail.append(record(1))
    await asyncio.to_thread(mount, "--bind", str(small_disk), str(small_disk))
    try:
        await asyncio.to_thread(mount, "-o", "remount,bind,ro", str(small_disk))
        with pytest.raises(AuditError):
            await trail.append(record(2))
        assert trail.failure == "Read-only file system"
        trail.post(record(3))
        with pytest.raises(AuditError, match="Read-only file system"):
            await FileTrail.open(settings(small_disk / "other"), make_signer("jobgate/test"), now)
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", str(small_disk)], check=True)
    await until(trail.is_writable)
    await trail.append(record(4))
    await trail.close()
    assert verify(small_disk / "audit").findings == ()
    numbers = [json.loads(line).get("n") for line in read_lines(small_disk / "audit")]
    assert [n for n in numbers if n is not None] == [1, 3, 4]
