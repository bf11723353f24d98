from typing import Any

import pytest

from proxy.model.identity import JobContext
from tests.fakes.policy import a_rule, rules_of

JOB = JobContext(
    branch="release/1",
    build_number=5,
    protected=True,
    claims={"n": 5, "f": 1.5, "b": True, "s": "5", "groups": ["ops", "dev"], "mix": [1, "a"], "none": None, "map": {}},
)

TESTS = [
    ({"branch": "release/1"}, True),
    ({"branch": ["main", "release/*"]}, True),
    ({"branch": "main"}, False),
    ({"tag": "v1"}, None),
    ({"build_number": 5}, True),
    ({"build_number": [6, 7]}, False),
    ({"protected": True}, True),
    ({"protected": False}, False),
    ({"claims": {"n": 5}}, True),
    ({"claims": {"n": "5"}}, False),
    ({"claims": {"s": 5}}, False),
    ({"claims": {"s": "5"}}, True),
    ({"claims": {"n": 5.0}}, False),
    ({"claims": {"f": 1.5}}, True),
    ({"claims": {"b": True}}, True),
    ({"claims": {"b": 1}}, False),
    ({"claims": {"n": True}}, False),
    ({"claims": {"groups": "ops"}}, True),
    ({"claims": {"groups": "o*"}}, True),
    ({"claims": {"groups": "x"}}, False),
    ({"claims": {"mix": 1}}, True),
    ({"claims": {"none": "x"}}, None),
    ({"claims": {"absent": "x"}}, None),
    ({"claims": {"map": "x"}}, False),
]


@pytest.mark.parametrize("job, expected", TESTS)
def test_a_fact_is_compared_by_value_and_type(job: dict[str, Any], *, expected: bool | None) -> None:
    """Text, numbers and booleans never pass for each other, and a fact nobody states is unknown."""
    (rule,) = rules_of(a_rule(job=job))
    (test,) = rule.tests
    assert test.holds(JOB) is expected


def test_wanted_values_are_shown_as_written() -> None:
    """A step can name what the rule wants."""
    (rule,) = rules_of(a_rule(job={"claims": {"x": ["a", 1, True, "b*"]}}))
    assert rule.tests[0].wanted == ("a", "1", "true", "b*")


DIFFERENT = [
    a_rule(id="other"),
    a_rule(why="another reason"),
    a_rule(effect="deny"),
    a_rule(job={"branch": "main"}),
    a_rule(job={"claims": {"n": 1}}),
    a_rule(job={"claims": {"n": "1"}}),
    a_rule(to="example.org"),
    a_rule(to="http://example.com"),
    a_rule(method="PUT"),
    a_rule(path="/a"),
    a_rule(when="job.build_number > 1"),
    a_rule(inspect=False),
    a_rule(credential={"aws": {"role": "r"}}),
    a_rule(credential={"aws": {"role": "r", "duration": "20m"}}),
    a_rule(tags={"data": "x"}),
]


def test_every_key_of_a_rule_is_part_of_its_digest() -> None:
    """Two rules that differ anywhere never share a digest."""
    digests = {rules_of(text)[0].digest for text in [a_rule(), *DIFFERENT]}
    assert len(digests) == len(DIFFERENT) + 1


def test_spelling_is_not_part_of_a_digest() -> None:
    """One or many, and the order of a list, do not change what a rule means."""
    (one,) = rules_of(a_rule(to=["a.example", "b.example"], method=["GET", "HEAD"], path="/x"))
    (other,) = rules_of(a_rule(to=["b.example", "a.example"], path=["/x"]))
    assert one.digest == other.digest
