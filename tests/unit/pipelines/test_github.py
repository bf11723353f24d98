"""GitHub Actions workflows: jobs, matrices, calls, events and who may ask for an identity."""

from typing import Any

import pytest
import yaml

from proxy.pipelines.dag import Plan, plan
from proxy.pipelines.expressions import Facts
from proxy.pipelines.github import MAX_JOBS, read_workflow
from proxy.pipelines.pipeline import Fate, Pipeline, Step, StepKind

PUSH = Facts({"github.event_name": "push", "github.ref_type": "branch", "github.ref_name": "main"})


def read(text: str, facts: Facts = PUSH, **others: str) -> Pipeline:
    documents = {f".github/workflows/{name}.yml": load(each) for name, each in others.items()}
    return read_workflow(load(text), ".github/workflows/ci.yml", facts, documents)


def load(text: str) -> Any:
    # PyYAML reads `on` as true; our own loader does not.
    found = yaml.safe_load(text)
    if isinstance(found, dict) and True in found:
        found["on"] = found.pop(True)
    return found


def jobs(text: str, facts: Facts = PUSH, **others: str) -> Plan:
    found = read(f"on: push\njobs: {text}", facts, **others)
    assert found.faults == ()
    return plan(found, facts)


def job(text: str) -> Step:
    (found,) = read(f"on: push\njobs: {{a: {text}}}").steps
    return found


RUN = "steps: [{run: x}]"


def test_a_job_is_a_step() -> None:
    found = read("""
name: Release
on: push
permissions: {id-token: write}
jobs:
  build:
    name: Build it
    runs-on: [self-hosted, linux]
    env: {A: 1, B: true}
    environment: {name: production, url: x}
    steps:
      - uses: actions/checkout@v4
        with: {depth: 1}
      - uses: actions/setup-node@v4
      - run: npm ci
""")
    (step,) = found.steps
    assert (found.provider, found.name, found.faults) == ("github", "Release", ())
    assert (step.id, step.key, step.name, step.kind) == ("build", "build", "Build it", StepKind.COMMAND)
    assert step.agents == {"labels": "self-hosted linux"}
    assert step.environment == {"A": "1", "B": "true"}
    assert (step.deployment, step.has_identity, step.commands) == ("production", True, ("npm ci",))
    assert [(each.source, each.options) for each in step.plugins] == [
        ("actions/checkout@v4", {"depth": 1}),
        ("actions/setup-node@v4", {}),
    ]
    assert read(f"on: push\njobs: {{a: {{{RUN}}}}}").name == ".github/workflows/ci.yml"
    assert job(f"{{{RUN}, environment: live, runs-on: {{group: g, labels: big}}}}").deployment == "live"


def test_needs_order_jobs() -> None:
    found = jobs(f"{{c: {{{RUN}, needs: [a, b]}}, a: {{{RUN}}}, b: {{{RUN}, needs: a}}}}")
    assert found.stages == (("a",), ("b",), ("c",))
    assert [each.id for each in jobs(f"{{a: {{{RUN}, needs: b}}, b: {{{RUN}, needs: a}}}}").mistakes] == ["cycle"]
    (mistake,) = jobs(f"{{build: {{{RUN}}}, a: {{{RUN}, needs: biuld}}}}").mistakes
    assert (mistake.id, mistake.hint, mistake.path) == ("missing-key", "Did you mean `build`?", ("jobs", "a", "needs"))


def test_whoever_needs_a_skipped_job_is_skipped() -> None:
    """Unless its own `if` says that it goes on."""
    text = '{{a: {{{0}, if: "{1}"}}, b: {{{0}, needs: a}}, c: {{{0}, needs: a, if: always()}}, d: {{{0}, needs: b}}}}'
    found = jobs(text.format(RUN, "github.event_name == 'x'")).fates
    assert [found[name].fate for name in "abcd"] == [Fate.SKIPPED, Fate.SKIPPED, Fate.RUNS, Fate.SKIPPED]
    assert found["b"].why == "`a`, which it needs: if: github.event_name == 'x'"
    found = jobs(text.format(RUN, "vars.X")).fates
    assert [found[name].fate for name in "abcd"] == [Fate.UNKNOWN, Fate.UNKNOWN, Fate.RUNS, Fate.UNKNOWN]


def test_an_if_that_cannot_be_read_is_a_mistake() -> None:
    (mistake,) = jobs(f"{{a: {{{RUN}, if: env.X}}}}").mistakes
    assert mistake.id == "condition"


