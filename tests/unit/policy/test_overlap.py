from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.model.identity import JobContext
from proxy.policy.evaluate import evaluate
from proxy.policy.overlap import requests_overlap, rule_covers
from tests.fakes.policy import a_request, a_rule, rules_of, ruleset_of

JOBS = [
    JobContext(pipeline=pipeline, branch=branch, build_number=number, protected=protected)
    for pipeline, branch, number, protected in product(("a", "b"), ("main", "x/1"), (1, 2), (True, False))
]
REQUESTS = [
    a_request(job, method, f"https://{host}{path}")
    for job in JOBS
    for method, host, path in product(("GET", "PUT"), ("a.example.com", "b.a.example.com"), ("/x", "/x/y"))
]
WHO = st.fixed_dictionaries(
    {},
    optional={
        "pipeline": st.sampled_from(["a", ["a", "b"], "a*"]),
        "branch": st.sampled_from(["main", "x/*", "m*"]),
        "build_number": st.sampled_from([1, [1, 2]]),
        "protected": st.booleans(),
    },
)
KEYS = st.fixed_dictionaries(
    {"to": st.sampled_from(["a.example.com", "*.example.com", "**.example.com"])},
    optional={
        "job": WHO.filter(bool),
        "method": st.sampled_from(["any", "PUT", ["GET", "PUT"]]),
        "path": st.sampled_from(["/x", "/x/**", "/*", ["/x", "/x/y"]]),
        "effect": st.sampled_from(["allow", "deny"]),
    },
)


@settings(max_examples=120, deadline=None)
@given(left=KEYS, right=KEYS)
def test_overlap_and_cover_agree_with_deciding(left: dict[str, Any], right: dict[str, Any]) -> None:
    """What two rules both match overlaps; a rule that covers another matches all the other does."""
    one, other = rules_of(a_rule(id="one", **left), a_rule(id="other", **right))
    sets = (ruleset_of(a_rule(id="one", **left)), ruleset_of(a_rule(id="other", **right)))
    mine, theirs = ([bool(evaluate(ruleset, request).rule_ids) for request in REQUESTS] for ruleset in sets)

    if any(a and b for a, b in zip(mine, theirs, strict=True)):
        assert requests_overlap(one, other)
    if rule_covers(one, other):
        assert all(a or not b for a, b in zip(mine, theirs, strict=True))


def test_a_condition_is_never_taken_to_cover() -> None:
    """What a `when` leaves out is unknown, so it covers nothing for certain."""
    wide, narrow = rules_of(a_rule(id="no", effect="deny", when="job.build_number > 0"), a_rule())
    assert not rule_covers(wide, narrow)


def test_a_number_is_covered_only_by_itself() -> None:
    """A test of numbers covers another only when it lists each of them."""
    one, two, both = rules_of(*(a_rule(job={"build_number": numbers}) for numbers in (1, 2, [1, 2])))
    assert rule_covers(both, one)
    assert not rule_covers(one, both)
    assert not rule_covers(one, two)
