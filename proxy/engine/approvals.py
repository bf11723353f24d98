"""A person's yes, wanted by a rule: to one exact request of one session, once; or by unblocking a step of its build.

Nothing here makes an allow: without a yes, an allow that wants one is a denial. What was asked and answered is on
record; it lives in memory alone, so that a restart forgets it, which is the safe way round.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from proxy.engine import records
from proxy.engine.builds import BuildBook
from proxy.engine.ports import Clock, Entropy, Trail
from proxy.model.decision import Approval, Decision, Effect
from proxy.model.identity import Session
from proxy.model.intent import RequestView
from proxy.model.reason import Reason
from proxy.model.record import AuditRecord, Fact, Kind

BODY_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of a body that a person can be asked about: it is held in memory, and its digest is what the yes is for."""
_PER_SESSION: Final = 20
_IN_ALL: Final = 1000
_PATIENCE: Final = timedelta(hours=1)
"""How long a question stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a person is asked. `facts` say what the request is, for the record and for whoever decides."""

    id: str
    session_id: str
    binding: str
    within: timedelta
    asked_at: datetime
    facts: Mapping[str, Fact]


class ApprovalBook:
    """Questions that stand, and answers that are still good."""

    def __init__(self) -> None:
        self._open: dict[str, Question] = {}
        self._given: dict[str, tuple[Question, datetime]] = {}
        self._refused: dict[str, tuple[Question, datetime]] = {}

    def questions(self, now: datetime) -> tuple[Question, ...]:
        """Return what waits for an answer, the oldest first."""
        self._purge(now)
        return tuple(self._open.values())

    def take(self, binding: str, now: datetime) -> str | None:
        """Return the yes for this very request, and use it up; None when there is none."""
        self._purge(now)
        found = self._given.pop(binding, None)
        return None if found is None else found[0].id

    def find(self, binding: str, now: datetime) -> Question | None:
        """Return the question that stands for this very request."""
        self._purge(now)
        return next((question for question in self._open.values() if question.binding == binding), None)

    def was_refused(self, binding: str, now: datetime) -> bool:
        """Whether somebody said no to this very request a short time ago."""
        self._purge(now)
        return binding in self._refused

    def has_room(self, session_id: str) -> bool:
        """Whether another question of this session may stand."""
        own = sum(question.session_id == session_id for question in self._open.values())
        return own < _PER_SESSION and len(self._open) < _IN_ALL

    def add(self, question: Question) -> None:
        """Let a question stand."""
        self._open[question.id] = question

    def answer(self, question_id: str, *, yes: bool, now: datetime) -> Question | None:
        """Take an answer; None when no such question stands."""
        self._purge(now)
        question = self._open.pop(question_id, None)
        if question is not None:
            (self._given if yes else self._refused)[question.binding] = (question, now + question.within)
        return question

    def forget_session(self, session_id: str) -> None:
        """Drop what was asked and answered for a session that has ended."""
        self._open = {name: each for name, each in self._open.items() if each.session_id != session_id}
        for answers in (self._given, self._refused):
            for binding in [name for name, (each, _) in answers.items() if each.session_id == session_id]:
                del answers[binding]

    def _purge(self, now: datetime) -> None:
        self._open = {name: each for name, each in self._open.items() if now - each.asked_at < _PATIENCE}
        for answers in (self._given, self._refused):
            for binding in [name for name, (_, until) in answers.items() if now >= until]:
                del answers[binding]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDesk:
    """Where people answer."""

    book: ApprovalBook
    clock: Clock
    trail: Trail

    def questions(self) -> tuple[Question, ...]:
        """Return what waits for an answer."""
        return self.book.questions(self.clock.now())

    async def answer(self, question_id: str, *, yes: bool, by: str, why: str) -> bool:
        """Put an answer on record, then let it count; False when no such question stands. Raises AuditError."""
        now = self.clock.now()
        if question_id not in {question.id for question in self.book.questions(now)}:
            return False
        facts: dict[str, Fact] = {"approval": question_id, "by": by, "why": why}
        kind = Kind.APPROVAL_GIVEN if yes else Kind.APPROVAL_REFUSED
        await self.trail.append(AuditRecord(kind=kind, at=now, facts=facts))
        return self.book.answer(question_id, yes=yes, now=now) is not None


