"""A name is read from JSON, once; in other encodings it is nobody's."""

import pytest

from proxy.intents.kubernetes_bodies import BODY_LIMIT, read_name
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, RequestView

PROTOBUF = "application/vnd.kubernetes.protobuf"


def field(number: int, value: bytes) -> bytes:
    """One field of a protobuf message that holds bytes."""
    size = len(value)
    return bytes([number << 3 | 2]) + (bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])) + value


def unknown(raw: bytes, *more: bytes) -> bytes:
    """What kubectl wraps an object in: its type, itself, and two empty texts about its coding."""
    return b"k8s\x00" + field(1, field(1, b"v1") + field(2, b"Pod")) + field(2, raw) + b"".join(more)


def pod(name: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    return unknown(field(1, before + field(1, name) + after) + field(2, b"spec" * 50), field(3, b""), field(4, b""))


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
    """JSON, no type at all, and protobuf; nothing is read where nothing is sent."""
    for kind in ("application/json", "", PROTOBUF):
        wanted = read_name(view(kind, None))
        assert isinstance(wanted, BodyWanted)
        assert wanted.limit == BODY_LIMIT
        assert read_name(view(kind, None, length=0)) == ""


@pytest.mark.parametrize("kind", ["application/yaml", "application/cbor", "text/plain", "application/json-patch+json"])
def test_what_cannot_be_read_is_refused(kind: str) -> None:
    """An object in another encoding could have any name."""
    with pytest.raises(IntentError, match="send JSON"):
        read_name(view(kind, b"metadata: {name: x}"))


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


@pytest.mark.parametrize(
    "body, name",
    [
        (pod(b"web-1"), "web-1"),
        (pod(b"web-1", before=b"\x10\x80\x01", after=b"\x19" + b"x" * 8 + b"\x25" + b"x" * 4), "web-1"),
        (pod(b""), ""),
        (unknown(b""), ""),
        (unknown(field(1, b"")), ""),
        (unknown(field(2, b"spec") * 2 + field(1, field(1, b"a"))), "a"),
        (b"k8s\x00", ""),
        (unknown(field(1, field(1, b"first")), field(2, field(1, field(1, b"last")))), "last"),
    ],
)
def test_names_in_protobuf(body: bytes, name: str) -> None:
    """Read from the object inside, whatever stands around its name; of two objects the last one counts, as there."""
    assert read_name(view(PROTOBUF, body)) == name


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        pod(b"web-1")[4:],
        pod(b"a/b"),
        pod(b"\xff"),
        pod(b"a", before=field(1, b"b")),
        unknown(field(1, field(1, b"a")) * 2),
        unknown(field(1, field(1, b"a")), field(3, b"gzip")),
        unknown(field(1, field(1, b"a")), field(4, b"application/json")),
        unknown(field(1, b"\x0a\x05ab")),
        unknown(field(1, b"\x0b")),
        unknown(field(1, b"\x09abc")),
        unknown(field(1, b"\x80")),
        unknown(field(1, b"\x80" * 11 + b"\x01")),
        pod(b"a")[:-1] + b"\x7f",
    ],
)
def test_protobuf_with_two_readings_is_refused(body: bytes) -> None:
    """Doubled names, an object coded once more, and broken messages."""
    with pytest.raises(IntentError):
        read_name(view(PROTOBUF, body))
