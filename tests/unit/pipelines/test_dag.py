"""The order of a build's steps, against tables and against an independent scheduler; and what is wrong with it."""

from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.pipelines.buildkite import merge, read_pipeline
from proxy.pipelines.dag import Plan, plan
from proxy.pipelines.expressions import Facts
from proxy.pipelines.pipeline import Fate

MAIN = Facts({"build.branch": "main"}, {})


def planned(text: str, facts: Facts = MAIN, **fragments: str) -> Plan:
    found = read_pipeline(yaml.safe_load(text), "pipeline.yml", {})
    more = {f"{name}.yml": read_pipeline(yaml.safe_load(each), f"{name}.yml", {}) for name, each in fragments.items()}
    found = merge(found, more)
    assert found.faults == (), found.faults
    return plan(found, facts)


def stages(text: str, facts: Facts = MAIN, **fragments: str) -> str:
    """The stages, as `a b | c`; steps without a key are left out."""
    found = planned(text, facts, **fragments)
    assert found.mistakes == (), found.mistakes
    shown = [" ".join(sorted(name for name in stage if "step-" not in name)) for stage in found.stages]
    return " | ".join(each for each in shown if each)


A, B, C, D = (f"{{key: {name}, command: x}}" for name in "abcd")


def c(key: str, more: str) -> str:
    return f"{{key: {key}, command: x, {more}}}"


