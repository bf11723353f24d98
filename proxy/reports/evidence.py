"""What a trail shows of controls in a span of time, for SOC 2 and the like: gathered in one pass, never judged.

Each criterion says which part of the data supports it, and what the data does not show. Criteria are those of the
AICPA Trust Services Criteria (TSP section 100, 2017 with 2022 points of focus), Common Criteria. Pure.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from proxy.model.record import Kind

MOST: Final = 200
"""Entries of one list; all are counted."""
LIFETIMES: Final = ((900, "15 min"), (3600, "1 h"), (14400, "4 h"), (43200, "12 h"))
"""Upper bounds in seconds, and their names."""
_OF_DENIED: Final = ("flow", "at", "reason", "rules", "method", "host", "path", "action", "resource")
LONGER: Final = "longer"
UNBOUNDED: Final = "without end"


@dataclass(frozen=True, slots=True)
class Window:
    """From `start`, up to and not including `end`. Both as records write times."""

    start: str
    end: str

    def has(self, at: str) -> bool:
        """Whether a record's time is in it."""
        return self.start <= at < self.end


@dataclass(slots=True, kw_only=True)
class Evidence:
    """Counts and lists, all of one window. Lists are cut at `MOST`."""

    window: Window
    records: int = 0
    first: int | None = None
    last: int | None = None
    sealed: int = 0
    flows: Counter[str] = field(default_factory=Counter)
    days: dict[str, Counter[str]] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    denied_by: Counter[str] = field(default_factory=Counter)
    denied: list[dict[str, Any]] = field(default_factory=list)
    rules: dict[str, Counter[str]] = field(default_factory=dict)
    reach: dict[str, Counter[str]] = field(default_factory=dict)
    revisions: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused_rules: list[dict[str, Any]] = field(default_factory=list)
    sessions: Counter[str] = field(default_factory=Counter)
    issuers: Counter[str] = field(default_factory=Counter)
    refused_sessions: Counter[str] = field(default_factory=Counter)
    credentials: Counter[str] = field(default_factory=Counter)
    lifetimes: Counter[str] = field(default_factory=Counter)
    fates: Counter[str] = field(default_factory=Counter)
    not_revoked: list[dict[str, Any]] = field(default_factory=list)
    exposed: list[dict[str, Any]] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    operators: list[dict[str, Any]] = field(default_factory=list)
    observed: int = 0
    starts: list[dict[str, Any]] = field(default_factory=list)
    keys: list[dict[str, Any]] = field(default_factory=list)
    trail: list[dict[str, Any]] = field(default_factory=list)
    interrupted: int = 0


def gather(records: Iterable[Mapping[str, Any]], window: Window) -> Evidence:
    """Read a trail once. What is sealed is counted by what of it is clear."""
    found = Evidence(window=window)
    for record in records:
        if not window.has(str(record["at"])):
            _note_before(found, record)
            continue
        found.records += 1
        found.first = int(record["seq"]) if found.first is None else found.first
        found.last = int(record["seq"])
        found.sealed += "sealed" in record
        if (note := _NOTES.get(str(record["kind"]))) is not None:
            note(found, record)
    return found


def _note_before(found: Evidence, record: Mapping[str, Any]) -> None:
    """Remember the rules that were in force when the window began."""
    if record["kind"] in (Kind.RULES_LOADED, Kind.STARTED) and str(record["at"]) < found.window.start:
        revision = str(record.get("revision", ""))
        found.revisions.clear()
        found.revisions[revision] = {"loaded": record["at"], "decisions": 0, "before": True}


