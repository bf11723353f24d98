"""Where each step could go under the rules, who stands before it, and what is wrong with that."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from proxy.model.identity import JobContext
from proxy.pipelines.buildkite import read_pipeline
from proxy.pipelines.dag import plan
from proxy.pipelines.expressions import Facts
from proxy.pipelines.github import read_workflow
from proxy.pipelines.pipeline import Pipeline
from proxy.simulate.findings import Level
from proxy.simulate.walk import Exit, Walk, walk
from tests.fakes.policy import a_rule, ruleset_of

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
JOB = JobContext(organization="acme", pipeline="shop", branch="main")
AWS = {"aws": {"role": "arn:aws:iam::1:role/release"}}
LIVE = {"aws": {"role": "arn:aws:iam::1:role/production"}}


def walked(text: str, *rules: dict[str, Any], job: JobContext = JOB, deployment: str | None = None) -> Walk:
    found = read_pipeline(yaml.safe_load(text), "pipeline.yml", {})
    assert found.faults == ()
    if deployment:
        found = Pipeline(steps=tuple(replace(step, deployment=deployment) for step in found.steps))
    planned = plan(found, Facts({"build.branch": job.branch}, {}))
    return walk(planned, ruleset_of(a_rule(id="zz", to="zz.test", job={"pipeline": "zz"}), *rules), job, NOON)


def ways(
    text: str, *rules: dict[str, Any], step: str = "a", job: JobContext = JOB, deployment: str | None = None
) -> list[str]:
    """A step's exit points by rule; `?` where it depends on what is not known."""
    return [
        f"{each.rule}{'' if each.is_certain else '?'}"
        for each in walked(text, *rules, job=job, deployment=deployment).exits[step]
    ]


A = "[{key: a, command: x}]"
FITS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["r"]),
    ({"job": {"pipeline": "shop", "step": "a", "branch": "main"}}, ["r"]),
    ({"job": {"step": ["b", "a"]}}, ["r"]),
    ({"job": {"step": "?*"}}, []),
    ({"job": {"step": "a*"}}, ["r"]),
    ({"job": {"step": "b"}}, []),
    ({"job": {"branch": "release/*"}}, []),
    ({"job": {"pipeline": "another"}}, []),
    ({"job": {"source": "webhook"}}, ["r?"]),
    ({"job": {"claims": {"x": "y"}}}, ["r?"]),
    ({"job": {"queue": "fast"}}, ["r?"]),
    ({"when": "job.step == 'a'"}, ["r"]),
    ({"when": "job.step == 'b'"}, []),
    ({"when": "job.source == 'ui'"}, ["r?"]),
    ({"when": "now > timestamp('2029-01-01T00:00:00Z')"}, ["r"]),
]


@pytest.mark.parametrize("more, expected", FITS)
def test_rules_are_for_steps(more: dict[str, Any], expected: list[str]) -> None:
    """Surely, perhaps, or not."""
    assert ways(A, a_rule(id="r", **more)) == expected


def test_steps_add_facts_of_their_own() -> None:
    """Their key, their queue, the environment that they deploy to; a step without a key is known to have none."""
    queued = "[{key: a, command: x, agents: {queue: fast}}]"
    assert ways(queued, a_rule(id="r", job={"queue": "fast"})) == ["r"]
    assert ways(queued, a_rule(id="r", job={"queue": "slow"})) == []
    assert ways(queued, a_rule(id="r", job={"queue": "slow"}), job=JobContext(pipeline="shop", queue="slow")) == ["r"]
    assert ways(A, a_rule(id="r", job={"environment": "live"}), deployment="live") == ["r"]
    assert ways("[{command: x}]", a_rule(id="r", job={"step": "a*"}), a_rule(id="s"), step="step-1") == ["s"]


def test_a_step_that_may_not_run_may_go_there() -> None:
    assert ways("[{key: a, command: x, if: build.source == 'ui'}]", a_rule(id="r")) == ["r?"]


