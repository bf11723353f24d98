"""Buildkite's conditions and branch patterns: true, false, or not to be told."""

import re

import pytest

from proxy.pipelines.conditionals import evaluate_condition, matches_branches
from proxy.pipelines.expressions import MAX_DEPTH, MAX_LENGTH, ExpressionError, Facts

FACTS = Facts(
    {
        "build.branch": "release/1.2",
        "build.number": 7,
        "build.tag": None,
        "build.pull_request.draft": False,
        "build.creator.teams": ("deployers", "web"),
        "build.message": 'say "hi"\nskip tests',
    },
    {"DEPLOY": "yes"},
)
CASES: list[tuple[str, bool | None]] = [
    ("true", True),
    ("!true", False),
    ("!!true", True),
    ("null", False),
    ("'text'", False),
    ('build.branch == "release/1.2"', True),
    ("build.branch != 'main'", True),
    ("build.number == 7", True),
    ("build.number == '7'", False),
    ("build.tag == null", True),
    ("!build.tag", True),
    ("!build.pull_request.draft", True),
    ("build.branch =~ /^release\\//", True),
    ("build.branch =~ /^RELEASE/i", True),
    ("build.branch !~ /main/", True),
    ("build.tag =~ /v/", False),
    ("build.tag !~ /v/", True),
    ("build.branch =~ /(?=x)/", None),
    ('build.message =~ /"hi"/', True),
    ("build.message =~ /hi.*skip/", False),
    ("build.message =~ /hi.*skip/s", True),
    ('build.message == "say \\"hi\\"\\nskip"', False),
    ('build.creator.teams includes "web"', True),
    ('build.creator.teams includes "root"', False),
    ('build.branch includes "web"', False),
    ('["a", "b",] includes "b"', True),
    ('[] includes "b"', False),
    ("['a'] == ['a']", True),
    ('build.env("DEPLOY") == "yes"', True),
    ('env("NOPE") == null', True),
    ("true ? false : true", False),
    ("build.source == 'ui' ? true : false", None),
    ("false ? false : true", True),
    ("true || false && false", True),
    ("(true || false) && false", False),
    ("// a comment\n true // another", True),
    ("build.source == 'ui'", None),
    ("build.source != 'ui'", None),
    ("!build.source", None),
    ("build.source =~ /ui/", None),
    ("build.source includes 'x'", None),
    ("build.source && true", None),
    ("build.source == 'ui' && false", False),
    ("build.source == 'ui' && build.id == '1'", None),
    ("false && build.source == 'ui'", False),
    ("true && build.source == 'ui'", None),
    ("build.source == 'ui' || true", True),
    ("build.source == 'ui' || false", None),
    ("false || build.source == 'ui'", None),
    ("build.branch =~ build.source", None),
]


@pytest.mark.parametrize("text, expected", CASES)
def test_conditions_are_evaluated(text: str, expected: object) -> None:
    assert evaluate_condition(text, FACTS) is expected


def test_variables_may_not_be_known() -> None:
    assert evaluate_condition('build.env("X") == "y"', Facts()) is None


@pytest.mark.parametrize(
    "text, line, column, message",
    [
        ("", 1, 1, "it ends too early"),
        ("true true", 1, 6, "unexpected `true`"),
        ("build.brnch == 'x'", 1, 1, "did you mean `build.branch`"),
        ("zzzz", 1, 1, "is no name that conditions know"),
        ("true &&\n  @", 2, 3, "is not understood"),
        ("(true", 1, 6, "`)` is missing"),
        ("['a' 'b']", 1, 6, "`]` is missing"),
        ("build.branch =~ 'x'", 1, 17, "wants a regular expression"),
        ("env(7)", 1, 5, "a variable's name is text"),
        ("env 'x'", 1, 5, "`(` is missing"),
        ("true ? false", 1, 13, "`:` is missing"),
        ("== 1", 1, 1, "unexpected `==`"),
        ("(" * (MAX_DEPTH + 1), 1, MAX_DEPTH + 1, "nested deeper"),
        ("x" * (MAX_LENGTH + 1), 1, 1, "an expression of more than"),
    ],
)
def test_what_is_no_condition_is_told_with_its_place(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(ExpressionError, match=re.escape(message)) as caught:
        evaluate_condition(text, FACTS)
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize(
    "patterns, branch, expected",
    [
        ("main", "main", True),
        ("main", "maint", False),
        ("!production", "main", True),
        ("!production", "production", False),
        ("main features/*", "features/a/b", True),
        ("*-test", "rails-update-test", True),
        ("stages/* !stages/production", "stages/production", False),
        ("v*.0", "v1.0", True),
        ("v*.0", "v.", False),
        ("a*b*c", "axxbyyc", True),
        ("a*b*c", "axxc", False),
        ("", "main", True),
        ("main", None, None),
    ],
)
def test_branch_patterns(patterns: str, branch: str | None, expected: object) -> None:
    assert matches_branches(patterns, branch) is expected
