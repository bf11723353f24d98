"""One destination's way through the trail: what its routes pick is sent in order, at least once, and a cursor follows.

The cursor is moved after the destination has a batch for good. Sent again after a crash or a failure is therefore only
what came last, under the same ids (origin and number), so that a destination can tell. What it says it will never
take is put on record, one record at a time, and left in the trail. Everything else it refuses holds its place.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.audit.chain import read_record
from proxy.audit.routing import Picker
from proxy.model.errors import AuditError, JobgateError
from proxy.model.record import Kind
from proxy.sinks.port import Batch, Sink, SinkError
from proxy.sinks.spool import SpoolReader, first_record, read_cursor, write_cursor

log = logging.getLogger("jobgate")

MOST_REFUSALS: Final = 10
"""Records in a row that a destination may refuse for good. Past that it is not the records, and they wait."""
PRIMED: Final = 200_000
"""Records before the cursor that are looked through at a start, for flows whose outcome is still to come."""

_SHORTEST_LINGER: Final = 0.01
_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """Where one destination reads, and how much it is sent at once. Durations in seconds, sizes in bytes."""

    name: str
    origin: str
    directory: Path
    head: Callable[[], int]
    """How many records of the trail are durable."""
    linger: float = 1.0
    """A batch that is not full is sent so long after the one before."""
    most: int = 1000
    most_bytes: int = 4 * 1024 * 1024

    @property
    def cursor(self) -> Path:
        """The file that remembers how far the destination got."""
        return self.directory / f"cursor-{self.name}"


class Shipper:
    """Drives one sink: `start`, and `finish` when the trail is closed."""

    def __init__(self, lane: Lane, picker: Picker, sink: Sink, refused: Callable[[int, str], None]) -> None:
        """`refused` is told the number of a record that the destination will never take, and what it said."""
        self.name = lane.name
        self.failure: str | None = None
        self.behind = 0
        """Bytes of the trail that are not delivered; see `measure`."""
        self._lane = lane
        self._picker = picker
        self._sink = sink
        self._refused = refused
        self._done = -1
        self._refusals = 0
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._reader: SpoolReader | None = None
        self._ready: tuple[Batch | None, int] | None = None
        """What was picked and is not delivered yet: picking is done once, as it remembers open flows."""

    @property
    def delivered(self) -> int:
        """How many records of the trail the destination has, or was not to get."""
        return max(self._done, 0)

    def _open(self) -> SpoolReader:
        """Find out how far the destination got. Raises AuditError."""
        lane = self._lane
        found = read_cursor(lane.cursor, lane.origin)
        self._done = first_record(lane.directory) if found is None else found
        if not self._picker.is_whole and found is not None:
            self._prime(found)
        return SpoolReader(lane.directory, self._done)

    async def run(self) -> None:
        """Deliver what there is, and what comes, until `finish`."""
        while True:
            try:
                is_more = await self._step()
            except Exception as error:  # noqa: BLE001 - nothing may end this quietly: what it delivers is waited for
                self._note(self._said(error))
                is_more = False
                if self._stop.is_set():
                    return
            if is_more:
                continue
            if self._stop.is_set():
                return
            await self._pause(max(self._lane.linger, _SHORTEST_LINGER))

    def start(self) -> None:
        """Begin to deliver."""
        self._task = asyncio.create_task(self.run(), name=f"sink-{self.name}")

    async def finish(self, within: float) -> None:
        """Deliver the rest if the destination takes it within so many seconds; the next start delivers what is left."""
        self._stop.set()
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._task, within)
        with contextlib.suppress(Exception):
            await self._sink.close()
        if self._reader is not None:
            self._reader.close()

    def measure(self) -> None:
        """Find out how far the destination is behind. Blocks."""
        reader, lane = self._reader, self._lane
        with contextlib.suppress(AuditError):
            if reader is None:
                self.behind = SpoolReader(lane.directory, read_cursor(lane.cursor, lane.origin) or 0).behind()
            else:  # what was read and is not delivered is one batch
                self.behind = reader.behind() + (lane.most_bytes if self._ready is not None else 0)

    async def _step(self) -> bool:
        """Deliver one batch. Return whether there is more. Raises AuditError when the trail cannot be read."""
        lane, until = self._lane, self._lane.head()
        if self._reader is None:
            self._reader = await asyncio.to_thread(self._open)
        if self._done > until:
            raise AuditError(f"{lane.cursor} is ahead of the trail, {self._done} to {until}: is it another trail's?")
        if self._done == until:
            return False
        if self._ready is None:
            try:
                self._ready = await asyncio.to_thread(self._gather, self._reader, until)
            except AuditError:  # it may be in the middle of what could not be read: begin again behind the cursor
                self._reader.close()
                self._reader = None
                raise
        batch, following = self._ready
        if batch is not None:
            await self._deliver(batch)
        await asyncio.to_thread(write_cursor, lane.cursor, lane.origin, following)
        self._done, self._ready = following, None
        return following < self._lane.head()

    def _gather(self, reader: SpoolReader, until: int) -> tuple[Batch | None, int]:
        """Return what the routes pick of the next records, and the number of the one after them."""
        lane = self._lane
        lines = reader.read(until, lane.most, lane.most_bytes)
        picked = [(line, record) for line in lines if self._picker.picks(record := read_record(line))]
        if not picked:
            return None, reader.next
        return Batch(lane.origin, tuple(line for line, _ in picked), tuple(record for _, record in picked)), reader.next

    async def _deliver(self, batch: Batch) -> None:
        """Send until it is taken; what is never taken is halved until it is one record, and that is put on record."""
        wait = _FIRST_WAIT
        while True:
            try:
                await self._sink.send(batch)
            except SinkError as error:
                self._note(str(error))
                if error.is_final and self._refusals < MOST_REFUSALS:
                    await self._do_without(batch, str(error))
                    return
                delay = max(wait, error.after or 0.0)
            except Exception as error:  # noqa: BLE001 - whatever a client library raises is a batch not taken
                self._note(self._said(error))
                delay = wait
            else:
                self._refusals = 0
                self._note(None)
                return
            if self._stop.is_set():
                raise SinkError(f"{self.name}: left for the next start")
            await self._pause(delay * random.uniform(0.8, 1.2))  # noqa: S311 - so that not all come back at once
            wait = min(wait * 2, _LONGEST_WAIT)

    async def _do_without(self, batch: Batch, said: str) -> None:
        count = len(batch.lines)
        if count == 1:
            self._refusals += 1
            record = batch.records[0]
            if record["kind"] != Kind.SINK_REFUSED:  # one of a refusal refused would make another, without end
                self._refused(int(record["seq"]), said)
            return
        half = count // 2
        for part in (slice(None, half), slice(half, None)):
            await self._deliver(Batch(batch.origin, batch.lines[part], batch.records[part]))

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    def _prime(self, found: int) -> None:
        lane = self._lane
        start = max(first_record(lane.directory), found - PRIMED)
        reader = SpoolReader(lane.directory, start)
        while reader.next < found and (lines := reader.read(found, lane.most, lane.most_bytes)):
            for line in lines:
                self._picker.picks(read_record(line))
        reader.close()

    def _said(self, error: Exception) -> str:
        """Return what may be shown of an error: ours hold no secrets, a library's might."""
        return str(error) if isinstance(error, JobgateError) else f"{self.name}: {type(error).__name__}"

    def _note(self, failure: str | None) -> None:
        """Say once that a destination is in trouble, and once that it is not."""
        if failure is not None and self.failure is None:
            log.warning("sink %s: %s; the trail keeps what it has not got", self.name, failure)
        if failure is None and self.failure is not None:
            log.warning("sink %s takes records again", self.name)
        self.failure = failure