def test_only_jobs_on_agents_have_ways_out() -> None:
    found = walked(
        "[{key: a, command: x}, wait, {block: B}, {trigger: t}, {group: G, steps: [{key: b, command: y}]}]", a_rule()
    )
    assert sorted(found.exits) == ["a", "b"]


def test_what_is_surely_denied_is_no_way_out() -> None:
    """A denial of part of it, or of other jobs, leaves it."""
    way = a_rule(id="r", to="example.com", path="/a/*")
    assert ways(A, way, a_rule(id="d", effect="deny")) == []
    assert ways(A, way, a_rule(id="d", effect="deny", path="/a/b")) == ["r"]
    assert ways(A, way, a_rule(id="d", effect="deny", job={"branch": "topic"})) == ["r"]
    assert ways(A, way, a_rule(id="d", effect="deny", job={"source": "ui"})) == ["r"]


def the_exit(rule: dict[str, Any], text: str = A) -> Exit:
    (found,) = walked(text, rule).exits["a"]
    return found


def test_a_way_out_says_what_goes_there() -> None:
    """Hosts, operations, the credential and who stands before it."""
    assert the_exit(a_rule()).does == ("read of all",)
    assert the_exit(a_rule(path="/a", method=["PUT", "GET"])).does == ("GET PUT /a",)
    assert the_exit(a_rule(method="any")).does == ("any method of all",)
    assert the_exit(a_rule(mode="observe")).does == ("anything that is not allowed, to be seen",)
    assert the_exit(a_rule(intent="npm install **")).does == ("npm install **",)
    assert the_exit(a_rule(inspect=False)).does == ("anything, unseen",)
    minted = the_exit(a_rule(credential=AWS))
    assert (minted.credential, minted.is_production, minted.is_gated) == (
        "aws arn:aws:iam::1:role/release",
        False,
        False,
    )
    assert the_exit(a_rule(approval={})).approval == "each request asked"
    gated = "[{block: Go, key: go}, {key: a, command: x}]"
    found = the_exit(a_rule(approval={"unblocked": {"step": "go", "by": "team"}}), gated)
    assert (found.approval, found.gates, found.is_gated) == ("step go unblocked", ("Go",), True)


def ids(text: str, *rules: dict[str, Any]) -> list[str]:
    return [each.id for each in walked(text, *rules).findings]


@pytest.mark.parametrize(
    "more",
    [
        {"credential": LIVE},
        {"credential": AWS, "tags": {"data": "prod"}},
        {"credential": AWS, "id": "shop-live-upload"},
    ],
)
def test_a_production_credential_without_a_gate_is_found(more: dict[str, Any]) -> None:
    rule = a_rule(**{"id": "r", **more})
    found = walked(A, rule).findings
    assert [(each.id, each.level, each.step) for each in found] == [("ungated-credential", Level.WARNING, "a")]
    assert ids("[{block: Go}, {key: a, command: x}]", rule) == []
    assert ids(A, {**rule, "approval": {}}) == []
    assert ids(A, a_rule(id="r", credential=AWS)) == []


def test_production_by_its_environment() -> None:
    rule = a_rule(id="r", credential=AWS, job={"environment": "production"})
    assert ids(A, rule) == ["ungated-credential"]


def test_an_approval_that_no_gate_can_give_is_an_error() -> None:
    rule = a_rule(id="r", approval={"unblocked": {"step": "go", "by": "team"}})
    (found,) = walked("[{key: a, command: x}, {block: B, key: go}]", rule).findings
    assert (found.id, found.level) == ("approval-out-of-reach", Level.ERROR)
    assert ids("[{block: B, key: go}, {key: a, command: x}]", rule) == []


@pytest.mark.parametrize(
    "line, host",
    [
        ("npm ci", "registry.npmjs.org"),
        ("cd a && pip install -r x.txt", "pypi.org"),
        ("twine upload dist/*", "upload.pypi.org"),
        ("git push https://github.com/a/b", "github.com"),
    ],
)
def test_what_commands_need_and_would_not_get(line: str, host: str) -> None:
    text = f"[{{key: a, command: '{line}'}}]"
    (found,) = walked(text).findings
    assert found.id == "missing-access"
    assert host in found.message
    assert ids(text, a_rule(to=host)) == []


