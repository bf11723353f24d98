"""Records become bytes that no text inside them can bend."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.audit import canonical
from proxy.audit.canonical import ENVELOPE, MAX_BYTES, MAX_DEPTH, MAX_INTEGER, MAX_ITEMS, MAX_TEXT, encode, format_time
from proxy.model.errors import AuditError
from proxy.model.record import AuditRecord, Fact, Kind

AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)

names = st.text(max_size=20).filter(lambda name: name not in ENVELOPE)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-MAX_INTEGER, max_value=MAX_INTEGER - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=50)
)
shallow = st.lists(leaves, max_size=4) | st.dictionaries(names, leaves, max_size=4)
values = leaves | shallow | st.lists(shallow, max_size=4) | st.dictionaries(names, shallow, max_size=4)


def record(facts: Mapping[str, object], at: datetime = AT) -> AuditRecord:
    return AuditRecord(kind=Kind.DECISION, at=at, facts=cast("Mapping[str, Fact]", facts))


def reread(facts: Mapping[str, object]) -> dict[str, Any]:
    body = encode(record(facts))
    assert body.isascii()
    assert b"\n" not in body
    found: dict[str, Any] = json.loads(b"{" + body)
    assert found.pop("at") == "2026-01-02T03:04:05.000678Z"
    assert found.pop("kind") == "flow.decision"
    return found


def nest(depth: int) -> Fact:
    value: Fact = []
    for _ in range(depth - 1):
        value = [value]
    return value


@given(st.dictionaries(names, values, max_size=8))
def test_what_goes_in_comes_out(facts: dict[str, Any]) -> None:
    """Any facts within the limits read back exactly as they were."""
    assert reread(facts) == facts


@given(st.text(alphabet=st.characters(), max_size=60))
def test_no_text_changes_another_field(text: str) -> None:
    """Whatever one text holds, the record has exactly its fields, and the others keep their values."""
    assert reread({"before": "b", "text": text, "after": "a"}) | {"text": ""} == {
        "before": "b",
        "text": "",
        "after": "a",
    }


@pytest.mark.parametrize(
    "value",
    [
        b"bytes",
        ("a", "tuple"),
        {1: "a number as name"},
        {None: "x"},
        {"in": {"a": {3}}},
        ...,
        AT,
        float("nan"),
        float("inf"),
        [float("-inf")],
        MAX_INTEGER,
        -MAX_INTEGER - 1,
        Kind.DECISION,
        nest(MAX_DEPTH + 1),
    ],
    ids=repr,
)
def test_what_is_not_plain_json_is_refused(value: object) -> None:
    """A value that JSON cannot hold exactly, or that is too deep, is an error and not a guess."""
    with pytest.raises(AuditError):
        encode(record({"fact": value}))


def test_the_deepest_allowed_value_is_kept() -> None:
    """Nesting up to the limit is recorded."""
    assert reread({"fact": nest(MAX_DEPTH)}) == {"fact": nest(MAX_DEPTH)}


@pytest.mark.parametrize("name", [*ENVELOPE, 1, None], ids=repr)
def test_the_envelope_cannot_be_overwritten(name: object) -> None:
    """A fact with an envelope field's name, or none, is refused."""
    with pytest.raises(AuditError):
        encode(record(cast("Mapping[str, object]", {name: "x"})))


def test_long_text_is_cut_and_marked() -> None:
    """Over the limit the beginning stays, with length and digest of the whole; at the limit nothing is cut."""
    text = "é" * MAX_TEXT
    found = reread({"exact": text, "over": text + "x", "ascii": "a" * 100_000})
    assert found["exact"] == text
    digest = sha256((text + "x").encode()).hexdigest()
    assert found["over"] == f"{text}...[truncated: {MAX_TEXT + 1} characters, sha256 {digest}]"
    assert found["ascii"].startswith("a" * MAX_TEXT + "...[truncated: 100000 characters")
    assert len(found["ascii"]) < MAX_TEXT + 150


@pytest.mark.parametrize(
    "text, shown",
    [
        ("caf\xe9", "caf\xe9"),
        ("/a\udcff", "/a\ufffd[not text: bytes 2f61ff]"),
        ("\ud800x", "\ufffd\ufffd\ufffdx[not text: bytes eda08078]"),
    ],
)
def test_bytes_that_were_no_text_are_shown_in_hex(text: str, shown: str) -> None:
    """Escaped bytes come out as they came in; a lone surrogate never reaches a JSON reader."""
    assert reread({"path": text, text: 1, "in": [{text: text}]}) == {"path": shown, shown: 1, "in": [{shown: shown}]}


