"""What is otherwise in one simulation than in another."""

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from proxy.model.identity import JobContext
from proxy.pipelines.expressions import Facts
from proxy.pipelines.reading import read_files
from proxy.simulate.changes import ChangeKind, Changes, compare
from proxy.simulate.simulation import Question, Simulation, simulate
from tests.fakes.policy import a_rule, ruleset_of

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
A = "[{key: a, command: x}]"
AWS = {"aws": {"role": "arn:aws:iam::1:role/release"}}


def simulated(text: str, *rules: dict[str, Any]) -> Simulation:
    facts = Facts()
    pipeline = read_files("buildkite", "p.yml", {"p.yml": yaml.safe_load(text)}, facts)
    own = ruleset_of(a_rule(id="zz", to="zz.test", job={"pipeline": "zz"}), *rules)
    return simulate(pipeline, own, Question(facts=facts, job=JobContext(pipeline="shop"), now=NOON))


def changed(old: Simulation, new: Simulation) -> Changes:
    return compare(old, new)


def test_nothing_changes_of_itself() -> None:
    same = changed(simulated(A, a_rule()), simulated(A, a_rule()))
    assert same == Changes(steps=(), exits=(), new_findings=(), gone_findings=())
    assert not same.widens


def test_steps_come_go_and_fare_otherwise() -> None:
    old = simulated("[{key: a, command: x}, {key: b, command: x}, {key: c, command: x, depends_on: a}]")
    new = simulated(
        "[{key: d, command: x}, {block: Go, key: g}, {key: a, command: x, parallelism: 2},"
        " {key: c, command: x, depends_on: a, if: build.source == 'ui'}]"
    )
    assert [tuple(each) for each in changed(old, new).steps] == [
        (ChangeKind.CHANGED, "a", "runs", "runs; after g; 2 jobs; gate Go"),
        (ChangeKind.REMOVED, "b", "runs", ""),
        (
            ChangeKind.CHANGED,
            "c",
            "runs; after a",
            "cannot be told (if: build.source == 'ui'); after a; gate Go",
        ),
        (ChangeKind.ADDED, "d", "", "runs"),
        (ChangeKind.ADDED, "g", "", "runs; after d; gate Go"),
    ]


WIDER: list[tuple[dict[str, Any] | None, dict[str, Any] | None, ChangeKind, bool]] = [
    (None, {}, ChangeKind.ADDED, True),
    ({}, None, ChangeKind.REMOVED, False),
    ({}, {"to": ["example.com", "more.test"]}, ChangeKind.CHANGED, True),
    ({"to": ["example.com", "more.test"]}, {}, ChangeKind.CHANGED, False),
    ({}, {"path": "/a"}, ChangeKind.CHANGED, True),
    ({}, {"credential": AWS}, ChangeKind.CHANGED, True),
    ({"credential": AWS}, {}, ChangeKind.CHANGED, False),
    ({"approval": {}}, {}, ChangeKind.CHANGED, True),
    ({}, {"approval": {}}, ChangeKind.CHANGED, False),
    ({"job": {"source": "ui"}}, {}, ChangeKind.CHANGED, True),
]


@pytest.mark.parametrize("before, after, kind, widens", WIDER)
def test_ways_out_change(
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    kind: ChangeKind,
    widens: bool,  # noqa: FBT001
) -> None:
    """What lets a step do more is said to."""
    old, new = (simulated(A, *([] if each is None else [a_rule(id="r", **each)])) for each in (before, after))
    found = changed(old, new)
    ((got, step, rule, one, other),) = found.exits
    assert (got, step, rule, one is None, other is None) == (kind, "a", "r", before is None, after is None)
    assert found.widens is widens


def test_findings_come_and_go() -> None:
    """Wherever they stand: a line that moved is no news."""
    old = simulated("[{key: a, command: npm ci}, {key: b, command: pip install x}]")
    new = simulated("[wait, {key: a, command: npm ci}, {key: c, command: gem push}]")
    found = changed(old, new)
    assert [each.step for each in found.new_findings] == ["c"]
    assert [each.step for each in found.gone_findings] == ["b"]
