"""Checkpoints kept elsewhere: who holds one can tell that a trail was cut short, or written anew with all its files.

A checkpoint covers all before it, so only the newest matters: one that cannot be kept yet is replaced by the next.
"""

import asyncio
import contextlib
import logging
import os
import random
from pathlib import Path
from typing import Final, Protocol

from proxy.model.errors import JobgateError
from proxy.model.record import Checkpoint
from proxy.outbound import Call, OutboundError
from proxy.sinks.http import Destination, retry_after
from proxy.sinks.port import SinkError

log = logging.getLogger("jobgate")

_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 60.0


class Anchor(Protocol):
    """A place that nobody who can alter the trail can alter."""

    async def keep(self, checkpoint: Checkpoint) -> None:
        """Return once the place has it for good. Raises SinkError."""


class FileAnchor:
    """Appends to a file in the form of `checkpoints`: on another machine's disk, or one that only takes appends."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def keep(self, checkpoint: Checkpoint) -> None:
        """Append and make durable. Raises SinkError."""
        try:
            await asyncio.to_thread(self._append, f"{checkpoint.signed}\n".encode())
        except OSError as error:
            raise SinkError(f"{self._path}: {error.strerror}") from None

    def _append(self, note: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, note)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class HttpAnchor:
    """POSTs the signed note as text."""

    def __init__(self, to: Destination) -> None:
        self._to = to

    async def keep(self, checkpoint: Checkpoint) -> None:
        """Return when the answer is 2xx. Raises SinkError."""
        headers = {"content-type": "text/plain; charset=utf-8", **self._to.headers()}
        try:
            answer = await self._to.call(
                Call(method="POST", url=self._to.url, headers=headers, body=checkpoint.signed.encode())
            )
        except OutboundError as error:
            raise SinkError(f"{self._to.name}: {error}") from None
        if not 200 <= answer.status < 300:
            raise SinkError(f"{self._to.name}: status {answer.status}", after=retry_after(answer))


class AnchorQueue:
    """Brings the newest checkpoint to one anchor. `size`: records covered by the last one kept there."""

    def __init__(self, name: str, anchor: Anchor) -> None:
        self.name = name
        self.size = 0
        self.failure: str | None = None
        self._anchor = anchor
        self._newest: Checkpoint | None = None
        self._wake = asyncio.Event()

    def put(self, checkpoint: Checkpoint) -> None:
        """Take a checkpoint that is durable in the trail. Never blocks."""
        self._newest = checkpoint
        self._wake.set()

    async def run(self) -> None:
        """Keep what comes, until cancelled."""
        wait = _FIRST_WAIT
        while True:
            await self._wake.wait()
            self._wake.clear()
            after = await self._attempt()
            if after is None:
                wait = _FIRST_WAIT
                continue
            self._wake.set()
            await asyncio.sleep(max(wait, after) * random.uniform(0.8, 1.2))  # noqa: S311 - so that not all come at once
            wait = min(wait * 2, _LONGEST_WAIT)

    async def finish(self, within: float) -> None:
        """Keep the last one if that takes no longer than so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._attempt()

    async def _attempt(self) -> float | None:
        """Return None when nothing is left to keep, else how many seconds to wait at least."""
        newest = self._newest
        if newest is None or newest.size <= self.size:
            return None
        try:
            await self._anchor.keep(newest)
        except JobgateError as error:
            if self.failure is None:
                log.warning("audit anchor %s: %s", self.name, error)
            self.failure = str(error)
            return (error.after if isinstance(error, SinkError) else None) or 0.0
        self.size, self.failure = newest.size, None
        return None
