"""Answers are collected within a limit, however they come; what cannot be read whole is not handed on."""

import gzip
import zlib

import pytest

from proxy.engine.answers import AnswerCollector

LIMIT = 1000
ANSWER = b"an answer " * 50


def collected(pieces: list[bytes], coding: str | None, *, is_prefix_enough: bool = False) -> list[bytes]:
    found: list[bytes] = []
    reader = AnswerCollector(coding, LIMIT, found.append, is_prefix_enough=is_prefix_enough)
    for piece in pieces:
        reader.feed(piece)
    reader.finish()
    return found


@pytest.mark.parametrize(
    "body, coding",
    [
        (ANSWER, None),
        (ANSWER, "identity"),
        (gzip.compress(ANSWER, mtime=0), "gzip"),
        (gzip.compress(ANSWER, mtime=0), " X-GZIP "),
        (zlib.compress(ANSWER), "deflate"),
    ],
)
def test_an_answer_is_read_however_it_comes(body: bytes, coding: str | None) -> None:
    """In one piece or byte by byte, plain or compressed."""
    assert collected([body], coding) == [ANSWER]
    assert collected([bytes([each]) for each in body], coding) == [ANSWER]


@pytest.mark.parametrize(
    "body, coding",
    [
        (ANSWER, "br"),
        (ANSWER, "gzip, gzip"),
        (ANSWER, "gzip"),
        (gzip.compress(ANSWER, mtime=0)[:-1], "gzip"),
        (b" " * LIMIT + ANSWER, None),
        (gzip.compress(b" " * (LIMIT + 1) + ANSWER, mtime=0), "gzip"),
    ],
)
def test_what_cannot_be_read_is_not_handed_on(body: bytes, coding: str | None) -> None:
    """Unknown or false codings, cut streams, and answers beyond the limit, compressed ones too."""
    assert collected([body, b"", b""], coding) == []


@pytest.mark.parametrize("coding", [None, "gzip"])
def test_the_beginning_is_handed_on_where_it_is_enough(coding: str | None) -> None:
    """Of an answer of any length, so much as the limit says."""
    body = b"x" * 10 * LIMIT
    sent = gzip.compress(body, mtime=0) if coding else body
    pieces = [sent[at : at + 7] for at in range(0, len(sent), 7)]
    assert collected(pieces, coding, is_prefix_enough=True) == [b"x" * LIMIT]