MATRICES: list[tuple[str, int]] = [
    ("{x: [1, 2], y: [1, 2, 3]}", 6),
    ("{x: [1, 2], y: [1, 2, 3], exclude: [{x: 1}]}", 3),
    ("{x: [1, 2], y: [1, 2, 3], exclude: [{x: 1, y: 1}, {z: 1}, 5]}", 5),
    ("{x: [1, 2], include: [{x: 1, more: 1}]}", 2),
    ("{x: [1, 2], include: [{x: 3}]}", 3),
    ("{x: [1, 2], include: [{more: 1}]}", 2),
    ("{include: [{x: 1}, {x: 2}]}", 2),
    ("'${{ fromJSON(needs.a.outputs.x) }}'", 1),
    ("{x: '${{ fromJSON(vars.x) }}', y: [1, 2]}", 1),
    ("{x: [1], include: '${{ fromJSON(vars.x) }}'}", 2),
]


@pytest.mark.parametrize("text, count", MATRICES)
def test_a_matrix_makes_jobs(text: str, count: int) -> None:
    """Excluded ones go; included ones join a combination that they do not change, or come as new ones."""
    assert job(f"{{{RUN}, strategy: {{matrix: {text}}}}}").jobs == count


def test_who_may_ask_for_an_identity() -> None:
    """Only who is granted it: a job's permissions take the place of the workflow's."""
    assert not job(f"{{{RUN}}}").has_identity
    assert not job(f"{{{RUN}, permissions: read-all}}").has_identity
    assert not job(f"{{{RUN}, permissions: {{contents: write}}}}").has_identity
    assert job(f"{{{RUN}, permissions: write-all}}").has_identity
    (step,) = read(f"on: push\npermissions: write-all\njobs: {{a: {{{RUN}, permissions: {{}}}}}}").steps
    assert not step.has_identity


CALLED = f"on: workflow_call\njobs: {{x: {{{RUN}, permissions: write-all}}, y: {{{RUN}, needs: x}}}}"


def test_a_called_workflow_is_a_group() -> None:
    """Its jobs run where the call stands, and may ask for no more than the caller may."""
    call = "{b: {uses: ./.github/workflows/inner.yml, needs: a, permissions: write-all}, a: {steps: [{run: x}]}}"
    found = jobs(call, inner=CALLED)
    assert found.stages == (("a",), ("b",), ("b/x",), ("b/y",))
    assert (found.steps["b"].kind, found.steps["b/x"].file) == (StepKind.GROUP, ".github/workflows/inner.yml")
    assert [found.steps[name].has_identity for name in ("b/x", "b/y")] == [True, True]
    narrow = jobs(call.replace("permissions: write-all", "permissions: {}"), inner=CALLED)
    assert [narrow.steps[name].has_identity for name in ("b/x", "b/y")] == [False, False]
    skipped = jobs(call.replace("permissions: write-all", "if: false"), inner=CALLED)
    assert skipped.fates["b/x"].fate is Fate.SKIPPED


def test_what_is_called_elsewhere_is_a_job() -> None:
    found = jobs("{a: {uses: acme/ci/.github/workflows/x.yml@v1, with: {k: v}, permissions: write-all}}")
    (plugin,) = found.steps["a"].plugins
    assert (found.steps["a"].kind, plugin.source) == (StepKind.COMMAND, "acme/ci/.github/workflows/x.yml@v1")


EVENTS: list[tuple[str, Fate]] = [
    ("push", Fate.RUNS),
    ("[push, pull_request]", Fate.RUNS),
    ("pull_request", Fate.SKIPPED),
    ("{push: }", Fate.RUNS),
    ("{push: {types: [x]}}", Fate.RUNS),
    ("{push: {branches: [main]}}", Fate.RUNS),
    ("{push: {branches: ['ma?in', 'rel**']}}", Fate.RUNS),
    ("{push: {branches: ['**', '!main']}}", Fate.SKIPPED),
    ("{push: {branches: ['!main', main]}}", Fate.RUNS),
    ("{push: {branches: [release/*]}}", Fate.SKIPPED),
    ("{push: {branches: ['[a-m]ain', 'x\\*']}}", Fate.RUNS),
    ("{push: {branches-ignore: [main]}}", Fate.SKIPPED),
    ("{push: {branches-ignore: [x]}}", Fate.RUNS),
    ("{push: {tags: [v*]}}", Fate.SKIPPED),
    ("{push: {paths: [src/**]}}", Fate.UNKNOWN),
    ("{pull_request: {branches: [main]}, push: {branches: [main], tags: [v*]}}", Fate.RUNS),
]


@pytest.mark.parametrize("event, fate", EVENTS)
def test_the_event_decides_whether_anything_runs(event: str, fate: Fate) -> None:
    found = read(f"on: {event}\njobs: {{a: {{{RUN}}}}}")
    assert plan(found, PUSH).fates["a"].fate is fate


