"""What a change would do, over every flow; see also test_suggest."""

from proxy.simulate.history import Seen
from proxy.simulate.prove import is_supported, prove, weigh
from proxy.simulate.suggestion import AddRule, Confidence, Proof, RemoveRule, Suggestion, Topic
from tests.fakes.flows import decided, opened, written
from tests.fakes.policy import a_rule, a_view, ruleset_of


def a_suggestion(topic: Topic = Topic.MISSING) -> Suggestion:
    patch = AddRule(rule=a_rule(id="new")) if topic is Topic.MISSING else RemoveRule(id="open")
    return Suggestion(
        topic=topic,
        who=None,
        what="x",
        said="x",
        seen=Seen(),
        confidence=Confidence.HIGH,
        patch=patch,
        hosts=frozenset({"example.com"}) if topic is Topic.MISSING else frozenset(),
    )


def test_flows_elsewhere_are_not_looked_at() -> None:
    """Only those at its hosts, or decided by the rule that it changes."""
    open_rule = a_rule(id="open")
    rules = ruleset_of(open_rule)
    trail = written([opened(), decided(rules, a_view()), decided(rules, a_view(url="https://other.test/"))])
    removal, addition = a_suggestion(Topic.UNUSED_RULE), a_suggestion()
    prove(trail, rules, [(removal, ruleset_of(a_rule(id="x", to="x.test"))), (addition, rules)])
    assert removal.proof == Proof(denies={"GET example.com/": 1})
    assert addition.proof == Proof()
    assert not is_supported(removal)
    assert not is_supported(addition)


def test_without_a_proof_nothing_is_supported() -> None:
    assert not is_supported(a_suggestion())
    silent = a_suggestion(Topic.UNUSED_RULE)
    silent.proof = Proof()
    assert is_supported(silent)


def test_other_rules_are_weighed_against_those_of_now() -> None:
    """Each flow counts for what becomes of it."""
    now = ruleset_of(a_rule(id="a"), a_rule(id="c", to="c.test"))
    then = ruleset_of(a_rule(id="a", to="b.test"), a_rule(id="c", to="c.test", approval={}))
    other = ruleset_of(a_rule(id="b", to="b.test"))
    trail = written(
        [
            opened(),
            decided(now, a_view()),
            decided(other, a_view(url="https://b.test/")),
            decided(now, a_view(url="https://c.test/")),
            decided(now, a_view(url="https://d.test/")),
        ]
    )
    assert weigh(trail, now, then) == Proof(allows={"GET b.test/": 1}, denies={"GET example.com/": 1}, others=1)
    assert weigh(trail, now, now).is_silent
