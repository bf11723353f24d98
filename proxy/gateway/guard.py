"""The one guard. Whatever a question to the path does (raise, hang, cancel, exit), the answer is a Denial.

`BaseException` on purpose: CancelledError and SystemExit are no more an agreement than ValueError is (T06..T08).
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from proxy.engine.seam import Clearance, Denial, Outcome, Peer, Presented, Tunnel
from proxy.gateway.ports import Path
from proxy.model.authority import Authority
from proxy.model.errors import JobgateError
from proxy.model.grant import Edits
from proxy.model.identity import Session
from proxy.model.intent import RequestView
from proxy.model.reason import Reason


@dataclass(frozen=True, slots=True)
class Asked:
    """On whose behalf a question is put, for the record of a question that failed."""

    peer: Peer
    session: Session | None = None
    authority: Authority | None = None


class Guard:
    """The path behind one timeout and one `except`. Its methods never raise and never answer late."""

    __slots__ = ("_path", "_seconds")

    def __init__(self, path: Path, seconds: float) -> None:
        self._path = path
        self._seconds = seconds

    async def authenticate(self, presented: Presented | None, peer: Peer) -> Session | Denial:
        """Return the session, or the Denial that a failure is."""
        return await self._ask(partial(self._path.authenticate, presented, peer), Session, Asked(peer))

    async def open_tunnel(self, session: Session, authority: Authority, peer: Peer) -> Tunnel | Denial:
        """Return the tunnel, or the Denial that a failure is."""
        asked = Asked(peer, session, authority)
        return await self._ask(partial(self._path.open_tunnel, session, authority, peer), Tunnel, asked)

    async def admit(self, session: Session, view: RequestView, peer: Peer) -> Clearance | Denial:
        """Return the clearance, or the Denial that a failure is."""
        asked = Asked(peer, session, view.authority)
        return await self._ask(partial(self._path.admit, session, view, peer), Clearance, asked)

    async def equip(self, clearance: Clearance, body_digest: str | None, peer: Peer) -> Edits | Denial:
        """Return the edits, or a Denial; either way a Denial's flow needs no `conclude` by the caller."""
        asked = Asked(peer, clearance.session, clearance.view.authority)
        failed: list[Reason] = []
        answer = await self._ask(partial(self._path.equip, clearance, body_digest), Edits, asked, failed)
        if failed:
            self.conclude(clearance.flow_id, Outcome(reason=failed[0]))
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
        with contextlib.suppress(BaseException):
            self._path.conclude(flow_id, outcome)

    async def _ask[T](
        self,
        question: Callable[[], Awaitable[T | Denial]],
        wanted: type[T],
        asked: Asked,
        failed: list[Reason] | None = None,
    ) -> T | Denial:
        reason = Reason.INTERNAL
        try:
            async with asyncio.timeout(self._seconds):
                answer = await question()
            if isinstance(answer, (wanted, Denial)):
                return answer
        except TimeoutError:
            reason = Reason.DECISION_TIMEOUT
        except JobgateError as error:
            reason = error.reason
        except BaseException:  # noqa: BLE001 - the guard itself: nothing may escape into an allow
            reason = Reason.INTERNAL
        if reason is Reason.ALLOWED:
            reason = Reason.INTERNAL
        if failed is not None:
            failed.append(reason)
        return await self.refuse(reason, asked)
