"""The trail on disk: one writer, group commit, and a way back from a full disk without a restart.

Records are numbered and chained on the event loop, written and synced by one thread, a batch at a time, while the next
batch gathers. A batch that fails leaves nothing in the trail: whoever waited for it is told so, and what was posted is
kept and written first when the disk takes records again.
"""

import asyncio
import errno
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, Literal

from proxy.audit.canonical import encode
from proxy.audit.chain import Head, chain
from proxy.audit.checkpoint import Signer
from proxy.audit.encoding import Encoding
from proxy.model.errors import AuditError
from proxy.model.reason import Reason
from proxy.model.record import AuditRecord, Checkpoint, Fact, Kind
from proxy.sinks.disk import Disk, RealDisk, prepare_directory, take_lock
from proxy.sinks.keys import publish_key
from proxy.sinks.recovery import Left, recover
from proxy.sinks.segments import Segments
from proxy.sinks.worker import Worker

type Tee = Callable[[bytes], None]
"""Takes lines that are durable. Must not block; what it raises is ignored."""

_BATCH: Final = 4096
_TURNS: Final = 6
"""Turns of the event loop before a batch is closed: microseconds when little happens, and under load half the syncs."""
_IDLE: Final = 3600.0
_SHORT_OF_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailSettings:
    """Where and how. Durations in seconds, sizes in bytes."""

    directory: Path
    durability: Literal["fsync", "write"] = "fsync"
    """`fsync`: a record survives a power cut once appended. `write`: it survives a crash of jobgate only."""
    segment_bytes: int = 64 * 1024 * 1024
    segment_age: float = 3600.0
    checkpoint_records: int = 10_000
    checkpoint_age: float = 60.0
    backlog: int = 16_384
    """Records that may wait. Over it the trail is not writable; posted records are kept up to twice as many."""
    reserve: int = 1024 * 1024
    """Kept free for outcomes when the disk fills up."""
    stall: float = 5.0
    """A batch that takes longer makes the trail unwritable until it is done."""
    retry: float = 0.25
    """Between attempts to write again after a failure."""
    close_within: float = 5.0


type _Entry = tuple[bytes, asyncio.Future[None] | None]
"""An encoded record, and who waits for it. Nobody waits for a posted one, so nobody would repeat it."""


