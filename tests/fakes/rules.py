"""A rule set from YAML text, with one connector called `fake`."""

from pydantic import BaseModel, ConfigDict

from proxy.policy.compile import RuleSet, compile_rules
from proxy.policy.parse import parse_rules
from proxy.sources.yaml import load_yaml


class FakeScope(BaseModel):
    """The `fake` connector's block."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scope: str


def ruleset(text: str) -> RuleSet:
    """Compile rules that must be without fault."""
    parsed = parse_rules(load_yaml(text, "test.yaml").value, "test.yaml", {"fake": FakeScope})
    assert not parsed.faults, parsed.faults
    return compile_rules(parsed.rules)
