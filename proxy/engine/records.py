"""Facts for the trail, from allow-listed fields only. Query values, header values and bodies are never recorded."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import datetime
from hashlib import sha256
from typing import Final, cast

from proxy.engine.seam import ConnectionEnd, Outcome, Peer
from proxy.model.authority import Authority
from proxy.model.decision import Decision, Effect
from proxy.model.grant import Credential, Dropped, Need
from proxy.model.identity import JobContext, Session
from proxy.model.intent import Intent, RequestView
from proxy.model.reason import Reason
from proxy.model.record import AuditRecord, Fact, Kind

MAX_ALSO: Final = 64
"""Of a request that does very many things at once, so many are named on its record."""
LABELS: Final = (
    "organization",
    "pipeline",
    "repository",
    "step",
    "branch",
    "tag",
    "commit",
    "build_number",
    "build_id",
    "job_id",
    "source",
    "environment",
)
"""The job facts that stand on every record and go into session names and tags."""
_NOT_STATED: Final = frozenset({*LABELS, "claims", "events"})


def job_facts(job: JobContext) -> dict[str, Fact]:
    """Return the job's labels that its issuer stated."""
    return {name: value for name in LABELS if (value := getattr(job, name)) is not None}


def identity_facts(job: JobContext) -> dict[str, Fact]:
    """Return the labels, and all else that the issuer stated: what it takes to decide again what was decided."""
    others = {each.name: getattr(job, each.name) for each in fields(job) if each.name not in _NOT_STATED}
    facts: dict[str, Fact] = {"job": job_facts(job)}
    stated = {name: value for name, value in others.items() if value is not None}
    if stated:
        facts["stated"] = stated
    if job.claims:
        facts["claims"] = cast("Fact", dict(job.claims))
    return facts


def job_labels(job: JobContext) -> dict[str, str]:
    """Return the same labels as text, for a connector."""
    return {name: str(value) for name, value in job_facts(job).items()}


def request_facts(view: RequestView) -> dict[str, Fact]:
    """Describe a request. Of the query only a digest: values can be capabilities."""
    facts: dict[str, Fact] = {
        "method": view.method,
        "scheme": view.scheme,
        "host": view.authority.host,
        "port": view.authority.port,
        "path": view.path,
    }
    if view.query is not None:
        facts["query_sha256"] = sha256(view.query.encode("latin-1", "replace")).hexdigest()
    if view.body_length is not None and view.body_length > 0:
        facts["length"] = view.body_length
    return facts


def connect_facts(authority: Authority) -> dict[str, Fact]:
    """Describe a CONNECT."""
    return {"method": "CONNECT", "scheme": "https", "host": authority.host, "port": authority.port, "path": ""}


def intent_facts(intent: Intent | None) -> dict[str, Fact]:
    """Describe how a request was read; nothing when it could not be."""
    if intent is None:
        return {}
    facts = _part_facts(intent)
    if intent.facts:
        facts["facts"] = dict(intent.facts)
    if intent.also:
        facts["also"] = [_part_facts(part) for part in list(_others(intent))[:MAX_ALSO]]
    return facts


def _part_facts(part: Intent) -> dict[str, Fact]:
    facts: dict[str, Fact] = {
        "protocol": part.protocol,
        "action": part.action,
        "resource_type": part.resource.type,
        "resource": part.resource.id,
        "class": str(part.effect),
    }
    if not part.exact:
        facts["exact"] = False
    return facts


def _others(intent: Intent) -> Iterator[Intent]:
    for part in intent.also:
        yield part
        yield from _others(part)


def who_facts(session: Session | None, peer: Peer) -> dict[str, Fact]:
    """Name the connection and, once known, the session and its job."""
    if session is None:
        return {"connection": peer.connection_id, "client": peer.address}
    return {"connection": peer.connection_id, **session_facts(session)}


def session_facts(session: Session) -> dict[str, Fact]:
    """Name the session and its job."""
    return {"session": session.id, "job": job_facts(session.job)}


