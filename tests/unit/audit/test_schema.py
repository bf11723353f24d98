"""The published schema is the code's, covers every kind, and only ever grows."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from proxy.audit.schema import FIELDS, record_schema
from proxy.model.record import Kind

ROOT = Path(__file__).resolve().parents[3]
PUBLISHED = json.loads((ROOT / "docs" / "record.schema.json").read_text())
FIRST = json.loads((Path(__file__).parent / "record.schema.v1.json").read_text())
"""As it was when version 1 was published: what stands here must stay."""
ENVELOPE = {"v": 1, "seq": 0, "prev": "0" * 64, "at": "2026-01-02T03:04:05.000000Z"}
VALIDATOR = jsonschema.Draft202012Validator(record_schema())


def fields_of(schema: dict[str, Any]) -> dict[tuple[str, str], Any]:
    branches = {each["if"]["properties"]["kind"]["const"]: each["then"]["properties"] for each in schema["allOf"]}
    found = {(kind, name): shape for kind, fields in branches.items() for name, shape in fields.items()}
    return found | {("", name): shape for name, shape in schema["properties"].items()}


def test_what_is_published_is_what_the_code_says() -> None:
    """`jobgate audit schema > docs/record.schema.json` keeps it so."""
    assert record_schema() == PUBLISHED
    jsonschema.Draft202012Validator.check_schema(PUBLISHED)


def test_every_kind_has_its_fields() -> None:
    """A new kind needs an entry."""
    assert set(FIELDS) == set(Kind)


def test_nothing_that_was_published_goes_or_changes() -> None:
    """Readers of the first version read today's records: fields keep their types, reasons their names."""
    now, then = fields_of(record_schema()), fields_of(FIRST)
    assert {name: now.get(name) for name in then} == then
    assert set(FIRST["$defs"]["reason"]["enum"]) <= set(record_schema()["$defs"]["reason"]["enum"])
    assert record_schema()["required"] == FIRST["required"]


def test_a_field_that_went_would_be_noticed() -> None:
    """The test above can fail."""
    changed = json.loads(json.dumps(record_schema()))
    changed["allOf"][0]["then"]["properties"]["flow"] = {"type": "integer"}
    then = fields_of(FIRST)
    assert {name: fields_of(changed).get(name) for name in then} != then


@pytest.mark.parametrize(
    "record",
    [
        {"kind": "flow.decision", "flow": 7},
        {"kind": "flow.decision", "reason": "no such reason"},
        {"kind": "flow.outcome", "status": "200"},
        {"kind": "key.sealed", "recipients": "age1x"},
        {"kind": "proxy.started", "tags": {"a": 1}},
        {"kind": "flow.decision", "sealed": {"class": "a"}},
        {"kind": "FLOW"},
        {"kind": "flow.decision", "v": 2},
        {"kind": "flow.decision", "at": "yesterday"},
    ],
)
def test_what_is_no_record_of_ours_does_not_validate(record: dict[str, Any]) -> None:
    """Types are checked, kind by kind."""
    assert not VALIDATOR.is_valid({**ENVELOPE, **record})


def test_what_is_new_validates() -> None:
    """Another kind, another field: to be ignored."""
    assert VALIDATOR.is_valid({**ENVELOPE, "kind": "something.new", "x": 1})
    assert VALIDATOR.is_valid({**ENVELOPE, "kind": "flow.decision", "flow": "f", "new": [1]})
