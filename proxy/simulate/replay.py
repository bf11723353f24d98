"""Decides again what a trail holds, by other rules, with the clock, claims and events of then. Pure.

A record holds what a decision was made on, but for header values and the query, of which there is a digest. Where
a rule asks about those, and the answer differs, it cannot be told, and is said so.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from proxy.engine.records import MAX_ALSO
from proxy.model.authority import Authority
from proxy.model.decision import AccessRequest, Decision
from proxy.model.identity import JobContext
from proxy.model.intent import EffectClass, Intent, RequestView, Resource
from proxy.model.reason import Reason
from proxy.model.record import Kind
from proxy.policy.compile import RuleSet
from proxy.policy.conditions import JOB_FIELDS
from proxy.policy.evaluate import evaluate, may_match, reach
from proxy.policy.explain import FALLBACK

BY_RULES: Final = frozenset(
    {
        Reason.ALLOWED,
        Reason.OBSERVED,
        Reason.NO_RULE,
        Reason.RULE_DENIED,
        Reason.RULE_AMBIGUOUS,
        Reason.RULES_UNAVAILABLE,
        Reason.UNDECLARED,
        Reason.APPROVAL_REQUIRED,
    }
)
"""Reasons that rules alone gave. What was refused for anything else is refused by any rules."""
_SAMPLES: Final = 5
_MAX_KNOWN: Final = 100_000
_RARE: Final = ("facts", "also")
_HEADERS: Final = frozenset({"request.headers"})
_HIDDEN: Final = _HEADERS | {"request.query"}
_JOB: Final = re.compile(r"\bjob\s*\.\s*([a-z_]+)")
_WHO: Final = ("organization", "pipeline", "repository", "step", "branch", "tag")


class ChangeKind(StrEnum):
    """How a flow would fare otherwise."""

    DENIED = "newly-denied"
    ALLOWED = "newly-allowed"
    ASKED = "newly-asked"
    UNASKED = "no-longer-asked"
    CREDENTIAL = "other-credential"
    UNKNOWN = "cannot-be-told"


class Effect(StrEnum):
    """What became of a flow: an allow that a person must say yes to is a thing of its own."""

    DENY = "deny"
    ASK = "ask"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One recorded decision of rules, and the job that its session was opened for."""

    job: JobContext
    declared: tuple[str, ...] | None
    effect: Effect
    record: Mapping[str, Any] = field(repr=False)

    @property
    def flow_id(self) -> str:
        """What joins its records."""
        return str(self.record["flow"])

    @property
    def at(self) -> datetime:
        """When it was decided."""
        return datetime.fromisoformat(self.record["at"])

    @property
    def rules(self) -> tuple[str, ...]:
        """The ids of the rules that determined it."""
        return tuple(self.record.get("rules", ()))

    @property
    def grant(self) -> str | None:
        """The digest of what might have been minted."""
        grant: str | None = self.record.get("grant")
        return grant

    @property
    def view(self) -> RequestView:
        """The request, without what is on no record: header fields, the query, the body."""
        return _read_view(self.record)

    @property
    def intent(self) -> Intent | None:
        """What it was read as; None where it was not read, or was a CONNECT."""
        return _read_intent(self.record)


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """A decision made again."""

    effect: Effect
    reason: str
    rules: tuple[str, ...]
    grant: str | None
    is_certain: bool


@dataclass(slots=True, kw_only=True)
class Change:
    """Flows that would fare otherwise in one way."""

    kind: ChangeKind
    job: Mapping[str, Any]
    what: str
    before: str
    after: str
    count: int = 0
    first: str = ""
    last: str = ""
    flows: list[str] = field(default_factory=list)

    def add(self, flow: Flow) -> None:
        """Count a flow."""
        self.count += 1
        self.first = self.first or str(flow.record["at"])
        self.last = str(flow.record["at"])
        if len(self.flows) < _SAMPLES:
            self.flows.append(flow.flow_id)


@dataclass(slots=True)
class Report:
    """What would change. `skipped`: refused whatever the rules, by reason. `partial`: whose session is not in it."""

    decided: int = 0
    partial: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    changes: list[Change] = field(default_factory=list)

    def count(self, kind: ChangeKind) -> int:
        """Return how many flows change in this way."""
        return sum(change.count for change in self.changes if change.kind is kind)