ORDERS: list[tuple[str, str, str]] = [
    ("one", f"[{A}]", "a"),
    ("two at once", f"[{A}, {B}]", "a b"),
    ("a wait", f"[{A}, wait, {B}]", "a | b"),
    ("a wait between many", f"[{A}, {B}, wait, {C}, {D}]", "a b | c d"),
    ("two waits", f"[{A}, wait, {B}, wait, {C}]", "a | b | c"),
    ("waits in a row", f"[{A}, wait, wait, {B}]", "a | b"),
    ("a wait first", f"[wait, {A}]", "a"),
    ("a wait last", f"[{A}, wait]", "a"),
    ("a block", f"[{A}, {{block: B, key: go}}, {B}]", "a | go | b"),
    ("a block first", f"[{{block: B, key: go}}, {A}]", "go | a"),
    ("a block last", f"[{A}, {{block: B, key: go}}]", "a | go"),
    ("an input", f"[{A}, {{input: I, key: ask}}, {B}]", "a ask b"),
    ("an input and a wait", f"[{{input: I, key: ask}}, {A}, wait, {B}]", "a ask | b"),
    ("an input that waits", f"[{A}, {{input: I, key: ask, depends_on: a}}]", "a | ask"),
    ("on an input", f"[{{input: I, key: ask}}, {c('a', 'depends_on: ask')}]", "ask | a"),
    ("a trigger", f"[{A}, wait, {{trigger: t, key: t}}]", "a | t"),
    ("a dependency", f"[{A}, {c('b', 'depends_on: a')}]", "a | b"),
    ("a list of them", f"[{A}, {B}, {c('c', 'depends_on: [a, b]')}]", "a b | c"),
    ("as mappings", f"[{A}, {c('b', 'depends_on: [{step: a}]')}]", "a | b"),
    ("with failures", f"[{A}, {c('b', 'depends_on: [{step: a, allow_failure: true}]')}]", "a | b"),
    ("a chain", f"[{c('c', 'depends_on: b')}, {c('b', 'depends_on: a')}, {A}]", "a | b | c"),
    (
        "a diamond",
        f"[{A}, {c('b', 'depends_on: a')}, {c('c', 'depends_on: a')}, {c('d', 'depends_on: [b, c]')}]",
        "a | b c | d",
    ),
    ("none, as null", f"[{A}, wait, {c('b', 'depends_on: ~')}]", "a b"),
    ("none, as a list", f"[{A}, wait, {c('b', 'depends_on: []')}]", "a b"),
    ("explicit over a wait", f"[{A}, {B}, wait, {c('c', 'depends_on: a')}]", "a b | c"),
    ("explicit over a block", f"[{A}, {{block: B, key: go}}, {c('b', 'depends_on: a')}]", "a | b go"),
    ("a block by name", f"[{A}, {{block: B, key: go}}, {c('b', 'depends_on: [a, go]')}]", "a | go | b"),
    ("a block that depends", f"[{A}, {B}, {{block: B, key: go, depends_on: a}}, {C}]", "a b | go | c"),
    ("a wait that depends", f"[{A}, {B}, {{wait: ~, key: w, depends_on: a}}, {C}]", "a b | w | c"),
    ("a wait after what depends", f"[{A}, {c('b', 'depends_on: a')}, wait, {C}]", "a | b | c"),
    ("a wait waits for what is free", f"[{A}, wait, {c('b', 'depends_on: []')}, wait, {C}]", "a b | c"),
    ("forwards", f"[{c('a', 'depends_on: b')}, {B}]", "b | a"),
    ("a group", f"[{{group: G, key: g, steps: [{A}, {B}]}}]", "g | a b"),
    ("a group with a wait", f"[{{group: G, key: g, steps: [{A}, wait, {B}]}}]", "g | a | b"),
    (
        "two groups",
        f"[{{group: G, key: g, steps: [{A}, wait, {B}]}}, {{group: H, key: h, steps: [{C}, wait, {D}]}}]",
        "g h | a c | b d",
    ),
    ("after a group", f"[{{group: G, key: g, steps: [{A}]}}, wait, {B}]", "g | a | b"),
    ("on a group", f"[{{group: G, key: g, steps: [{A}, wait, {B}]}}, {c('c', 'depends_on: g')}]", "g | a | b | c"),
    ("a group that depends", f"[{A}, {{group: G, key: g, depends_on: a, steps: [{B}]}}]", "a | g | b"),
    ("a group after a wait", f"[{A}, wait, {{group: G, key: g, steps: [{B}]}}]", "a | g | b"),
    ("a member that depends", f"[{A}, wait, {{group: G, key: g, steps: [{c('b', 'depends_on: a')}]}}]", "a | g | b"),
    ("on a member", f"[{{group: G, key: g, steps: [{A}, {B}]}}, {c('c', 'depends_on: a')}]", "g | a b | c"),
    ("a block in a group", f"[{{group: G, key: g, steps: [{{block: B, key: go}}, {A}]}}, {B}]", "b g | go | a"),
    ("a matrix", f"[{c('a', 'matrix: [x, y]')}, wait, {B}]", "a | b"),
    ("parallelism", f"[{c('a', 'parallelism: 5')}, {c('b', 'depends_on: a')}]", "a | b"),
    ("a condition that holds", f"[{c('a', 'if: build.branch == %smain%s')}, {B}]" % ("'", "'"), "a b"),
    ("one that does not", f"[{c('a', 'if: build.branch == %sx%s')}, {B}]" % ("'", "'"), "b"),
    ("on what is not run", f"[{c('a', 'if: %sfalse%s')}, {c('b', 'depends_on: a')}]" % ("'", "'"), "b"),
    ("a wait that is not", f"[{A}, {{wait: ~, if: 'false'}}, {B}]", "a b"),
    ("a block that is not", f"[{A}, {{block: B, key: go, if: 'false'}}, {B}]", "a b"),
    ("branches that fit", f"[{c('a', 'branches: ma*')}, {B}]", "a b"),
    ("branches that do not", f"[{c('a', 'branches: release/*')}, {B}]", "b"),
    ("a group that is not", f"[{{group: G, key: g, if: 'false', steps: [{A}]}}, {B}]", "b"),
    ("skipped", f"[{c('a', 'skip: true')}, wait, {B}]", "b"),
    ("not skipped", f"[{c('a', 'skip: false')}]", "a"),
    ("allows failure", f"[{A}, {c('b', 'depends_on: a, allow_dependency_failure: true')}]", "a | b"),
    ("concurrency", f"[{c('a', 'concurrency: 1, concurrency_group: g')}]", "a"),
    ("plugins alone", "[{key: a, plugins: [p]}]", "a"),
    ("env and agents", "{env: {A: b}, agents: {q: d}, steps: [{key: a, command: $A}]}", "a"),
    ("old forms", "[{wait: {key: w}}, {block: {label: B, key: go}}, {command: {key: a, command: x}}]", "w | go | a"),
    ("an id", "[{id: a, command: x}, {identifier: b, command: x, depends_on: a}]", "a | b"),
    ("a wait by key", f"[{A}, {{wait: ~, key: w}}, {c('b', 'depends_on: w')}]", "a | w | b"),
    ("two blocks", f"[{{block: A, key: go}}, {{block: B, key: two}}, {A}]", "go | two | a"),
    ("around a trigger", "[{trigger: t, key: t}, wait, {trigger: u, key: u, async: true}]", "t | u"),
]


@pytest.mark.parametrize("name, text, expected", ORDERS)
def test_steps_run_in_order(name: str, text: str, expected: str) -> None:
    assert stages(text) == expected, name


def test_what_is_uploaded_runs_after_its_uploader() -> None:
    """And before what waits for that, a wait or a dependency."""
    up = "{key: up, command: buildkite-agent pipeline upload more.yml}"
    assert stages(f"[{up}, wait, {A}]", more=f"[{B}, wait, {C}]") == "up | up/b | up/c | a"
    assert stages(f"[{up}, {c('a', 'depends_on: up')}]", more=f"[{B}]") == "up | up/b | a"
    skipped = "{key: up, command: buildkite-agent pipeline upload more.yml, if: 'false'}"
    found = planned(f"[{skipped}, {A}]", more=f"[{B}]")
    assert "which uploads it" in found.fates["up/b"].why


FATES: list[tuple[str, Fate, str]] = [
    ("if: build.source == 'ui'", Fate.UNKNOWN, "if: build.source == 'ui'"),
    ("skip: later", Fate.SKIPPED, "skip: later"),
    ("branches: x", Fate.SKIPPED, "branches: x"),
]


