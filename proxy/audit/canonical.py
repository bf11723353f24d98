"""Record -> exact bytes. One line of JSON, ASCII only, so that no text a job chose can add, hide or alter a record.

The bytes are what is hashed, written and verified: nothing is ever serialised twice. Layout and limits are documented
in `docs/audit.md`; a change to either is a new `VERSION`.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice
from math import isfinite
from typing import Any, Final

import orjson

from proxy.model.errors import AuditError
from proxy.model.record import AuditRecord, Fact, Kind

VERSION: Final = 1
ENVELOPE: Final = ("v", "seq", "prev", "at", "kind")
"""The fields every record begins with, in this order. Facts may not use these names."""

MAX_TEXT: Final = 2048
"""Characters of one text. A text longer than this in a record was truncated: nothing else can be (E07)."""
MAX_ITEMS: Final = 256
"""Members of one list or object."""
MAX_DEPTH: Final = 6
"""Lists and objects inside each other."""
MAX_BYTES: Final = 262_144
"""Bytes of one record. More is refused: within the limits above only a fault of ours gets there."""
MAX_INTEGER: Final = 2**63

_encode_json = json.JSONEncoder(ensure_ascii=True, allow_nan=False, check_circular=False, separators=(",", ":")).encode


_OPTIONS: Final = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_UTC_Z
_ROOM: Final = 128
"""What time and kind take of a record's bytes at most."""
_KINDS: Final = {kind: kind.value.encode("ascii") for kind in Kind}
_DEL: Final = 0x7F
_TEXT: Final = frozenset({str})


def encode(record: AuditRecord) -> bytes:
    """Return the record's bytes from `"at"` to the closing brace; `chain.link` puts version, number and digest before.

    Raises AuditError when a fact is not plain JSON, collides with the envelope, or the time has no zone.
    """
    return _encode_plain(record) or _encode_tamed(record)


def _encode_plain(record: AuditRecord) -> bytes | None:
    """Encode a record that is small and harmless as it is; None when it must be looked at value by value.

    In a record this short no text is over its limit, and orjson writes what `_encode_tamed` would: but for DEL, and for
    what is no JSON, such as NaN or a date.
    """
    facts, at = record.facts, record.at
    if at.tzinfo is not UTC or not at.microsecond or not facts:  # orjson writes six digits or none
        return None
    if not facts.keys().isdisjoint(ENVELOPE):
        return None
    try:
        body = orjson.dumps(facts, option=_OPTIONS)
    except TypeError:
        return None
    if len(body) > MAX_TEXT - _ROOM or not body.isascii() or _DEL in body or not _is_plain(facts, MAX_DEPTH):
        return None
    return b'"at":%b,"kind":"%b",%b' % (orjson.dumps(at, option=_OPTIONS), _KINDS[record.kind], body[1:])


def _is_plain(members: Mapping[str, Any], depth: int) -> bool:
    """Whether an object is within the limits, all of its values of exact types; of lists, those of texts only."""
    if len(members) > MAX_ITEMS:
        return False
    for value in members.values():
        kind = type(value)
        if kind is str or value is None or kind is bool:
            continue
        if kind is int:
            is_plain = -MAX_INTEGER <= value < MAX_INTEGER
        elif kind is float:
            is_plain = isfinite(value)
        elif kind is dict:
            is_plain = depth > 1 and _is_plain(value, depth - 1)
        else:
            is_plain = depth > 1 and kind is list and len(value) <= MAX_ITEMS and _TEXT.issuperset(map(type, value))
        if not is_plain:
            return False
    return True


def _encode_tamed(record: AuditRecord) -> bytes:
    facts: dict[str, Fact] = {"at": format_time(record.at), "kind": record.kind.value}
    unproved: Mapping[Any, Any] = record.facts  # what their types say is proved here, value by value
    for name, value in unproved.items():
        if type(name) is not str or name in ENVELOPE:
            raise AuditError(f"a fact may not be called {name!r}")
        # Most facts are short ASCII texts: decided here, without a call.
        if type(value) is str and len(value) <= MAX_TEXT and value.isascii():
            facts[name if name.isascii() else _tame_text(name)] = value
        else:
            facts[_tame_text(name)] = _tame(value, MAX_DEPTH)
    body = _encode_json(facts)[1:].encode("ascii")
    if len(body) > MAX_BYTES:
        raise AuditError(f"a record of {len(body)} bytes is over the limit of {MAX_BYTES}")
    return body


def format_time(at: datetime) -> str:
    """Return `at` as RFC 3339 in UTC with microseconds. Raises AuditError for a time without a zone."""
    if at.tzinfo is not UTC:
        if at.utcoffset() is None:
            raise AuditError("a record's time needs a zone")
        at = at.astimezone(UTC)
    return at.isoformat(timespec="microseconds")[:26] + "Z"


def _tame(value: object, depth: int) -> Fact:
    """Return `value` within the limits. Exact types only: a subclass could print itself as anything."""
    if value is None or value is True or value is False:
        return value
    kind = type(value)
    if kind not in _TAMERS:
        raise AuditError(f"a fact of type {kind.__name__} cannot be recorded")
    if depth == 0:
        raise AuditError(f"a fact is nested deeper than {MAX_DEPTH}")
    return _TAMERS[kind](value, depth - 1)


def _tame_text(text: str) -> str:
    """Return short text as it is; of long text the beginning, length and digest; surrogates as hex (E06, E07)."""
    if len(text) <= MAX_TEXT and (text.isascii() or not _has_surrogates(text)):
        return text
    raw = _to_bytes(text)
    shown = _to_bytes(text[:MAX_TEXT]).decode("utf-8", "replace")[:MAX_TEXT]
    if len(text) > MAX_TEXT:
        return f"{shown}...[truncated: {len(text)} characters, sha256 {sha256(raw).hexdigest()}]"
    return f"{shown}[not text: bytes {raw.hex()}]"


def _has_surrogates(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _to_bytes(text: str) -> bytes:
    """Return UTF-8, with escaped bytes (PEP 383) as they were and any other lone surrogate in its three-byte form."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _tame_integer(number: int) -> Fact:
    if not -MAX_INTEGER <= number < MAX_INTEGER:
        raise AuditError("an integer does not fit 64 bits")
    return number


def _tame_float(number: float) -> Fact:
    if not isfinite(number):
        raise AuditError("a number is not finite")
    return number


def _tame_list(items: list[object], depth: int) -> Fact:
    tamed = [_tame(item, depth) for item in items[:MAX_ITEMS]]
    if len(items) > MAX_ITEMS:
        tamed.append(f"...[truncated: {len(items)} items]")
    return tamed


def _tame_mapping(members: dict[object, object], depth: int) -> Fact:
    tamed: dict[str, Fact] = {}
    for name, value in islice(members.items(), MAX_ITEMS):
        if type(name) is not str:
            raise AuditError("a fact's name is not text")
        tamed[_tame_text(name)] = _tame(value, depth)
    if len(members) > MAX_ITEMS:
        tamed["..."] = f"[truncated: {len(members)} items]"
    return tamed


_TAMERS: Final[dict[type, Callable[[Any, int], Fact]]] = {
    str: lambda value, _: _tame_text(value),
    int: lambda value, _: _tame_integer(value),
    float: lambda value, _: _tame_float(value),
    list: _tame_list,
    dict: _tame_mapping,
}
