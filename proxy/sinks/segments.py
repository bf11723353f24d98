"""The trail's files. Synchronous; used by one thread at a time. What failed is undone or left behind, never built upon.

`trail-<sequence of its first record, 12 digits>.jsonl`: the records. `checkpoints`: signed heads, appended.
After a failed fsync the kernel may have dropped the pages it could not write, and reports success next time
("fsyncgate"): a file whose sync failed is never written to again, a fresh segment begins where it was last durable.
"""

import errno
from contextlib import suppress
from pathlib import Path

from proxy.audit.naming import CHECKPOINTS, RESERVE, segment_name
from proxy.sinks.disk import Disk


class DurableFile:
    """A file that grows by whole payloads: after a failure it is as long as before, or `is_suspect`."""

    def __init__(self, disk: Disk, path: Path, descriptor: int, length: int) -> None:
        self.path = path
        self.length = length
        self.is_suspect = False
        self._disk = disk
        self._descriptor = descriptor

    def extend(self, payload: bytes, *, sync: bool) -> None:
        """Append `payload`, durably when `sync`. Raises OSError; the file is then as before, or suspect."""
        rest = memoryview(payload)
        try:
            while rest:
                rest = rest[self._write(rest) :]
        except OSError:
            self._undo()
            raise
        if sync:
            self.sync()
        self.length += len(payload)

    def sync(self) -> None:
        """Make all of it durable. Raises OSError, and the file is suspect ever after."""
        try:
            self._disk.sync(self._descriptor)
        except OSError:
            self.is_suspect = True
            self._undo()
            raise

    def close(self) -> None:
        """Close; nothing more can be lost by a failure here."""
        with suppress(OSError):
            self._disk.close(self._descriptor)

    def _write(self, rest: memoryview) -> int:
        taken = self._disk.write(self._descriptor, rest)
        if taken <= 0:
            raise OSError(errno.EIO, "write took nothing")
        return taken

    def _undo(self) -> None:
        try:
            self._disk.truncate(self._descriptor, self.length)
        except OSError:
            self.is_suspect = True


class Segments:
    """The current segment, the checkpoints file and the reserve of one trail."""

    def __init__(self, directory: Path, disk: Disk, *, durable: bool, reserve: int) -> None:
        self._directory = directory
        self._disk = disk
        self._durable = durable
        self._reserve = reserve
        self._current: DurableFile | None = None
        self._checkpoints: DurableFile | None = None
        self._before = ("", 0)
        self._is_turning = False
        self.has_reserve = reserve == 0

    @property
    def end(self) -> tuple[str, int]:
        """The last segment that holds records, and how many bytes of it are the trail's."""
        if self._current is not None and self._current.length > 0:
            return self._current.path.name, self._current.length
        return self._before

    def continue_after(self, name: str, kept: int) -> None:
        """Say what an earlier run left as the end of the trail."""
        self._before = (name, kept)

    @property
    def length(self) -> int:
        """The current segment's durable length in bytes."""
        return 0 if self._current is None else self._current.length

    @property
    def needs_fresh(self) -> bool:
        """Whether the next record must begin a new segment."""
        return self._current is None or self._current.is_suspect or self._is_turning

    def commit(self, payload: bytes, start: int, *, fresh: bool) -> None:
        """Append records, the first of which is number `start`. Raises OSError: then none of them is in the trail."""
        if fresh or self.needs_fresh:
            path = self._directory / segment_name(start)
            # Should this fail, the file may be there all the same, and its name says that the one before ended.
            self._is_turning = True
            begun = DurableFile(self._disk, path, self._disk.create(path), 0)
            self._is_turning = False
            self._retire()
            self._current = begun
        assert self._current is not None  # noqa: S101 - for mypy; `needs_fresh` said so
        self._current.extend(payload, sync=self._durable)

    def checkpoint(self, note: str) -> None:
        """Append a signed head; its records are made durable first, as it must not outlive them. Raises OSError."""
        if self._current is not None and not self._durable:
            self._current.sync()
        if self._checkpoints is None or self._checkpoints.is_suspect:
            self._open_checkpoints()
        assert self._checkpoints is not None  # noqa: S101 - for mypy; just opened
        self._checkpoints.extend(note.encode() + b"\n", sync=True)

    def restore_reserve(self) -> None:
        """Occupy the space that lets outcomes be written when the disk is full. Raises OSError."""
        if not self.has_reserve:
            self._disk.reserve(self._directory / RESERVE, self._reserve)
            self.has_reserve = True

    def spend_reserve(self) -> bool:
        """Free the reserved space; return whether there was any."""
        if self._reserve == 0 or not self.has_reserve:
            return False
        self.has_reserve = False
        with suppress(OSError):
            self._disk.release(self._directory / RESERVE)
        return True

    def close(self) -> None:
        """Close the files. The reserve goes: a stopped trail needs none."""
        self._retire()
        if self._checkpoints is not None:
            self._checkpoints.close()
        with suppress(OSError):
            self._disk.release(self._directory / RESERVE)

    def _retire(self) -> None:
        if self._current is not None:
            self._before = self.end
            self._current.close()
            self._current = None

    def _open_checkpoints(self) -> None:
        path = self._directory / CHECKPOINTS
        descriptor = self._disk.open_append(path)
        try:
            length = self._disk.size(descriptor)
            if self._checkpoints is not None and length > self._checkpoints.length:
                length = self._checkpoints.length
                self._disk.truncate(descriptor, length)
        except OSError:
            self._disk.close(descriptor)
            raise
        if self._checkpoints is not None:
            self._checkpoints.close()
        self._checkpoints = DurableFile(self._disk, path, descriptor, length)
