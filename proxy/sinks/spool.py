"""The trail as a spool: durable lines from a number on, and a file that remembers how far a destination got.

There is no second queue: what is not delivered yet stands in the trail. Only what is durable is read, never what a
failed batch may have left behind it. Synchronous; used by one thread at a time.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from proxy.audit.chain import read_envelope
from proxy.audit.naming import segment_name, segment_start
from proxy.model.errors import AuditError

_PIECE: Final = 1 << 20


class SpoolReader:
    """Reads one trail from a record on. `next` is the number of the record that is read next."""

    def __init__(self, directory: Path, following: int) -> None:
        self.next = following
        self._directory = directory
        self._file = -1
        self._start = -1
        self._offset = 0

    def read(self, until: int, most: int, most_bytes: int) -> list[bytes]:
        """Return lines up to, not including, record `until`: at most so many, and bytes, but one at least.

        Raises AuditError when they are not there.
        """
        starts = _list_starts(self._directory)
        lines: list[bytes] = []
        size = 0
        while self.next < until and len(lines) < most and size < most_bytes:
            self._turn_to(starts)
            ahead = [start for start in starts if start > self._start]
            found = self._read_some(min([until, *ahead]), most - len(lines), most_bytes - size)
            lines += found
            size += sum(map(len, found))
        return lines

    def behind(self) -> int:
        """Return how many bytes of the trail are not read yet, those that are no part of it included."""
        total = 0
        for start in (starts := _list_starts(self._directory)):
            following = next((each for each in starts if each > start), None)
            if following is not None and following <= self.next:
                continue
            with suppress(OSError):
                total += _path(self._directory, start).stat().st_size
                if start == self._start:
                    total -= self._offset
        return max(total, 0)

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _turn_to(self, starts: list[int]) -> None:
        """Open the segment that holds the next record."""
        holding = [start for start in starts if start <= self.next]
        if not holding:
            raise AuditError(f"{self._directory}: record {self.next} is gone: its segment was moved away undelivered")
        if self._start == holding[-1] and self._file >= 0:
            return
        self.close()
        path = _path(self._directory, holding[-1])
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise AuditError(f"{path} cannot be read: {error.strerror}") from None
        self._start, self._offset = holding[-1], 0

    def _read_some(self, until: int, most: int, most_bytes: int) -> list[bytes]:
        """Read on in the open segment, to before record `until`."""
        want = _PIECE
        while True:
            try:
                piece = os.pread(self._file, want, self._offset)
            except OSError as error:
                raise AuditError(f"{self._directory} cannot be read: {error.strerror}") from None
            if b"\n" in piece:
                return self._take(piece, until, most, most_bytes)
            if len(piece) < want:
                raise AuditError(f"{self._directory}: record {self.next} is not where it should be")
            want *= 2  # a line longer than all that was read

    def _take(self, piece: bytes, until: int, most: int, most_bytes: int) -> list[bytes]:
        lines: list[bytes] = []
        size = 0
        for line in piece.splitlines(keepends=True):
            if not line.endswith(b"\n") or self.next >= until or len(lines) >= most or size >= most_bytes:
                break
            number = read_envelope(line).sequence
            if number > self.next:
                raise AuditError(f"{self._directory}: record {self.next} expected, {number} found")
            self._offset += len(line)
            if number == self.next:
                lines.append(line)
                size += len(line)
                self.next += 1
        return lines


def read_cursor(path: Path, origin: str) -> int | None:
    """Return the number of the first record a destination has not got; None when it got none. Raises AuditError."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise AuditError(f"{path} cannot be read; remove it to deliver everything again") from None
    number = found.get("next") if isinstance(found, dict) else None
    if not isinstance(number, int) or number < 0:
        raise AuditError(f"{path} is no cursor; remove it to deliver everything again")
    if found.get("origin") != origin:
        raise AuditError(f"{path} is of another trail, {found.get('origin')!r}; remove it to deliver everything again")
    return number


def write_cursor(path: Path, origin: str, following: int) -> None:
    """Remember durably that everything before record `following` was delivered. Raises AuditError."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        with fresh.open("w", encoding="ascii") as file:
            json.dump({"origin": origin, "next": following}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise AuditError(f"{path} cannot be written: {error.strerror}") from None


def first_record(directory: Path) -> int:
    """Return the number of the oldest record that is there."""
    return min(_list_starts(directory), default=0)


def _list_starts(directory: Path) -> list[int]:
    try:
        names = [path.name for path in directory.iterdir()]
    except OSError as error:
        raise AuditError(f"{directory} cannot be read: {error.strerror}") from None
    return sorted(start for name in names if (start := segment_start(name)) is not None)


def _path(directory: Path, start: int) -> Path:
    return directory / segment_name(start)
