"""May it: the answer, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from proxy.model.grant import Grant
from proxy.model.identity import JobContext
from proxy.model.intent import Intent, RequestView
from proxy.model.quick import quick
from proxy.model.reason import Reason


class Declared(StrEnum):
    """How a request stands to what its step declared."""

    WITHIN = "within"
    BEYOND = "beyond"


class Effect(StrEnum):
    """Of a rule or of a decision."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """That a person must have said yes: to this request, or by unblocking a step of its build."""

    within: timedelta
    """How long a yes is good, how long ago a step may have been unblocked."""
    ask: str = ""
    """What the person is asked, beside the request."""
    step: str | None = None
    """Key of the block step; None: the person is asked about the request itself."""
    teams: tuple[str, ...] = ()
    """Whose members may have unblocked it."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRequest:
    """All the policy sees, and all replay needs to decide again."""

    job: JobContext
    view: RequestView
    intent: Intent
    now: datetime
    declared: tuple[str, ...] | None = None
    """What the step said it would do, as `intent:` lines; None: nothing was said."""
    unknown: frozenset[str] = frozenset()
    """Of a request that is known from its record alone: what conditions may not ask about, `request.headers`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How one rule was read: whether it matched and, if not, the first condition that failed (`job.branch`)."""

    rule_id: str
    matched: bool
    why: str


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Effect, reason, the rules that determined it, and the one thing it grants.

    `revision` names the rule set. `tags` are carried on the record. `steps` are filled only by `explain`.
    """

    effect: Effect
    reason: Reason
    rule_ids: tuple[str, ...]
    revision: str
    grant: Grant | None = None
    inspect: bool = True
    """False: the connection is passed through undecrypted, decided by identity, host and port alone."""
    tags: Mapping[str, str] = field(default_factory=dict)
    declared: Declared | None = None
    """How the request stands to what its step declared; None where nothing was declared."""
    steps: tuple[Step, ...] = ()
    approvals: tuple[Approval, ...] = ()
    """Of an allow: it counts only with all of these."""
    passes_cookies: bool = False
    """Of an allow: the job's cookies go on, and what the upstream sets on a request with a credential comes back."""

    @property
    def is_allowed(self) -> bool:
        """Whether the effect is allow."""
        return self.effect is Effect.ALLOW
