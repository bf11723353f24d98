"""Read a trail: a directory or one segment, from its beginning or as it grows. Never writes, never locks.

Only what counts is given out: of a segment that another follows, the records before that one's first; of the last one,
whole lines. What a failed batch or a crash left after them is for `verify` to report.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any, Final

from proxy.audit.canonical import format_time
from proxy.audit.chain import is_torn, read_envelope, read_record
from proxy.audit.checkpoint import Notes, Verifier, read_verifier, split_notes
from proxy.audit.naming import CHECKPOINTS, segment_start
from proxy.audit.verify import Report, TrailWalk
from proxy.model.errors import AuditError
from proxy.model.record import Kind

_POLL: Final = 0.2
_MAX_SMALL_FILE: Final = 64 * 1024 * 1024
_TAIL: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """One segment on disk, and where the next one begins if there is one."""

    path: Path
    start: int
    next_start: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which records to give out. None means any. Patterns may hold `*` and `?`."""

    job: str | None = None
    pipeline: str | None = None
    host: str | None = None
    effect: str | None = None
    reason: str | None = None
    kind: str | None = None
    flow: str | None = None
    since: datetime | None = None


def find_segments(path: Path) -> list[SegmentFile]:
    """Return the segments of a trail, in order; of a single file, that one. Raises AuditError when there is none."""
    try:
        paths = [path] if path.is_file() else list(path.iterdir())
    except OSError as error:
        raise AuditError(f"{path} cannot be read: {error.strerror}") from None
    named = [(start, each) for each in paths if (start := segment_start(each.name)) is not None]
    if not named:
        raise AuditError(f"{path} holds no trail: no trail-*.jsonl in it")
    named.sort()
    following = [start for start, _ in named[1:]]
    return [
        SegmentFile(each, start, next_start)
        for (start, each), next_start in zip(named, [*following, None], strict=True)
    ]


def read_checkpoints(path: Path) -> Notes:
    """Return the notes of a checkpoints file; none when there is no such file. Raises AuditError."""
    try:
        if not path.exists():
            return Notes((), (), 0)
        if path.stat().st_size > _MAX_SMALL_FILE:
            raise AuditError(f"{path} is over {_MAX_SMALL_FILE} bytes")
        return split_notes(path.read_bytes())
    except OSError as error:
        raise AuditError(f"{path} cannot be read: {error.strerror}") from None


def read_keys(paths: list[Path]) -> list[Verifier]:
    """Return the public keys in `.pub` files. Raises AuditError, naming the file, when one is none."""
    keys: list[Verifier] = []
    for path in paths:
        try:
            keys.append(read_verifier(path.read_text("ascii")))
        except OSError as error:
            raise AuditError(f"{path} cannot be read: {error.strerror}") from None
        except (UnicodeDecodeError, AuditError):
            raise AuditError(f"{path} is not a checkpoint key") from None
    return keys


def verify_trail(
    directory: Path,
    verifiers: list[Verifier],
    *,
    elsewhere: list[Path] | None = None,
    partial: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> Report:
    """Walk a whole trail; `elsewhere` are checkpoints kept in another place. `advance` is told of bytes read.

    `partial`: the oldest segments may have been moved away.

    Raises AuditError when the trail cannot be read at all.
    """
    files = [directory / CHECKPOINTS, *(elsewhere or ())]
    notes = {file.name if file.parent == directory else str(file): read_checkpoints(file) for file in files}
    walk = TrailWalk(notes, verifiers, partial=partial)
    for segment in find_segments(directory):
        walk.begin_segment(segment.path.name, segment.start, segment.next_start)
        with _open(segment.path) as file:
            read = 0
            for line in file:
                walk.feed(line)
                read += len(line)
                if read >= 1 << 20:
                    advance(read)
                    read = 0
            advance(read)
    return walk.finish()


def segments_between(path: Path, since: datetime | None, until: datetime | None) -> slice:
    """Return which segments of a trail, in order, may hold records of this time. Raises AuditError.

    By the time of each one's first record: one that was set back is not looked for.
    """
    if since is None and until is None:
        return slice(None)
    starts = [_first_time(segment.path) for segment in find_segments(path)]
    first = 0 if since is None else max(bisect_right(starts, format_time(since)) - 1, 0)
    return slice(first, len(starts) if until is None else max(bisect_right(starts, format_time(until)), first))


def _first_time(path: Path) -> str:
    with _open(path) as file:
        line = file.readline()
    try:
        return read_envelope(line).at
    except AuditError as error:
        raise AuditError(f"{path}: {error}") from None


def read_lines(path: Path, *, chosen: slice = slice(None)) -> Iterator[bytes]:
    """Give out the lines of a trail, or of the chosen ones of its segments, to where it ends now. Raises AuditError."""
    for segment in find_segments(path)[chosen]:
        with _open(segment.path) as file:
            yield from _own_lines(segment.next_start, file)


def last_record(path: Path) -> int:
    """Return the number of a segment's last line; -1 when that is no whole record. Raises AuditError."""
    with _open(path) as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL))
        tail = file.read()
    line = tail[tail.rfind(b"\n", 0, -1) + 1 :]
    return -1 if is_torn(line) else sequence_of(line)


