"""What happened: one entry of the audit trail, its place in the chain, and the signed head."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from proxy.model.quick import quick

type Fact = str | int | float | bool | list["Fact"] | dict[str, "Fact"] | None
"""What a record may hold: plain JSON. Secrets have no such form."""


class Kind(StrEnum):
    """What an entry tells. `docs/audit.md` lists each kind's fields."""

    STARTED = "proxy.started"
    STOPPED = "proxy.stopped"
    RULES_LOADED = "rules.loaded"
    RULES_REFUSED = "rules.refused"
    ROOTS_LOADED = "roots.loaded"
    ROOTS_REFUSED = "roots.refused"
    SESSION_OPENED = "session.opened"
    SESSION_REFUSED = "session.refused"
    SESSION_CLOSED = "session.closed"
    CREDENTIAL_MINTED = "credential.minted"
    CREDENTIAL_REFUSED = "credential.refused"
    CREDENTIAL_DROPPED = "credential.dropped"
    KILL_SET = "kill.set"
    KILL_LIFTED = "kill.lifted"
    EVENT_RECEIVED = "event.received"
    EVENT_REFUSED = "event.refused"
    APPROVAL_ASKED = "approval.asked"
    APPROVAL_GIVEN = "approval.given"
    APPROVAL_REFUSED = "approval.refused"
    SINK_REFUSED = "sink.refused"
    SECRET_EXPOSED = "secret.exposed"  # noqa: S105 - what happened
    JOB_LOG = "job.log"  # on the trail of logs
    DECISION = "flow.decision"
    OUTCOME = "flow.outcome"
    CONNECTION = "connection.closed"
    # written by the trail itself
    TRAIL_OPENED = "trail.opened"
    TRAIL_REPAIRED = "trail.repaired"
    TRAIL_CLOSED = "trail.closed"
    TRAIL_PRUNED = "trail.pruned"
    KEY_SEALED = "key.sealed"


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One entry before it is chained. `facts` is built from allow-listed fields; `at` is UTC."""

    kind: Kind
    at: datetime
    facts: Mapping[str, Fact]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A signed statement that the trail `origin` had `size` entries and that the last one's digest was `head`."""

    origin: str
    size: int
    head: str
    at: datetime
    signed: str
    """The signed note as written (C2SP signed-note)."""
