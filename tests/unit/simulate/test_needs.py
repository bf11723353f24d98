"""What steps are known to need: by what they run, what they use, and what they did before."""

from typing import Any

import pytest
import yaml

from proxy.model.identity import JobContext
from proxy.pipelines.buildkite import read_pipeline
from proxy.pipelines.dag import plan
from proxy.pipelines.expressions import Facts
from proxy.pipelines.pipeline import Plugin, Step, StepKind
from proxy.policy.compile import RuleSet
from proxy.simulate.findings import Finding
from proxy.simulate.needs import known_needs, unmet_history
from proxy.simulate.replay import FlowReader
from tests.fakes.flows import JOB, connected, decided, opened, written
from tests.fakes.policy import a_rule, a_view, ruleset_of


def needs(*commands: str, plugins: tuple[Plugin, ...] = ()) -> dict[str, str]:
    return known_needs(Step(id="a", kind=StepKind.COMMAND, path=(), file="x", commands=commands, plugins=plugins))


@pytest.mark.parametrize(
    "line, host",
    [
        ("npm ci", "registry.npmjs.org"),
        ("cd a && pip install -r x.txt", "pypi.org"),
        ("twine upload dist/*", "upload.pypi.org"),
        ("git push https://github.com/a/b", "github.com"),
    ],
)
def test_commands_need_hosts(line: str, host: str) -> None:
    assert list(needs("echo", line)) == [host]
    assert needs("echo-npm-ci", "make install") == {}


@pytest.mark.parametrize(
    "source, options, hosts",
    [
        ("actions/checkout@v4", {}, ["github.com"]),
        ("aws-actions/configure-aws-credentials@v4", {"role": "x"}, ["sts.amazonaws.com"]),
        ("aws-assume-role-with-web-identity#v1", {}, ["sts.amazonaws.com"]),
        ("docker/login-action@v3", {}, ["registry-1.docker.io"]),
        ("docker/login-action@v3", {"registry": "ghcr.io"}, ["ghcr.io"]),
        ("docker-login#v3", {"server": "r.test:5000"}, ["r.test:5000"]),
        ("docker/build-push-action@v6", {"tags": "ghcr.io/a/b:1"}, ["ghcr.io"]),
        ("docker#v5", {"image": "node:22"}, ["registry-1.docker.io"]),
        ("docker-buildkite-plugin#v5", {"image": "r.test/node"}, ["r.test"]),
        ("artifacts#v1", {}, []),
    ],
)
def test_plugins_need_hosts(source: str, options: dict[str, Any], hosts: list[str]) -> None:
    found = needs(plugins=(Plugin(source, options),))
    assert list(found) == hosts
    assert set(found.values()) <= {f"`{source}`"}


STEPS = "[{key: release, command: x}, {key: other, command: x}, {key: gone, command: x, skip: true}]"
OLD = ruleset_of(a_rule(id="old"), a_rule(id="mint", to="asked.test", when="request.headers['x'] == 'y'"))


def unmet(rules: RuleSet, *trail: Any, job: JobContext = JOB, provider: str = "buildkite") -> list[Finding]:
    found = read_pipeline(yaml.safe_load(STEPS), "p.yml", {})
    planned = plan(found, Facts())
    if provider != "buildkite":
        planned = plan(type(found)(steps=found.steps, provider=provider), Facts())
    return list(unmet_history(FlowReader().read(written([opened(), *trail])), rules, planned, job))


def test_what_a_step_did_before_and_would_not_get_now() -> None:
    trail = [decided(OLD, a_view()), decided(OLD, a_view(), flow="f-2"), connected(OLD, "example.com")]
    assert unmet(OLD, *trail) == []
    (found,) = unmet(ruleset_of(a_rule(to="else.test")), *trail)
    assert (found.id, found.step, found.path) == ("missing-history", "release", (0,))
    assert "`release` did" in found.message
    assert "2 times before" in found.message


def test_only_what_was_allowed_to_this_pipeline_counts() -> None:
    """Not what was denied, what others did, what steps did that are gone, nor what cannot be told."""
    new = ruleset_of(a_rule(to="else.test"))
    assert unmet(new, decided(new, a_view())) == []
    assert unmet(new, decided(OLD, a_view()), job=JobContext(pipeline="another")) == []
    assert unmet(new, decided(OLD, a_view()), job=JobContext()) == []
    for step in ("gone", "never", None):
        job = JobContext(organization="acme", pipeline="shop", step=step)
        assert unmet(new, opened("s-2", job), decided(OLD, a_view(), job=job, session="s-2")) == []
    headers = ruleset_of(a_rule(when="request.headers['x'] == 'y'"))
    assert unmet(headers, decided(OLD, a_view())) == []


def test_what_is_known_of_the_build_counts_for_flows() -> None:
    rules = ruleset_of(a_rule(job={"branch": "main"}))
    assert unmet(rules, decided(OLD, a_view())) == []
    assert len(unmet(rules, decided(OLD, a_view()), job=JobContext(pipeline="shop", branch="topic"))) == 1


def test_tokens_that_name_no_step() -> None:
    (found,) = unmet(ruleset_of(a_rule(to="else.test")), decided(OLD, a_view()), provider="github")
    assert found.step == "release"
    job = JobContext(organization="acme", pipeline="shop")
    trail = [opened("s-2", job), decided(OLD, a_view(), job=job, session="s-2")]
    (found,) = unmet(ruleset_of(a_rule(to="else.test")), *trail, provider="github")
    assert (found.step, found.message[:25]) == (None, "a job of this pipeline di")
