"""The JSON Schema of a record, as published (`docs/record.schema.json`). Pure.

Version 1 grows by new kinds and new fields only; a field keeps its meaning and its type. Readers ignore what they do
not know. Anything else would be version 2.
"""

from collections.abc import Mapping
from typing import Any, Final

from proxy.audit.canonical import VERSION
from proxy.model.decision import Effect
from proxy.model.reason import Reason
from proxy.model.record import Kind

SCHEMA_ID: Final = "urn:jobgate:record:1"

_T: Final = {"type": "string"}
_I: Final = {"type": "integer", "minimum": 0}
_N: Final = {"type": "number"}
_B: Final = {"type": "boolean"}
_TEXTS: Final = {"type": "array", "items": _T}
_OBJECT: Final = {"type": "object"}
_OBJECTS: Final = {"type": "array"}
_DIGEST: Final = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_TIME: Final = {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$"}
_TIME_OR_NONE: Final = {"anyOf": [{"type": "string"}, {"type": "null"}]}
_REASON: Final = {"$ref": "#/$defs/reason"}
_JOB: Final = {"$ref": "#/$defs/job"}
_WHO: Final = {"session": _T, "job": _JOB}

FIELDS: Final[Mapping[Kind, Mapping[str, Any]]] = {
    Kind.DECISION: {
        "flow": _T,
        "effect": {"enum": [each.value for each in Effect]},
        "reason": _REASON,
        "rules": _TEXTS,
        "revision": _T,
        "connection": _T,
        "client": _T,
        **_WHO,
        "method": _T,
        "scheme": _T,
        "host": _T,
        "port": _I,
        "path": _T,
        "query_sha256": _DIGEST,
        "length": _I,
        "stripped": _TEXTS,
        "declared": _T,
        "events": _OBJECT,
        "approval": _T,
        "protocol": _T,
        "action": _T,
        "resource_type": _T,
        "resource": _T,
        "class": _T,
        "facts": _OBJECT,
        "also": _OBJECTS,
        "exact": _B,
        "connector": _T,
        "grant": _T,
        "detail": _T,
    },
    Kind.OUTCOME: {
        "flow": _T,
        "reason": _REASON,
        "sent": _I,
        "received": _I,
        "status": _I,
        "sent_sha256": _DIGEST,
        "received_sha256": _DIGEST,
        "upstream": _T,
        "credential": _T,
        "shortfall": _OBJECT,
        "redactions": _I,
        "ms": {"type": "object", "additionalProperties": _N},
        "detail": _T,
    },
    Kind.CONNECTION: {
        "connection": _T,
        "client": _T,
        "requests": _I,
        "bytes_in": _I,
        "bytes_out": _I,
        "reason": _REASON,
        "session": _T,
        "host": _T,
        "port": _I,
        "detail": _T,
    },
    Kind.SESSION_OPENED: {
        **_WHO,
        "client": _T,
        "provider": _T,
        "issuer": _T,
        "subject": _T,
        "token": _DIGEST,
        "stated": _OBJECT,
        "claims": _OBJECT,
        "declared": _TEXTS,
        "audiences": _TEXTS,
        "expires_at": _T,
        "drift": _TEXTS,
    },
    Kind.SESSION_REFUSED: {"reason": _REASON, "detail": _T, "client": _T, "token": _T, "issuer": _T},
    Kind.SESSION_CLOSED: {**_WHO, "why": _T, "dropped": _OBJECTS, "drop_failed": _B},
    Kind.CREDENTIAL_MINTED: {
        **_WHO,
        "connector": _T,
        "grant": _T,
        "credential": _T,
        "expires_at": _TIME_OR_NONE,
        "facts": _OBJECT,
        "need": {},
    },
    Kind.CREDENTIAL_REFUSED: {},
    Kind.CREDENTIAL_DROPPED: {},
    Kind.KILL_SET: {"kill": _T, "scope": _T, "value": _T, "why": _T, "sessions": _I},
    Kind.KILL_LIFTED: {"kill": _T, "scope": _T, "value": _T, "why": _T},
    Kind.EVENT_RECEIVED: {
        "source": _T,
        "event": _T,
        "organization": _T,
        "repository": _T,
        "pipeline": _T,
        "build_id": _T,
        "build_number": _I,
        "attempt": _I,
        "job_id": _T,
        "agent_id": _T,
        "step": _T,
        "state": _T,
        "blocked": _B,
        "fork": _B,
        "unblocked_by": _TEXTS,
        "ended": _TEXTS,
    },
    Kind.EVENT_REFUSED: {"reason": _REASON, "detail": _T, "client": _T, "more": _B},
    Kind.APPROVAL_ASKED: {
        "approval": _T,
        **_WHO,
        "rules": _TEXTS,
        "revision": _T,
        "method": _T,
        "host": _T,
        "path": _T,
        "query_sha256": _DIGEST,
        "body_sha256": _DIGEST,
        "length": _I,
        "ask": {},
    },
    Kind.APPROVAL_GIVEN: {"approval": _T, "by": {}, "why": _T},
    Kind.APPROVAL_REFUSED: {"approval": _T, "by": {}, "why": _T},
    Kind.STARTED: {"version": _T, "ca_sha256": _T, "revision": _T, "listen": _T},
    Kind.STOPPED: {"open_flows": _I},
    Kind.RULES_LOADED: {"revision": _T, "rules": _I},
    Kind.RULES_REFUSED: {"problems": _TEXTS},
    Kind.ROOTS_LOADED: {"sha256": _DIGEST},
    Kind.ROOTS_REFUSED: {"problem": _T},
    Kind.SINK_REFUSED: {"sink": _T, "record": _I, "detail": _T},
    Kind.SECRET_EXPOSED: {
        **_WHO,
        "what": _T,
        "connector": _T,
        "credential": _T,
        "source": _T,
        "seen_in": _JOB,
        "ended": _B,
    },
    Kind.JOB_LOG: {
        **_WHO,
        "source": _T,
        "text": _TEXTS,
        "cut": {"type": "array", "items": _I},
        "from": _T,
        "until": _T,
        "redacted": _I,
        "missing": _T,
    },
    Kind.TRAIL_OPENED: {"origin": _T, "key": _T, "interrupted": _I, "torn": _I, "after": _T, "kept": _I},
    Kind.TRAIL_REPAIRED: {"cause": _T, "refused": _I, "lost": _I, "after": _T, "kept": _I},
    Kind.TRAIL_PRUNED: {"segment": _T, "first": _I, "last": _I, "held": _OBJECT},
    Kind.TRAIL_CLOSED: {"lost": _I},
    Kind.KEY_SEALED: {"key": _T, "class": _T, "recipients": _TEXTS, "wrapped": _T},
}
"""Each kind's fields. None is required: a sealed record shows some only, and one that could not be encoded fewer."""

_EVERYWHERE: Final = {
    "tags": {"type": "object", "additionalProperties": _T},
    "sealed": {
        "type": "object",
        "properties": {"class": _T, "key": {"type": "string", "pattern": "^[0-9a-f]{16}$"}, "data": _T},
        "required": ["class", "key", "data"],
    },
}


def record_schema() -> dict[str, Any]:
    """Return the schema (2020-12): the envelope, and for each kind the types of its fields."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "jobgate audit record",
        "description": "One line of a trail. New kinds and fields may come; ignore what you do not know.",
        "type": "object",
        "properties": {
            "v": {"const": VERSION},
            "seq": _I,
            "prev": _DIGEST,
            "at": _TIME,
            "kind": {"type": "string", "pattern": "^[a-z.]{1,64}$"},
            **_EVERYWHERE,
        },
        "required": ["v", "seq", "prev", "at", "kind"],
        "allOf": [
            {
                "if": {"properties": {"kind": {"const": kind.value}}},
                "then": {"properties": {name: dict(shape) for name, shape in fields.items()}},
            }
            for kind, fields in FIELDS.items()
        ],
        "$defs": {
            "reason": {"enum": sorted(reason.value for reason in Reason)},
            "job": {
                "type": "object",
                "properties": {"build_number": _I},
                "additionalProperties": {"type": ["string", "integer"]},
            },
        },
    }
