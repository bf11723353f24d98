"""GitLab's `rules`, `only` and `except`: added, not added, by hand, or not to be told."""

from typing import Any

import pytest
import yaml

from proxy.pipelines.expressions import ExpressionError, Facts
from proxy.pipelines.gitlab_rules import Ruling, evaluate_rule, known_of, rule_job, rule_workflow
from proxy.pipelines.pipeline import Fate

KNOWN: dict[str, object] = {
    "CI_PIPELINE_SOURCE": "push",
    "CI_COMMIT_BRANCH": "main",
    "CI_COMMIT_TAG": None,
    "EMPTY": "",
    "NUMBER": 1,
    "PATTERN": "/^ma/",
}
EXPRESSIONS: list[tuple[str, bool | None]] = [
    ("$CI_COMMIT_BRANCH", True),
    ("${CI_COMMIT_BRANCH}", True),
    ("$EMPTY", False),
    ("$CI_COMMIT_TAG", False),
    ("$OTHER", None),
    ("!$EMPTY", True),
    ("!$OTHER", None),
    ('$CI_COMMIT_BRANCH == "main"', True),
    ("$CI_COMMIT_BRANCH != 'main'", False),
    ("$CI_COMMIT_TAG == null", True),
    ("$CI_COMMIT_BRANCH != null", True),
    ('$NUMBER == "1"', True),
    ("$OTHER == 'x'", None),
    ("$CI_COMMIT_BRANCH =~ /^m/", True),
    ("$CI_COMMIT_BRANCH =~ /^M/i", True),
    ("$CI_COMMIT_BRANCH !~ /^m/", False),
    ("$CI_COMMIT_TAG =~ /^v/", False),
    ("$CI_COMMIT_BRANCH =~ $PATTERN", True),
    ("$CI_COMMIT_BRANCH =~ '/^x/'", False),
    ("$CI_COMMIT_BRANCH =~ $OTHER", None),
    ("$CI_COMMIT_BRANCH && $EMPTY", False),
    ("$CI_COMMIT_BRANCH && $OTHER", None),
    ("$EMPTY || $CI_COMMIT_BRANCH", True),
    ("($EMPTY || $CI_COMMIT_BRANCH) && $NUMBER == '1'", True),
]


@pytest.mark.parametrize("text, expected", EXPRESSIONS)
def test_an_if_is_true_false_or_not_to_be_told(text: str, expected: bool | None) -> None:  # noqa: FBT001
    assert evaluate_rule(text, KNOWN) is expected


