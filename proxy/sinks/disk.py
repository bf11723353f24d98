"""The file system as the trail needs it: few calls, each able to fail, each replaceable by one that does on purpose."""

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Protocol

from proxy.audit.naming import LOCK
from proxy.model.errors import AuditError

_CREATE = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Disk(Protocol):
    """What is done to files. Every method raises OSError as the system call would."""

    def create(self, path: Path) -> int:
        """Make an empty file with mode 0600, replacing one of that name; make its directory entry durable."""

    def open_append(self, path: Path) -> int:
        """Open a file to write at its end, making it (mode 0600) and its directory entry durable if need be."""

    def size(self, descriptor: int) -> int:
        """Return a file's length in bytes."""

    def write(self, descriptor: int, payload: memoryview) -> int:
        """Write at the end; return how many bytes were taken, which may be fewer than given."""

    def sync(self, descriptor: int) -> None:
        """Return once what was written is on the disk."""

    def truncate(self, descriptor: int, length: int) -> None:
        """Cut a file."""

    def close(self, descriptor: int) -> None:
        """Close a file."""

    def reserve(self, path: Path, length: int) -> None:
        """Make a file that occupies `length` bytes of the disk, or none at all."""

    def release(self, path: Path) -> None:
        """Give a reserved file's space back."""


class RealDisk:
    """The machine's own file system."""

    def create(self, path: Path) -> int:
        """Remove, then create exclusively: never write into a file someone else put there."""
        path.unlink(missing_ok=True)
        descriptor = os.open(path, _CREATE | os.O_EXCL, 0o600)
        return self._make_entry_durable(path, descriptor)

    def open_append(self, path: Path) -> int:
        """Open for appending."""
        is_new = not path.exists()
        descriptor = os.open(path, _CREATE, 0o600)
        return self._make_entry_durable(path, descriptor) if is_new else descriptor

    def size(self, descriptor: int) -> int:
        """By fstat."""
        return os.fstat(descriptor).st_size

    def write(self, descriptor: int, payload: memoryview) -> int:
        """By a single system call."""
        return os.write(descriptor, payload)

    def sync(self, descriptor: int) -> None:
        """By fdatasync: content and length, not the times. What is in a file without a name is not durable."""
        os.fdatasync(descriptor)
        if os.fstat(descriptor).st_nlink == 0:
            raise OSError(errno.ESTALE, "the file was deleted")

    def truncate(self, descriptor: int, length: int) -> None:
        """By ftruncate."""
        os.ftruncate(descriptor, length)

    def close(self, descriptor: int) -> None:
        """Close it."""
        os.close(descriptor)

    def reserve(self, path: Path, length: int) -> None:
        """By posix_fallocate, which allocates blocks rather than a hole."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, length)
        except OSError:
            os.ftruncate(descriptor, 0)
            raise
        finally:
            os.close(descriptor)

    def release(self, path: Path) -> None:
        """Remove it."""
        path.unlink(missing_ok=True)

    @staticmethod
    def _make_entry_durable(path: Path, descriptor: int) -> int:
        try:
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor


def prepare_directory(directory: Path) -> None:
    """Make the trail's directory, closed to everyone else. Raises AuditError when it cannot be."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.stat()
        if found.st_uid == os.geteuid():
            directory.chmod(0o700)
        elif stat.S_IMODE(found.st_mode) & 0o022:
            raise AuditError(
                f"{directory} belongs to another user and others may write to it: "
                "name a directory inside it, which jobgate will make"
            )
    except OSError as error:
        raise AuditError(f"{directory} cannot be the trail's directory: {error.strerror}") from None


def take_lock(directory: Path) -> int:
    """Become the one writer of a trail; return the descriptor that holds the lock. Raises AuditError."""
    path = directory / LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise AuditError(f"{path} cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise AuditError(
            f"another jobgate (pid {holder}) is writing to {directory}: stop it, or give this one its own directory"
        ) from None
    except OSError:
        pass  # a full disk cannot hold the pid; the lock itself holds
    return descriptor
