"""A plan as a Mermaid flowchart; nothing of a name is read as Mermaid or HTML."""

from datetime import UTC, datetime

import yaml

from proxy.model.identity import JobContext
from proxy.pipelines.buildkite import read_pipeline
from proxy.pipelines.dag import plan
from proxy.pipelines.expressions import Facts
from proxy.simulate.diagram import to_mermaid
from proxy.simulate.walk import walk
from tests.fakes.policy import a_rule, ruleset_of

TEXT = """
- {key: a, command: x, parallelism: 3, label: '<b>"A"</b>'}
- wait
- {block: Go, key: go}
- {key: b, command: x, if: build.source == 'ui'}
- {key: c, command: x, skip: true}
- {trigger: t}
- {input: I}
- {group: G, steps: [wait]}
"""


def test_a_plan_is_drawn() -> None:
    planned = plan(read_pipeline(yaml.safe_load(TEXT), "pipeline.yml", {}), Facts())
    rules = ruleset_of(
        a_rule(id="r", credential={"aws": {"role": "x"}}), a_rule(id="s", to="s.test", job={"step": "b"})
    )
    drawn = to_mermaid(planned, walk(planned, rules, JobContext(), datetime(2030, 1, 1, tzinfo=UTC)).exits)
    lines = [line.strip() for line in drawn.splitlines()]
    assert lines[0] == "flowchart LR"
    assert 's0["#60;b#62;#34;A#34;#60;/b#62; x3"]' in lines
    assert 's2{{"Go"}}' in lines
    assert "s1 --> s2" in lines
    assert "s0 --> s2" not in lines, "only what is waited for directly"
    assert "s0 -.->|r| x0" in lines
    assert "s3 -.->|may: s| x1" in lines
    assert 'x0>"example.com<br/>aws x"]' in lines
    assert "class s4 skipped" in lines
    assert "class s3 unknown" in lines


def test_what_is_implied_is_not_drawn() -> None:
    text = "[{key: a, command: x}, {key: b, command: x, depends_on: a}, {key: c, command: x, depends_on: [a, b]}]"
    planned = plan(read_pipeline(yaml.safe_load(text), "pipeline.yml", {}), Facts())
    assert to_mermaid(planned, {}).splitlines()[4:] == ["  s0 --> s1", "  s1 --> s2"]
