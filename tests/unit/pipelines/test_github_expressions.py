"""GitHub's expressions: loose comparison, contexts, functions, and what cannot be told."""

import pytest

from proxy.pipelines.expressions import ExpressionError, Facts
from proxy.pipelines.github_expressions import evaluate_expression, survives_skips

FACTS = Facts(
    {
        "github.event_name": "push",
        "github.ref": "refs/heads/Main",
        "github.run_number": 7,
        "github.labels": ("bug", "urgent"),
        "inputs.deploy": True,
        "inputs.none": None,
        "github.head_ref": "",
    }
)
CASES: list[tuple[str, bool | None]] = [
    ("true", True),
    ("${{ true }}", True),
    ("false", False),
    ("null", False),
    ("0", False),
    ("-1", True),
    ("0x10 == 16", True),
    ("1e2 == 100", True),
    ("''", False),
    ("'x'", True),
    ("'it''s' == 'IT''S'", True),
    ("github.event_name == 'PUSH'", True),
    ("github.event_name != 'push'", False),
    ("github.ref == 'refs/heads/main'", True),
    ("github['event_name'] == 'push'", True),
    ("GitHub.Event_Name == 'push'", True),
    ("github.run_number > 6 && github.run_number >= 7 && github.run_number < 8 && github.run_number <= 7", True),
    ("github.run_number > 7", False),
    ("'b' > 'A'", True),
    ("'7' == github.run_number", True),
    ("'x' == github.run_number", False),
    ("null == 0", True),
    ("inputs.none == null", True),
    ("true == 1", True),
    ("github.head_ref == ''", True),
    ("github.labels == 'bug'", False),
    ("!github.head_ref", True),
    ("!github.actor", None),
    ("github.actor == 'x'", None),
    ("github.actor != 'x'", None),
    ("github.actor < 'x'", None),
    ("github.actor <= 'x'", None),
    ("github.event.pull_request.labels.*.name == 'x'", None),
    ("github.event.commits[0].id == 'x'", None),
    ("github.event.commits[*].id == 'x'", None),
    ("vars.X || true", True),
    ("vars.X || false", None),
    ("vars.X || vars.Y", None),
    ("inputs.deploy || vars.X", True),
    ("inputs.none || inputs.deploy", True),
    ("vars.X && false", False),
    ("vars.X && true", None),
    ("vars.X && vars.Y", None),
    ("inputs.deploy && 'a' == 'A'", True),
    ("inputs.none && vars.X", False),
    ("(inputs.deploy && 'x' || 'y') == 'x'", True),
    ("success()", True),
    ("always() && !cancelled() && !failure()", True),
    ("contains('Hello', 'ell')", True),
    ("contains(github.labels, 'BUG')", True),
    ("contains(github.labels, 'x')", False),
    ("contains(github.actor, 'x')", None),
    ("contains('x', vars.X)", None),
    ("startsWith(github.ref, 'refs/tags/')", False),
    ("startsWith(github.ref, 'refs/heads/')", True),
    ("endsWith(github.ref, '/MAIN')", True),
    ("contains(inputs.deploy, 'true')", True),
    ("contains(inputs.none, '')", True),
    ("hashFiles('x') == 'y'", None),
    ("fromJSON(vars.X)", None),
    ("fromJSON(vars.X,)", None),
]


@pytest.mark.parametrize("text, expected", CASES)
def test_an_if_is_true_false_or_not_to_be_told(text: str, expected: bool | None) -> None:  # noqa: FBT001
    assert evaluate_expression(text, FACTS) is expected


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "it ends too early"),
        ("github.", "the name of a property is missing"),
        ("github[1", "`]` is missing"),
        ("env.X == 'y'", "`env` is nothing that the `if` of a job knows"),
        ("nope('x')", "there is no function `nope`"),
        ("contains('x')", "takes two values"),
        ("contains('x', 'y' 'z')", "`)` is missing"),
        ("github.x =~ /x/", "is not understood"),
        ('"x"', "is not understood"),
        ("== 1", "unexpected `==`"),
    ],
)
def test_what_github_would_refuse(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate_expression(text, FACTS)
    assert message in str(caught.value)


def test_who_runs_after_a_skip_says_so() -> None:
    assert survives_skips("always() && github.ref == 'x'")
    assert survives_skips("${{ !Cancelled() }}")
    assert not survives_skips("success()")
    assert not survives_skips(None)
