"""What is sealed opens with its key only, says what it said, and cannot be moved; the rest stays readable."""

import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.audit.canonical import encode
from proxy.audit.chain import BEGINNING, link, read_record
from proxy.audit.sealing import (
    CLEAR,
    DataKey,
    Sealer,
    SealPlan,
    announcement,
    key_id,
    read_announcement,
    sealed_with,
    unseal,
)
from proxy.model.errors import AuditError
from proxy.model.record import AuditRecord, Kind

AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
KEY = DataKey(classification="internal", recipients=("age1x",), wrapped=b"wrapped one", secret=b"1" * 32)
OTHER = DataKey(classification="restricted", recipients=("kms:k",), wrapped=b"wrapped two", secret=b"2" * 32)
PLAN = SealPlan(tag="classification", default="internal", clear=frozenset({"host"}))


def record(kind: Kind = Kind.DECISION, **facts: Any) -> AuditRecord:
    return AuditRecord(kind=kind, at=AT, facts=facts)


def line_of(body: bytes) -> bytes:
    return link(BEGINNING, body)[0]


def sealed(sealer: Sealer, given: AuditRecord) -> tuple[bytes, dict[str, Any]]:
    line = line_of(sealer.encode(given))
    return line, read_record(line)


def test_private_facts_are_ciphertext_and_the_rest_is_readable() -> None:
    """Enough stays in the clear to join, count, route and keep; what else there was opens with the key."""
    sealer = Sealer(PLAN, [KEY, OTHER])
    facts = {"flow": "f1", "effect": "allow", "host": "db", "path": "/people", "job": {"pipeline": "web"}, "tags": {}}
    line, read = sealed(sealer, record(Kind.DECISION, **facts))

    assert list(read) == ["v", "seq", "prev", "at", "kind", "flow", "effect", "host", "tags", "sealed"]
    assert b"people" not in line
    assert read["sealed"]["class"] == "internal"
    assert sealed_with(read) == KEY.id
    opened = unseal(line, read, KEY.secret)
    assert (
        opened
        == {"v": 1, "seq": 0, "prev": "0" * 64, "at": "2026-01-02T03:04:05.000006Z", "kind": "flow.decision"} | facts
    )


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=9).filter(lambda name: name not in {*CLEAR, "v", "seq", "prev", "at", "kind"}),
        st.text(max_size=40),
        min_size=1,
        max_size=5,
    )
)
def test_any_fact_comes_back_as_it_would_have_been_written(facts: dict[str, str]) -> None:
    """Sealed and opened is the same as never sealed, whatever a job says, also `,"sealed":{` in a tag."""
    sealer = Sealer(SealPlan(tag="classification", default="internal"), [KEY])
    given_record = record(Kind.DECISION, tags={',"sealed":{': ',"sealed":{"class":"x"}'}, **facts)
    line, read = sealed(sealer, given_record)
    assert unseal(line, read, KEY.secret) == read_record(line_of(encode(given_record)))


def test_a_tag_chooses_the_class() -> None:
    """The class of a record is the value of its tag; without one the default's."""
    sealer = Sealer(PLAN, [KEY, OTHER])
    _, read = sealed(sealer, record(path="/", tags={"classification": "restricted"}))
    assert sealed_with(read) == OTHER.id


def test_without_class_and_default_a_record_stays_clear() -> None:
    """Only what somebody classified is sealed, where nobody set a default."""
    sealer = Sealer(SealPlan(tag="classification"), [KEY])
    given_record = record(path="/", tags={"team": "a"})
    assert sealer.encode(given_record) == encode(given_record)


def test_what_verify_needs_is_never_sealed() -> None:
    """A stranger verifies a sealed trail, and the next start mends it: their records stay readable."""
    sealer = Sealer(PLAN, [KEY])
    for kind in (Kind.TRAIL_OPENED, Kind.TRAIL_REPAIRED, Kind.TRAIL_CLOSED, Kind.KEY_SEALED):
        given_record = record(kind, after="trail-000000000000.jsonl", kept=1)
        assert sealer.encode(given_record) == encode(given_record)