class FileTrail:
    """`engine.ports.Trail` over a directory. Make it with `open`; use it on one event loop."""

    def __init__(self, settings: TrailSettings, signer: Signer, now: Callable[[], datetime], disk: Disk) -> None:
        self._settings = settings
        self._encoding = Encoding()
        self._signer = signer
        self._now = now
        self._tees: Sequence[Tee] = ()
        self._told: list[Callable[[Checkpoint], None]] = []
        self._newest: Checkpoint | None = None
        self._hold: Callable[[], str | None] = lambda: None
        self._segments = Segments(
            settings.directory, disk, durable=settings.durability == "fsync", reserve=settings.reserve
        )
        self._thread = Worker("trail")
        self._loop = asyncio.get_running_loop()
        self._sleeper: asyncio.Future[None] | None = None
        self._pending: deque[_Entry] = deque()
        self._head = Head(0, "")
        self._covered = 0
        self._covered_at = self._begun_at = self._loop.time()
        self._batch_since: float | None = None
        self._failure: str | None = "not open"
        self._retry_at = 0.0
        self._close_by: float | None = None
        self._refused = 0
        self._lost = 0
        self._is_closing = False
        self._writer: asyncio.Task[None] | None = None
        self._lock = -1

    @classmethod
    async def open(
        cls,
        settings: TrailSettings,
        signer: Signer,
        now: Callable[[], datetime],
        *,
        encoding: Encoding | None = None,
        tees: Sequence[Tee] = (),
        disk: Disk | None = None,
    ) -> "FileTrail":
        """Take the directory, mend what a crash left, continue its chain. Raises AuditError when it cannot."""
        trail = cls(settings, signer, now, RealDisk() if disk is None else disk)
        trail._tees = tees
        trail._encoding = trail._encoding if encoding is None else encoding
        try:
            left = await trail._on_thread(trail._take_directory)
            await trail._begin(left)
        except BaseException:
            await trail._release()
            raise
        trail._writer = asyncio.create_task(trail._run(), name="trail")
        return trail

    @property
    def head(self) -> Head:
        """How far the durable trail got."""
        return self._head

    @property
    def pending(self) -> int:
        """Records that wait for the disk."""
        return len(self._pending)

    @property
    def lost(self) -> int:
        """Posted records dropped because the disk did not come back in time. 0 or an alarm."""
        return self._lost

    @property
    def failure(self) -> str | None:
        """Why the last write failed, while it has not been made good."""
        return self._failure

    def on_checkpoint(self, tell: Callable[[Checkpoint], None]) -> None:
        """Tell of each checkpoint that is durable, beginning with the last. `tell` must not block or raise."""
        self._told.append(tell)
        if self._newest is not None:
            tell(self._newest)

    def hold_while(self, why: Callable[[], str | None]) -> None:
        """Take no records that somebody waits for while `why` gives a reason: nothing is allowed then."""
        self._hold = why

    async def append(self, record: AuditRecord) -> None:
        """Return once `record` is durable. Raises AuditError when it may not be; it is then not in the trail.

        Cancelling gives up the wait, not the record.
        """
        body = self._encoding.encode(record)
        if not self.is_writable():
            self._refused += 1
            raise AuditError(f"the audit trail cannot be written: {self._failure or self._hold() or 'it is behind'}")
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._pending.append((body, waiter))
        self._wake()
        await waiter

    def post(self, record: AuditRecord) -> None:
        """Queue `record` behind those before it. It is kept through failures, and written first afterwards."""
        entry = (_encode_somehow(self._encoding, record), None)
        if len(self._pending) >= 2 * self._settings.backlog or self._writer is None or self._writer.done():
            self._lost += 1
            self._failure = self._failure or "records are being lost"
            return
        self._pending.append(entry)
        self._wake()

    def is_writable(self) -> bool:
        """Whether a record appended now has a good chance. False means: allow nothing."""
        if self._failure is not None or self._is_closing or not self._segments.has_reserve or self._hold() is not None:
            return False
        if len(self._pending) >= self._settings.backlog:
            return False
        since = self._batch_since
        return since is None or self._loop.time() - since < self._settings.stall

    async def close(self) -> None:
        """Write what waits, sign the head, let go of the directory. Raises AuditError when records are lost."""
        if self._is_closing:
            return
        self._is_closing = True
        self._wake()
        if self._writer is not None:
            await asyncio.gather(self._writer, return_exceptions=True)
        self._fail_waiters()
        lost = self._lost + len(self._pending)
        await self._release()
        if lost:
            raise AuditError(f"{lost} records could not be written: {self._failure or 'the disk was too slow'}")

    # --- opening and closing ------------------------------------------------------------------------------------

    def _take_directory(self) -> Left:
        prepare_directory(self._settings.directory)
        self._lock = take_lock(self._settings.directory)
        left = recover(self._settings.directory)
        publish_key(self._settings.directory, self._signer.verifier)
        return left

    async def _begin(self, left: Left) -> None:
        """Begin a segment that says how it follows the last, and close what the last run left open."""
        self._head = left.head
        self._covered = left.head.size
        self._segments.continue_after(left.name, left.kept)
        facts: dict[str, Fact] = {
            "origin": self._signer.origin,
            "key": self._signer.verifier.name,
            "interrupted": len(left.open_flows),
            "torn": left.torn,
            **self._follows(),
        }
        detail = "jobgate ended without a record of how this flow ended"
        entries = [self._own(Kind.TRAIL_OPENED, facts), *self._preface()]
        entries += [
            self._own(Kind.OUTCOME, {"flow": flow, "reason": Reason.INTERRUPTED.value, "detail": detail})
            for flow in left.open_flows
        ]
        try:
            await self._on_thread(self._segments.restore_reserve)
            await self._write(entries, fresh=True)
            await self._checkpoint()
        except OSError as error:
            raise AuditError(f"the trail in {self._settings.directory} cannot be begun: {error.strerror}") from None
        self._failure = None

    async def _release(self) -> None:
        """Let go of files and lock, in the writing thread so that no write is under way; never wait for a hung disk."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._on_thread(self._let_go), self._settings.close_within)
        self._thread.stop()

    def _let_go(self) -> None:
        self._segments.close()
        if self._lock >= 0:
            with suppress(OSError):
                RealDisk().close(self._lock)
            self._lock = -1

    async def _on_thread[**P, R](self, work: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        return await self._thread.run(partial(work, *arguments, **named))

    # --- the writer ---------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Write until closed. Whatever goes wrong here makes the trail unwritable, never quietly idle."""
        try:
            while not self._is_closing or self._has_work():
                await self._step()
            if self._failure is None:
                await self._attempt(self._write_end)
        except BaseException as error:
            self._failure = f"the writer stopped: {type(error).__name__}"
            self._fail_waiters()
            raise

    def _has_work(self) -> bool:
        if self._close_by is None:
            self._close_by = self._loop.time() + self._settings.close_within
        return self._loop.time() < self._close_by and (bool(self._pending) or self._failure is not None)

    async def _step(self) -> None:
        """Wait for something to do, then do what is due."""
        if self._failure is not None:
            await self._wait(self._retry_at)
            if self._loop.time() >= self._retry_at:
                await self._attempt(self._write_after_failure)
        else:
            if not self._pending and not self._is_closing:
                await self._wait(self._next_due())
            if self._pending:
                await _let_others_join()
                await self._attempt(self._write_pending)
            if self._failure is None and self._loop.time() >= self._checkpoint_due():
                await self._attempt(self._checkpoint)
        if self._failure is None and not self._segments.has_reserve and self._loop.time() >= self._retry_at:
            await self._restore_reserve()

    async def _wait(self, until: float) -> None:
        left = until - self._loop.time()
        if left > 0:
            sleeper = self._sleeper = self._loop.create_future()
            timer = self._loop.call_later(left, self._wake)
            try:
                await sleeper
            finally:
                timer.cancel()
                self._sleeper = None

    def _wake(self) -> None:
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    def _next_due(self) -> float:
        due = min(self._checkpoint_due(), self._loop.time() + _IDLE)
        return due if self._segments.has_reserve else min(due, self._retry_at)

    def _checkpoint_due(self) -> float:
        uncovered = self._head.size - self._covered
        if uncovered == 0:
            return math.inf
        if uncovered >= self._settings.checkpoint_records:
            return 0.0
        return self._covered_at + self._settings.checkpoint_age

    async def _attempt(self, step: Callable[[], Awaitable[None]]) -> None:
        """Take a step; when the disk refuses, stop taking records and come back later."""
        try:
            await step()
        except OSError as error:
            self._failure = error.strerror or type(error).__name__
            self._fail_waiters()
            self._retry_at = self._loop.time() + self._settings.retry
            if error.errno in _SHORT_OF_SPACE and await self._on_thread(self._segments.spend_reserve):
                self._retry_at = self._loop.time()  # there is room now for what was posted

    async def _write_pending(self) -> None:
        is_full = self._segments.length >= self._settings.segment_bytes
        is_old = self._segments.length > 0 and self._loop.time() - self._begun_at >= self._settings.segment_age
        fresh = is_full or is_old
        if fresh and self._covered != self._head.size:
            await self._checkpoint()
        batch = self._take_batch()
        try:
            await self._write([*(self._preface() if fresh else ()), *batch], fresh=fresh)
        except BaseException:
            self._give_back(batch)
            raise

    async def _write_after_failure(self) -> None:
        """Prove that the disk takes records again by writing one that says what happened, then what was posted."""
        facts: dict[str, Fact] = {"cause": str(self._failure), "refused": self._refused, "lost": self._lost}
        preface: list[_Entry] = []
        if self._segments.needs_fresh:
            facts |= self._follows()
            preface = self._preface()
        refused = self._refused
        batch = self._take_batch()
        try:
            await self._write([self._own(Kind.TRAIL_REPAIRED, facts), *preface, *batch], fresh=False)
        except BaseException:
            self._give_back(batch)
            raise
        self._refused -= refused
        self._failure = None

    async def _write_end(self) -> None:
        """Put the end on record and sign it: what anyone adds after that is no start of ours, and shows."""
        await self._write([self._own(Kind.TRAIL_CLOSED, {"lost": self._lost})], fresh=False)
        await self._checkpoint()

    async def _write(self, entries: Sequence[_Entry], *, fresh: bool) -> None:
        """Chain, write, sync; only then is the head moved and anyone told. Raises OSError with nothing changed."""
        lines, head = chain(self._head, [body for body, _ in entries])
        payload = b"".join(lines)
        fresh = fresh or self._segments.needs_fresh
        self._batch_since = self._loop.time()
        try:
            await self._on_thread(self._segments.commit, payload, self._head.size, fresh=fresh)
        finally:
            self._batch_since = None
        self._head = head
        if fresh:
            self._begun_at = self._loop.time()
        for _, waiter in entries:
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        for tee in self._tees:
            with suppress(Exception):
                tee(payload)

    async def _checkpoint(self) -> None:
        head = self._head
        note = self._signer.sign(head, self._now())
        await self._on_thread(self._segments.checkpoint, note.signed)
        self._covered = head.size
        self._covered_at = self._loop.time()
        self._newest = note
        for tell in self._told:
            tell(note)

    async def _restore_reserve(self) -> None:
        try:
            await self._on_thread(self._segments.restore_reserve)
        except OSError:
            self._retry_at = self._loop.time() + self._settings.retry

    # --- the queue ----------------------------------------------------------------------------------------------

    def _take_batch(self) -> list[_Entry]:
        return [self._pending.popleft() for _ in range(min(_BATCH, len(self._pending)))]

    def _give_back(self, batch: Sequence[_Entry]) -> None:
        """Put posted records back to the front, in order; tell whoever waits."""
        self._pending.extendleft(reversed(batch))
        self._fail_waiters()

    def _fail_waiters(self) -> None:
        kept: deque[_Entry] = deque()
        for body, waiter in self._pending:
            if waiter is None:
                kept.append((body, None))
                continue
            self._refused += 1
            if not waiter.done():
                waiter.set_exception(AuditError("the audit trail could not be written"))
        self._pending = kept

    def _own(self, kind: Kind, facts: dict[str, Fact]) -> _Entry:
        return self._encoding.encode(AuditRecord(kind=kind, at=self._now(), facts=facts)), None

    def _preface(self) -> list[_Entry]:
        """Return what a fresh segment begins with, after what says how it follows."""
        return [(self._encoding.encode(record), None) for record in self._encoding.preface(self._now())]

    def _follows(self) -> dict[str, Fact]:
        """Say where the segment before ends: what may stand after that in it is no part of the trail."""
        name, kept = self._segments.end
        return {"after": name, "kept": kept} if name else {}


async def _let_others_join() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)


def _encode_somehow(encoding: Encoding, record: AuditRecord) -> bytes:
    """Return the record's bytes; of one that cannot be encoded, at least that it happened."""
    try:
        return encoding.encode(record)
    except AuditError as error:
        facts: dict[str, Fact] = {"detail": f"unrecordable: {error}"}
        if isinstance(flow := record.facts.get("flow"), str):
            facts = {"flow": flow, **facts}
        return encode(AuditRecord(kind=record.kind, at=record.at, facts=facts))
