"""Decide one request: decode, then evaluate. Pure, and shared by run, explain, simulate and replay."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from proxy.intents.registry import decode
from proxy.model.decision import AccessRequest, Decision, Effect
from proxy.model.errors import IntentError
from proxy.model.identity import JobContext
from proxy.model.intent import BodyWanted, Intent, RequestView
from proxy.policy.compile import RuleSet
from proxy.policy.evaluate import evaluate, explain

type Evaluate = Callable[[RuleSet, AccessRequest], Decision]
type Decode = Callable[[RequestView], Intent | BodyWanted]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision and the intent it was made on. `intent` is None when the request could not be read."""

    decision: Decision
    intent: Intent | None


@dataclass(frozen=True, slots=True)
class AccessQuestion:
    """One request, who asks, by which rules, and when."""

    view: RequestView
    job: JobContext
    ruleset: RuleSet
    now: datetime


def decide(view: RequestView, job: JobContext, ruleset: RuleSet, now: datetime) -> Verdict:
    """Decide `view` for `job` under `ruleset` at `now`. Deny is a value; nothing is raised for bad requests."""
    return decide_with(decode, evaluate, AccessQuestion(view, job, ruleset, now))


def explain_verdict(view: RequestView, job: JobContext, ruleset: RuleSet, now: datetime) -> Verdict:
    """As `decide`, with a step for every rule that named the host."""
    return decide_with(decode, explain, AccessQuestion(view, job, ruleset, now))


def decide_with(read: Decode, judge: Evaluate, question: AccessQuestion) -> Verdict:
    """Read, then judge. What cannot be read is denied, and no rule is asked."""
    view, ruleset = question.view, question.ruleset
    try:
        intent = read(view)
        if isinstance(intent, BodyWanted):
            raise IntentError("this request cannot be told without its body")  # noqa: TRY301 - one answer for both
    except IntentError as error:
        return Verdict(
            Decision(effect=Effect.DENY, reason=error.reason, rule_ids=(), revision=ruleset.revision), intent=None
        )
    return Verdict(judge(ruleset, AccessRequest(job=question.job, view=view, intent=intent, now=question.now)), intent)
