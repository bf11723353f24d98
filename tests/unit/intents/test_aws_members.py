"""Members of an input: found where the model says, and nowhere else."""

from typing import Any

import pytest

from proxy.intents.aws_members import BODY_LIMIT, Members, as_texts, form_tree, read_tree
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, RequestView


def view(body: bytes | None, length: int | None = None) -> RequestView:
    return RequestView(
        method="POST",
        scheme="https",
        authority=Authority("example.com", 443),
        path="/",
        query=None,
        headers=(),
        body_length=length,
        body=None if body is None else BodyPrefix(data=body, is_whole=True),
    )


def test_a_member_is_looked_for_in_its_place() -> None:
    """A member of the path is not taken from the query or the body, nor the other way round."""
    members = Members(labels={"A": "1"}, query={"B": "2"}, body={"A": "x", "B": "y", "C": 3}, is_rest=True)

    assert members.at("uri", "A") == "1"
    assert members.at("querystring", "B") == "2"
    assert members.at("body", "C") == 3
    assert members.at("querystring", "A") is None
    assert members.aside("A") == "1"
    assert members.aside("C") == ""
    assert Members(body={"C": "c", "D": 1}).aside("C") == "c"
    assert Members(body={"C": "c", "D": 1}).aside("D") == ""


def test_a_name_in_another_case_is_refused() -> None:
    """Whether a server takes `tablename` for `TableName` is not ours to guess."""
    with pytest.raises(IntentError, match="case"):
        Members(body={"tablename": "a"}).at("body", "TableName")
    with pytest.raises(IntentError, match="case"):
        Members(body={"TableName": "a", "tablename": "b"}).at("body", "TableName")
    assert Members(body={"TableName": "a", "Other": "b"}).at("body", "TableName") == "a"


def test_named_members_are_found_at_any_depth() -> None:
    """Roles hide in lists, in maps, under other names and in the path: all are found."""
    members = Members(
        labels={"roleArn": "a"},
        query={"RoleArn": ["b", "c"]},
        body={"x": [{"y": {"ROLEARN": "d"}}], "RoleArn": {"k": ["e"]}, "z": "no", "n": {"RoleArn": 1}},
    )

    assert sorted(text for _, text in members.named(frozenset({"rolearn"}))) == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    "value,texts",
    [
        (None, []),
        ("", []),
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ({"member": {"1": "a", "2": "b"}}, ["a", "b"]),
        ({"1": "a"}, ["a"]),
        ({"member": "a"}, ["a"]),
    ],
)
def test_texts_of_any_protocol_are_texts(value: object, texts: list[str]) -> None:
    """A text, a list and a form's list all give the texts in them."""
    assert as_texts(value) == texts


@pytest.mark.parametrize("value", [1, True, ["a", 1], {"1": {"a": "b"}}, [["a"]]])
def test_what_holds_more_than_texts_is_refused(value: object) -> None:
    """A resource is named by a text; anything else is somebody's second reading."""
    with pytest.raises(IntentError):
        as_texts(value)


@pytest.mark.parametrize(
    "kind,body,tree",
    [
        ("json", b'{"a": 1}', {"a": 1}),
        ("json", b"", {}),
        ("json", b" \n", {}),
        ("cbor", b"\xa1\x61a\x01", {"a": 1}),
        ("xml", b"<A><B>1</B><B>2</B><C><D> 3 </D></C></A>", {"": {"B": ["1", "2"], "C": [{"D": ["3"]}]}}),
        ("xml", b"<A> 1 </A>", {"": "1"}),
    ],
)
def test_a_body_becomes_a_tree(kind: str, body: bytes, tree: dict[str, Any]) -> None:
    """JSON, CBOR and XML bodies are trees; an empty body is an empty one."""
    assert read_tree(view(body), kind) == tree


def test_a_body_is_read_only_as_far_as_it_may_be() -> None:
    """An announced long body is not asked for, an empty one neither; any other is, up to the limit."""
    wanted = read_tree(view(None), "json")

    assert wanted == BodyWanted(limit=BODY_LIMIT)
    assert read_tree(view(None, 0), "json") == {}
    assert read_tree(view(None, BODY_LIMIT + 1), "json") is None
    with pytest.raises(IntentError):
        read_tree(view(b"[]"), "json")


def test_a_form_becomes_a_tree() -> None:
    """Dotted names nest."""
    assert form_tree([("Action", "A"), ("L.member.1.B", "1"), ("L.member.2.B", "2")]) == {
        "Action": "A",
        "L": {"member": {"1": {"B": "1"}, "2": {"B": "2"}}},
    }


@pytest.mark.parametrize("pairs", [[("A", "1"), ("A", "1")], [("A", "1"), ("A.B", "2")], [("A.B", "2"), ("A", "1")]])
def test_a_form_that_says_a_thing_twice_is_refused(pairs: list[tuple[str, str]]) -> None:
    """A parameter is sent once, as a text or as a map."""
    with pytest.raises(IntentError):
        form_tree(pairs)
