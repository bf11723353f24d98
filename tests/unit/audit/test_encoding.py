"""Tags come before sealing: a record's class is one of its tags."""

from datetime import UTC, datetime

from proxy.audit.canonical import encode
from proxy.audit.encoding import Encoding
from proxy.audit.sealing import DataKey, Sealer, SealPlan
from proxy.audit.tagging import Tagger
from proxy.model.record import AuditRecord, Kind

AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
RECORD = AuditRecord(kind=Kind.DECISION, at=AT, facts={"flow": "f1", "path": "/a"})


def make_key(secret: bytes = b"1" * 32) -> DataKey:
    return DataKey(classification="internal", recipients=("age1x",), wrapped=b"wrapped" + secret, secret=secret)


def test_by_default_a_record_is_its_canonical_bytes() -> None:
    """No tags, no sealing, nothing before a segment's first record."""
    assert Encoding().encode(RECORD) == encode(RECORD)
    assert Encoding().preface(AT) == []


def test_an_operators_tag_may_choose_the_class() -> None:
    """A record is sealed by the tags it is given, not only by those it came with."""
    encoding = Encoding(Tagger({"c": "internal"}), Sealer(SealPlan(tag="c"), [make_key()]))
    body = encoding.encode(RECORD)
    assert b'"tags":{"c":"internal"},"sealed":{"class":"internal"' in body
    assert [each.kind for each in encoding.preface(AT)] == [Kind.KEY_SEALED]


def test_a_key_is_turned_by_saying_so() -> None:
    """The announcement of a new key is what must be queued before the next record."""
    encoding = Encoding(sealer=Sealer(SealPlan(tag="c", default="internal"), [make_key()]))
    fresh = make_key(b"2" * 32)
    assert encoding.turn_key(fresh, AT).facts["key"] == fresh.id
    assert fresh.id.encode() in encoding.encode(RECORD)