class FlowReader:
    """Turns records into flows: what a session is known by stands on the record that opened it."""

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        self.partial = 0
        self._sessions: dict[str, tuple[JobContext, tuple[str, ...] | None]] = {}

    def read(self, records: Iterable[Mapping[str, Any]]) -> Iterator[Flow]:
        """Give out the decisions of rules among records, in order."""
        for record in records:
            kind = record["kind"]
            if kind == Kind.SESSION_OPENED:
                declared = record.get("declared")
                self._sessions[record["session"]] = (
                    read_job(record),
                    None if declared is None else tuple(map(str, declared)),
                )
            elif kind == Kind.SESSION_CLOSED:
                self._sessions.pop(str(record.get("session")), None)
            elif kind == Kind.DECISION:
                yield from self._read_decision(record)

    def _read_decision(self, record: Mapping[str, Any]) -> Iterator[Flow]:
        if record["reason"] not in BY_RULES:
            self.skipped[str(record["reason"])] += 1
            return
        known = self._sessions.get(str(record.get("session")))
        if known is None:
            self.partial += 1
            known = (read_job(record), None)
        job, declared = known
        events = record.get("events")
        job = job if not events else replace(job, events=dict(events))
        yield Flow(job=job, declared=declared, effect=_effect_of(record), record=record)


def read_job(record: Mapping[str, Any]) -> JobContext:
    """Return the job that a record names."""
    facts = {**(record.get("job") or {}), **(record.get("stated") or {})}
    return JobContext(**facts, claims=dict(record.get("claims") or {}))


def decide_again(flows: Iterable[Flow], rules: RuleSet) -> Report:
    """Return what would change under these rules."""
    report, found = Report(), dict[tuple[object, ...], Change]()
    again = Decider(rules)
    for flow in flows:
        report.decided += 1
        new = again.decide(flow)
        kind = compare(flow, new)
        if kind is None:
            continue
        before, after = _say(flow.effect, flow.record["reason"], flow.rules), _say(new.effect, new.reason, new.rules)
        what = describe(flow)
        labels = {name: flow.record["job"][name] for name in _WHO if name in (flow.record.get("job") or {})}
        key = (kind, *labels.values(), what, before, after)
        change = found.get(key)
        if change is None:
            change = found[key] = Change(kind=kind, job=labels, what=what, before=before, after=after)
            report.changes.append(change)
        change.add(flow)
    return report


class Decider:
    """Decides flows again; those that differ in nothing that any rule asks for are decided once."""

    def __init__(self, rules: RuleSet, most: int = _MAX_KNOWN) -> None:
        """`most` answers are kept, then it begins anew."""
        self._rules, self._most = rules, most
        self._asked = AskedFacts(rules, most)
        self._known: dict[object, Again] = {}

    def decide(self, flow: Flow) -> Again:
        """Decide one flow."""
        key = self._asked.key(flow)
        if key is None:
            return self._decide(flow)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= self._most:
                self._known.clear()
            found = self._known[key] = self._decide(flow)
        return found

    def _decide(self, flow: Flow) -> Again:
        rules, view, job, intent = self._rules, flow.view, flow.job, flow.intent
        if view.method == "CONNECT":
            decision = reach(rules, job, view.authority, flow.at, flow.declared)
            return _made(decision, is_certain=True)
        if intent is None:
            might = may_match(rules, job, view)
            return Again(effect=Effect.DENY, reason=Reason.NO_RULE.value, rules=(), grant=None, is_certain=not might)
        hidden = _HIDDEN if "query_sha256" in flow.record else _HEADERS
        asked = AccessRequest(job=job, view=view, intent=intent, now=flow.at, declared=flow.declared, unknown=hidden)
        return _made(evaluate(rules, asked), is_certain=not self._asks(view, job, hidden) and self._tells(view, intent))

    def _asks(self, view: RequestView, job: JobContext, hidden: frozenset[str]) -> bool:
        """Whether a rule for this place asks about what is on no record."""
        found = self._rules.find(view.authority.host, job)
        return any(rule.when is not None and any(name in rule.when.text for name in hidden) for rule in found)

    def _tells(self, view: RequestView, intent: Intent) -> bool:
        """Whether the record tells all that it did, and by the protocol that these rules would read it by."""
        if intent.protocol == FALLBACK and self._rules.spoken(view.authority.host) - {FALLBACK}:
            return False
        return len(intent.also) < MAX_ALSO


