"""What may go, goes oldest first, on time, and not before it was delivered; what is left verifies."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from proxy.audit.verify import Report
from proxy.model.errors import AuditError
from proxy.model.record import AuditRecord, Fact, Kind
from proxy.sinks.file import FileTrail, TrailSettings
from proxy.sinks.keys import make_signer
from proxy.sinks.retention import Keeper, Retention
from proxy.sources.trail import find_segments, read_keys, verify_trail

AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
DAY = timedelta(days=1)
RETENTION = Retention(keep=10 * DAY, by_tag={("data", "pii"): 400 * DAY, ("data", "noise"): 2 * DAY})


async def make_trail(directory: Path, *tagged: int) -> list[int]:
    """Write records a day apart in small segments; `tagged` are personal. Returns where segments begin."""
    settings = TrailSettings(directory=directory, reserve=0, segment_bytes=4096)
    now = [AT]
    trail = await FileTrail.open(settings, make_signer("jobgate/test"), lambda: now[0])
    for number in range(60):
        now[0] = AT + number * DAY
        facts: dict[str, Fact] = {"padding": "x" * 300, "tags": {"data": "pii" if number in tagged else "noise"}}
        await trail.append(AuditRecord(kind=Kind.CONNECTION, at=now[0], facts=facts))
    await trail.close()
    return [segment.start for segment in find_segments(directory)]


def verify(directory: Path) -> Report:
    return verify_trail(directory, read_keys(sorted(directory.glob("key-*.pub"))), partial=True)


def unlink(path: Path) -> None:
    path.unlink()


async def test_the_oldest_goes_first_when_its_last_record_may(tmp_path: Path) -> None:
    """Not a moment before; then the next one's time counts; the last segment stays."""
    starts = await make_trail(tmp_path)
    keeper = Keeper(tmp_path, RETENTION, lambda: 10_000)
    last = AT + (starts[1] - 2) * DAY  # the first record is the trail's own
    assert keeper.find(last + 10 * DAY - timedelta(seconds=1)) is None
    gone = keeper.find(last + 10 * DAY)
    assert gone is not None
    assert (gone.first, gone.last, gone.tags) == (0, starts[1] - 1, {"data": ("noise",)})
    keeper.remove(gone)
    assert keeper.find(last + 10 * DAY) is None
    count = 1
    while (gone := keeper.find(AT + 9999 * DAY)) is not None:
        keeper.remove(gone)
        count += 1
    assert count == len(starts) - 1
    report = verify(tmp_path)
    assert report.is_intact, report.findings


async def test_one_record_keeps_its_neighbours(tmp_path: Path) -> None:
    """What is kept longest decides; a tag that asks for less than all are kept shortens nothing."""
    await make_trail(tmp_path, 1)
    keeper = Keeper(tmp_path, RETENTION, lambda: 10_000)
    assert keeper.find(AT + 399 * DAY) is None
    gone = keeper.find(AT + 401 * DAY)
    assert gone is not None
    assert gone.tags == {"data": ("noise", "pii")}


async def test_nothing_goes_before_every_sink_has_it(tmp_path: Path) -> None:
    """However old it is."""
    starts = await make_trail(tmp_path)
    delivered = [starts[1] - 1]
    keeper = Keeper(tmp_path, RETENTION, lambda: delivered[0])
    assert keeper.find(AT + 9999 * DAY) is None
    delivered[0] = starts[1]
    assert keeper.find(AT + 9999 * DAY) is not None


async def test_what_cannot_be_removed_is_said(tmp_path: Path) -> None:
    """Gone already, by another hand: an error, and the next one is looked at."""
    await make_trail(tmp_path)
    keeper = Keeper(tmp_path, RETENTION, lambda: 10_000)
    gone = keeper.find(AT + 9999 * DAY)
    assert gone is not None
    unlink(gone.path)
    with pytest.raises(AuditError, match="cannot be removed"):
        keeper.remove(gone)
