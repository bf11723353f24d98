"""Buildkite pipelines are read, every step kind and key; what is not known is a fault with its place."""

from typing import Any

import pytest
import yaml

from proxy.pipelines.buildkite import merge, read_pipeline
from proxy.pipelines.pipeline import Dependency, Pipeline, Plugin, StepKind


def read(text: str, file: str = "pipeline.yml", **environment: str) -> Pipeline:
    return read_pipeline(yaml.safe_load(text), file, environment)


def faults(text: str) -> list[str]:
    return [f"{'/'.join(map(str, fault.path))}: {fault.message}" for _, fault in read(text).faults]


EVERYTHING = """
env: {TARGET: "${STAGE:-staging}", FLAG: true}
agents: {queue: default}
steps:
  - label: ":hammer: $TARGET"
    key: build
    command: [make, "make ${TARGET}"]
    env: {A: 1, B: true}
    agents: {queue: fast}
    plugins: ["docker#v5", {"ecr#v2": {login: true}}]
    parallelism: 3
    concurrency: 1
    concurrency_group: builds
    soft_fail: true
  - wait
  - wait: ~
    continue_on_failure: true
  - block: "Release?"
    key: gate
    allowed_teams: [deployers]
    branches: [main, "release/*"]
  - input: Who?
    id: who
  - trigger: deploy
    label: ""
    if: build.branch == "main"
  - group: Tests
    identifier: tests
    depends_on: build
    steps:
      - script: test.sh
        matrix: [a, b]
      - wait
      - commands: more.sh
        depends_on: [{step: build, allow_failure: true}, gate, 7]
        allow_dependency_failure: true
        skip: not now
  - name: last
    command: ~
    plugins: {"x#v1": ~}
    depends_on: ~
    skip: ""
    agents: ["queue=slow", "os=linux"]
"""


def test_every_kind_of_step_is_read() -> None:
    found = read(EVERYTHING)
    assert found.faults == ()
    build, wait, other, gate, who, trigger, group, matrix, inner, more, last = found.steps
    assert (build.id, build.label, build.commands) == ("build", ":hammer: staging", ("make", "make staging"))
    assert (build.environment, build.agents, build.jobs) == ({"A": "1", "B": "true"}, {"queue": "fast"}, 3)
    assert build.plugins == (Plugin("docker#v5"), Plugin("ecr#v2", {"login": True}))
    assert (build.concurrency, build.concurrency_group, build.soft_fails) == (1, "builds", True)
    assert [each.kind for each in (wait, other, inner)] == [StepKind.WAIT] * 3
    assert (gate.kind, gate.label, gate.allowed_teams, gate.branches) == (
        StepKind.BLOCK,
        "Release?",
        ("deployers",),
        "main release/*",
    )
    assert (who.kind, who.key, who.label) == (StepKind.INPUT, "who", "Who?")
    assert (trigger.triggers, trigger.condition, trigger.name) == ("deploy", 'build.branch == "main"', "step-6")
    assert (group.kind, group.label, group.depends_on) == (StepKind.GROUP, "Tests", (Dependency("build"),))
    assert [each.group for each in (matrix, inner, more)] == ["tests"] * 3
    assert (matrix.jobs, matrix.matrix) == (2, True)
    assert more.depends_on == (Dependency("build", allows_failure=True), Dependency("gate"), Dependency("7"))
    assert (more.skip, more.allows_dependency_failure) == ("skip: not now", True)
    assert (last.label, last.depends_on, last.skip, last.plugins) == ("last", (), None, (Plugin("x#v1"),))
    assert last.agents == {"queue": "slow", "os": "linux"}
    assert read("[{command: $A}, {command: '${B:-x}'}]").unset == {"A"}


@pytest.mark.parametrize(
    "step, kind, label",
    [
        ("wait", StepKind.WAIT, ""),
        ("waiter", StepKind.WAIT, ""),
        ("block", StepKind.BLOCK, ""),
        ("input", StepKind.INPUT, ""),
        ("{wait: {if: 'true'}}", StepKind.WAIT, ""),
        ("{block: {label: Go, key: g}}", StepKind.BLOCK, "Go"),
        ("{type: wait}", StepKind.WAIT, ""),
        ("{type: command, name: x}", StepKind.COMMAND, "x"),
        ("{plugins: [a]}", StepKind.COMMAND, ""),
        ("{group: ~, label: G, steps: [wait]}", StepKind.GROUP, "G"),
        ("{trigger: t, command: x}", StepKind.TRIGGER, ""),
    ],
)
def test_steps_may_be_written_in_many_ways(step: str, kind: StepKind, label: str) -> None:
    """In a list of steps, or a bare list."""
    for text in (f"steps: [{step}]", f"[{step}]"):
        first = read(text).steps[0]
        assert (first.kind, first.label) == (kind, label)


