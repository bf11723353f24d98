"""The trail as a spool: exactly the durable records, in order, whatever stands around them."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proxy.audit.chain import BEGINNING, link, read_record
from proxy.audit.naming import segment_name
from proxy.model.errors import AuditError
from proxy.model.record import AuditRecord, Kind
from proxy.sinks.file import FileTrail, TrailSettings
from proxy.sinks.keys import make_signer
from proxy.sinks.spool import SpoolReader, first_record, read_cursor, write_cursor
from proxy.sources.trail import read_lines

AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


async def make_trail(directory: Path, count: int, segment_bytes: int = 4096) -> list[bytes]:
    settings = TrailSettings(directory=directory, reserve=0, segment_bytes=segment_bytes)
    trail = await FileTrail.open(settings, make_signer("jobgate/test"), lambda: AT)
    for number in range(count):
        await trail.append(AuditRecord(kind=Kind.CONNECTION, at=AT, facts={"name": f"n{number}"}))
    await trail.close()
    return list(read_lines(directory))


def segments_of(directory: Path) -> list[Path]:
    return sorted(directory.glob("trail-*"))


def read_all(reader: SpoolReader, until: int, most: int, most_bytes: int = 1 << 20) -> list[bytes]:
    found: list[bytes] = []
    while lines := reader.read(until, most, most_bytes):
        assert len(lines) <= most
        found += lines
    return found


@pytest.mark.parametrize("most, most_bytes", [(1, 1 << 20), (7, 1 << 20), (1000, 300), (1000, 1 << 20)])
async def test_every_record_comes_once_in_order(tmp_path: Path, most: int, most_bytes: int) -> None:
    """Over many segments, in batches of any size, from any record on, to any record."""
    lines = await make_trail(tmp_path, 100)
    assert len(segments_of(tmp_path)) > 3
    for start in (0, 1, 50, len(lines) - 1, len(lines)):
        for until in (start, (start + len(lines)) // 2, len(lines)):
            reader = SpoolReader(tmp_path, start)
            assert read_all(reader, until, most, most_bytes) == lines[start:until]
            assert reader.next == until
            reader.close()


async def test_what_is_not_durable_is_not_read(tmp_path: Path) -> None:
    """Lines of a failed batch stand behind the durable ones, and a torn one: none is given out, in any segment."""
    head, lines = BEGINNING, []
    for number in range(6):
        line, head = link(head, b'"at":"2026-01-02T03:04:05.000006Z","kind":"flow.outcome","n":%d}' % number)
        lines.append(line)
    junk = lines[3].replace(b'"n":3', b'"n":9')
    (tmp_path / segment_name(0)).write_bytes(b"".join(lines[:3]) + junk + b'{"v":1,"torn')
    reader = SpoolReader(tmp_path, 0)
    assert read_all(reader, 3, 100) == lines[:3]
    (tmp_path / segment_name(3)).write_bytes(b"".join(lines[3:]) + b"\0\0")
    assert read_all(reader, 6, 100) == lines[3:]
    assert reader.read(6, 100, 100) == []


async def test_a_line_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    """A sealed record may be large; it comes whole."""
    line, _ = link(
        BEGINNING, b'"at":"2026-01-02T03:04:05.000006Z","kind":"flow.outcome","n":"%s"}' % (b"x" * 3_000_000)
    )
    (tmp_path / segment_name(0)).write_bytes(line)
    assert SpoolReader(tmp_path, 0).read(1, 10, 10) == [line]


async def test_what_is_gone_is_said_and_not_skipped(tmp_path: Path) -> None:
    """A segment that was moved away undelivered, a gap, a file that cannot be read: each is an error."""
    lines = await make_trail(tmp_path, 100)
    segments = segments_of(tmp_path)
    segments[0].unlink()
    assert first_record(tmp_path) > 0
    with pytest.raises(AuditError, match="record 0 is gone"):
        SpoolReader(tmp_path, 0).read(len(lines), 10, 1000)
    segments[2].unlink()
    reader = SpoolReader(tmp_path, first_record(tmp_path))
    with pytest.raises(AuditError, match="is not where it should be"):
        read_all(reader, len(lines), 10)
    with pytest.raises(AuditError, match="cannot be read"):
        SpoolReader(tmp_path / "missing", 0).read(1, 1, 1)


async def test_a_gap_inside_a_segment_is_said(tmp_path: Path) -> None:
    """A trail with a line missing is not delivered past it."""
    lines = await make_trail(tmp_path, 10, segment_bytes=1 << 20)
    (tmp_path / segment_name(0)).write_bytes(b"".join(lines[:4] + lines[5:]))
    with pytest.raises(AuditError, match="record 4 expected, 5 found"):
        read_all(SpoolReader(tmp_path, 0), len(lines), 100)


async def test_how_far_it_is_behind(tmp_path: Path) -> None:
    """All bytes at first, none at the end, less with each batch."""
    lines = await make_trail(tmp_path, 100)
    reader = SpoolReader(tmp_path, 0)
    left = [reader.behind()]
    while reader.read(len(lines), 10, 1 << 20):
        left.append(reader.behind())
    assert left[0] == sum(map(len, lines))
    assert left[-1] == 0
    assert left == sorted(left, reverse=True)


def test_a_cursor_is_remembered(tmp_path: Path) -> None:
    """None before the first, then what was written last."""
    path = tmp_path / "cursor-x"
    assert read_cursor(path, "o") is None
    write_cursor(path, "o", 7)
    write_cursor(path, "o", 9)
    assert read_cursor(path, "o") == 9


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "cannot be read"),
        ("[]", "is no cursor"),
        ('{"next": "7", "origin": "o"}', "is no cursor"),
        ('{"next": -1, "origin": "o"}', "is no cursor"),
        ('{"next": 7, "origin": "other"}', "is of another trail, 'other'"),
    ],
)
def test_a_cursor_that_cannot_be_used_is_not_guessed(tmp_path: Path, text: str, message: str) -> None:
    """It says what to do: remove it, and everything is delivered again."""
    path = tmp_path / "cursor-x"
    path.write_text(text)
    with pytest.raises(AuditError, match=message) as error:
        read_cursor(path, "o")
    assert "remove it to deliver everything again" in str(error.value)


def test_a_cursor_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """What was delivered and not remembered is delivered again, not lost."""
    with pytest.raises(AuditError, match="cannot be written"):
        write_cursor(tmp_path / "missing" / "cursor-x", "o", 1)


async def test_lines_are_the_trails(tmp_path: Path) -> None:
    """The reader gives the bytes of the trail; they read as records."""
    lines = await make_trail(tmp_path, 3)
    assert [json.loads(line)["seq"] for line in lines] == [read_record(line)["seq"] for line in lines]
