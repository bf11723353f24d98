"""Which objects have names that only one reader's rules can mean."""

import pytest

from proxy.intents.plain_names import inner_object, plain_object, text_of
from proxy.model.errors import IntentError


def test_plain_objects_are_returned() -> None:
    """An object with ASCII names is what it was; its members are found by name."""
    value = {"a": {"b": "c"}, "": ""}

    assert plain_object(value, "it") is value
    assert inner_object(value, "a") == {"b": "c"}
    assert text_of({"b": "c"}, "b") == "c"


@pytest.mark.parametrize("value", [None, [], "a", 1, {"\u017fubject": 1}, {"\u212aind": 1}, {"é": 1}])
def test_others_are_refused(value: object) -> None:
    """No object, or one with a name that Go folds into another, is denied by what it was to be."""
    with pytest.raises(IntentError, match="the thing "):
        plain_object(value, "the thing")


MISSING: tuple[dict[str, object], ...] = ({}, {"a": None}, {"A": {}}, {"a": {}, "A": {}})


@pytest.mark.parametrize("value", [*MISSING, {"a": 1}])
def test_members_must_be_there(value: dict[str, object]) -> None:
    """A missing member, one of another type, and one in two spellings are denied."""
    for reader in (text_of, inner_object):
        with pytest.raises(IntentError):
            reader(value, "a")


def test_an_inner_object_is_plain_too() -> None:
    """Each object read on the way to a value is checked."""
    with pytest.raises(IntentError):
        inner_object({"a": {"\u017f": 1}}, "a")