class AskedFacts:
    """What rules ask of a flow: two flows that agree in it meet the same decision."""

    def __init__(self, rules: RuleSet, most: int = _MAX_KNOWN) -> None:
        self._most = most
        conditions = [rule.when for rule in rules.rules if rule.when is not None]
        self._asks_time = any(condition.needs_time for condition in conditions)
        named = {name for condition in conditions for name in _JOB.findall(condition.text)}
        named |= {test.name.partition(".")[0] for rule in rules.rules for test in rule.tests}
        self._names = tuple(sorted(named & {*JOB_FIELDS, "claims"}))
        self._whole = not named <= {*JOB_FIELDS, "claims"}
        self._jobs: dict[str, tuple[JobContext, object]] = {}

    def key(self, flow: Flow) -> object | None:
        """Return what tells flows apart; None where each moment is a case of its own."""
        if self._asks_time:
            return None
        record = flow.record
        get = record.get
        return (
            self._who(flow.job, str(get("session"))), flow.declared, get("method"), get("host"), get("port"),
            get("path"), get("scheme"), "query_sha256" in record, get("length"), get("protocol"), get("action"),
            get("resource_type"), get("resource"), get("class"), get("exact"),
            *(str(record[name]) for name in _RARE if name in record),
        )  # fmt: skip

    def of_job(self, job: JobContext) -> object:
        """Return what tells jobs apart."""
        if self._whole:
            return repr(job)
        return tuple(repr(getattr(job, name)) for name in self._names)

    def _who(self, job: JobContext, session: str) -> object:
        known = self._jobs.get(session)
        if known is not None and known[0] is job:
            return known[1]
        who = (self.of_job(job), repr(job.events))
        if len(self._jobs) >= self._most:
            self._jobs.clear()
        self._jobs[session] = (job, who)
        return who


def compare(flow: Flow, new: Again) -> ChangeKind | None:
    """Return how a flow would fare otherwise; None when it would not."""
    if flow.effect is new.effect and (flow.effect is Effect.DENY or flow.grant == new.grant):
        return None
    if not new.is_certain:
        return ChangeKind.UNKNOWN
    if flow.effect is new.effect:
        return ChangeKind.CREDENTIAL
    if new.effect is Effect.DENY:
        return ChangeKind.DENIED
    if flow.effect is Effect.DENY:
        return ChangeKind.ALLOWED
    return ChangeKind.ASKED if new.effect is Effect.ASK else ChangeKind.UNASKED


def describe(flow: Flow) -> str:
    """Say what a flow did, for a person: the intent where it was read, else method and place."""
    view, intent = flow.view, flow.intent
    if intent is None or intent.protocol == FALLBACK:
        place = str(view.authority) if view.method == "CONNECT" else f"{view.authority.host}{view.path}"
        return f"{view.method} {place}"
    return f"{intent.name} {intent.resource.id} ({view.authority.host})"


def _made(decision: Decision, *, is_certain: bool) -> Again:
    is_allowed = decision.is_allowed and decision.reason is not Reason.OBSERVED
    effect = Effect.DENY if not is_allowed else Effect.ASK if decision.approvals else Effect.ALLOW
    grant = None if decision.grant is None else decision.grant.key
    return Again(
        effect=effect, reason=decision.reason.value, rules=decision.rule_ids, grant=grant, is_certain=is_certain
    )


def _effect_of(record: Mapping[str, Any]) -> Effect:
    if record["reason"] == Reason.APPROVAL_REQUIRED or "approval" in record:
        return Effect.ASK
    # What was only let through to be seen was not allowed.
    return Effect.DENY if record["reason"] == Reason.OBSERVED else Effect(record["effect"])


def _read_view(record: Mapping[str, Any]) -> RequestView:
    return RequestView(
        method=record["method"],
        scheme=record["scheme"],
        authority=Authority(record["host"], record["port"]),
        path=record.get("path", ""),
        query=None,
        headers=(),
        body_length=record.get("length", 0),
    )


def _read_intent(record: Mapping[str, Any]) -> Intent | None:
    if "protocol" not in record:
        return None
    return _read_part(record, tuple(_read_part(part, ()) for part in record.get("also", ())))


def _read_part(record: Mapping[str, Any], also: tuple[Intent, ...]) -> Intent:
    return Intent(
        protocol=record["protocol"],
        action=record["action"],
        resource=Resource(type=record["resource_type"], id=record["resource"]),
        effect=EffectClass(record["class"]),
        exact=record.get("exact", True),
        facts=record.get("facts") or {},
        also=also,
    )


def _say(effect: Effect, reason: str, rules: tuple[str, ...]) -> str:
    named = f" ({', '.join(rules)})" if rules else ""
    return f"{effect.value}{named}" if effect is not Effect.DENY else f"deny: {reason}{named}"
