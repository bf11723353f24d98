"""GitLab CI files: stages, needs, jobs that a person starts, environments and identities."""

import pytest
import yaml

from proxy.pipelines.dag import Plan, plan
from proxy.pipelines.expressions import Facts
from proxy.pipelines.gitlab import read_ci
from proxy.pipelines.pipeline import Fate, Pipeline, Step, StepKind

PUSH = Facts(
    {"CI_PIPELINE_SOURCE": "push", "CI_COMMIT_BRANCH": "main", "CI_COMMIT_TAG": None, "CI_COMMIT_REF_NAME": "main"}
)


def read(text: str, **others: str) -> Pipeline:
    documents = {f"ci/{name}.yml": yaml.safe_load(each) for name, each in others.items()}
    return read_ci(yaml.safe_load(text), ".gitlab-ci.yml", PUSH, documents)


def planned(text: str) -> Plan:
    found = read(text)
    assert found.faults == ()
    return plan(found, PUSH)


def job(text: str, more: str = "") -> Step:
    (found,) = read(f"{{{more}a: {text}}}").steps
    return found


def test_a_job_is_a_step() -> None:
    found = read("""
variables: {TIER: {value: live, description: x}, A: 1}
default: {before_script: [make ready], tags: [fast]}
deploy:
  stage: deploy
  variables: {B: true}
  environment: {name: "$TIER/${CI_COMMIT_REF_NAME}/$NOPE"}
  id_tokens: {TOKEN: {aud: x}}
  script: [[make, {a: b}], make deploy]
""")
    (step,) = found.steps
    assert (found.provider, found.faults) == ("gitlab", ())
    assert (step.key, step.stage, step.kind, step.file) == ("deploy", "deploy", StepKind.COMMAND, ".gitlab-ci.yml")
    assert step.commands == ("make ready", "make", "{'a': 'b'}", "make deploy")
    assert step.environment == {"TIER": "live", "A": "1", "B": "true"}
    assert (step.deployment, step.has_identity, step.agents) == ("live/main/$NOPE", True, {"tags": "fast"})
    assert not job("{script: x}").has_identity
    assert job("{script: x, environment: live}").deployment == "live"


def test_stages_order_jobs() -> None:
    """A stage waits for all before it; `.pre` is first and `.post` last."""
    text = """
stages: [build, check]
last: {stage: .post, script: x}
b: {stage: check, script: x}
c: {stage: check, script: x}
a: {stage: build, script: x}
first: {stage: .pre, script: x}
"""
    assert planned(text).stages == (("first",), ("a",), ("b", "c"), ("last",))
    assert planned("{a: {script: x}, b: {stage: build, script: x}}").stages == (("b",), ("a",))


def test_needs_take_the_place_of_stages() -> None:
    text = """
a: {stage: build, script: x}
b: {stage: build, script: x}
c: {stage: test, script: x, needs: [a]}
d: {stage: deploy, script: x, needs: []}
e: {stage: deploy, script: x, needs: [{job: c, artifacts: false}, {project: p, job: z}, {pipeline: x}]}
f: {stage: deploy, script: x, needs: [{job: none, optional: true}, {job: a, optional: true}]}
"""
    found = planned(text)
    assert {name: sorted(before) for name, before in found.before.items()} == {
        "a": [],
        "b": [],
        "c": ["a"],
        "d": [],
        "e": ["c"],
        "f": ["a"],
    }


def test_a_need_that_is_not_there_refuses_the_pipeline() -> None:
    """Unless it is optional."""
    text = "{a: {script: x, rules: [{if: $CI_COMMIT_TAG}]}, b: {script: x, needs: [NEED]}}"
    (mistake,) = planned(text.replace("NEED", "a")).mistakes
    assert (mistake.id, mistake.is_error, mistake.path) == ("absent-need", True, ("b", "needs"))
    assert planned(text.replace("NEED", "{job: a, optional: true}")).mistakes == ()
    assert planned(text.replace("NEED", "a").replace("$CI_COMMIT_TAG", "$OTHER")).mistakes == ()
    (mistake,) = planned(text.replace("NEED", "aa")).mistakes
    assert mistake.id == "missing-key"


def test_a_person_starts_manual_jobs() -> None:
    """Who waits for one has it for a gate, and so has the job itself; nothing waits for an optional one by stage."""
    text = """
gate: {stage: build, script: x, when: manual, allow_failure: false}
aside: {stage: build, script: x, when: manual}
next: {stage: test, script: x}
named: {stage: deploy, script: x, needs: [aside]}
"""
    found = planned(text)
    assert {name: [gate.id for gate in found.gates(name)] for name in found.steps} == {
        "gate": ["gate"],
        "aside": ["aside"],
        "next": ["gate"],
        "named": ["aside"],
    }


