"""One rule, as compiled: small immutable tests, each able to say why it failed. Unknown is an answer of its own."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from proxy.model.decision import Approval, Effect
from proxy.model.grant import Grant
from proxy.model.identity import JobContext
from proxy.model.intent import RequestView
from proxy.policy.conditions import Condition
from proxy.policy.declaring import Stance
from proxy.policy.intents import IntentTest
from proxy.policy.patterns import Glob
from proxy.policy.targets import Target

type Scalar = str | int | float | bool

READ_METHODS: Final = frozenset({"GET", "HEAD"})
"""What an allow rule without `method` allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FactTest:
    """One line under `job:`. Text may be a pattern; numbers and booleans are exact, in value and in type."""

    name: str
    """`branch`, or `claims.aud` for a raw claim."""
    claim: str | None = None
    """The raw claim's own name."""
    exact: tuple[Scalar, ...] = ()
    globs: tuple[Glob, ...] = ()

    def read(self, job: JobContext) -> object:
        """Return the job's own value, None when its issuer does not state it."""
        return getattr(job, self.name) if self.claim is None else job.claims.get(self.claim)

    def holds(self, job: JobContext) -> bool | None:
        """Whether the job's value is one of those listed; None when there is none. Of a list, any element counts."""
        value = self.read(job)
        if value is None:
            return None
        if isinstance(value, list | tuple):
            return any(self._accepts(element) for element in value)
        return self._accepts(value)

    def _accepts(self, value: object) -> bool:
        if isinstance(value, str):
            if value in self.exact:
                return True
            for glob in self.globs:  # noqa: SIM110 - once per rule and request: a generator costs more than a match
                if glob.matches(value):
                    return True
            return False
        return any(type(value) is type(one) and value == one for one in self.exact)

    @property
    def wanted(self) -> tuple[str, ...]:
        """The values as written."""
        return (
            *(json.dumps(one) if not isinstance(one, str) else one for one in self.exact),
            *(g.text for g in self.globs),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule, ready to be asked. `methods`, `paths` and `intents` of None mean any."""

    id: str
    why: str
    effect: Effect
    tests: tuple[FactTest, ...] = ()
    targets: tuple[Target, ...]
    methods: frozenset[str] | None = None
    paths: tuple[Glob, ...] | None = None
    intents: tuple[IntentTest, ...] | None = None
    when: Condition | None = None
    declared: Stance = Stance.DENY
    inspect: bool = True
    grant: Grant | None = None
    approval: Approval | None = None
    passes_cookies: bool = False
    observes: bool = False
    """What it matches and nothing allows is let through all the same, without a credential, and marked on record."""
    tags: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    index: int = 0
    """Which entry under `rules:` of `file` this is."""

    def names(self, view: RequestView) -> bool:
        """Whether a request goes to one of the rule's places."""
        for target in self.targets:  # noqa: SIM110 - once per rule and request: a generator costs more than a match
            if target.matches(view.scheme, view.authority):
                return True
        return False

    def misfit(self, job: JobContext) -> str | None:
        """Return the first fact of a job that this rule is not for (`job.branch`); None when it is for the job.

        A fact that is not stated is a misfit for an allow rule, and none for a deny rule.
        """
        for test in self.tests:
            answer = test.holds(job)
            if not (self.is_deny if answer is None else answer):
                return f"job.{test.name}"
        return None

    @property
    def is_deny(self) -> bool:
        """Whether the rule denies."""
        return self.effect is Effect.DENY

    @property
    def is_enforced_allow(self) -> bool:
        """Whether what it matches is allowed, not only let through to be seen."""
        return self.effect is Effect.ALLOW and not self.observes

    @property
    def hides_in_requests(self) -> bool:
        """Whether a CONNECT alone cannot tell if the rule matches."""
        if self.methods is not None or self.paths is not None or self.intents is not None:
            return True
        return self.when is not None and self.when.needs_request

    @property
    def meaning(self) -> str:
        """What the rule does, without its name and reason: equal for two rules that say the same."""
        parts = {
            "effect": self.effect.value,
            "job": sorted([test.name, sorted(test.wanted), sorted(map(repr, test.exact))] for test in self.tests),
            "to": sorted([t.host, str(t.depth), str(t.scheme), str(t.port)] for t in self.targets),
            "method": None if self.methods is None else sorted(self.methods),
            "path": None if self.paths is None else sorted(glob.text for glob in self.paths),
            "intent": None if self.intents is None else sorted(test.text for test in self.intents),
            "when": None if self.when is None else self.when.text,
            "approval": None if self.approval is None else _say_approval(self.approval),
            "cookies": self.passes_cookies,
            "inspect": self.inspect,
            "grant": None if self.grant is None else self.grant.key,
            "tags": sorted(self.tags.items()),
        }
        if self.observes:
            parts["mode"] = "observe"
        return json.dumps(parts, sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """SHA-256 over the whole rule, whatever its file, its place and the order of its lists."""
        return sha256(json.dumps([self.id, self.why, self.meaning]).encode()).hexdigest()


def _say_approval(approval: Approval) -> list[object]:
    return [approval.within.total_seconds(), approval.ask, approval.step, [*approval.teams]]
