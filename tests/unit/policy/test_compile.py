import random
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.model.identity import JobContext
from proxy.policy.compile import REMEMBERED, RuleSet, compile_rules, find_duplicates
from proxy.policy.evaluate import evaluate
from tests.fakes.policy import a_request, a_rule, rules_of, ruleset_of


def test_the_revision_names_what_rules_mean_not_how_they_are_filed() -> None:
    """Order and files do not change the revision; any rule added, removed or changed does."""
    texts = [a_rule(id=name) for name in "abc"]
    first = ruleset_of(*texts)

    assert ruleset_of(*reversed(texts)).revision == first.revision
    assert len(first.revision) == 12
    assert int(first.revision, 16) >= 0
    step = {"unblocked": {"step": "a", "by": "b"}}
    others = [
        ruleset_of(*texts[:2], a_rule(id="c", cookies="pass")),
        ruleset_of(*texts[:2], a_rule(id="c", approval={})),
        ruleset_of(*texts[:2], a_rule(id="c", approval=step)),
        ruleset_of(*texts[:2], a_rule(id="c", approval={"unblocked": {"step": "a", "by": ["b", "c"]}})),
        ruleset_of(*texts[:2]),
        ruleset_of(*texts, a_rule(id="d")),
        ruleset_of(*texts[:2], a_rule(id="c", why="why")),
    ]
    assert len({first.revision, *(other.revision for other in others)}) == len(others) + 1


def test_two_rules_of_one_id_are_never_compiled() -> None:
    """Records name rules by id, so an id is never shared."""
    rules = rules_of(a_rule(), a_rule(path="/x"))
    assert [(one.index, other.index) for one, other in find_duplicates(rules)] == [(0, 1)]
    with pytest.raises(ValueError, match="two rules are called `read`"):
        compile_rules(rules)


def test_the_empty_set_names_itself() -> None:
    """Before rules are loaded there is a set that finds nothing."""
    empty = RuleSet.empty()
    assert empty.find("example.com", JobContext()) == []
    assert empty.find_all("example.com") == []
    assert empty.revision == "none"


def test_a_host_is_known_to_want_a_yes() -> None:
    """One rule for a host is enough; rules of other hosts do not count."""
    ruleset = ruleset_of(a_rule(id="a"), a_rule(id="b", to="*.shop.example", approval={}))
    assert ruleset.asks("www.shop.example")
    assert not ruleset_of(a_rule(approval={"unblocked": {"step": "s", "by": "t"}})).asks("example.com")
    assert not ruleset.asks("example.com")


def test_only_rules_of_the_host_are_looked_at() -> None:
    """A lookup returns the exact host's rules and those of each suffix, once each."""
    ruleset = ruleset_of(
        a_rule(id="exact", to="a.b.example.com"),
        a_rule(id="one", to="*.b.example.com"),
        a_rule(id="any", to=["**.example.com", "a.b.example.com"]),
        a_rule(id="other", to="b.example.com"),
        a_rule(id="elsewhere", to="example.org"),
    )
    assert {rule.id for rule in ruleset.find("a.b.example.com", JobContext())} == {"exact", "one", "any"}
    assert [rule.id for rule in ruleset.find_all("a.b.example.com")] == ["any", "exact", "one"]
    assert [rule.id for rule in ruleset.find("example.org", JobContext())] == ["elsewhere"]


def test_hosts_that_nobody_names_fill_no_memory() -> None:
    """What was found is remembered to a limit, and beyond it is found again."""
    ruleset = ruleset_of(a_rule(id="one", to="*.example.com"))
    for number in range(REMEMBERED + 10):
        assert ruleset.find(f"h{number}.example.com", JobContext())
    assert len(ruleset._known) == REMEMBERED
    assert ruleset.spoken("another.example.com") == frozenset()


