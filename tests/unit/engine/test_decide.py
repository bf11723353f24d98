"""Decoding and evaluating are one step, and a request nobody can read is denied."""

from datetime import UTC, datetime

from proxy.engine.decide import AccessQuestion, decide, decide_with, explain_verdict
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.identity import JobContext
from proxy.model.intent import Intent, RequestView
from proxy.model.reason import Reason
from proxy.policy.evaluate import evaluate
from tests.fakes.rules import ruleset

NOW = datetime(2026, 1, 2, tzinfo=UTC)
RULES = ruleset("rules: [{id: read, why: reading is fine, job: {pipeline: web}, to: plain.example}]")
VIEW = RequestView(
    method="GET", scheme="https", authority=Authority("plain.example", 443), path="/", query=None, headers=()
)


def test_decides_on_the_decoded_intent() -> None:
    """The verdict carries the decision and the intent it was made on."""
    verdict = decide(VIEW, JobContext(pipeline="web"), RULES, NOW)

    assert verdict.decision.is_allowed
    assert verdict.decision.rule_ids == ("read",)
    assert verdict.decision.steps == ()
    assert verdict.intent is not None
    assert verdict.intent.name == "http GET"


def test_explains_every_rule_that_names_the_host() -> None:
    """Explaining reaches the same decision, with the condition that failed."""
    verdict = explain_verdict(VIEW, JobContext(pipeline="other"), RULES, NOW)

    assert verdict.decision.reason is Reason.NO_RULE
    assert [step.rule_id for step in verdict.decision.steps] == ["read"]
    assert verdict.decision.steps[0].why.startswith("job.pipeline")


def test_a_broken_request_is_denied_whatever_the_rules_say() -> None:
    """A decoder that owns a request it cannot read makes it a denial, before any rule is asked."""

    def broken(view: RequestView) -> Intent:
        raise IntentError("two operations")

    verdict = decide_with(broken, evaluate, AccessQuestion(VIEW, JobContext(pipeline="web"), RULES, NOW))

    assert verdict.decision.reason is Reason.INTENT_BROKEN
    assert verdict.intent is None
