"""What a suggestion is."""

from proxy.simulate.history import Seen, Who
from proxy.simulate.suggestion import AddRule, Confidence, Proof, Suggestion, Topic, say_who
from tests.fakes.policy import a_rule


def a_suggestion(who: Who | None, what: str = "x") -> Suggestion:
    return Suggestion(topic=Topic.CHURN, who=who, what=what, said="x", seen=Seen(), confidence=Confidence.LOW)


def test_the_same_finding_has_the_same_id() -> None:
    """Whatever its evidence; another step, another id."""
    shop, other = Who("acme", "shop", None, "test"), Who("acme", "shop", None, "release")
    assert a_suggestion(shop).id == a_suggestion(shop).id
    assert len({a_suggestion(who, what).id for who in (shop, other, None) for what in "xy"}) == 6


def test_steps_are_named_for_people() -> None:
    assert say_who(Who("acme", "shop", "acme/shop", "test")) == "shop, step test"
    assert say_who(Who(None, None, "acme/shop", None)) == "acme/shop"
    assert say_who(Who(None, None, None, None)) == "a job that states nothing"


def test_confidence_can_be_compared() -> None:
    assert [each.rank for each in Confidence] == [0, 1, 2]


def test_a_proof_of_nothing_is_silent() -> None:
    assert Proof().is_silent
    assert not Proof(others=1).is_silent
    assert AddRule(rule=a_rule(id="new")).id == "new"