@pytest.mark.parametrize(
    "text", ["", "$", "CI_COMMIT_BRANCH", "$A ==", "$A =~ 'x'", "$CI_COMMIT_BRANCH =~ $EMPTY", "$A $B"]
)
def test_what_gitlab_would_refuse(text: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate_rule(text, KNOWN)


def rule(text: str, **known: object) -> tuple[Ruling, list[str]]:
    faults: list[str] = []
    job: dict[str, Any] = yaml.safe_load(text)
    found = rule_job(job, {**KNOWN, **known}, lambda path, message: faults.append(f"{path} {message}"))
    return found, faults


# job, fate, whether a person starts it, whether what is later waits
JOBS: list[tuple[str, Fate, bool, bool]] = [
    ("{}", Fate.RUNS, False, True),
    ("{when: manual}", Fate.RUNS, True, False),
    ("{when: manual, allow_failure: false}", Fate.RUNS, True, True),
    ("{when: never}", Fate.SKIPPED, False, True),
    ("{when: on_failure}", Fate.SKIPPED, False, True),
    ("{when: delayed, start_in: 1 day}", Fate.RUNS, False, True),
    ("{rules: []}", Fate.SKIPPED, False, True),
    ("{rules: [{when: always}]}", Fate.RUNS, False, True),
    ("{rules: [{if: $EMPTY}]}", Fate.SKIPPED, False, True),
    ("{rules: [{if: $CI_COMMIT_BRANCH}]}", Fate.RUNS, False, True),
    ("{rules: [{if: $CI_COMMIT_BRANCH, when: never}, {when: always}]}", Fate.SKIPPED, False, True),
    ("{rules: [{if: $CI_COMMIT_BRANCH, when: manual}]}", Fate.RUNS, True, True),
    ("{rules: [{if: $CI_COMMIT_BRANCH, when: manual, allow_failure: true}]}", Fate.RUNS, True, False),
    ("{allow_failure: true, rules: [{when: manual}]}", Fate.RUNS, True, False),
    ("{allow_failure: true, rules: [{when: manual, allow_failure: false}]}", Fate.RUNS, True, True),
    ("{when: manual, rules: [{if: $CI_COMMIT_BRANCH}]}", Fate.RUNS, True, True),
    ("{rules: [{if: $OTHER}]}", Fate.UNKNOWN, False, True),
    ("{rules: [{if: $OTHER, when: never}]}", Fate.SKIPPED, False, True),
    ("{rules: [{if: $OTHER, when: never}, {when: always}]}", Fate.UNKNOWN, False, True),
    ("{rules: [{if: $OTHER, when: manual}, {when: on_success}]}", Fate.RUNS, False, True),
    ("{rules: [{if: $OTHER, when: manual}]}", Fate.UNKNOWN, True, True),
    ("{rules: [{changes: [src/**]}]}", Fate.UNKNOWN, False, True),
    ("{rules: [{if: $EMPTY, changes: [src/**]}]}", Fate.SKIPPED, False, True),
    ("{only: [main]}", Fate.RUNS, False, True),
    ("{only: main}", Fate.RUNS, False, True),
    ("{only: [/^m.*$/]}", Fate.RUNS, False, True),
    ("{only: [/^M/i@acme/app]}", Fate.RUNS, False, True),
    ("{only: ['/(?!x)/']}", Fate.UNKNOWN, False, True),
    ("{only: [tags]}", Fate.SKIPPED, False, True),
    ("{only: [branches, merge_requests]}", Fate.RUNS, False, True),
    ("{only: [merge_requests]}", Fate.SKIPPED, False, True),
    ("{only: [pushes]}", Fate.RUNS, False, True),
    ("{only: {refs: [main], variables: [$EMPTY, $NUMBER]}}", Fate.RUNS, False, True),
    ("{only: {refs: [main], variables: [$EMPTY]}}", Fate.SKIPPED, False, True),
    ("{only: {refs: [main], changes: [x]}}", Fate.UNKNOWN, False, True),
    ("{only: {variables: [$OTHER]}}", Fate.UNKNOWN, False, True),
    ("{except: [main]}", Fate.SKIPPED, False, True),
    ("{except: [x]}", Fate.RUNS, False, True),
    ("{except: {refs: [x], variables: [$OTHER]}}", Fate.UNKNOWN, False, True),
    ("{except: [main], when: manual}", Fate.SKIPPED, True, False),
]


@pytest.mark.parametrize("text, fate, manual, blocks", JOBS)
def test_what_becomes_of_a_job(text: str, fate: Fate, manual: bool, blocks: bool) -> None:  # noqa: FBT001
    found, faults = rule(text)
    assert faults == []
    assert (found.verdict.fate, found.is_manual, found.blocks) == (fate, manual, blocks)


def test_a_merge_request_is_neither_branch_nor_tag() -> None:
    """Without `only`, jobs are for branches and tags; a name means a branch or a tag."""
    known: dict[str, object] = {"CI_PIPELINE_SOURCE": "merge_request_event", "CI_COMMIT_BRANCH": None}
    assert rule("{}", **known)[0].verdict.fate is Fate.SKIPPED
    assert rule("{only: [main]}", **known)[0].verdict.fate is Fate.SKIPPED
    assert rule("{only: [merge_requests]}", **known)[0].verdict.fate is Fate.RUNS


def test_what_is_not_known_decides_nothing() -> None:
    nothing: list[str] = []
    for text in ("only: [merge_requests]", "only: [tags]", "only: [main]", ""):
        found = rule_job(yaml.safe_load(f"{{{text}}}"), {}, lambda *_: nothing.append(""))
        assert found.verdict.fate is Fate.UNKNOWN
    tag = {"CI_COMMIT_TAG": "v1", "CI_COMMIT_BRANCH": None}
    assert rule("{only: [/^v/]}", **tag)[0].verdict.fate is Fate.RUNS


def test_mistakes_have_a_place() -> None:
    assert rule("{rules: [x]}")[1] == ["('rules', 0) a rule is a mapping with `if`, `changes`, `exists` or `when`"]
    assert rule("{rules: [{when: later}]}")[1][0].startswith("('rules', 0, 'when') `when` is one of always,")
    assert rule("{rules: [{if: x}]}")[1] == ["('rules', 0, 'if') `x` is not understood"]
    assert rule("{only: {variables: [x]}}")[1] == ["('only', 'variables', 0) `x` is not understood"]


def test_a_workflow_decides_for_all() -> None:
    faults: list[str] = []
    rules = [{"if": "$CI_COMMIT_TAG"}]
    assert rule_workflow(rules, KNOWN, lambda *_: faults.append("")).fate is Fate.SKIPPED
    assert rule_workflow([{"if": "$CI_COMMIT_BRANCH"}], KNOWN, lambda *_: faults.append("")).fate is Fate.RUNS


def test_what_is_given_for_the_build_has_the_say() -> None:
    facts = Facts({"A": "fact"}, {"A": "given", "B": "given"})
    assert known_of(facts, {"A": 1, "B": 1, "C": 1}, {"C": 2}) == {"A": "fact", "B": "given", "C": 2}
    assert known_of(Facts(), {"A": 1}) == {"A": 1}