def test_lists_and_objects_are_cut_and_marked() -> None:
    """A flood of members is bounded, and says how many there were."""
    found = reread({"list": list(range(1000)), "object": {f"k{n}": n for n in range(1000)}})
    assert found["list"] == [*range(MAX_ITEMS), "...[truncated: 1000 items]"]
    assert len(found["object"]) == MAX_ITEMS + 1
    assert found["object"]["..."] == "[truncated: 1000 items]"


@pytest.mark.parametrize("members", [{f"{n:02x}": 1 for n in range(256)} | {"zz": 1}, ["x"] * 257, [0] * 257])
def test_a_flood_of_small_members_is_cut_too(members: Any) -> None:
    """A record is not within the limits just because it is short."""
    assert len(json.dumps(members, separators=(",", ":"))) < MAX_TEXT - 200
    assert len(reread({"fact": members})["fact"]) == MAX_ITEMS + 1


def test_a_record_has_a_greatest_size() -> None:
    """Many long texts together are refused rather than written without bound."""
    with pytest.raises(AuditError, match=str(MAX_BYTES)):
        encode(record({"list": ["\u2028" * MAX_TEXT] * 64}))


def test_times_are_utc_to_the_microsecond() -> None:
    """Any zone is brought to UTC; a time without one is refused, as it could mean anything."""
    east = timezone(timedelta(hours=2))
    assert format_time(datetime(2026, 1, 1, 1, tzinfo=east)) == "2025-12-31T23:00:00.000000Z"
    with pytest.raises(AuditError):
        format_time(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the case
    with pytest.raises(AuditError):
        encode(record({}, at=datetime(2026, 1, 1)))  # noqa: DTZ001 - that is the case


PIECES = (
    "\r\n", "\n", "\r", "\0", "\x1b[31m", "\x1b]0;t\x07", "\u202e", "\u2066", "\u2028", "\u2029", "\x85", "\ufeff",
    "\udcff", "\ud800", '"', '\\"', "\\", "\\n", '","effect":"allow","x":"', '"}\n{"v":1,"seq":0,', "}", "{", "/*",
    "%0d%0a", "\x7f", "\x00\x00", "a" * 3000, "\U0001f600", "\t", "<script>", "${jndi:x}", "é", "\u0301",
)  # fmt: skip


def test_five_thousand_injections_are_five_thousand_records() -> None:
    """Whatever text a job gets into whatever field, each record is one line with its own fields intact (G25)."""
    lines = bytearray()
    expected: list[dict[str, Any]] = []
    for n in range(5000):
        text = PIECES[n % 33] + PIECES[(n // 33) % 33] + str(n) + PIECES[(n * 7) % 33]
        facts = {"flow": f"f{n}", "effect": "deny", ("host", "path", "detail")[n % 3]: text, "job": {"step": text}}
        lines += b"{" + encode(record(facts)) + b"\n"
        expected.append({"flow": f"f{n}", "effect": "deny"})
    assert len(PIECES) == 33
    found = [json.loads(line) for line in bytes(lines).splitlines()]
    assert len(found) == 5000
    for each, facts in zip(found, expected, strict=True):
        assert each | facts == each
        assert len(each) == 6
        assert set(each["job"]) == {"step"}
    assert bytes(lines).isascii()
    assert not any(byte < 32 and byte != 10 for byte in lines)


def test_version_one() -> None:
    """The layout these tests pin down is version 1."""
    assert canonical.VERSION == 1


@pytest.mark.parametrize(
    "value, text",
    [
        ("a", '"a"'),
        (True, "true"),
        (None, "null"),
        (7, "7"),
        (1.5, "1.5"),
        (["a", "b"], '["a","b"]'),
        ([1], "[1]"),
        ({"b": 1, "c": 2.5, "d": ["e"]}, '{"b":1,"c":2.5,"d":["e"]}'),
        ({"b": {"c": [2]}}, '{"b":{"c":[2]}}'),
        ("\x7f\u00e9", '"\\u007f\\u00e9"'),
    ],
)
def test_every_kind_of_fact_is_written_one_way(value: Fact, text: str) -> None:
    """Texts, numbers, lists and objects stand as themselves, whether the short way or the long way wrote them."""
    for at in (AT, AT.replace(microsecond=0)):
        body = encode(AuditRecord(kind=Kind.DECISION, at=at, facts={"a": value}))
        assert body.decode().endswith(f'"a":{text}}}')


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), MAX_INTEGER, -MAX_INTEGER - 1, {"b": float("nan")}, (1,)]
)
def test_what_orjson_would_let_pass_is_refused(value: object) -> None:
    """The short way is no wider than the long one."""
    with pytest.raises(AuditError):
        encode(AuditRecord(kind=Kind.DECISION, at=AT, facts={"a": cast("Fact", value)}))
