"""What a CI's events do: they are put on record, end the sessions of what has ended, and are remembered for rules.

A delivery may come late, twice or never: each is acted on once, and sessions end by themselves without any. Only that
a step was unblocked, in a signed delivery, ever lets a rule allow something.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from proxy.engine.builds import BuildBook
from proxy.engine.kills import Sessions
from proxy.engine.ports import Clock, Trail
from proxy.identity.webhooks import Delivery, check_signature, check_token, read_event
from proxy.identity.webhooks_github import check_github, read_github
from proxy.identity.webhooks_gitlab import check_gitlab, read_gitlab
from proxy.model.errors import AuditError, TokenError
from proxy.model.event import CiEvent
from proxy.model.grant import Secret
from proxy.model.identity import JobContext, Session
from proxy.model.reason import Reason
from proxy.model.record import AuditRecord, Fact, Kind

_REMEMBERED: Final = timedelta(minutes=11)
"""Longer than a delivery can be fresh, either way."""
_MOST: Final = 100_000
_REFUSALS: Final = 60
"""On record in a minute: a stranger who sends nonsense fills no disk."""
_ENDED_JOBS: Final = frozenset(
    {"job.finished", "workflow_job.completed"} | {f"build.{state}" for state in ("success", "failed", "canceled")}
)
_ENDED_BUILDS: Final = frozenset(
    {"build.finished", "build.skipped", "workflow_run.completed"}
    | {f"pipeline.{state}" for state in ("success", "failed", "canceled", "skipped")}
)
_ENDED_AGENTS: Final = frozenset({"agent.lost", "agent.disconnected", "agent.stopped"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSource:
    """One organization's webhook: its CI, its token, and how deliveries show it."""

    organization: str
    token: Secret
    form: Literal["signature", "token", "github", "gitlab"] = "signature"
    """Buildkite's two forms, or the one that another CI has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwelcome:
    """Why a delivery was not accepted. What is not authentic is told nothing more."""

    is_authentic: bool
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventParts:
    """The edges, wired by `app`."""

    clock: Clock
    trail: Trail
    sessions: Sessions
    together: Callable[..., Awaitable[object]]
    builds: BuildBook


class EventDesk:
    """Where verified events arrive."""

    def __init__(self, parts: EventParts, remembered: int = _MOST) -> None:
        self._parts = parts
        self._most = remembered
        self._seen: dict[str, datetime] = {}
        self._refused = 0
        self._minute: datetime | None = None
        self._listeners: list[Callable[[CiEvent], None]] = []

    def on_event(self, listener: Callable[[CiEvent], None]) -> None:
        """Call `listener` with every event, once it is on record."""
        self._listeners.append(listener)

    async def deliver(
        self, source: EventSource, fields: Mapping[str, str], body: bytes, client: str
    ) -> Unwelcome | None:
        """Verify a delivery, and act on it; None once it is on record. Raises AuditError.

        `fields` by lower-case name.
        """
        delivery, is_authentic = Delivery(fields=fields, body=body), False
        try:
            name = self._check(source, delivery)
            is_authentic = True
            event = _READERS.get(source.form, read_event)(delivery, source.organization)
        except TokenError as error:
            self.refuse(error.reason, str(error), client)
            return Unwelcome(is_authentic=is_authentic, reason=error.reason, detail=str(error))
        if source.form == "token":
            event = replace(event, unblocked=None)  # whoever saw one such delivery can make others
        await self.receive(event, name)
        return None

    def _check(self, source: EventSource, delivery: Delivery) -> str:
        match source.form:
            case "token":
                return check_token(delivery, source.token)
            case "github":
                return check_github(delivery, source.token)
            case "gitlab":
                return check_gitlab(delivery, source.token)
        return check_signature(delivery, source.token, self._parts.clock.now())

    async def receive(self, event: CiEvent, delivery: str) -> int | None:
        """Record an event, and end what it says has ended. Returns how many sessions that were; None for a repetition.

        What is not on record has happened all the same: sessions end first. Raises AuditError.
        """
        parts, now = self._parts, self._parts.clock.now()
        self._seen = {name: at for name, at in self._seen.items() if now - at < _REMEMBERED}
        if delivery in self._seen:
            return None
        if len(self._seen) < self._most:
            self._seen[delivery] = now
        parts.builds.note(replace(event, unblocked=None), now)
        ended = [session for session in parts.sessions.sessions if has_ended(session, event)]
        await parts.together(*[parts.sessions.close(session.id, "event") for session in ended])
        record = AuditRecord(kind=Kind.EVENT_RECEIVED, at=now, facts=_facts(event, [each.id for each in ended]))
        try:
            await parts.trail.append(record)
        except AuditError:
            self._seen.pop(delivery, None)  # it will come again, and must be on record then
            raise
        parts.builds.note(event, now)  # that a step was unblocked counts once it is on record
        for listener in self._listeners:
            listener(event)
        return len(ended)

    def refuse(self, reason: Reason, detail: str, client: str) -> None:
        """Record a delivery that was not accepted; of many in a minute only the first."""
        now = self._parts.clock.now()
        minute = now.replace(second=0, microsecond=0)
        if minute != self._minute:
            self._minute, self._refused = minute, 0
        self._refused += 1
        if self._refused > _REFUSALS:
            return
        facts: dict[str, Fact] = {"reason": reason.value, "detail": detail, "client": client}
        if self._refused == _REFUSALS:
            facts["more"] = True
        self._parts.trail.post(AuditRecord(kind=Kind.EVENT_REFUSED, at=now, facts=facts))


_READERS: Final[Mapping[str, Callable[[Delivery, str], CiEvent]]] = {"github": read_github, "gitlab": read_gitlab}


def has_ended(session: Session, event: CiEvent) -> bool:
    """Whether an event says that a session's job is over: by ids that the job's own token stated, and no others."""
    job = session.job
    if session.principal.provider != event.source or job.organization != event.organization:
        return False
    if not _is_attempt(event, job):
        return False
    if event.name in _ENDED_JOBS:
        return event.job_id is not None and event.job_id == job.job_id
    if event.name in _ENDED_BUILDS:
        by_id = event.build_id is not None and event.build_id == job.build_id
        # Elsewhere two repositories may have a workflow of one name, and a run of one number.
        is_numbered = event.source == "buildkite" and event.build_number is not None
        by_number = is_numbered and event.build_number == job.build_number
        same = by_id or (by_number and event.pipeline is not None and event.pipeline == job.pipeline)
        return same and not event.is_blocked
    return event.name in _ENDED_AGENTS and event.agent_id is not None and event.agent_id == job.agent_id


def _is_attempt(event: CiEvent, job: JobContext) -> bool:
    """Whether the event may be about the attempt that the job belongs to: a run's id stays when it is run again."""
    stated = job.claims.get("run_attempt")
    return event.attempt is None or stated is None or str(stated) == str(event.attempt)


def _facts(event: CiEvent, ended: list[str]) -> dict[str, Fact]:
    stated: dict[str, Fact] = {
        "repository": event.repository,
        "pipeline": event.pipeline,
        "build_id": event.build_id,
        "build_number": event.build_number,
        "attempt": event.attempt,
        "job_id": event.job_id,
        "agent_id": event.agent_id,
        "step": event.step,
        "state": event.state,
    }
    facts: dict[str, Fact] = {"source": event.source, "event": event.name, "organization": event.organization}
    facts |= {name: value for name, value in stated.items() if value is not None}
    if event.is_blocked:
        facts["blocked"] = True
    if event.is_fork:
        facts["fork"] = True
    if event.unblocked is not None:
        facts["unblocked_by"] = [*sorted(event.unblocked.by)]
    if ended:
        facts["ended"] = [*ended]
    return facts