def test_what_steps_declare_and_would_not_get() -> None:
    """By variable, and by the plugin's option; by action or class, and resource."""
    text = "[{key: a, command: x, env: {JOBGATE_INTENT: 'npm install **; aws s3:GetObject arn:aws:s3:::b/*'}}]"
    assert ids(text, a_rule(intent="npm install **")) == ["undelivered-intent"]
    assert ids(text, a_rule(id="n", to="n.test", intent="npm read **"), a_rule(intent="aws s3:* *")) == []
    assert (
        ids(text, a_rule(id="n", to="n.test", intent="npm install a/*"), a_rule(intent="aws s3:Put* *"))
        == ["undelivered-intent"] * 2
    )
    plugin = "[{key: a, command: x, plugins: [other, {'acme/jobgate#v1': {intent: [npm install **]}}]}]"
    assert ids(plugin) == ["undelivered-intent"]
    one = "[{key: a, command: x, plugins: [{'acme/jobgate#v1': {intent: npm install **}}]}]"
    assert ids(one) == ["undelivered-intent"]
    assert ids("[{key: a, command: x, plugins: [jobgate]}]") == []
    assert ids("[{key: a, command: x, env: {JOBGATE_INTENT: nonsense}}]") == ["declaration"]


def test_rules_for_steps_that_are_not_there() -> None:
    """Of this pipeline; others have their own."""
    gone = a_rule(id="gone", job={"pipeline": "shop", "step": ["b", "c"]})
    (found,) = walked(A, gone).findings
    assert (found.id, found.rule, found.file) == ("unreached-rule", "gone", "test.yaml")
    assert ids(A, a_rule(id="theirs", job={"pipeline": "another", "step": "b"})) == []
    assert ids(A, a_rule(id="any", job={"step": "b"})) == []
    assert ids(A, a_rule(id="other-branch", job={"pipeline": "shop", "branch": "topic"})) == []


def others(text: str, *rules: dict[str, Any], protected: frozenset[str] = frozenset()) -> Walk:
    """A walk of a GitHub workflow's jobs."""
    found = read_workflow({"on": "push", "jobs": yaml.safe_load(text)}, "w.yml", Facts(), {})
    return walk(plan(found, Facts()), ruleset_of(*rules), JobContext(pipeline="shop"), NOON, protected)


def test_tokens_of_other_ci_do_not_name_the_job() -> None:
    """A rule that wants a step is reached by none; one that wants an environment by who deploys to it."""
    text = "{a: {steps: [{run: x}], permissions: write-all, environment: live}, b: {steps: [], permissions: write-all}}"
    rules = [
        a_rule(id="step", job={"pipeline": "shop", "step": "a"}),
        a_rule(id="live", job={"pipeline": "shop", "environment": "live"}),
        a_rule(id="gone", job={"pipeline": "shop", "environment": "gone"}),
    ]
    found = others(text, *rules)
    assert {name: [each.rule for each in ways] for name, ways in found.exits.items()} == {"a": ["live"], "b": []}
    assert [(each.id, each.rule) for each in found.findings] == [("unreached-rule", "gone"), ("unreached-rule", "step")]


def test_a_protected_environment_is_a_gate() -> None:
    text = "{a: {steps: [{run: x}], permissions: write-all, environment: live}}"
    rule = a_rule(id="r", credential=LIVE)
    assert [each.id for each in others(text, rule).findings] == ["ungated-credential"]
    found = others(text, rule, protected=frozenset({"live"}))
    assert found.exits["a"][0].gates == ("environment live",)
    assert found.findings == ()


def test_who_may_not_say_who_it_is_goes_nowhere() -> None:
    text = "{a: {steps: [{run: npm ci}]}}"
    found = others(text, a_rule(id="r"))
    assert found.exits["a"] == ()
    assert [(each.id, each.level) for each in found.findings] == [("no-identity", Level.NOTE)]
    assert others(text, a_rule(id="r", job={"branch": "x", "pipeline": "another"})).findings == ()
