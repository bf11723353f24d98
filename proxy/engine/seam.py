"""What passes between a lane and the path: plain values both sides agree on, whatever the protocol."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.intents.refusals import Words
from proxy.model.authority import Authority
from proxy.model.decision import Decision
from proxy.model.grant import PLAIN, Grant, Plan, Secret
from proxy.model.identity import Session
from proxy.model.intent import Intent, RequestView
from proxy.model.quick import quick
from proxy.model.reason import Reason, explain_reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The job's side of one connection."""

    connection_id: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """What `Proxy-Authorization` carried: a session secret or a raw token. Never printed."""

    secret: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """The answer when nothing may leave. `flow_id` names the record; `rule_ids` are the rules that spoke."""

    reason: Reason
    flow_id: str
    rule_ids: tuple[str, ...] = ()
    detail: str = ""
    """One sentence safe to show the job: never another identity, a secret, or upstream text."""
    told: Words | None = None
    """What to answer in place of our own JSON, where the client would show nothing of that."""

    @property
    def status(self) -> int:
        """The reason's HTTP status, outside a tunnel."""
        return explain_reason(self.reason).status

    @property
    def message(self) -> str:
        """What happened, for people."""
        return f"{explain_reason(self.reason).sentence} {self.detail}".rstrip()

    def describe(self) -> dict[str, object]:
        """Return what the job is told, whatever the words."""
        return {
            "reason": self.reason.value,
            "rule": list(self.rule_ids),
            "decision": self.flow_id,
            "message": self.message,
            "what_to_do": explain_reason(self.reason).remedy,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """A CONNECT that some rule may use. `inspect` False means: pass bytes through, then `conclude(flow_id, ...)`."""

    flow_id: str
    inspect: bool


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Clearance:
    """An allowed request, already on record. Ask `equip` for its edits once the body digest, if needed, is known."""

    flow_id: str
    session: Session
    view: RequestView
    decision: Decision
    grant: Grant | None
    stripped: frozenset[str]
    plan: Plan = PLAIN
    intent: Intent | None = None


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an exchange ended. `reason` is ALLOWED when it was complete. Digests are hex SHA-256 of bodies as sent."""

    reason: Reason
    status: int | None = None
    sent_bytes: int = 0
    received_bytes: int = 0
    sent_digest: str | None = None
    received_digest: str | None = None
    upstream: str | None = None
    """The address dialled, `ip:port`."""
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    """`decide`, `connect`, `first_byte`, `total`."""
    redactions: int = 0
    """How often an injected secret was found in the response and blanked."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionEnd:
    """One record per connection when it closes, however it closes: what E01, E03 and E04 would hide."""

    peer: Peer
    authority: Authority | None
    session_id: str | None
    requests: int
    bytes_in: int
    bytes_out: int
    reason: Reason
    detail: str = ""
