"""Faults say what is wrong and what to write instead."""

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from proxy.policy.faults import explain_errors, suggest


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    role: str = Field("a", pattern="^[a-z]+$", description="The role to take.")
    count: int = 0


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = Field(pattern="^[a-z]+$", description="A name.")
    inner: Inner = Inner()
    many: tuple[Inner, ...] = Field((), strict=False)
    is_on: bool = False


@pytest.mark.parametrize(
    "word,known,answer",
    [
        ("hosts", ["to", "id"], "Did you mean `to`?"),
        ("pathh", ["path", "id"], "Did you mean `path`?"),
        ("zzz", ["path", "id"], "Known here: path, id."),
    ],
)
def test_suggestions(word: str, known: list[str], answer: str) -> None:
    """Words of other tools, slips of the finger, and otherwise all there is."""
    assert suggest(word, known) == answer


@pytest.mark.parametrize(
    "document,prefix,path,message,hint",
    [
        ({}, (), (), "`id` is missing", "A name."),
        ({"id": 7}, (), ("id",), "`id` must be text, not the number 7", 'Quote it: "7".'),
        ({"id": None}, (), ("id",), "`id` must be text, not nothing", ""),
        ({"id": "A"}, (), ("id",), "`id` cannot be `A`", "Lower-case letters"),
        ({"id": "a", "idd": 1}, (), ("idd",), "unknown key `idd`", "Did you mean `id`?"),
        ({"id": "a", "is_on": "true"}, (), ("is_on",), "must be true or false, not `true`", "Remove the quotes."),
        ({"id": "a", "inner": {"count": "1"}}, (), ("inner", "count"), "must be a whole number", "Remove the quotes."),
        ({"id": "a", "inner": []}, (), ("inner",), "must be a mapping", ""),
        ({"id": "a", "many": [{"rolle": "x"}]}, (), ("many", 0, "rolle"), "unknown key", "Did you mean `role`?"),
        ({"id": "a", "intents": "x"}, (), ("intents",), "unknown key `intents`", "Known here"),
    ],
)
def test_every_fault_has_a_place_and_a_remedy(
    document: dict[str, object], prefix: tuple[str, ...], path: tuple[str | int, ...], message: str, hint: str
) -> None:
    """The path leads to the value, the message shows it, the hint says what to write."""
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(document)

    fault = explain_errors(caught.value, Outer, prefix)[0]

    assert fault.path == path
    assert message in fault.message
    assert hint in fault.hint


def test_a_connectors_field_is_explained_by_its_own_words() -> None:
    """A wrong ARN is not told about ids: the connector's description is the remedy."""
    with pytest.raises(ValidationError) as caught:
        Inner.model_validate({"role": "No"})

    fault = explain_errors(caught.value, Inner, ("rules", 0, "credential", "aws"))[0]

    assert fault.path == ("rules", 0, "credential", "aws", "role")
    assert fault.hint == "The role to take."
