"""Records of a trail, made by the code that decides and records, for what reads trails."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from proxy.audit.canonical import encode
from proxy.engine import records
from proxy.engine.decide import AccessQuestion, Verdict, decide
from proxy.engine.seam import Outcome
from proxy.model.authority import Authority
from proxy.model.decision import Effect
from proxy.model.identity import JobContext
from proxy.model.intent import RequestView
from proxy.model.reason import Reason
from proxy.model.record import AuditRecord, Fact, Kind
from proxy.policy.compile import RuleSet
from proxy.policy.evaluate import reach

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
JOB = JobContext(
    organization="acme", pipeline="shop", step="release", branch="main", agent_id="a-1", claims={"team": "web"}
)


def opened(session: str = "s-1", job: JobContext = JOB, declared: tuple[str, ...] | None = None) -> AuditRecord:
    """The record that opens a session."""
    facts: dict[str, Fact] = {"session": session, **records.identity_facts(job)}
    if declared is not None:
        facts["declared"] = [*declared]
    return AuditRecord(kind=Kind.SESSION_OPENED, at=NOON, facts=facts)


def closed(session: str = "s-1") -> AuditRecord:
    """The record that closes it."""
    return AuditRecord(kind=Kind.SESSION_CLOSED, at=NOON, facts={"session": session})


def decided(rules: RuleSet, view: RequestView, at: datetime = NOON, job: JobContext = JOB, **more: Fact) -> AuditRecord:
    """The record of a request that these rules decided; `flow` and `session` may be given."""
    declared = more.pop("declared", None)
    said = tuple(map(str, declared)) if isinstance(declared, list) else None
    verdict = decide(AccessQuestion(view, job, rules, at, said))
    assert isinstance(verdict, Verdict)
    decision = verdict.decision
    if decision.approvals:
        decision = replace(decision, effect=Effect.DENY, reason=Reason.APPROVAL_REQUIRED, grant=None)
    flow = str(more.pop("flow", "f-1"))
    parts: dict[str, Fact] = {"session": "s-1", "job": records.job_facts(job), **more}
    if job.events:
        parts["events"] = {name: bool(fact) for name, fact in job.events.items()}
    parts |= {**records.request_facts(view), **records.intent_facts(verdict.intent)}
    return records.decision_record(at, flow, parts, decision)


def connected(rules: RuleSet, host: str, **more: Fact) -> AuditRecord:
    """The record of a tunnel that these rules refused, or pass through."""
    place = Authority(host, 443)
    decision = reach(rules, JOB, place, NOON)
    flow = str(more.pop("flow", "f-1"))
    parts: dict[str, Fact] = {"session": "s-1", "job": records.job_facts(JOB), **more, **records.connect_facts(place)}
    return records.decision_record(NOON, flow, parts, decision)


def ended(flow: str, at: datetime = NOON, lack: Mapping[str, str] | None = None, **facts: Any) -> AuditRecord:
    """The record of how an exchange ended; `facts` as in Outcome."""
    return records.outcome_record(at, flow, Outcome(**{"reason": Reason.ALLOWED, **facts}), None, lack)


def written(trail: Iterable[AuditRecord]) -> list[Mapping[str, Any]]:
    """Records as they come back from a trail."""
    return [json.loads(b"{" + encode(record)) for record in trail]
