"""A decision says yes only when it says so."""

import pytest

from proxy.model.decision import Decision, Effect, Step
from proxy.model.reason import Reason


def decision(effect: Effect) -> Decision:
    return Decision(effect=effect, reason=Reason.NO_RULE, rule_ids=(), revision="1")


def test_there_are_two_effects() -> None:
    """Nothing lies between allow and deny."""
    assert {effect.value for effect in Effect} == {"allow", "deny"}


@pytest.mark.parametrize("effect", list(Effect))
def test_only_allow_allows(effect: Effect) -> None:
    """Whether it is allowed depends on the effect alone, not on the reason beside it."""
    assert decision(effect).is_allowed is (effect is Effect.ALLOW)


def test_a_bare_decision_grants_nothing_and_inspects() -> None:
    """Left out means: no credential, no tags, and decrypted."""
    bare = decision(Effect.ALLOW)
    assert (bare.grant, dict(bare.tags), bare.steps, bare.inspect) == (None, {}, (), True)


def test_tags_are_not_shared_between_decisions() -> None:
    """Each decision has its own."""
    assert decision(Effect.ALLOW).tags is not decision(Effect.ALLOW).tags


def test_a_step_names_rule_and_condition() -> None:
    """Equal steps are equal values, so explanations can be compared."""
    step = Step(rule_id="r", matched=False, why="job.branch")
    assert step == Step(rule_id="r", matched=False, why="job.branch")
    assert step != Step(rule_id="r", matched=True, why="job.branch")