def decision_record(at: datetime, flow_id: str, parts: Mapping[str, Fact], decision: Decision) -> AuditRecord:
    """Build the record that must be durable before anything leaves."""
    facts: dict[str, Fact] = {
        "flow": flow_id,
        "effect": str(decision.effect),
        "reason": str(decision.reason),
        "rules": list(decision.rule_ids),
        "revision": decision.revision,
        **parts,
    }
    if decision.grant is not None:
        facts["connector"] = decision.grant.connector
        facts["grant"] = decision.grant.key
    if decision.declared is not None:
        facts["declared"] = decision.declared.value
    if decision.tags:
        facts["tags"] = dict(decision.tags)
    return AuditRecord(kind=Kind.DECISION, at=at, facts=facts)


def refusal_record(at: datetime, flow_id: str, parts: Mapping[str, Fact], reason: Reason, detail: str) -> AuditRecord:
    """Build the record of a denial that no rule was asked about."""
    facts: dict[str, Fact] = {"flow": flow_id, "effect": Effect.DENY.value, "reason": reason.value, "rules": []}
    if detail:
        facts["detail"] = detail
    return AuditRecord(kind=Kind.DECISION, at=at, facts={**facts, **parts})


def outcome_record(
    at: datetime, flow_id: str, outcome: Outcome, fingerprint: str | None, shortfall: Mapping[str, str] | None = None
) -> AuditRecord:
    """Build the record of how an allowed exchange ended. Absent facts are left out."""
    facts: dict[str, Fact] = {
        "flow": flow_id,
        "reason": str(outcome.reason),
        "sent": outcome.sent_bytes,
        "received": outcome.received_bytes,
    }
    if outcome.status is not None:
        facts["status"] = outcome.status
    if outcome.sent_digest is not None:
        facts["sent_sha256"] = outcome.sent_digest
    if outcome.received_digest is not None:
        facts["received_sha256"] = outcome.received_digest
    if outcome.upstream is not None:
        facts["upstream"] = outcome.upstream
    if fingerprint is not None:
        facts["credential"] = fingerprint
    if shortfall is not None:
        facts["shortfall"] = dict(shortfall)
    if outcome.milliseconds:
        facts["ms"] = dict(outcome.milliseconds)
    if outcome.redactions:
        facts["redactions"] = outcome.redactions
    if outcome.detail:
        facts["detail"] = outcome.detail
    return AuditRecord(kind=Kind.OUTCOME, at=at, facts=facts)


def credential_record(
    at: datetime, session: Session, grant_key: str, credential: Credential, need: Need = ()
) -> AuditRecord:
    """Build the record of a newly minted credential: its fingerprint and public facts, never its secret."""
    facts: dict[str, Fact] = {
        "session": session.id,
        "job": job_facts(session.job),
        "connector": credential.connector,
        "grant": grant_key,
        "credential": credential.fingerprint,
        "expires_at": None if credential.expires_at is None else credential.expires_at.isoformat(),
        "facts": dict(credential.facts),
    }
    if need:
        facts["need"] = dict(need)
    return AuditRecord(kind=Kind.CREDENTIAL_MINTED, at=at, facts=facts)


def dropped_facts(dropped: Iterable[Dropped]) -> list[Fact]:
    """Describe what became of credentials that were dropped."""
    facts: list[Fact] = []
    for each in dropped:
        expires_at = each.credential.ends_at or each.credential.expires_at
        facts.append(
            {
                "connector": each.credential.connector,
                "credential": each.credential.fingerprint,
                "fate": each.fate.value,
                "expires_at": None if expires_at is None else expires_at.isoformat(),
            }
        )
    return facts


def connection_record(at: datetime, end: ConnectionEnd) -> AuditRecord:
    """Build the record every accepted connection leaves, whatever became of it."""
    facts: dict[str, Fact] = {
        "connection": end.peer.connection_id,
        "client": end.peer.address,
        "requests": end.requests,
        "bytes_in": end.bytes_in,
        "bytes_out": end.bytes_out,
        "reason": end.reason.value,
    }
    if end.session_id is not None:
        facts["session"] = end.session_id
    if end.authority is not None:
        facts["host"] = end.authority.host
        facts["port"] = end.authority.port
    if end.detail:
        facts["detail"] = end.detail
    return AuditRecord(kind=Kind.CONNECTION, at=at, facts=facts)
