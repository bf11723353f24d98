"""Lines hold on to each other."""

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.audit.chain import (
    BEGINNING,
    NO_DIGEST,
    Envelope,
    Head,
    is_torn,
    link,
    read_envelope,
    read_record,
    verify_link,
)
from proxy.model.errors import AuditError

BODY = b'"at":"2026-01-02T03:04:05.000000Z","kind":"flow.outcome","flow":"f1"}'


def chain(length: int) -> list[bytes]:
    head, lines = BEGINNING, []
    for n in range(length):
        line, head = link(head, BODY[:-1] + b',"n":%d}' % n)
        lines.append(line)
    return lines


def test_a_line_names_the_digest_of_the_one_before() -> None:
    """`prev` is the SHA-256 of the previous line with its newline; the first has zeros."""
    first, second = chain(2)
    assert json.loads(first)["prev"] == NO_DIGEST
    assert json.loads(second)["prev"] == sha256(first).hexdigest()
    assert list(json.loads(second))[:5] == ["v", "seq", "prev", "at", "kind"]
    assert json.loads(second)["seq"] == 1


def test_a_chain_verifies_link_by_link() -> None:
    """What link makes, verify_link accepts, and both come to the same head."""
    head = walked = BEGINNING
    for n in range(5):
        line, head = link(head, BODY[:-1] + b',"n":%d}' % n)
        walked = verify_link(walked, line)
    assert walked == head == Head(5, head.digest)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_any_changed_byte_is_noticed(where: int, change: int) -> None:
    """One altered byte anywhere breaks the altered line's own link or the next one's."""
    first, second, third = chain(3)
    at = where % len(second)
    altered = second[:at] + bytes([second[at] ^ change]) + second[at + 1 :]
    head = verify_link(BEGINNING, first)
    with pytest.raises(AuditError):
        verify_link(verify_link(head, altered), third)


@pytest.mark.parametrize(
    "line, message",
    [
        (b"", "not a record"),
        (b"{}\n", "not a record"),
        (chain(2)[1], "record 0 expected, 1 found"),
        (chain(1)[0].replace(NO_DIGEST.encode(), b"1" * 64), "altered"),
        (chain(1)[0][:-1], "torn"),
        (chain(1)[0].replace(b'"seq":0', b'"seq":00'), "not a record"),
        (chain(1)[0].replace(b'"seq":0', b'"seq": 0'), "not a record"),
    ],
)
def test_what_does_not_follow_is_refused(line: bytes, message: str) -> None:
    """Each way of not following the head is an error that says which."""
    with pytest.raises(AuditError, match=message):
        verify_link(BEGINNING, line)


def test_the_envelope_is_read_without_the_rest() -> None:
    """The fields in front are read from their place, whatever the facts look like."""
    line, _ = link(BEGINNING, BODY[:-1] + b',"x":{"kind":"trail.opened"}}')
    assert read_envelope(line) == Envelope(1, 0, NO_DIGEST, "2026-01-02T03:04:05.000000Z", "flow.outcome")


@pytest.mark.parametrize(
    "line, message",
    [
        (chain(1)[0].replace(b'"v":1', b'"v":2'), "another version"),
        (chain(1)[0][:-1], "torn"),
        (chain(1)[0][:-3] + b"\xff}\n", "torn"),
        (chain(1)[0][:-2] + b",}\n", "not a record"),
        (chain(1)[0][:-2] + b',"x":' + b"[" * 100_000 + b"}\n", "not a record"),
        (b"[]\n", "not a record"),
    ],
)
def test_a_line_in_another_form_is_no_record(line: bytes, message: str) -> None:
    """What we did not write so is refused, however deep or broken."""
    with pytest.raises(AuditError, match=message):
        read_record(line)


def test_a_record_is_read_whole() -> None:
    """Envelope and facts come back as one mapping."""
    assert read_record(chain(1)[0])["flow"] == "f1"


@pytest.mark.parametrize("line, torn", [(b"x\n", False), (b"x", True), (b"", True), (b"a\0b\n", True)])
def test_a_write_cut_short_is_recognised(line: bytes, torn: object) -> None:
    """No newline, or NUL where a block never arrived."""
    assert is_torn(line) is torn
