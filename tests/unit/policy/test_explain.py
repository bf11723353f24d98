from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.model.decision import AccessRequest
from proxy.model.identity import JobContext
from proxy.policy.compile import RuleSet, compile_rules
from proxy.policy.evaluate import evaluate, explain
from proxy.policy.explain import describe, smallest_rule
from proxy.policy.lint import lint
from proxy.policy.parse import parse_rules
from proxy.sources.yaml import load_yaml
from tests.fakes.policy import SCOPES, a_request, a_rule, ruleset_of

JOB = JobContext(organization="acme", pipeline="deploy", step="upload", branch="main", commit="c0ffee", build_number=7)
AWS = {"aws": {"role": "r", "duration": "1h"}}


def allowed_by(text: str, request: AccessRequest) -> bool:
    """Whether a rule file loads, has no findings, and allows the request."""
    parsed = parse_rules(load_yaml(text, "smallest.yaml").value, "smallest.yaml", SCOPES)
    assert parsed.faults == (), text
    assert lint(parsed.rules) == [], text
    return evaluate(compile_rules(parsed.rules), request).is_allowed


def test_the_smallest_rule_says_no_more_than_the_request() -> None:
    """The rule that would allow a request names its job, place, method and path, and nothing of one build."""
    request = a_request(JOB, "PUT", "https://example.com:8443/a/b?x=1")
    text = smallest_rule(evaluate(RuleSet.empty(), request), request)

    assert text == (
        "rules:\n"
        "  - id: deploy-put-example-com\n"
        '    why: "deploy needs PUT on example.com"\n'
        "    job:\n"
        "      organization: acme\n"
        "      pipeline: deploy\n"
        "      step: upload\n"
        "      branch: main\n"
        '    to: "example.com:8443"\n'
        "    method: PUT\n"
        "    path: /a/b\n"
    )  # fmt: skip
    assert allowed_by(text, request)
    for job, method, url in (
        (JobContext(pipeline="other", organization="acme"), "PUT", "https://example.com:8443/a/b"),
        (JOB, "GET", "https://example.com:8443/a/b"),
        (JOB, "PUT", "https://example.com/a/b"),
        (JOB, "PUT", "https://example.com:8443/a/b/c"),
    ):
        assert not allowed_by(text, a_request(job, method, url))


ODD = st.text(min_size=1, max_size=30).filter(lambda text: text.isprintable() or "\u2028" in text or "\x85" in text)


@settings(max_examples=250, deadline=None)
@given(
    facts=st.fixed_dictionaries(
        {"pipeline": ODD}, optional={"branch": ODD, "tag": ODD, "step": ODD, "source": ODD, "environment": ODD}
    ),
    method=st.sampled_from(["GET", "HEAD", "POST", "DELETE", "OPTIONS"]),
    host=st.sampled_from(["example.com", "10.1.2.3", "[fd00::1]", "example.com:8443", "x-1.example.co.uk"]),
    scheme=st.sampled_from(["https", "http"]),
    path=st.text(alphabet="abc/*%20-_.~!$&'()+,=:@\"", max_size=40).map(lambda text: f"/{text.replace('//', '/')}"),
)
def test_the_smallest_rule_always_allows_the_request_it_was_made_for(
    facts: dict[str, Any], method: str, host: str, scheme: str, path: str
) -> None:
    """Whatever a job is called and whatever it asks for, the suggested rule passes check and allows it."""
    if "branch" in facts:
        facts.pop("tag", None)  # no job has both
    if "//" in path or "/./" in path or "/../" in path or path.endswith(("/.", "/..")):
        return  # no lane forwards these
    request = a_request(JobContext(**facts), method, f"{scheme}://{host}{path}")

    text = smallest_rule(evaluate(RuleSet.empty(), request), request)

    assert text is not None
    assert allowed_by(text, request), text


def test_a_job_without_facts_is_named_by_its_subject() -> None:
    """When the issuer states nothing in common names, the exact subject is what the rule asks for."""
    request = a_request(JobContext(claims={"sub": "robot:7"}))
    text = smallest_rule(evaluate(RuleSet.empty(), request), request)
    assert text is not None
    assert 'claims: {sub: "robot:7"}' in text
    assert allowed_by(text, request)
    nobody = a_request(JobContext())
    text = smallest_rule(evaluate(RuleSet.empty(), nobody), nobody)
    assert text is not None
    assert "job:" not in text
    assert allowed_by(text, nobody)


@pytest.mark.parametrize(
    "rules",
    [
        [a_rule(id="no", effect="deny")],
        [a_rule(), a_rule(id="b", credential=AWS)],
        [a_rule()],
    ],
    ids=["denied", "ambiguous", "allowed"],
)
def test_no_rule_is_suggested_where_none_can_help(rules: list[dict[str, Any]]) -> None:
    """A denial by rule, a dispute and an allowed request have no further rule to suggest."""
    request = a_request(JOB)
    assert smallest_rule(evaluate(ruleset_of(*rules), request), request) is None


def test_a_decision_is_told_in_sentences() -> None:
    """People read what was decided, by which rule of which file, why the rule exists, and what it hands out."""
    ruleset = ruleset_of(a_rule(credential=AWS, tags={"data": "x"}), a_rule(id="no", effect="deny", path="/x"))
    request = a_request(JOB)

    assert describe(explain(ruleset, request), request, ruleset) == [
        "GET https://example.com/ is allowed: A rule allows this.",
        "read (test.yaml) allows it: a test",
        "credential: aws, for at most 1h",
        "tags: data=x",
    ]
    request = a_request(JOB, url="https://example.com/x")
    assert describe(explain(ruleset, request), request, ruleset) == [
        "GET https://example.com/x is denied (rule-denied): A rule denies this.",
        "no (test.yaml) denies it: a test",
    ]
    for request, rules, expected in (
        (a_request(JOB, "PUT"), ruleset, "2 rules name example.com, none matches."),
        (a_request(JOB, url="https://example.org/"), ruleset, "no rule names example.org."),
        (
            a_request(JOB, url="http://example.org:8080/"),
            ruleset_of(a_rule(to="example.org")),
            "GET http://example.org:8080/ is denied (no-rule): one rule names example.org, but does not match.",
        ),
    ):
        (line,) = describe(explain(rules, request), request, rules)
        assert line.endswith(expected)