def test_a_workflow_may_make_no_pipeline() -> None:
    text = "{workflow: {rules: [{if: RULE}]}, a: {script: x}, b: {script: x, when: never}}"
    fates = planned(text.replace("RULE", "$CI_COMMIT_TAG")).fates
    assert (fates["a"].fate, fates["a"].why) == (Fate.SKIPPED, "workflow: rules: none fits")
    fates = planned(text.replace("RULE", "$OTHER")).fates
    assert [fates[name].fate for name in "ab"] == [Fate.UNKNOWN, Fate.SKIPPED]
    assert planned(text.replace("RULE", "$CI_COMMIT_BRANCH")).fates["a"].fate is Fate.RUNS
    assert planned("{workflow: {name: x}, a: {script: x}}").fates["a"].fate is Fate.RUNS


def test_defaults_are_inherited_or_not() -> None:
    more = "before_script: [ready], after_script: [done], variables: {A: 1, B: 1}, "
    assert job("{script: x}", more).commands == ("ready", "x", "done")
    assert job("{script: x, before_script: []}", more).commands == ("x", "done")
    assert job("{script: x, inherit: {default: false}}", more).commands == ("x",)
    assert job("{script: x, inherit: {default: [after_script]}}", more).commands == ("x", "done")
    assert job("{script: x, inherit: {default: true, variables: [B]}}", more).environment == {"B": "1"}


@pytest.mark.parametrize(
    "parallel, count", [("3", 3), ("{matrix: [{A: [1, 2], B: [1, 2, 3]}, {A: x}]}", 7), ("{matrix: [{A: [1]}]}", 1)]
)
def test_parallel_makes_jobs(parallel: str, count: int) -> None:
    assert job(f"{{script: x, parallel: {parallel}}}").jobs == count


@pytest.mark.parametrize(
    "trigger, told", [("a/b", "a/b"), ("{project: a/b, branch: x}", "a/b"), ("{include: x.yml}", "a child pipeline")]
)
def test_triggers_start_other_pipelines(trigger: str, told: str) -> None:
    step = job(f"{{trigger: {trigger}}}")
    assert (step.kind, step.triggers) == (StepKind.TRIGGER, told)


FAULTS: list[tuple[str, str, tuple[str | int, ...], str]] = [
    ("[]", ".gitlab-ci.yml", (), "a mapping of jobs"),
    ("{stages: [a]}", ".gitlab-ci.yml", (), "there are no jobs"),
    ("{a: {script: x}, b: [1]}", ".gitlab-ci.yml", ("b",), "neither a job nor"),
    ("{a: {script: x, nede: []}}", ".gitlab-ci.yml", ("a", "nede"), "unknown key `nede`"),
    ("{a: {stage: test}}", ".gitlab-ci.yml", ("a",), "neither `script` nor `trigger`"),
    ("{a: {script: x, stage: biuld}}", ".gitlab-ci.yml", ("a", "stage"), "there is no stage `biuld`"),
    ("{a: {script: x, needs: [1]}}", ".gitlab-ci.yml", ("a", "needs", 0), "a need is"),
    ("{a: {script: x, parallel: 0}}", ".gitlab-ci.yml", ("a", "parallel"), "`parallel` is"),
    ("{a: {script: x, parallel: x}}", ".gitlab-ci.yml", ("a", "parallel"), "`parallel` is"),
    ("{a: {script: x, rules: [{if: x}]}}", ".gitlab-ci.yml", ("a", "rules", 0, "if"), "is not understood"),
    ("{workflow: {rules: [x]}, a: {script: x}}", ".gitlab-ci.yml", ("workflow", "rules", 0), "a rule is a mapping"),
    ("{include: ci/x.yml, a: {script: x}}", ".gitlab-ci.yml", ("include",), "was not given"),
    ("{a: {script: x, extends: b}}", ".gitlab-ci.yml", ("a", "extends"), "there is no `b` to extend"),
]


@pytest.mark.parametrize("text, file, path, message", FAULTS)
def test_mistakes_have_a_place(text: str, file: str, path: tuple[str | int, ...], message: str) -> None:
    ((where, fault),) = read(text).faults
    assert (where, fault.path) == (file, path)
    assert message in fault.message


def test_files_are_read_together() -> None:
    """A mistake is where the job stands; what is elsewhere is named; what nobody includes is told."""
    found = read("{include: [ci/one.yml, {template: T}], a: {script: x}}", one="{b: {script: x, odd: 1}}", two="{}")
    assert [step.key for step in found.steps] == ["b", "a"]
    assert [(file, fault.message) for file, fault in found.faults] == [
        ("ci/two.yml", "nothing includes this file"),
        ("ci/one.yml", "unknown key `odd`"),
    ]
    assert found.unseen == {"template: T"}
    assert read("{include: {template: T}}").faults == ()