def _note_decision(found: Evidence, record: Mapping[str, Any]) -> None:
    effect, reason = str(record.get("effect")), str(record.get("reason"))
    found.flows[effect] += 1
    found.days.setdefault(str(record["at"])[:10], Counter())[effect] += 1
    job = _labels(record)
    who = f"{job.get('organization', '?')}/{job.get('pipeline', '?')}"
    revision = found.revisions.setdefault(str(record.get("revision", "")), {"loaded": None, "decisions": 0})
    revision["decisions"] += 1
    for rule in record.get("rules") or ():
        found.rules.setdefault(str(rule), Counter())[effect] += 1
        if "host" in record and effect == "allow":
            found.reach.setdefault(str(rule), Counter())[f"{who} -> {record['host']}"] += 1
    if effect == "deny":
        found.reasons[reason] += 1
        found.denied_by[who] += 1
        _keep(
            found.denied,
            record,
            "flow",
            "at",
            "reason",
            "rules",
            "method",
            "host",
            "path",
            "action",
            "resource",
            who=who,
        )
    found.observed += reason == "observed"


def _note_outcome(found: Evidence, record: Mapping[str, Any]) -> None:
    found.interrupted += record.get("reason") == "interrupted"


def _note_opened(found: Evidence, record: Mapping[str, Any]) -> None:
    found.sessions["opened"] += 1
    found.issuers[str(record.get("issuer", "(sealed)" if "sealed" in record else "local"))] += 1


def _note_refused(found: Evidence, record: Mapping[str, Any]) -> None:
    found.sessions["refused"] += 1
    found.refused_sessions[str(record.get("reason"))] += 1


def _note_closed(found: Evidence, record: Mapping[str, Any]) -> None:
    found.sessions["closed"] += 1
    dropped = record.get("dropped")
    for each in dropped if isinstance(dropped, list) else ():
        if isinstance(each, dict):
            fate = str(each.get("fate"))
            found.fates[fate] += 1
            if fate == "revoke-failed":
                _keep(found.not_revoked, {**each, "at": record["at"]}, "at", "connector", "credential", "expires_at")


def _note_minted(found: Evidence, record: Mapping[str, Any]) -> None:
    found.credentials[str(record.get("connector", "(sealed)"))] += 1
    found.lifetimes[_lifetime(record)] += 1


def _note_rules(found: Evidence, record: Mapping[str, Any]) -> None:
    revision = found.revisions.setdefault(str(record.get("revision", "")), {"loaded": None, "decisions": 0})
    revision["loaded"] = revision["loaded"] or record["at"]


def _note_started(found: Evidence, record: Mapping[str, Any]) -> None:
    _note_rules(found, record)
    _keep(found.starts, record, "at", "version", "revision", "ca_sha256", "hardening")


def _note_event(found: Evidence, record: Mapping[str, Any]) -> None:
    found.events[str(record["kind"])] += 1


def _note_operator(found: Evidence, record: Mapping[str, Any]) -> None:
    _keep(found.operators, record, "at", "kind", "scope", "value", "why", "by", "approval")


def _note_key(found: Evidence, record: Mapping[str, Any]) -> None:
    _keep(found.keys, record, "at", "kind", "origin", "key", "class", "recipients")


def _note_trail(found: Evidence, record: Mapping[str, Any]) -> None:
    _keep(found.trail, record, "at", "kind", "cause", "refused", "lost", "sink", "record", "detail", "segment")


def _note_exposed(found: Evidence, record: Mapping[str, Any]) -> None:
    _keep(found.exposed, record, "at", "what", "connector", "credential", "session", "seen_in", "ended")


def _note_refused_rules(found: Evidence, record: Mapping[str, Any]) -> None:
    _keep(found.refused_rules, record, "at", "problems")


_NOTES: Final[Mapping[str, Callable[[Evidence, Mapping[str, Any]], None]]] = {
    Kind.DECISION: _note_decision,
    Kind.OUTCOME: _note_outcome,
    Kind.SESSION_OPENED: _note_opened,
    Kind.SESSION_REFUSED: _note_refused,
    Kind.SESSION_CLOSED: _note_closed,
    Kind.CREDENTIAL_MINTED: _note_minted,
    Kind.RULES_LOADED: _note_rules,
    Kind.RULES_REFUSED: _note_refused_rules,
    Kind.STARTED: _note_started,
    Kind.SECRET_EXPOSED: _note_exposed,
    Kind.EVENT_RECEIVED: _note_event,
    Kind.EVENT_REFUSED: _note_event,
    Kind.APPROVAL_ASKED: _note_event,
    Kind.APPROVAL_GIVEN: _note_operator,
    Kind.APPROVAL_REFUSED: _note_operator,
    Kind.KILL_SET: _note_operator,
    Kind.KILL_LIFTED: _note_operator,
    Kind.TRAIL_OPENED: _note_key,
    Kind.KEY_SEALED: _note_key,
    Kind.TRAIL_REPAIRED: _note_trail,
    Kind.TRAIL_PRUNED: _note_trail,
    Kind.SINK_REFUSED: _note_trail,
}


