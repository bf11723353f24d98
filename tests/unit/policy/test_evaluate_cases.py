"""Each file in tests/cases/policy is one promise: rules, and how some requests are decided under them."""

from pathlib import Path
from typing import Any

import pytest

from proxy.model.identity import JobContext
from proxy.policy.compile import compile_rules
from proxy.policy.evaluate import evaluate
from proxy.policy.parse import parse_rules
from proxy.sources.yaml import load_yaml
from tests.fakes.policy import SCOPES, a_request

CASES = sorted((Path(__file__).resolve().parents[2] / "cases" / "policy").glob("*.yaml"))


def asks_of(path: Path) -> list[tuple[int, dict[str, Any]]]:
    located = load_yaml(path.read_bytes(), path.name)
    return [(located.line(("asks", index)), ask) for index, ask in enumerate(located.value["asks"])]


ROWS = [(path, line, ask) for path in CASES for line, ask in asks_of(path)]


@pytest.mark.parametrize("path, line, ask", ROWS, ids=[f"{path.stem}:{line}" for path, line, _ in ROWS])
def test_a_case_is_decided_as_it_says(path: Path, line: int, ask: dict[str, Any]) -> None:
    """Every request of every case file has the decision, the rules and the grant written beside it."""
    document = load_yaml(path.read_bytes(), path.name).value
    assert document["promise"]
    parsed = parse_rules({"rules": document["rules"]}, path.name, SCOPES)
    assert parsed.faults == ()
    method, url = ask["request"].split(" ")

    decision = evaluate(compile_rules(parsed.rules), a_request(JobContext(**ask["job"]), method, url))

    assert decision.reason.value == ask["expect"]
    assert (decision.grant and decision.grant.connector) == ask.get("grant")
    if "rules" in ask:
        assert list(decision.rule_ids) == ask["rules"]


def test_there_are_cases() -> None:
    """The test above looks at what it is meant to."""
    assert len(CASES) >= 8
