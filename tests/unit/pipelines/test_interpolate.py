"""Variables in a pipeline's text, replaced as Buildkite's agent does."""

import pytest

from proxy.pipelines.interpolate import MAX_DEPTH, InterpolationError, Interpolator

KNOWN = {"BRANCH": "release/1.2", "EMPTY": "", "SHA": "0123456789abcdef", "N": "4"}
CASES = [
    ("plain", "plain"),
    ("$BRANCH", "release/1.2"),
    ("a-$BRANCH-b", "a-release/1.2-b"),
    ("${BRANCH}x", "release/1.2x"),
    ("$NOPE|${NOPE}", "|"),
    ("$$BRANCH \\$BRANCH", "$BRANCH $BRANCH"),
    ("$$(date) $(date) $0 $", "$(date) $(date) $0 $"),
    ("a \\ b \\n $N", "a \\ b \\n 4"),
    ("${NOPE:-main}", "main"),
    ("${EMPTY:-main}|${EMPTY-main}|${NOPE-main}", "main||main"),
    ("${BRANCH:-main}", "release/1.2"),
    ("${NOPE:-${BRANCH}}", "release/1.2"),
    ("${NOPE:-a $BRANCH b}", "a release/1.2 b"),
    ("${NOPE:-}", ""),
    ("${SHA:0:7}", "0123456"),
    ("${SHA:10}", "abcdef"),
    ("${SHA: -2}", "ef"),
    ("${SHA:0:-10}", "012345"),
    ("${SHA:99}|${SHA: -99}", "|"),
    ("${NOPE:0:7}", ""),
    ("${BRANCH:?is needed}", "release/1.2"),
    ("${EMPTY?is needed}", ""),
]


@pytest.mark.parametrize("text, expected", CASES)
def test_variables_are_replaced(text: str, expected: str) -> None:
    assert Interpolator(KNOWN).text(text) == expected


@pytest.mark.parametrize(
    "text, message",
    [
        ("${NOPE:?is needed}", "`NOPE` is wanted: is needed"),
        ("${NOPE?}", "`NOPE` is wanted: it is not set"),
        ("${EMPTY:?x}", "`EMPTY` is wanted: x"),
        ("${BRANCH", "is not read here"),
        ("${NOPE:-x", "without its"),
        ("${}", "no name"),
        ("${BRANCH%x}", "is not read here"),
        ("${SHA:0:7x}", "after its offset"),
        ("${A:-" * (MAX_DEPTH + 2), "nested deeper"),
    ],
)
def test_what_the_agent_refuses_is_refused(text: str, message: str) -> None:
    with pytest.raises(InterpolationError, match=message):
        Interpolator(KNOWN).text(text)


def test_all_texts_of_a_document_are_replaced() -> None:
    """Keys too; what is asked for and not given is gathered."""
    interpolator = Interpolator(KNOWN)
    document = {"$N": ["${BRANCH}", {"a": "$NOPE"}, 7, None, True]}
    assert interpolator.value(document) == {"4": ["release/1.2", {"a": ""}, 7, None, True]}
    assert interpolator.unset == {"NOPE"}
