"""The one guard. Whatever a question to the path does (raise, hang, cancel, exit), the answer is a Denial.

`BaseException` on purpose: CancelledError and SystemExit are no more an agreement than ValueError is (T06..T08).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from proxy.engine.seam import Clearance, Denial, Outcome, Peer, Presented, Tunnel
from proxy.gateway.ports import Path
from proxy.model.authority import Authority
from proxy.model.errors import JobgateError
from proxy.model.grant import Edits
from proxy.model.identity import Session
from proxy.model.intent import BodyWanted, RequestView
from proxy.model.reason import Reason


@dataclass(frozen=True, slots=True)
class Asked:
    """On whose behalf a question is put, for the record of a question that failed."""

    peer: Peer
    session: Session | None = None
    authority: Authority | None = None


class Guard:
    """The path behind one deadline and one `except`. Its methods never raise and never answer late."""

    __slots__ = ("_deadlines", "_path", "_seconds")

    def __init__(self, path: Path, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._deadlines = _Deadlines(seconds)

    async def authenticate(self, presented: Presented | None, peer: Peer) -> Session | Denial:
        """Return the session, or the Denial that a failure is."""
        answer = await self._ask((Session, Denial), self._path.authenticate, presented, peer)
        return answer if not isinstance(answer, Reason) else await self.refuse(answer, Asked(peer))

    async def open_tunnel(self, session: Session, authority: Authority, peer: Peer) -> Tunnel | Denial:
        """Return the tunnel, or the Denial that a failure is."""
        answer = await self._ask((Tunnel, Denial), self._path.open_tunnel, session, authority, peer)
        return answer if not isinstance(answer, Reason) else await self.refuse(answer, Asked(peer, session, authority))

    async def admit(self, session: Session, view: RequestView, peer: Peer) -> Clearance | Denial | BodyWanted:
        """Return the clearance, what must be read first, or the Denial that a failure is."""
        answer = await self._ask((Clearance, Denial, BodyWanted), self._path.admit, session, view, peer)
        if isinstance(answer, Reason):
            return await self.refuse(answer, Asked(peer, session, view.authority))
        return answer

    def equip_at_once(self, clearance: Clearance) -> Edits | None:
        """Return the edits where nothing has to be waited for. After None ask `equip`, which says what is wrong."""
        try:
            edits = self._path.equip_at_once(clearance)
        except BaseException:  # noqa: BLE001 - the guard itself: nothing may escape into an allow
            return None
        return edits if isinstance(edits, Edits) else None

    async def equip(self, clearance: Clearance, body_digest: str | None, peer: Peer) -> Edits | Denial:
        """Return the edits, or a Denial; either way a Denial's flow needs no `conclude` by the caller."""
        answer = await self._ask((Edits, Denial), self._path.equip, clearance, body_digest)
        if isinstance(answer, Reason):
            denial = await self.refuse(answer, Asked(peer, clearance.session, clearance.view.authority))
            self.conclude(clearance.flow_id, Outcome(reason=answer))
            return denial
        return answer

    async def refuse(self, reason: Reason, asked: Asked, detail: str = "") -> Denial:
        """Put a refusal on record and return its answer; when the record fails, that is the answer."""
        try:
            async with asyncio.timeout(self._seconds):
                denial = await self._path.refuse(reason, asked.peer, asked.session, detail, asked.authority)
        except BaseException:  # noqa: BLE001 - the guard itself: nothing may escape into an allow
            return Denial(reason=Reason.TRAIL_UNAVAILABLE, flow_id="")
        return denial if isinstance(denial, Denial) else Denial(reason=Reason.TRAIL_UNAVAILABLE, flow_id="")

    def conclude(self, flow_id: str, outcome: Outcome) -> None:
        """Record an outcome. A trail that cannot take it turns itself unwritable: the next question is denied."""
        # What has happened cannot be denied any more, and must not break the next exchange.
        try:  # noqa: SIM105 - `suppress` costs as much as the record
            self._path.conclude(flow_id, outcome)
        except BaseException:  # noqa: BLE001, S110 - see above
            pass

    async def _ask[T](
        self, wanted: tuple[type[Any], ...], question: Callable[..., Awaitable[T]], *arguments: Any
    ) -> T | Reason:
        """Return the answer, which is one of `wanted`, or why there is none. The reason is never `allowed`."""
        task = self._deadlines.enter()
        try:
            answer = await question(*arguments)
        except JobgateError as error:
            self._deadlines.leave(task)
            return Reason.INTERNAL if error.reason is Reason.ALLOWED else error.reason
        except BaseException:  # noqa: BLE001 - the guard itself: nothing may escape into an allow
            return Reason.DECISION_TIMEOUT if self._deadlines.leave(task) else Reason.INTERNAL
        if self._deadlines.leave(task):
            return Reason.DECISION_TIMEOUT
        return answer if isinstance(answer, wanted) else Reason.INTERNAL


class _Deadlines:
    """Cancels the task whose question takes too long. As all may take equally long, the oldest is due first.

    One timer for all of them: `asyncio.timeout` makes one per question, which costs more than most questions.
    """

    __slots__ = ("_due", "_late", "_seconds", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def enter(self) -> asyncio.Task[Any]:
        """Begin the running task's time."""
        task = asyncio.current_task()
        if task is None:  # pragma: no cover - a coroutine of ours runs in a task
            raise RuntimeError("no task")
        self._due[task] = monotonic() + self._seconds
        if self._timer is None:
            loop = task.get_loop()
            self._timer = loop.call_later(self._seconds, self._ring, loop)
        return task

    def leave(self, task: asyncio.Task[Any]) -> bool:
        """End it. Return whether it had run out; the task is then no longer being cancelled for that."""
        if self._due.pop(task, None) is not None:
            return False
        self._late.discard(task)
        task.uncancel()
        return True

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel what is due and wait for the next."""
        self._timer = None
        now = monotonic()
        for task, due in list(self._due.items()):
            if due > now:
                self._timer = loop.call_later(due - now, self._ring, loop)
                return
            del self._due[task]
            self._late.add(task)
            task.cancel()
