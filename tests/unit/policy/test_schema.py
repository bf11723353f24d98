"""The shape of a rule: strict, with one meaning for each spelling."""

import pytest
from pydantic import ValidationError

from proxy.policy.schema import RuleFileText, RuleText, is_tag_name

RULE = {"id": "a", "why": "needed", "to": "a.example"}


def test_one_is_a_list_of_one() -> None:
    """A single value and a list of one are the same rule."""
    assert RuleText.model_validate(RULE).to == RuleText.model_validate(RULE | {"to": ["a.example"]}).to


@pytest.mark.parametrize(
    "change",
    [
        {"to": []},
        {"to": None},
        {"method": "get"},
        {"method": "TRACE"},
        {"effect": "maybe"},
        {"path": "relative"},
        {"why": ""},
        {"id": "Upper"},
        {"inspect": "no"},
        {"job": {"pipelin": "x"}},
        {"job": {"build_number": "7"}},
        {"credential": {"a": {}, "b": {}}},
        {"extra": 1},
    ],
)
def test_what_means_nothing_is_refused(change: dict[str, object]) -> None:
    """Empty, mistyped, unknown and doubled things are errors, never defaults."""
    with pytest.raises(ValidationError):
        RuleText.model_validate(RULE | change)


def test_a_file_is_a_list_of_rules() -> None:
    """Only `rules` stands at the top."""
    with pytest.raises(ValidationError):
        RuleFileText.model_validate({"rules": [RULE], "version": 1})


@pytest.mark.parametrize("name,good", [("data", True), ("a.b_c-d", True), ("", False), ("a b", False)])
def test_tag_names(name: str, good: bool) -> None:  # noqa: FBT001 - a table's column
    """Tags are named in the alphabet every store of them takes."""
    assert is_tag_name(name) is good