def test_with_nothing_private_there_is_nothing_to_seal() -> None:
    """A record of clear facts only is written as it is."""
    assert b"sealed" not in Sealer(PLAN, [KEY]).encode(record(flow="f1", effect="deny"))


def test_a_class_without_a_key_is_not_written_in_the_clear() -> None:
    """A mistyped class denies; it neither exposes nor goes to another class's readers."""
    with pytest.raises(AuditError, match=r"class 'restrictd', which has no key: the classes are internal"):
        Sealer(PLAN, [KEY]).encode(record(path="/", tags={"classification": "restrictd"}))


def test_nothing_sealed_can_be_moved_or_altered() -> None:
    """The clear part is bound to the sealed one: another flow, effect, time or bit, and it does not open."""
    sealer = Sealer(PLAN, [KEY])
    line, read = sealed(sealer, record(flow="f1", effect="deny", path="/a"))
    for changed in (
        line.replace(b"f1", b"f2"),
        line.replace(b"deny", b"allow"),
        line.replace(b"05.000006", b"05.000007"),
    ):
        assert changed != line
        with pytest.raises(AuditError, match="does not open"):
            unseal(changed, read_record(changed), KEY.secret)
    with pytest.raises(AuditError, match="does not open"):
        unseal(line, read, OTHER.secret)
    for data in ("", "AA==", "no base64!", None, b64encode(b"x" * 40).decode()):
        with pytest.raises(AuditError, match="does not open"):
            unseal(line, read | {"sealed": {"data": data}}, KEY.secret)
    with pytest.raises(AuditError, match="does not open"):
        unseal(line, read | {"sealed": None}, KEY.secret)


def test_equal_records_have_unequal_ciphertext() -> None:
    """No nonce comes twice under one key, so equal facts do not show as equal."""
    sealer = Sealer(PLAN, [KEY])
    found = {sealed(sealer, record(path="/"))[1]["sealed"]["data"] for _ in range(100)}
    assert len(found) == 100


def test_a_turned_key_seals_what_comes_and_the_former_is_still_announced() -> None:
    """A segment begins with the keys of all that may stand in it: those in use, and the former of what still waited."""
    sealer = Sealer(PLAN, [KEY, OTHER])
    fresh = DataKey(classification="internal", recipients=("age1x",), wrapped=b"wrapped three", secret=b"3" * 32)
    sealer.use(fresh)
    assert sealed_with(sealed(sealer, record(path="/"))[1]) == fresh.id
    assert [each.facts["key"] for each in sealer.preface(AT)] == [KEY.id, fresh.id, OTHER.id]


def test_a_key_on_record_is_wrapped() -> None:
    """The announcement has what its recipients open, and neither it nor a repr has the key."""
    made = announcement(KEY, AT)
    assert made.kind is Kind.KEY_SEALED
    assert made.facts["recipients"] == ["age1x"]
    assert made.facts["class"] == "internal"
    assert read_announcement(json.loads(b"{" + encode(made))) == (KEY.id, b"wrapped one")
    assert "111111" not in repr(KEY) + repr(made)


@pytest.mark.parametrize(
    "facts, message",
    [
        ({}, "cannot be read"),
        ({"wrapped": 7}, "cannot be read"),
        ({"wrapped": "?"}, "cannot be read"),
        ({"wrapped": "AA==", "key": key_id(b"other")}, "not its own"),
    ],
)
def test_a_strange_announcement_is_an_error(facts: dict[str, Any], message: str) -> None:
    """What is no sealed key of ours is not tried."""
    with pytest.raises(AuditError, match=message):
        read_announcement(facts)


def test_most_records_are_not_sealed() -> None:
    """Without `sealed`, no key is named."""
    assert sealed_with({"flow": "f1"}) is None
