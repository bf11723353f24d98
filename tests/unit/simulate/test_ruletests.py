"""Rule tests: the shape of their files, and whether a verdict is as expected."""

from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.engine.decide import AccessQuestion, Verdict, explain_verdict
from proxy.model.decision import Decision, Effect
from proxy.model.identity import JobContext
from proxy.model.reason import Reason
from proxy.simulate.ruletests import Coverage, ExpectText, asks_time, judge, parse_tests
from tests.fakes.policy import a_rule, a_view, ruleset_of

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
RULES = ruleset_of(
    a_rule(id="open", path="/open"),
    a_rule(id="minted", path="/minted", credential={"aws": {"role": "r"}}),
    a_rule(id="asked", path="/asked", approval={}),
    a_rule(id="watched", path="/watched", mode="observe"),
    a_rule(id="shut", path="/shut", effect="deny", method="any"),
    a_rule(id="early", path="/early", when="now.getHours() < 13"),
)


def a_test(**more: Any) -> dict[str, Any]:
    return {"name": "a test", "request": "GET https://example.com/", "expect": "allow", **more}


def verdict_of(path: str) -> Verdict:
    asked = AccessQuestion(a_view(url=f"https://example.com{path}"), JobContext(), RULES, NOON)
    verdict = explain_verdict(asked)
    assert isinstance(verdict, Verdict)
    return verdict


def test_a_file_is_read() -> None:
    """With jobs by name, one request or several, and an effect alone or with more."""
    document = {
        "jobs": {"main": {"branch": "main"}},
        "tests": [
            a_test(job="main", at="2030-01-01T12:00:00Z", events={"fork": True}, declared="npm read *"),
            a_test(request=["GET https://a.test/", "PUT https://b.test/"], expect={"effect": "ask", "rules": ["x"]}),
            a_test(claims={"iss": "https://agent.buildkite.com"}, provider="buildkite"),
        ],
    }
    parsed = parse_tests(document)
    assert parsed.faults == ()
    first, second, _ = parsed.tests
    assert (first.job, first.at, first.declared) == ("main", NOON, ("npm read *",))
    assert second.request == ("GET https://a.test/", "PUT https://b.test/")
    assert (first.expect.effect, second.expect.effect, second.expect.rules) == ("allow", "ask", ("x",))
    assert parsed.jobs["main"] == {"branch": "main"}


FAULTS: list[tuple[object, str]] = [
    (None, "must be a mapping"),
    ({}, "`tests` is missing"),
    ({"tests": []}, "there are no tests"),
    ({"tests": [a_test(nmae="x")]}, "unknown key `nmae`"),
    ({"tests": [a_test(expect="maybe")]}, "cannot be `maybe`"),
    ({"tests": [a_test(expect={"effect": "deny", "reason": "norule"})]}, "no reason is called that"),
    ({"tests": [a_test(at="noon")]}, "write a time such as"),
    ({"tests": [a_test(at="2030-01-01T12:00:00")]}, "without its zone"),
    ({"tests": [a_test(at=12)]}, "`at`"),
    ({"tests": [a_test(job="main")]}, "no job is called `main`"),
    ({"jobs": {"master": {}}, "tests": [a_test(job="main")]}, "no job is called `main`"),
    ({"tests": [a_test(job={"step": "x"}, claims={"iss": "y"})]}, "both say who it is"),
    ({"tests": [a_test(events={"forked": True})]}, "no event fact is called `forked`"),
    ({"tests": [a_test(request="https://example.com/")]}, "is no request"),
]


@pytest.mark.parametrize("document, message", FAULTS)
def test_what_is_no_test_is_told(document: object, message: str) -> None:
    parsed = parse_tests(document)
    (fault,) = parsed.faults
    assert message in f"{fault.message}. {fault.hint}"


JUDGED: list[tuple[str, dict[str, Any], str]] = [
    ("/open", {"effect": "allow"}, ""),
    ("/open", {"effect": "allow", "rules": ("open",), "credential": "none", "reason": "allowed"}, ""),
    ("/open", {"effect": "allow", "intent": "http get  example.com/open"}, "expected to be read as"),
    ("/open", {"effect": "deny"}, "expected deny, got allow: allowed (open)"),
    ("/none", {"effect": "allow"}, "expected allow, got deny: no-rule"),
    ("/none", {"effect": "deny", "reason": "rule-denied"}, "expected the reason rule-denied, got no-rule"),
    ("/none", {"effect": "deny", "rules": ("open",)}, "expected to be decided by open, was by no rule"),
    ("/minted", {"effect": "allow", "credential": "aws"}, ""),
    ("/minted", {"effect": "allow", "credential": "none"}, "expected the credential none, got aws"),
    ("/asked", {"effect": "ask", "rules": ("asked",)}, ""),
    ("/asked", {"effect": "allow"}, "expected allow, got ask: allowed (asked)"),
    ("/shut", {"effect": "deny", "rules": ("shut",)}, ""),
]


@pytest.mark.parametrize("path, expected, wrong", JUDGED)
def test_a_verdict_is_compared_with_what_was_expected(path: str, expected: dict[str, Any], wrong: str) -> None:
    found = judge(ExpectText.model_validate(expected), verdict_of(path))
    assert len(found) == (1 if wrong else 0)
    assert wrong in "".join(found)


def test_what_is_only_let_through_is_neither_allowed_nor_denied() -> None:
    assert judge(ExpectText(effect="observe", reason="observed", credential="none"), verdict_of("/watched")) == []
    assert judge(ExpectText(effect="allow"), verdict_of("/watched")) == [
        "expected allow, got observe: observed (watched)"
    ]


def test_what_a_request_means_is_compared() -> None:
    verdict = verdict_of("/open")
    assert verdict.intent is not None
    line = f"{verdict.intent.name}  {verdict.intent.resource.id}"
    assert judge(ExpectText(effect="allow", intent=line), verdict) == []
    refused = Decision(effect=Effect.DENY, reason=Reason.INTENT_BROKEN, rule_ids=(), revision="r")
    assert judge(ExpectText(effect="deny", intent="none"), Verdict(refused, intent=None)) == []


def test_rules_that_ask_for_the_time_are_known() -> None:
    assert asks_time(RULES, ["open", "early"])
    assert not asks_time(RULES, ["open", "shut"])


def test_rules_that_decided_nothing_are_known() -> None:
    coverage = Coverage()
    for path in ("/open", "/shut", "/none"):
        coverage.add(verdict_of(path))
    assert coverage.missing(RULES) == ["asked", "early", "minted", "watched"]