@pytest.mark.parametrize("more, fate, why", FATES)
def test_why_a_step_does_not_run(more: str, fate: Fate, why: str) -> None:
    found = planned(f"[{{key: a, command: x, {more}}}]")
    assert (found.fates["a"].fate, found.fates["a"].why) == (fate, why)


def test_a_branch_that_is_not_known_tells_nothing() -> None:
    assert planned(f"[{c('a', 'branches: main')}]", Facts()).fates["a"].fate is Fate.UNKNOWN


def test_members_share_the_fate_of_their_group() -> None:
    found = planned(f"[{{group: G, key: g, if: build.source == 'ui', steps: [{A}, {c('b', 'skip: true')}]}}]")
    assert (found.fates["a"].fate, found.fates["b"].fate) == (Fate.UNKNOWN, Fate.SKIPPED)


MISTAKES: list[tuple[str, str, bool]] = [
    (f"[{c('a', 'depends_on: b')}, {c('b', 'depends_on: a')}]", "cycle", True),
    (f"[{c('a', 'depends_on: a')}]", "self-dependency", True),
    (f"[{A}, {c('b', 'depends_on: aa')}]", "missing-key", True),
    (f"[{A}, {c('b', 'depends_on: zzzz')}]", "missing-key", True),
    (f"[{A}, {A}]", "duplicate-key", True),
    (f"[{c('a', 'skip: true')}, {c('b', 'depends_on: a')}]", "skipped-dependency", False),
    (f"[{c('a', 'concurrency: 1')}]", "concurrency", True),
    (f"[{c('a', 'parallelism: 0')}]", "no-jobs", False),
    (f"[{c('a', 'if: build.brnch')}]", "condition", True),
    ("[" + ", ".join(f"{{command: x, parallelism: {500}}}" for _ in range(9)) + "]", "too-many-jobs", True),
]


@pytest.mark.parametrize("text, name, is_error", MISTAKES)
def test_mistakes_are_told(text: str, name: str, is_error: object) -> None:
    (found,) = planned(text).mistakes
    assert (found.id, found.is_error) == (name, is_error)


def test_a_cycle_is_named_whole() -> None:
    """And what only waits for it is not part of it."""
    text = (
        f"[{c('d', 'depends_on: c')}, {c('a', 'depends_on: b')}, {c('b', 'depends_on: c')}, {c('c', 'depends_on: a')}]"
    )
    (found,) = planned(text).mistakes
    assert "c -> a -> b -> c" in found.message


def test_what_stands_before_a_step() -> None:
    text = f"[{{input: I, key: ask}}, {A}, {{block: B, key: go}}, {B}, wait, {c('c', 'depends_on: [b, ask]')}]"
    found = planned(text)
    assert [gate.id for gate in found.gates("b")] == ["go"]
    assert [gate.id for gate in found.gates("c")] == ["ask", "go"]
    assert found.gates("a") == []
    assert found.may_run_together("a", "ask")
    assert not found.may_run_together("a", "b")
    assert not found.may_run_together("b", "a")
    assert not found.may_run_together("a", "a")
    assert found.all_before("nowhere") == frozenset()


def ticked(steps: list[dict[str, Any]]) -> dict[str, int]:
    """An independent scheduler: tick by tick, a step runs once all that is written to stand before it has ended."""
    ended: dict[str, int] = {}
    tick = 0
    while len(ended) < len(steps):
        ready = [
            str(step["key"])
            for index, step in enumerate(steps)
            if step["key"] not in ended and _may_run(index, steps, ended)
        ]
        assert ready, "it hangs"
        ended |= dict.fromkeys(ready, tick)
        tick += 1
    return ended


def _may_run(index: int, steps: list[dict[str, Any]], ended: Mapping[str, int]) -> bool:
    step = steps[index]
    if "depends_on" in step:
        return all(key in ended for key in step["depends_on"])
    earlier = [each for each in steps[:index] if "input" not in each]
    if "wait" in step or "block" in step:
        return all(each["key"] in ended for each in earlier)
    if "input" in step:
        return True
    barriers = [each for each in earlier if "wait" in each or "block" in each]
    return not barriers or barriers[-1]["key"] in ended


@st.composite
def pipelines(draw: st.DrawFn) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(["command", "command", "wait", "block", "input"]))
        step: dict[str, Any] = {kind: None if kind == "wait" else "x", "key": f"k{number}"}
        depends: bool = draw(st.booleans())
        if steps and depends:
            step["depends_on"] = draw(
                st.lists(st.sampled_from([each["key"] for each in steps]), max_size=3, unique=True)
            )
        steps.append(step)
    return steps


@settings(max_examples=200, deadline=None)
@given(pipelines())
def test_stages_are_those_of_an_independent_scheduler(steps: list[dict[str, Any]]) -> None:
    found = plan(read_pipeline(steps, "pipeline.yml", {}), MAIN)
    assert {name: at for at, stage in enumerate(found.stages) for name in stage} == ticked(steps)
