"""Decide one request: decode, then evaluate. Pure, and shared by run, explain, simulate and replay."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from proxy.intents.registry import Spoken, decode
from proxy.model.decision import AccessRequest, Decision, Effect
from proxy.model.errors import IntentError
from proxy.model.identity import JobContext
from proxy.model.intent import BodyWanted, Intent, RequestView
from proxy.model.quick import quick
from proxy.model.reason import Reason
from proxy.policy.compile import RuleSet
from proxy.policy.evaluate import evaluate, explain, may_match
from proxy.policy.intents import parts_of

_CI: Final = "ci"
_SLASH: Final = re.compile("%2[fF]")
_SCOPED: Final = re.compile(r"(?<=/)@[A-Za-z0-9_~-][A-Za-z0-9._~-]*%2[fF][A-Za-z0-9_~-][A-Za-z0-9._~-]*(?=/|$)")
"""npm's spelling of a scoped package (npm-package-arg, `escapedName`): it stays in its directory either way."""
type Evaluate = Callable[[RuleSet, AccessRequest], Decision]
type Decode = Callable[[RequestView, Spoken], Intent | BodyWanted]


@quick
@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision and the intent it was made on: None when the request was not read, and `fault` says why not."""

    decision: Decision
    intent: Intent | None
    fault: str = ""


@quick
@dataclass(frozen=True, slots=True)
class AccessQuestion:
    """One request, who asks, by which rules, when, and what its step declared (None when it declared nothing)."""

    view: RequestView
    job: JobContext
    ruleset: RuleSet
    now: datetime
    declared: tuple[str, ...] | None = None
    led: Intent | None = None
    """What the request means where an allowed answer led to it; None for a request that is read by itself."""


def decide(question: AccessQuestion) -> Verdict | BodyWanted:
    """Decide a request. Deny is a value; nothing is raised for bad requests.

    A BodyWanted asks for the same question again with that much of the body in `view`. It is only ever the answer to a
    view without a body, and only where some rule might allow the request.
    """
    return decide_with(decode, evaluate, question)


def explain_verdict(question: AccessQuestion) -> Verdict | BodyWanted:
    """As `decide`, with a step for every rule that named the host."""
    return decide_with(decode, explain, question)


def decide_with(read: Decode, judge: Evaluate, question: AccessQuestion) -> Verdict | BodyWanted:
    """Read, then judge. What cannot be read is denied, and no rule is asked."""
    view, ruleset = question.view, question.ruleset
    try:
        intent = question.led or read(view, ruleset.spoken(view.authority.host))
    except IntentError as error:
        return _refuse(ruleset, error.reason, str(error))
    if isinstance(intent, BodyWanted):
        if view.body is not None:
            return _refuse(ruleset, Reason.INTENT_BROKEN, "its body does not say what it does")
        if not may_match(ruleset, question.job, view):
            return _refuse(ruleset, Reason.NO_RULE, "")
        return intent
    fault = _find_fault(intent, question)
    if fault is not None:
        return _refuse(ruleset, *fault)
    asked = AccessRequest(job=question.job, view=view, intent=intent, now=question.now, declared=question.declared)
    return Verdict(judge(ruleset, asked), intent)


def _find_fault(intent: Intent, question: AccessQuestion) -> tuple[Reason, str] | None:
    """Say why a request is denied for what it was read as, whatever the rules say."""
    path = question.view.path
    if "%2" in path and not intent.exact and _SLASH.search(_SCOPED.sub("", path)) is not None:
        return Reason.PATH_NOT_NORMAL, "a slash is encoded, and how the upstream reads it is not known"
    if _is_foreign(intent, question.job):
        return Reason.FOREIGN_JOB, ""
    return None


def _is_foreign(intent: Intent, job: JobContext) -> bool:
    """Whether a call to a CI's own API names a job that is not the verified one: its token may do more than its job."""
    if not intent.also and intent.protocol != _CI:  # nearly every request
        return False
    return any(
        part.protocol == _CI and "job" in part.facts and part.facts["job"] != job.job_id for part in parts_of(intent)
    )


def _refuse(ruleset: RuleSet, reason: Reason, fault: str) -> Verdict:
    decision = Decision(effect=Effect.DENY, reason=reason, rule_ids=(), revision=ruleset.revision)
    return Verdict(decision, intent=None, fault=fault)