def _keep(kept: list[dict[str, Any]], record: Mapping[str, Any], *names: str, **more: Any) -> None:
    if len(kept) < MOST:
        kept.append({name: record[name] for name in names if name in record} | more)


def _labels(record: Mapping[str, Any]) -> Mapping[str, Any]:
    job = record.get("job")
    return job if isinstance(job, dict) else {}


def _lifetime(record: Mapping[str, Any]) -> str:
    end = record.get("expires_at")
    if not isinstance(end, str):
        return UNBOUNDED
    seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(str(record["at"]))).total_seconds()
    return next((name for bound, name in LIFETIMES if seconds <= bound), LONGER)


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion: the parts of the pack that support it, what they show, and what they do not."""

    id: str
    title: str
    parts: tuple[str, ...]
    shows: str
    shows_not: str


CRITERIA: Final = (
    Criterion(
        "CC6.1",
        "Logical access security",
        ("rules", "revisions", "flows", "issuers"),
        "Every request of a job was decided by rules of a stated revision, on an identity its CI's issuer signed.",
        "Access that does not pass the proxy.",
    ),
    Criterion(
        "CC6.2",
        "Credentials are issued to authorized users and removed",
        ("sessions", "refused_sessions", "credentials", "fates"),
        "Sessions were opened for verified identities only, and ended; credentials were issued to them and taken back.",
        "How identities were registered with the CI.",
    ),
    Criterion(
        "CC6.3",
        "Access is authorized, modified and removed by role and least privilege",
        ("rules", "reach", "revisions", "operators"),
        "Who could reach what by rule, who did, when rules changed and by which commits; kills and approvals by name.",
        "Whether what rules allow is what was intended.",
    ),
    Criterion(
        "CC6.6",
        "Measures against threats from outside the boundaries",
        ("denied", "reasons"),
        "What was denied on the way out, to whom, and why.",
        "Traffic towards the CI's machines.",
    ),
    Criterion(
        "CC6.7",
        "Transmission and movement of information is restricted",
        ("reach", "credentials", "lifetimes"),
        "Where data could go and went, over verified TLS; production credentials were never given to jobs.",
        "What the data was.",
    ),
    Criterion(
        "CC7.2",
        "Anomalies are monitored",
        ("days", "reasons", "denied_by", "trail"),
        "Denials over time and by pipeline; faults of the audit trail itself.",
        "That somebody looked.",
    ),
    Criterion(
        "CC7.3",
        "Security events are evaluated",
        ("denied", "refused_sessions", "exposed", "operators"),
        "Each denied attempt and refused identity with its reason, secrets that showed in logs, what operators did.",
        "The evaluation.",
    ),
    Criterion(
        "CC7.4",
        "Response to incidents",
        ("operators", "exposed", "not_revoked"),
        "Kills with reasons and times; sessions ended for an exposed secret; credentials that could not be revoked.",
        "Everything that was done elsewhere.",
    ),
    Criterion(
        "CC8.1",
        "Changes are authorized, tested and approved",
        ("revisions", "refused_rules"),
        "Which rule sets were in force, when, and the commits they came from; which were refused.",
        "Reviews: they stand in the repository of the rules.",
    ),
    Criterion(
        "CC4.1",
        "Evaluations of controls",
        ("verification", "keys"),
        "The chain of all records was verified against signed heads; which keys signed, and when they changed.",
        "That nothing happened besides what is on record.",
    ),
)
