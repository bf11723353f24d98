"""Findings of the files, the order, the ways out and history, together."""

from datetime import UTC, datetime

import yaml

from proxy.model.identity import JobContext
from proxy.pipelines.expressions import Facts
from proxy.pipelines.reading import provider_of, read_files
from proxy.simulate.findings import Level
from proxy.simulate.replay import FlowReader
from proxy.simulate.simulation import Question, simulate
from tests.fakes.flows import JOB, decided, opened, written
from tests.fakes.policy import a_rule, a_view, ruleset_of

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def test_all_that_is_wrong_is_told() -> None:
    document = yaml.safe_load("""
steps:
  - {key: release, command: "echo $NOPE", odd: 1}
  - {key: b, command: npm ci, depends_on: relaese}
  - {key: c, command: x, parallelism: 0}
""")
    facts = Facts({}, {})
    flows = FlowReader().read(written([opened(), decided(ruleset_of(a_rule()), a_view())]))
    question = Question(facts=facts, job=JobContext(pipeline="shop"), now=NOON, flows=flows)
    rules = ruleset_of(a_rule(to="else.test"))
    found = simulate(read_files("buildkite", "p.yml", {"p.yml": document}, facts), rules, question)
    assert [(each.id, each.level) for each in found.findings] == [
        ("pipeline", Level.ERROR),
        ("unset-variable", Level.NOTE),
        ("missing-key", Level.ERROR),
        ("no-jobs", Level.WARNING),
        ("missing-access", Level.WARNING),
        ("missing-history", Level.WARNING),
    ]
    assert [each.rule for each in found.exits["release"]] == ["read"]
    assert JOB.pipeline == "shop"


def test_what_is_elsewhere_is_a_note() -> None:
    document = {"include": {"template": "T"}, "a": {"script": "x"}, "stages": ["test"]}
    assert provider_of(document, "p.yml") == "gitlab"
    question = Question(facts=Facts(), job=JobContext(), now=NOON)
    found = simulate(read_files("gitlab", "p.yml", {"p.yml": document}, Facts()), ruleset_of(a_rule()), question)
    assert [(each.id, each.level) for each in found.findings] == [
        ("unseen", Level.NOTE),
        ("no-identity", Level.NOTE),
    ]
