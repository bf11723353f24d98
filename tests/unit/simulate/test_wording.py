"""What is asked of a model, and what of its answer is taken: nothing that changes a suggestion."""

import json

import pytest

from proxy.simulate.history import Seen, Who
from proxy.simulate.suggestion import Confidence, Suggestion, Topic
from proxy.simulate.wording import MAX_SENTENCE, MAX_TITLE, Wording, ask_rule, ask_wording, read_block, read_wording


def suggestion(what: str) -> Suggestion:
    return Suggestion(
        topic=Topic.MISSING,
        who=Who(organization=None, pipeline="shop", repository=None, step="test") if what == "a" else None,
        what=what,
        said=f"it did {what}",
        seen=Seen(),
        confidence=Confidence.HIGH,
    )


FOUND = [suggestion("a"), suggestion("b"), suggestion("c")]
A, B, C = (each.id for each in FOUND)


def test_what_is_asked_holds_no_patch_and_is_fenced() -> None:
    asked = ask_wording(FOUND, "7f3a")
    data = json.loads(asked.partition("<data 7f3a>\n")[2].partition("\n</data 7f3a>")[0])
    assert [each["id"] for each in data] == [A, B, C]
    assert data[0]["who"] == "shop, step test"
    assert "patch" not in asked


def test_an_order_headings_and_sentences_are_taken() -> None:
    answer = {
        "order": [C, A],
        "groups": [{"title": "Downloads", "ids": [A, C]}, {"title": "Rest", "ids": [B]}],
        "words": {A: "It\nmatters."},
    }
    assert read_wording(f"Here you are:\n```json\n{json.dumps(answer)}\n```", FOUND) == Wording(
        (C, A, B), (("Downloads", (A, C)), ("Rest", (B,))), {A: "It\\nmatters."}
    )


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "I will not.",
        "[1]",
        "[" * 100_000,
        '{"order": 5, "groups": {"a": 1}, "words": []}',
        '{"order": ["nope", 5, {"a": 1}], "groups": ["x", {"title": 5}, {"title": "x", "ids": ["nope"]}, {"ids": []}]}',
    ],
)
def test_what_is_not_as_asked_is_left_out(answer: str) -> None:
    """All suggestions are shown then, in our own order and words."""
    assert read_wording(answer, FOUND) == Wording((A, B, C))


def test_nothing_is_said_twice_and_nothing_at_length() -> None:
    answer = {
        "order": [A, A],
        "groups": [{"title": "x" * 500, "ids": [A, A]}, {"title": "again", "ids": [A]}],
        "words": {A: "y" * 5000, "nope": "z", B: 5},
    }
    found = read_wording(json.dumps(answer), FOUND)
    assert found.order == (A, B, C)
    ((title, members),) = found.groups
    assert (len(title), members) == (MAX_TITLE, (A,))
    assert {name: len(words) for name, words in found.words.items()} == {A: MAX_SENTENCE}


def test_a_draft_is_asked_for_again_with_what_was_wrong() -> None:
    assert ask_rule("let shop read pypi", [], "m").endswith("wants:\nlet shop read pypi")
    assert "p.yml:1:1: unknown key" in ask_rule("let shop read pypi", ["p.yml:1:1: unknown key"], "m")
    assert read_block("Sure:\n```yaml\nid: x\n```\nDone.") == "id: x"
    assert read_block(" id: x\n") == "id: x"
