"""The name of an object that is created: it stands in the body, as JSON or, from kubectl's own types, as protobuf.

An API server takes YAML and CBOR too. Nobody's name is told there, so what is created in one of them is refused.
Sources: Kubernetes API conventions; k8s.io/apimachinery, `runtime/serializer/protobuf` and `runtime.Unknown`.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from proxy.intents.reading import media_type, member, read_body, read_object
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, RequestView

BODY_LIMIT: Final = 3 << 20
"""The largest request an API server takes (etcd's limit, twice)."""
_JSON: Final = frozenset({"application/json", ""})
_PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
_MAGIC: Final = b"k8s\x00"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,252}")
_RAW: Final = 2
"""`runtime.Unknown.raw`: the object itself."""
_CODED: Final = (3, 4)
"""`runtime.Unknown.contentEncoding` and `contentType`, which would say that the object is not protobuf after all."""
_FIRST: Final = 1
"""`metadata` of every object, and `name` of a metadata."""
_VARINT, _BYTES = 0, 2
_SIZES: Final = {1: 8, 5: 4}
"""Wire types of protobuf's encoding whose values have a size; groups are of no use any more."""


def read_name(view: RequestView) -> str | BodyWanted:
    """Return `metadata.name`, empty where it is not told. Raises IntentError for a body that has no one reading."""
    if view.body_length == 0:
        return ""
    kind = media_type(view)
    if kind not in _JSON and kind != _PROTOBUF:
        raise IntentError("what is created is told neither as JSON nor as protobuf; send JSON")
    body = read_body(view, BODY_LIMIT)
    if isinstance(body, BodyWanted):
        return body
    name = _read_protobuf(body) if kind == _PROTOBUF else _read_json(body)
    if name is None or name == "":
        return ""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise IntentError("the object has a name that nothing in a cluster has")
    return name


def _read_json(body: bytes) -> Any:
    metadata: Any = member(read_object(body), "metadata") if body else None
    return member(metadata, "name") if isinstance(metadata, dict) else None


def _read_protobuf(body: bytes) -> str | None:
    if not body.startswith(_MAGIC):
        raise IntentError("the body is not Kubernetes's protobuf")
    fields = dict(_read_fields(body[len(_MAGIC) :]))
    if any(fields.get(number) for number in _CODED):
        raise IntentError("the object inside the protobuf is coded once more")
    name = _member(_member(fields.get(_RAW)))
    return None if name is None else name.decode("latin-1")


def _member(message: bytes | None) -> bytes | None:
    """Return the first field of a message, as it stands there."""
    return None if message is None else dict(_read_fields(message)).get(_FIRST)


def _read_fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Give out the fields that hold bytes.

    Raises IntentError for a broken message, and for two first fields: an API server would merge them.
    """
    at, has_first = 0, False
    while at < len(message):
        key, at = _read_varint(message, at)
        number, kind = key >> 3, key & 7
        size = _SIZES.get(kind, 0)
        if kind in {_VARINT, _BYTES}:
            value, at = _read_varint(message, at)
            size = value if kind == _BYTES else 0
        elif kind not in _SIZES:
            raise IntentError("the protobuf has a field of no known kind")
        if at + size > len(message):
            raise IntentError("the protobuf ends early")
        if kind == _BYTES:
            if number == _FIRST and has_first:
                raise IntentError("the protobuf says twice what is said once")
            has_first = has_first or number == _FIRST
            yield number, message[at : at + size]
        at += size


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """Return a number and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise IntentError("the protobuf has a number without an end")