def follow_lines(path: Path, *, after: int = -1, is_over: Callable[[], bool] = lambda: False) -> Iterator[bytes | None]:
    """Give out the lines after number `after`, as they are written; None whenever nothing is new for a moment.

    Follows from one segment to the next. Ends when `is_over`. Raises AuditError.
    """
    segments = find_segments(path)
    current = [each for each in segments if each.start <= after + 1 or each == segments[0]][-1]
    file = _open(current.path)
    try:
        while not is_over():
            if (line := _next_line(file)) is not None:
                if after < sequence_of(line) and (current.next_start is None or sequence_of(line) < current.next_start):
                    yield line
                continue
            following = _find_following(path, current)
            if following is None:
                yield None
                time.sleep(_POLL)
            elif current.next_start is None:  # it may have been written to until the next began: read on to its end
                current = SegmentFile(current.path, current.start, following.start)
            else:
                file.close()
                current = SegmentFile(following.path, following.start, None)
                file = _open(current.path)
    finally:
        file.close()


def _find_following(path: Path, current: SegmentFile) -> SegmentFile | None:
    if path.is_file():
        return None
    return next((each for each in find_segments(path) if each.start > current.start), None)


def _next_line(file: IO[bytes]) -> bytes | None:
    """Return the next whole line. A failed batch may have been cut off behind us: then go back to the new end."""
    at = file.tell()
    line = file.readline()
    if line and not is_torn(line):
        return line
    end = file.seek(0, 2)
    file.seek(min(at, end))
    return None


def _own_lines(next_start: int | None, file: IO[bytes]) -> Iterator[bytes]:
    for line in file:
        if is_torn(line):
            return
        if next_start is not None and sequence_of(line) >= next_start:
            return
        yield line


def sequence_of(line: bytes) -> int:
    """Return a line's number, -1 when it is no record."""
    try:
        return read_envelope(line).sequence
    except AuditError:
        return -1


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise AuditError(f"{path} cannot be read: {error.strerror}") from None


@dataclass(slots=True)
class Filter:
    """Tells which records are wanted. An outcome is wanted when its decision was: it does not repeat who and where.

    `open` is given a line and its record, and returns the record opened where it is sealed and that can be. What it
    raises is for the caller: a sealed record that was altered is not one to leave out.
    """

    wanted: Wanted
    open: Callable[[bytes, dict[str, Any]], dict[str, Any]] = lambda _, record: record
    _flows: set[str] = field(default_factory=set)

    def admits(self, line: bytes) -> dict[str, Any] | None:
        """Return the record on `line` when it is wanted. A line that is no record is never wanted."""
        try:
            record = read_record(line)
        except AuditError:
            return None
        record = self.open(line, record)
        kind, flow = record["kind"], str(record.get("flow"))
        if kind == Kind.OUTCOME and flow in self._flows:
            self._flows.discard(flow)
        elif not self._matches(record):
            return None
        elif kind == Kind.DECISION and record.get("effect") == "allow":
            self._flows.add(flow)
        return record if self.wanted.kind is None or fnmatchcase(kind, self.wanted.kind) else None

    def _matches(self, record: dict[str, Any]) -> bool:
        wanted = self.wanted
        job = record.get("job")
        labels: dict[str, Any] = job if isinstance(job, dict) else {}
        if wanted.since is not None and str(record["at"]) < format_time(wanted.since):
            return False
        pairs = (
            (wanted.job, labels.get("job_id")),
            (wanted.pipeline, labels.get("pipeline")),
            (wanted.host, record.get("host")),
            (wanted.effect, record.get("effect")),
            (wanted.reason, record.get("reason")),
            (wanted.flow, record.get("flow")),
        )
        return all(pattern is None or fnmatchcase(str(value or ""), pattern) for pattern, value in pairs)