@dataclass(frozen=True, slots=True)
class Approver:
    """Says what stands of an allow that wants a yes."""

    book: ApprovalBook
    builds: BuildBook
    teams: Mapping[str, frozenset[str]]
    clock: Clock
    entropy: Entropy
    trail: Trail
    tell: Callable[[Question], None] = lambda _: None
    """Called with each new question, once it stands. It must not wait."""

    async def settle(self, session: Session, view: RequestView, decision: Decision, parts: dict[str, Fact]) -> Decision:
        """Return the decision where every yes it wants is there, else a denial that says what is missing.

        What is told goes into `parts`. A person is asked only when all else is there. Raises AuditError.
        """
        denied = replace(decision, effect=Effect.DENY, reason=Reason.APPROVAL_REQUIRED, grant=None)
        for wanted in decision.approvals:
            if wanted.step is None:
                missing = await self._hold(session, view, decision, wanted, parts)
            else:
                missing = self._find_locked(session, wanted, wanted.step)
                parts["approval"] = f"step {wanted.step}"
            if missing:
                parts["detail"] = missing
                return denied
        return decision

    def _find_locked(self, session: Session, wanted: Approval, step: str) -> str:
        """Return why a step does not count as unblocked; empty when it does."""
        found = self.builds.unblocked(session.job, step, session.principal.provider)
        teams = " or ".join(wanted.teams)
        if found is None:
            return f"step `{step}` must be unblocked by {teams}; no event says that it was"
        if self.clock.now() - (found.at or datetime.min.replace(tzinfo=UTC)) > wanted.within:
            return f"step `{step}` was unblocked longer ago than is good"
        if not any(found.by & self.teams.get(team, frozenset()) for team in wanted.teams):
            return f"step `{step}` must be unblocked by {teams}; who did is not in the team"
        return ""

    async def _hold(
        self, session: Session, view: RequestView, decision: Decision, wanted: Approval, parts: dict[str, Fact]
    ) -> str:
        """Use up a person's yes to this very request; without one ask, and return where. Raises AuditError."""
        book, now, binding = self.book, self.clock.now(), bind(session, view, decision)
        if binding is None:
            return "a person can be asked only about a body that can be held whole"
        given = book.take(binding, now)
        if given is not None:
            parts["approval"] = given
            return ""
        if book.was_refused(binding, now):
            return "a person has said no"
        question = book.find(binding, now)
        if question is None and not book.has_room(session.id):
            return "too many questions wait for an answer"
        if question is None:
            question = Question(
                id=self.entropy.new_id(),
                session_id=session.id,
                binding=binding,
                within=wanted.within,
                asked_at=now,
                facts=_describe(session, view, decision, wanted),
            )
            asked: dict[str, Fact] = {"approval": question.id, **question.facts}
            await self.trail.append(AuditRecord(kind=Kind.APPROVAL_ASKED, at=now, facts=asked))
            book.add(question)
            self.tell(question)
        parts["approval"] = question.id
        return f"approval {question.id}: ask for `jobgate approve {question.id}`"


def bind(session: Session, view: RequestView, decision: Decision) -> str | None:
    """Return what a yes is bound to: session, method, URL, body, rules; None without the whole body."""
    body = b""
    if view.body_length != 0:
        if view.body is None or not view.body.is_whole:
            return None
        body = view.body.data
    stated = [
        session.id,
        view.method,
        view.scheme,
        str(view.authority),
        view.path,
        view.query,
        sha256(body).hexdigest(),
        *decision.rule_ids,
        decision.revision,
    ]
    return sha256(json.dumps(stated).encode()).hexdigest()


def _describe(session: Session, view: RequestView, decision: Decision, wanted: Approval) -> dict[str, Fact]:
    """Return what a person and the record are told of a request. Of the query only a digest: it may hold a secret."""
    facts: dict[str, Fact] = {
        **records.session_facts(session),
        "rules": [*decision.rule_ids],
        "revision": decision.revision,
        "method": view.method,
        "host": str(view.authority),
        "path": view.path,
    }
    if view.query is not None:
        facts["query_sha256"] = sha256(view.query.encode("latin-1", "replace")).hexdigest()
    if view.body is not None:
        facts["body_sha256"] = sha256(view.body.data).hexdigest()
        facts["length"] = len(view.body.data)
    if wanted.ask:
        facts["ask"] = wanted.ask
    return facts
