"""A name is read from JSON, once; in other encodings it is nobody's."""

import pytest

from proxy.intents.kubernetes_bodies import BODY_LIMIT, read_name
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, RequestView


def view(kind: str, body: bytes | None, length: int | None = None) -> RequestView:
    return RequestView(
        method="POST",
        scheme="https",
        authority=Authority("api.example", 443),
        path="/api/v1/namespaces/a/pods",
        query=None,
        headers=(("content-type", kind),) if kind else (),
        body_length=length,
        body=None if body is None else BodyPrefix(data=body, is_whole=True),
    )


def test_the_body_is_asked_for_where_it_can_be_read() -> None:
    """JSON and no type at all; nothing is read where nothing is sent."""
    wanted = read_name(view("application/json", None))
    assert isinstance(wanted, BodyWanted)
    assert wanted.limit == BODY_LIMIT
    assert read_name(view("application/yaml", None)) == ""
    assert read_name(view("application/json", None, length=0)) == ""


@pytest.mark.parametrize(
    "body, name",
    [
        (b'{"metadata": {"name": "web-1"}}', "web-1"),
        (b'{"metadata": {"name": "system:x"}}', "system:x"),
        (b'{"metadata": {}}', ""),
        (b'{"metadata": []}', ""),
        (b"{}", ""),
        (b"", ""),
    ],
)
def test_names(body: bytes, name: str) -> None:
    """What is not named has no name."""
    assert read_name(view("application/json; charset=utf-8", body)) == name


@pytest.mark.parametrize("name", [b'"a/b"', b'".."', b"1", b'"a\\u0000"', b'"-a"'])
def test_odd_names_are_refused(name: bytes) -> None:
    """A name that no object has is not taken for another's."""
    with pytest.raises(IntentError):
        read_name(view("application/json", b'{"metadata": {"name": ' + name + b"}}"))