def test_the_rules_that_are_for_a_job_are_found_once() -> None:
    """The same job gets the same answer; an equal one, another host and a job with events are looked at anew."""
    ruleset = ruleset_of(
        a_rule(id="mine", job={"pipeline": "web"}),
        a_rule(id="theirs", job={"pipeline": "app"}),
        a_rule(id="all", effect="deny", job={"branch": "main"}),
    )
    job = JobContext(pipeline="web", branch="topic")
    found = ruleset.fitting("example.com", job)
    assert [rule.id for rule in found] == ["mine"]
    assert ruleset.fitting("example.com", job) is found
    assert ruleset.fitting("example.com", replace(job)) == found
    assert ruleset.fitting("example.org", job) == ()
    assert {rule.id for rule in ruleset.fitting("example.com", replace(job, branch=None))} == {"mine", "all"}
    told = replace(job, events={"fork": True})
    assert ruleset.fitting("example.com", told) is not ruleset.fitting("example.com", told)
    many = [JobContext(pipeline="web", build_number=number) for number in range(REMEMBERED + 10)]
    assert all(ruleset.fitting("example.com", each) for each in many)
    assert len(ruleset._fitting) <= REMEMBERED


def test_rules_for_other_pipelines_are_not_looked_at() -> None:
    """Thousands of rules on one host cost a job only its own, and those for everybody."""
    texts = [a_rule(id=f"r{n}", job={"pipeline": f"p{n}"}) for n in range(1000)]
    ruleset = ruleset_of(
        *texts,
        a_rule(id="glob", job={"pipeline": "p*"}),
        a_rule(id="two", job={"pipeline": ["p1", "p2"], "branch": "main"}),
        a_rule(id="repository", job={"repository": "acme/app"}),
        a_rule(id="deny", effect="deny", job={"pipeline": "p999"}),
        a_rule(id="branch", job={"branch": "main"}),
    )

    def found(job: JobContext) -> set[str]:
        return {rule.id for rule in ruleset.find("example.com", job)}

    assert found(JobContext(pipeline="p1")) == {"r1", "two", "glob", "deny", "branch"}
    assert found(JobContext(repository="acme/app")) == {"repository", "glob", "deny", "branch"}
    assert found(JobContext()) == {"glob", "deny", "branch"}
    assert len(ruleset.find_all("example.com")) == 1005


FIELDS = ("pipeline", "repository", "step", "branch")
JOBS = st.fixed_dictionaries({}, optional={name: st.sampled_from(["a", "b", "a*", ["a", "b"]]) for name in FIELDS})
TO = st.sampled_from(["x.example.com", "*.example.com", "**.example.com", "y.x.example.com", "x.example.com:8443"])


@settings(max_examples=200, deadline=None)
@given(
    texts=st.lists(st.tuples(JOBS, TO, st.sampled_from(["allow", "deny"])), min_size=1, max_size=8),
    job=st.fixed_dictionaries({}, optional={name: st.sampled_from(["a", "b", "ab", "c"]) for name in FIELDS}),
    host=st.sampled_from(["x.example.com", "y.x.example.com", "example.com", "z.example.com"]),
    seed=st.integers(),
)
def test_the_index_and_the_order_never_change_a_decision(
    texts: list[tuple[dict[str, object], str, str]], job: dict[str, str], host: str, seed: int
) -> None:
    """Whatever rules are asked through the index, in whatever order they were given, the decision is the same."""
    rules = [a_rule(id=f"r{n}", job=facts or None, to=to, effect=effect) for n, (facts, to, effect) in enumerate(texts)]
    who: dict[str, Any] = {**job}
    request = a_request(JobContext(**who), url=f"https://{host}/")
    shuffled = random.Random(seed).sample(rules, len(rules))

    decision = evaluate(ruleset_of(*rules), request)

    assert evaluate(ruleset_of(*shuffled), request) == decision
    # One rule at a time there is no index to be wrong about.
    alone = [rule for rule in rules if evaluate(ruleset_of(rule), request).rule_ids]
    denies = sorted(rule["id"] for rule in alone if rule["effect"] == "deny")
    allows = sorted(rule["id"] for rule in alone if rule["effect"] == "allow")
    assert list(decision.rule_ids) == (denies or allows)


def test_pairs_of_ids_are_unique_in_a_lookup() -> None:
    """A rule that names a host twice is still asked once."""
    ruleset = ruleset_of(a_rule(id="a", to=["x.example.com", "*.example.com"]), a_rule(id="b", to="x.example.com"))
    found = [rule.id for rule in ruleset.find("x.example.com", JobContext())]
    assert all(one != other for one, other in combinations(found, 2))