def test_events_that_are_not_known_decide_nothing() -> None:
    events = "{push: {branches: [main]}, pull_request: {branches: [main], types: [opened]}}"
    text = f"on: {events}\njobs: {{a: {{{RUN}}}}}"

    def fate(**facts: str) -> Fate:
        values: dict[str, str | int | bool | tuple[str, ...] | None] = {f"github.{k}": v for k, v in facts.items()}
        return plan(read(text, Facts(values)), Facts(values)).fates["a"].fate

    assert fate() is Fate.RUNS
    assert fate(event_name="push") is Fate.UNKNOWN
    assert fate(event_name="push", ref_type="tag", ref_name="v1") is Fate.SKIPPED
    assert fate(event_name="pull_request") is Fate.UNKNOWN
    assert fate(event_name="pull_request", base_ref="main") is Fate.RUNS
    assert fate(event_name="pull_request", base_ref="x") is Fate.SKIPPED
    tags = Facts({"github.event_name": "push", "github.ref_type": "tag", "github.ref_name": "v1"})
    assert plan(read(text.replace("[main]", "[x]", 1), tags), tags).fates["a"].fate is Fate.SKIPPED
    ignoring = text.replace("push: {branches: [main]}", "push: {tags-ignore: [x]}")
    assert plan(read(ignoring, tags), tags).fates["a"].fate is Fate.RUNS


FAULTS: list[tuple[str, tuple[str | int, ...], str]] = [
    ("[]", (), "a workflow is a mapping"),
    ("{jobs: {a: {steps: [{run: x}]}}}", (), "nothing starts this workflow"),
    ("{on: push}", ("jobs",), "there are no jobs"),
    ("{on: push, jobs: {}}", ("jobs",), "there are no jobs"),
    ("{on: push, jobs: {a: x}}", ("jobs", "a"), "a job is a mapping"),
    ("{on: push, jobs: {a: {steps: [{run: x}], need: b}}}", ("jobs", "a", "need"), "unknown key `need`"),
    ("{on: push, job: {}, jobs: {a: {steps: []}}}", ("job",), "unknown key `job`"),
    ("{on: push, jobs: {a: {}}}", ("jobs", "a"), "either `steps` or `uses`"),
    ("{on: push, jobs: {a: {steps: [x]}}}", ("jobs", "a", "steps", 0), "either `run` or `uses`"),
    ("{on: push, jobs: {a: {steps: [{run: x, uses: y}]}}}", ("jobs", "a", "steps", 0), "either `run` or `uses`"),
    ("{on: push, jobs: {a: {steps: [{run: x, foo: y}]}}}", ("jobs", "a", "steps", 0, "foo"), "unknown key `foo`"),
    ("{on: push, jobs: {a: {uses: ./x.yml}}}", ("jobs", "a", "uses"), "was not given"),
    (
        "{on: push, jobs: {a: {steps: [], strategy: {matrix: [1]}}}}",
        ("jobs", "a", "strategy", "matrix"),
        "a mapping of lists",
    ),
    (
        "{on: push, jobs: {a: {steps: [], strategy: {matrix: {x: 1}}}}}",
        ("jobs", "a", "strategy", "matrix"),
        "a mapping of lists",
    ),
    (
        "{on: push, jobs: {a: {steps: [], strategy: {matrix: {x: [" + "1, " * 300 + "]}}}}}",
        ("jobs", "a", "strategy", "matrix"),
        "a matrix of 300 jobs: at most 256",
    ),
    (
        "{on: push, jobs: {a: {steps: [], strategy: {matrix: {x: [" + "1, " * 300 + "], y: [" + "1, " * 300 + "]}}}}}",
        ("jobs", "a", "strategy", "matrix"),
        "at most 256",
    ),
]


@pytest.mark.parametrize("text, path, message", FAULTS)
def test_mistakes_have_a_place(text: str, path: tuple[str | int, ...], message: str) -> None:
    ((file, fault),) = read(text).faults
    assert (file, fault.path) == (".github/workflows/ci.yml", path)
    assert message in fault.message


def test_calls_do_not_go_on_for_ever() -> None:
    call = "on: push\njobs: {{a: {{uses: ./.github/workflows/{}.yml}}}}"
    ((file, fault),) = read(call.format("one"), one=call.format("two"), two=call.format("one")).faults
    assert (file, fault.message) == (".github/workflows/two.yml", ".github/workflows/one.yml calls itself")
    many = "on: push\njobs: {{{}}}"

    def calls(name: str) -> str:
        return many.format(", ".join(f"a{n}: {{uses: ./.github/workflows/{name}.yml}}" for n in range(30)))

    last = many.format(", ".join(f"a{n}: {{{RUN}}}" for n in range(30)))
    found = read(calls("one"), one=calls("two"), two=calls("three"), three=last)
    assert {fault.message for _, fault in found.faults} == {f"more than {MAX_JOBS} jobs together"}


def test_files_that_nobody_calls_are_told() -> None:
    ((file, fault),) = read(f"on: push\njobs: {{a: {{{RUN}}}}}", other="x").faults
    assert (file, fault.message) == (".github/workflows/other.yml", "no job calls this workflow")
    ((file, fault),) = read("on: push\njobs: {a: {uses: ./.github/workflows/x.yml}}", x="[]").faults
    assert (file, fault.message) == (".github/workflows/x.yml", "a workflow is a mapping with `on` and `jobs`")
