"""A disk that fails when told to, having done what it was asked, half of it, or nothing."""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from proxy.sinks.disk import RealDisk


@dataclass(frozen=True, slots=True)
class Fault:
    """How one call fails: with which error, and how much of the work (0 to 1) is done nevertheless."""

    error: int = errno.EIO
    done: float = 0.0


type Plan = Callable[[str, int], Fault | None]
"""(method, number of the call since the disk was made) -> how it fails, None for not at all."""


class FaultyDisk(RealDisk):
    """The real file system, asked before every call whether it may go well."""

    def __init__(self, plan: Plan = lambda method, number: None) -> None:
        self.plan = plan
        self.calls: list[str] = []

    def _fault(self, method: str) -> Fault | None:
        self.calls.append(method)
        return self.plan(method, len(self.calls) - 1)

    def _run[T](self, method: str, work: Callable[[], T]) -> T:
        fault = self._fault(method)
        if fault is None:
            return work()
        if fault.done:
            work()
        raise OSError(fault.error, f"{method} fails on demand")

    def create(self, path: Path) -> int:
        return self._run("create", lambda: RealDisk.create(self, path))

    def open_append(self, path: Path) -> int:
        return self._run("open_append", lambda: RealDisk.open_append(self, path))

    def size(self, descriptor: int) -> int:
        return self._run("size", lambda: RealDisk.size(self, descriptor))

    def write(self, descriptor: int, payload: memoryview) -> int:
        fault = self._fault("write")
        if fault is None:
            return super().write(descriptor, payload)
        if fault.done:
            super().write(descriptor, payload[: int(len(payload) * fault.done)])
        raise OSError(fault.error, "write fails on demand")

    def sync(self, descriptor: int) -> None:
        self._run("sync", lambda: RealDisk.sync(self, descriptor))

    def truncate(self, descriptor: int, length: int) -> None:
        self._run("truncate", lambda: RealDisk.truncate(self, descriptor, length))

    def reserve(self, path: Path, length: int) -> None:
        self._run("reserve", lambda: RealDisk.reserve(self, path, length))

    def release(self, path: Path) -> None:
        self._run("release", lambda: RealDisk.release(self, path))