@pytest.mark.parametrize(
    "value, skip", [("true", "skip: true"), ("'true'", "skip: true"), ("false", None), ("'false'", None)]
)
def test_skips(value: str, skip: str | None) -> None:
    assert read(f"[{{command: x, skip: {value}}}]").steps[0].skip == skip


@pytest.mark.parametrize(
    "matrix, jobs",
    [
        ("[a, b, c]", 3),
        ("{setup: [a, b]}", 2),
        ("{setup: {os: [l, m], v: [1, 2, 3]}}", 6),
        ("{setup: {os: [l, m], v: [1, 2]}, adjustments: [{with: {os: l, v: 1}, skip: true}]}", 3),
        ("{setup: {os: [l, m], v: [1, 2]}, adjustments: [{with: {os: w, v: 1}}]}", 5),
        ("{setup: [a, b], adjustments: [{with: a, skip: true}, {with: b, soft_fail: true}, {with: z, skip: true}]}", 1),
    ],
)
def test_matrices_are_counted(matrix: str, jobs: int) -> None:
    found = read(f"[{{command: x, matrix: {matrix}}}]")
    assert found.faults == ()
    assert found.steps[0].jobs == jobs


FAULTS = [
    ("steps: no", "steps: there is no list of steps"),
    ("7", ": there is no list of steps"),
    ("[hello]", "0: `hello` is no step"),
    ("[7]", "0: a step is a mapping"),
    ("[{label: x}]", "0: what kind of step this is, is not said"),
    ("[{type: odd}]", "0: what kind of step this is, is not said"),
    ("[{block: x, wait: y}]", "0: a step is one of `block` and `wait`, not all of them"),
    ("[{command: x, comand: y}]", "0/comand: unknown key `comand`"),
    ("[{command: {a: b}, key: c}]", "0/command/0: a command is text"),
    ("[{command: x, parallelism: lots}]", "0/parallelism: `parallelism` is a number"),
    ("[{command: x, parallelism: true}]", "0/parallelism: `parallelism` is a number"),
    ("[{command: x, parallelism: '2', matrix: [a]}]", "0/parallelism: `parallelism` and `matrix` exclude each other"),
    ("[{command: x, if: 'true', branches: main}]", "0/branches: `branches` and `if` exclude each other"),
    ("[{command: x, depends_on: [{stp: a}]}]", "0/depends_on/0: a dependency is a step's key"),
    ("[{command: x, matrix: {setup: {a: 1}}}]", "0/matrix: a matrix is a list"),
    ("[{command: x, matrix: {setup: [a], adjustments: [b]}}]", "0/matrix/adjustments/0: an adjustment says"),
    (f"[{{command: x, matrix: {list(range(26))}}}]", "0/matrix: a matrix of 26 jobs"),
    ("[{command: x, plugins: [{a: 1, b: 2}]}]", "0/plugins/0: a plugin is its name"),
    ("[{command: x, env: [A]}]", "0/env: variables are a mapping"),
    ("[{group: a, steps: []}]", "0/steps: a group has at least one step"),
    ("[{group: a, steps: [{group: b, steps: [wait]}]}]", "0/steps/0: a group within a group"),
    ("[{command: '${A:?no}'}]", ": `A` is wanted: no"),
    ("{env: {A: '${B:?no}'}, steps: [wait]}", "env/A: `B` is wanted: no"),
]


@pytest.mark.parametrize("text, message", FAULTS)
def test_what_is_wrong_is_told_with_its_place(text: str, message: str) -> None:
    found = faults(text)
    assert len(found) == 1, found
    assert found[0].startswith(message)


def test_what_steps_upload_comes_after_them() -> None:
    """By file name; their groups stay theirs; a file that nobody uploads is a fault."""
    main = read("[{key: up, command: 'buildkite-agent pipeline upload ci/more.yml'}, wait, {key: end, command: x}]")
    upload = "{command: buildkite-agent pipeline upload --no-interpolation more.yml}"
    more = read(f"[{{group: G, key: g, steps: [{{command: y}}]}}, {upload}]", "a/ci/more.yml")
    other = read("[wait]", "other.yml")
    found = merge(main, {"a/ci/more.yml": more, "other.yml": other})
    assert [step.id for step in found.steps] == ["up", "up/g", "up/step-2", "up/step-3", "step-2", "end"]
    assert [step.uploaded_by for step in found.steps] == [None, "up", "up", "up", None, None]
    assert found.steps[2].group == "up/g"
    assert [(file, fault.message) for file, fault in found.faults] == [("other.yml", "no step uploads this file")]


def test_other_keys_of_the_top_hold_anchors_and_agents_are_shared() -> None:
    found = read("{common: [1], agents: {queue: q, os: l}, steps: [{command: x, agents: {queue: r}}]}")
    assert found.faults == ()
    assert found.steps[0].agents == {"queue": "r", "os": "l"}


def test_an_upload_without_a_file_is_the_default_one() -> None:
    step: Any = read("[{command: buildkite-agent pipeline upload | tee log}]").steps[0]
    assert step.uploads == (".buildkite/pipeline.yml",)
