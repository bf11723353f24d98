"""Docs cannot rot: their examples load without findings, and every field, fact, name and finding is in them."""

import inspect
import re
from pathlib import Path

import pytest

from proxy.policy import lint as lint_module
from proxy.policy.conditions import JOB_FIELDS, VARIABLES
from proxy.policy.lint import lint
from proxy.policy.parse import parse_rules
from proxy.policy.schema import JobText, RuleText
from proxy.sources.yaml import load_yaml
from tests.fakes.policy import SCOPES

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs" / "rules.md"
README = ROOT / "rules" / "README.md"
BLOCKS = [
    (f"{path.name}-{number}", text)
    for path in (DOCS, README)
    for number, text in enumerate(re.findall(r"^```yaml\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL))
]


@pytest.mark.parametrize("name, text", BLOCKS, ids=[name for name, _ in BLOCKS])
def test_every_example_loads_without_findings(name: str, text: str) -> None:
    """A reader can paste any example of the docs and have it work."""
    parsed = parse_rules(load_yaml(text, name).value, name, SCOPES)
    assert parsed.faults == ()
    assert [each.id for each in lint(parsed.rules) if each.id != "observing"] == []


def test_there_are_examples() -> None:
    """The test above looks at what it is meant to."""
    assert len(BLOCKS) >= 7


@pytest.mark.parametrize("name", [*RuleText.model_fields, *JobText.model_fields])
def test_every_field_is_in_the_readme(name: str) -> None:
    """Each field of a rule and each fact of a job is described beside the rules."""
    assert f"`{name}`" in README.read_text()


def test_every_fact_of_a_job_can_be_asked_for() -> None:
    """What a job states can be named under `job:`, whatever is added to it."""
    assert set(JobText.model_fields) == {*JOB_FIELDS, "claims"}


@pytest.mark.parametrize("name", [name for name in VARIABLES if name.partition(".")[2] not in JOB_FIELDS])
def test_every_name_of_a_condition_is_in_the_docs(name: str) -> None:
    """Each name that `when` can use is listed."""
    assert f"`{name}`" in DOCS.read_text()


FINDINGS = re.findall(r'_(error|warning)\(\s*"([a-z-]+)"', inspect.getsource(lint_module))


@pytest.mark.parametrize("severity, name", sorted({*FINDINGS, ("error", "rule-file")}))
def test_every_finding_is_in_the_docs_with_its_severity(severity: str, name: str) -> None:
    """Each finding that `check` can print is explained."""
    assert f"| `{name}` | {severity} |" in DOCS.read_text()
