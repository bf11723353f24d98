"""Read what an earlier run left: where its chain ends, what its crash tore off, which flows it left open.

Only a torn end is mended, and said so on the record. Anything else that does not verify stops the start: a trail that
may have been altered is evidence, not something to write on.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.audit.chain import BEGINNING, Envelope, Head, is_torn, read_envelope, read_record, verify_link
from proxy.audit.checkpoint import split_notes
from proxy.audit.naming import CHECKPOINTS, segment_start
from proxy.model.errors import AuditError
from proxy.model.record import Kind

_FLOW_KINDS: Final = frozenset({Kind.DECISION, Kind.OUTCOME})


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What an earlier run left behind. `name` is empty when there was none."""

    head: Head = BEGINNING
    name: str = ""
    kept: int = 0
    """Bytes of the last segment that are the trail's."""
    torn: int = 0
    """Bytes after them, cut off."""
    open_flows: tuple[str, ...] = ()
    """Allowed and never concluded."""


@dataclass(slots=True)
class _Walk:
    head: Head | None = None
    kept: int = 0
    open_flows: dict[str, None] | None = None


def list_segments(directory: Path) -> list[Path]:
    """Return the trail's segments in order."""
    return sorted((path for path in directory.iterdir() if segment_start(path.name) is not None), key=_start)


def recover(directory: Path) -> Left:
    """Mend and describe what is there. Raises AuditError when the end of the trail does not verify."""
    try:
        promised = _mend_checkpoints(directory / CHECKPOINTS)
        segments = list_segments(directory)
        # A segment without one whole record was begun and never used.
        while segments and not _has_record(segments[-1]):
            _set_aside(segments.pop())
        left = _walk(_last_run(segments)) if segments else Left()
        if left.head.size < promised:
            raise AuditError(f"{directory}: {left.head.size} records, but a checkpoint of {promised}: {_ADVICE}")
        if left.torn:
            _cut(segments[-1], left.kept)
    except OSError as error:
        raise AuditError(f"the trail in {directory} cannot be read: {error.strerror}") from None
    return left


def _last_run(segments: list[Path]) -> list[Path]:
    """Return the segments from the last start on: what was open before it was closed by it."""
    chosen: list[Path] = []
    for path in reversed(segments):
        chosen.insert(0, path)
        if any(_kind(line) == Kind.TRAIL_OPENED for line in _lines(path)):
            break
    return chosen


def _walk(segments: list[Path]) -> Left:
    walk = _Walk(open_flows={})
    last = segments[-1]
    for path in segments:
        stop = None if path == last else _start(segments[segments.index(path) + 1])
        _walk_segment(walk, path, stop)
    torn = last.stat().st_size - walk.kept
    assert walk.head is not None  # noqa: S101 - for mypy; the last segment has a record
    return Left(head=walk.head, name=last.name, kept=walk.kept, torn=torn, open_flows=tuple(walk.open_flows or ()))


def _walk_segment(walk: _Walk, path: Path, stop: int | None) -> None:
    walk.kept = 0
    for line in _lines(path):
        if stop is not None and walk.head is not None and walk.head.size >= stop and walk.kept:
            return  # a failed batch that could not be cut off; the next segment begins where this one was durable
        if is_torn(line):
            if stop is None:
                return
            raise AuditError(f"{path.name} has a torn record, and another segment follows: {_ADVICE}")
        try:
            envelope = read_envelope(line)
            head = walk.head or Head(envelope.sequence, envelope.previous)
            walk.head = verify_link(head, line, envelope)
        except AuditError as error:
            raise AuditError(f"{path.name}: {error}: {_ADVICE}") from None
        walk.kept += len(line)
        _note_flow(walk, line, envelope)


_ADVICE: Final = "run `jobgate audit verify`, keep the directory as it is, and start with another one"


def _note_flow(walk: _Walk, line: bytes, envelope: Envelope) -> None:
    assert walk.open_flows is not None  # noqa: S101 - for mypy
    kind = envelope.kind
    if kind == Kind.TRAIL_OPENED:
        walk.open_flows.clear()
    if kind not in _FLOW_KINDS:
        return
    record = read_record(line, envelope)
    flow = str(record.get("flow"))
    if kind == Kind.DECISION and record.get("effect") == "allow":
        walk.open_flows[flow] = None
    else:
        walk.open_flows.pop(flow, None)


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _kind(line: bytes) -> str:
    try:
        return read_envelope(line).kind
    except AuditError:
        return ""


def _has_record(path: Path) -> bool:
    first = next(_lines(path), b"")
    return bool(first) and not is_torn(first)


def _set_aside(path: Path) -> None:
    """Keep what a crash tore, under a name no segment has; remove what is empty."""
    if path.stat().st_size == 0:
        path.unlink()
    else:
        path.rename(path.with_name(f"torn-{path.stem.removeprefix('trail-')}-{os.urandom(4).hex()}"))


def _cut(path: Path, kept: int) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.ftruncate(descriptor, kept)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _mend_checkpoints(path: Path) -> int:
    """Cut a checkpoint that a crash left half written; return the greatest number of records that any whole one states.

    Unverified, but a trail shorter than its own checkpoints say has lost records that were promised to be durable.
    """
    if not path.exists():
        return 0
    raw = path.read_bytes()
    notes = split_notes(raw)
    if notes.torn:
        _cut(path, len(raw) - notes.torn)
    return max((int(note.text.split("\n", 2)[1]) for note in notes.whole), default=0)


def _start(path: Path) -> int:
    return segment_start(path.name) or 0
