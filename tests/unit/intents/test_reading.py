"""What two servers could read differently is refused; what is read is read one way."""

import gzip
import zlib
from typing import Any

import pytest

from proxy.intents import reading
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, RequestView
from proxy.model.reason import Reason


def view(body: BodyPrefix | None, *headers: tuple[str, str], query: str | None = None) -> RequestView:
    return RequestView(
        method="POST",
        scheme="https",
        authority=Authority("example.com", 443),
        path="/",
        query=query,
        headers=headers,
        body_length=None,
        body=body,
    )


def whole(data: bytes) -> BodyPrefix:
    return BodyPrefix(data=data, is_whole=True)


def first(data: bytes) -> BodyPrefix:
    return BodyPrefix(data=data, is_whole=False)


GZIP = ("content-encoding", "gzip")


@pytest.mark.parametrize(
    "body, headers",
    [
        (b"hello", ()),
        (gzip.compress(b"hello", mtime=0), (GZIP,)),
        (gzip.compress(b"hello", mtime=0), (("content-encoding", "X-GZIP"),)),
        (zlib.compress(b"hello"), (("content-encoding", "deflate"),)),
        (b"hello", (("content-encoding", "identity"),)),
    ],
)
def test_a_whole_body_is_read_plain(body: bytes, headers: tuple[tuple[str, str], ...]) -> None:
    """Compression is taken off; nothing else is changed."""
    assert reading.read_body(view(whole(body), *headers), 5) == b"hello"


@pytest.mark.parametrize(
    "body, headers, reason",
    [
        (whole(b"123456"), (), Reason.BODY_TOO_LARGE),
        (first(b"12345"), (), Reason.BODY_TOO_LARGE),
        (whole(gzip.compress(b"0" * 100_000, mtime=0)), (GZIP,), Reason.BODY_TOO_LARGE),
        (whole(gzip.compress(b"12345", mtime=0)[:-1]), (GZIP,), Reason.INTENT_BROKEN),
        (whole(gzip.compress(b"1", mtime=0) + gzip.compress(b"2", mtime=0)), (GZIP,), Reason.INTENT_BROKEN),
        (whole(b"plain"), (GZIP,), Reason.INTENT_BROKEN),
        (whole(b"x"), (("content-encoding", "br"),), Reason.INTENT_BROKEN),
        (whole(b"x"), (("content-encoding", "gzip, gzip"),), Reason.INTENT_BROKEN),
        (whole(b"x"), (GZIP, ("content-encoding", "identity")), Reason.INTENT_BROKEN),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    body: BodyPrefix, headers: tuple[tuple[str, str], ...], reason: Reason
) -> None:
    """Too long, cut, bombed, trailed by more, or in a coding nobody undoes here."""
    with pytest.raises(IntentError) as caught:
        reading.read_body(view(body, *headers), 5)
    assert caught.value.reason is reason


def test_the_lane_is_asked_for_a_body() -> None:
    """Without a body the answer is what to read; a judge of plain bytes sees through compression."""
    wanted = reading.read_body(view(None), 5)
    assert wanted == BodyWanted(limit=5)

    plain = reading.read_body(view(None), 5, lambda data: data.startswith(b"he"))
    assert isinstance(plain, BodyWanted)
    assert plain.enough is not None
    assert plain.enough(b"hello")
    packed = reading.read_body(view(None, GZIP), 5, lambda data: data == b"hello")
    assert isinstance(packed, BodyWanted)
    assert packed.enough is not None
    assert packed.enough(gzip.compress(b"hello", mtime=0))
    assert not packed.enough(gzip.compress(b"other", mtime=0))


def test_a_prefix_that_is_enough_is_read() -> None:
    """A judge that is content lets the rest of the body stream."""
    assert reading.read_body(view(first(b"0000PACK")), 8, lambda data: b"0000" in data) == b"0000PACK"
    with pytest.raises(IntentError):
        reading.read_body(view(first(b"00")), 8, lambda data: b"0000" in data)


@pytest.mark.parametrize(
    "query, expected",
    [
        (None, {}),
        ("", {}),
        ("a=1&b=&c", {"a": "1", "b": "", "c": ""}),
        ("a=x+y%2Fz&&é=1", {"a": "x y/z", "é": "1"}),
    ],
)
def test_queries_are_decoded(query: str | None, expected: dict[str, str]) -> None:
    """Names and values are decoded once."""
    assert reading.read_query(view(None, query=query)) == expected


@pytest.mark.parametrize("query", ["a=1&a=2", "a=1&%61=2", "a=%zz", "a=%f", "a=%ff"])
def test_queries_that_can_be_read_two_ways_are_refused(query: str) -> None:
    """A doubled or broken parameter is never one of its readings."""
    with pytest.raises(IntentError):
        reading.read_query(view(None, query=query))


def test_forms_are_decoded() -> None:
    """A form is ASCII on the wire."""
    assert reading.read_form(b"Action=ListUsers&Version=1") == {"Action": "ListUsers", "Version": "1"}
    with pytest.raises(IntentError):
        reading.read_form("é=1".encode())


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"{",
        b"",
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b"[" * 65 + b"]" * 65,
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b"[" * 200_000,
        b"9" * 5000,
    ],
)
def test_json_that_is_not_plain_is_refused(body: bytes) -> None:
    """Doubled names, other constants, depth and length are refused."""
    with pytest.raises(IntentError):
        reading.read_json(body)


@pytest.mark.parametrize("body, value", [(b'{"a":[1,{"b":null}]}', {"a": [1, {"b": None}]}), (b"[1]", [1])])
def test_json_is_read(body: bytes, value: Any) -> None:
    """Plain JSON is what it says."""
    assert reading.read_json(body) == value


def test_an_object_is_an_object() -> None:
    """Where an object is due, nothing else will do."""
    assert reading.read_object(b'{"a":1}') == {"a": 1}
    with pytest.raises(IntentError):
        reading.read_object(b"[]")


def test_a_member_has_one_spelling() -> None:
    """`Action` beside `action` is refused; an absent member is None."""
    assert reading.member({"a": 1, "b": 2}, "a") == 1
    assert reading.member({"a": 1}, "c") is None
    with pytest.raises(IntentError):
        reading.member({"a": 1, "A": 2}, "a")


@pytest.mark.parametrize(
    "header, expected",
    [("Application/JSON; charset=utf-8", "application/json"), ("", "")],
)
def test_media_types_are_folded(header: str, expected: str) -> None:
    """A content type is compared without case and parameters."""
    assert reading.media_type(view(None, ("content-type", header))) == expected


@pytest.mark.parametrize("name", ["NAME", "Name", "na\u212ae", "\u017fize"])
def test_a_name_that_folds_to_another_is_refused(name: str) -> None:
    """Some servers take a name in any case, as Unicode folds it: what they would find is not missed."""
    wanted = {"NAME": "name", "Name": "name", "na\u212ae": "nake", "\u017fize": "size"}[name]
    with pytest.raises(IntentError):
        reading.member({name: 1}, wanted)


def test_a_name_with_a_semicolon_is_refused() -> None:
    """Some readers end a parameter there; in a value it stands in every other signed URL."""
    assert reading.parse_pairs("a=b;c&d=e") == [("a", "b;c"), ("d", "e")]
    with pytest.raises(IntentError):
        reading.parse_pairs("a;b=c")
