"""The kill switch: what is stopped now, on the next request and on open streams, and over a restart.

A kill takes effect before it is stored and recorded: what fails then is told to the operator, and stays stopped.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from proxy.engine.ports import Clock, Entropy, Trail
from proxy.model.identity import JobContext, Session
from proxy.model.kill import JOB_SCOPES, Kill, KillScope, check_kill
from proxy.model.record import AuditRecord, Fact, Kind


class KillSwitch:
    """What is stopped. Asked at every request, so nothing is done while nothing is stopped."""

    def __init__(self, kills: Iterable[Kill] = ()) -> None:
        self._kills: dict[str, Kill] = {kill.id: kill for kill in kills}

    @property
    def kills(self) -> tuple[Kill, ...]:
        """All of them, the oldest first."""
        return tuple(self._kills.values())

    def add(self, kill: Kill) -> None:
        """Stop something from now on."""
        self._kills[kill.id] = kill

    def lift(self, kill_id: str) -> Kill | None:
        """Let it go on; None when nothing was stopped by that id."""
        return self._kills.pop(kill_id, None)

    def of_job(self, job: JobContext) -> Kill | None:
        """Return what stops a job whatever it asks for."""
        if not self._kills:
            return None
        return next((kill for kill in self._kills.values() if is_aimed_at_job(kill, job)), None)

    def of_flow(self, host: str, rule_ids: Iterable[str] = (), connector: str | None = None) -> Kill | None:
        """Return what stops a request by its host, by a rule that spoke, or by the connector of its credential."""
        if not self._kills:
            return None
        rules = frozenset(rule_ids)
        return next((kill for kill in self._kills.values() if is_aimed_at_flow(kill, host, rules, connector)), None)


def is_aimed_at_job(kill: Kill, job: JobContext) -> bool:
    """Whether a kill stops a job. A job whose issuer does not state the fact is not meant."""
    stated = {
        KillScope.ORGANIZATION: job.organization,
        KillScope.PIPELINE: job.pipeline,
        KillScope.STEP: job.step,
        KillScope.JOB: job.job_id,
    }
    return kill.scope in JOB_SCOPES and stated[kill.scope] == kill.value


def is_aimed_at_flow(kill: Kill, host: str, rule_ids: frozenset[str], connector: str | None) -> bool:
    """Whether a kill stops a request to `host` that these rules spoke about and this connector serves."""
    if kill.scope is KillScope.HOST:
        suffix = kill.value[1:]
        return host == kill.value or (kill.value.startswith("*.") and host.endswith(suffix) and host != suffix)
    if kill.scope is KillScope.RULE:
        return kill.value in rule_ids
    return kill.scope is KillScope.CONNECTOR and kill.value == connector


class Store(Protocol):
    """Where kills outlive the process."""

    async def save(self, kills: tuple[Kill, ...]) -> None:
        """Return once they are durable. Raises OSError."""


class Sessions(Protocol):
    """Who holds the sessions; `engine.sessions.SessionDesk`."""

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The open sessions."""

    async def close(self, session_id: str, why: str) -> bool:
        """End a session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KillParts:
    """The edges, wired by `app`. `cut` ends what is under way for a kill that is aimed at flows."""

    clock: Clock
    entropy: Entropy
    trail: Trail
    store: Store
    sessions: Sessions
    cut: Callable[[Kill], None]
    together: Callable[..., Awaitable[object]]


class KillDesk:
    """Where operators stop things and let them go on."""

    def __init__(self, switch: KillSwitch, parts: KillParts) -> None:
        self._switch = switch
        self._parts = parts

    @property
    def kills(self) -> tuple[Kill, ...]:
        """What is stopped."""
        return self._switch.kills

    async def kill(self, scope: str, value: str, why: str) -> Kill:
        """Stop something, end what is under way for it, store and record it.

        Raises ValueError for what cannot be stopped; OSError or AuditError when it is stopped, but might not be after a
        restart, or is not on record.
        """
        known, value, why = check_kill(scope, value, why)
        parts = self._parts
        kill = Kill(id=parts.entropy.new_id(), scope=known, value=value, why=why, at=parts.clock.now())
        self._switch.add(kill)
        parts.cut(kill)
        ended = [session for session in parts.sessions.sessions if is_aimed_at_job(kill, session.job)]
        await parts.together(*[parts.sessions.close(session.id, "killed") for session in ended])
        await parts.store.save(self._switch.kills)
        await parts.trail.append(_record(Kind.KILL_SET, kill, kill.at, {"sessions": len(ended)}))
        return kill

    async def lift(self, kill_id: str) -> Kill | None:
        """Let something go on, once that is stored and on record; None when nothing was stopped by that id.

        Raises OSError or AuditError, with it still stopped.
        """
        kill = next((each for each in self._switch.kills if each.id == kill_id), None)
        if kill is None:
            return None
        await self._parts.store.save(tuple(each for each in self._switch.kills if each is not kill))
        await self._parts.trail.append(_record(Kind.KILL_LIFTED, kill, self._parts.clock.now(), {}))
        return self._switch.lift(kill_id)


def _record(kind: Kind, kill: Kill, at: datetime, more: dict[str, Fact]) -> AuditRecord:
    facts: dict[str, Fact] = {"kill": kill.id, "scope": kill.scope.value, "value": kill.value, "why": kill.why}
    return AuditRecord(kind=kind, at=at, facts={**facts, **more})
