"""A compressed body gives away no beginning of a secret either: pieces wait until it is plain what they were."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.gateway.echo import EchoGuard
from proxy.gateway.hello import MAX_RECORDS, read_hello
from proxy.model.errors import ProtocolError
from proxy.model.grant import Secret
from proxy.model.reason import Reason

PLANTED = "pl4nted-0123456789abcdef"
GZIP, ZLIB, RAW = zlib.MAX_WBITS + 16, zlib.MAX_WBITS, -zlib.MAX_WBITS


def flushed(words: list[bytes], window: int) -> list[bytes]:
    """Compress each word so that it can be read on its own."""
    engine = zlib.compressobj(wbits=window)
    pieces = [engine.compress(word) + engine.flush(zlib.Z_SYNC_FLUSH) for word in words]
    return [*pieces, engine.flush()]


def readable(pieces: list[bytes], window: int) -> bytes:
    return zlib.decompressobj(window).decompress(b"".join(pieces))


@pytest.mark.parametrize("window", [GZIP, ZLIB, RAW])
@pytest.mark.parametrize("size", [1, 2, 5, 23])
def test_no_beginning_of_a_secret_passes_compressed(window: int, size: int) -> None:
    """A secret flushed a few letters at a time is cut before its first letter, not after its last but one (C01)."""
    text = b"you sent " + PLANTED.encode()
    echo = EchoGuard((Secret(PLANTED),), "gzip" if window == GZIP else "deflate")
    out: list[bytes] = []

    with pytest.raises(ProtocolError) as caught:
        out.extend(echo.feed(piece) for piece in flushed([text[i : i + size] for i in range(0, 33, size)], window))

    assert caught.value.reason is Reason.CREDENTIAL_ECHO
    assert PLANTED[0].encode() not in readable(out, window)
    assert echo.hits == 1


@given(st.lists(st.sampled_from([b"pl4nted-", b"0123456789", b"pl4", b"x", b"pl4nted-01234"]), max_size=12))
def test_what_turns_out_harmless_passes_whole(words: list[bytes]) -> None:
    """Beginnings that lead nowhere are held for a while and then passed on, byte for byte and in order."""
    pieces = flushed(words, GZIP)
    echo = EchoGuard((Secret(PLANTED),), "gzip")
    out = [echo.feed(piece) for piece in pieces]
    assert b"".join([*out, echo.finish()]) == b"".join(pieces)
    assert echo.finish() == b""


@given(st.binary(max_size=2000), st.integers(1, 50))
def test_how_a_compressed_body_is_cut_never_matters(content: bytes, size: int) -> None:
    """What comes out at the end is what went in, however the network cut it."""
    body = gzip.compress(content, mtime=0)
    echo = EchoGuard((Secret(PLANTED),), "gzip")
    out = [echo.feed(body[at : at + size]) for at in range(0, len(body), size)]
    assert b"".join([*out, echo.finish()]) == body


def test_only_the_piece_in_question_waits() -> None:
    """Pieces before the one that may begin a secret are not held with it."""
    harmless, doubtful, _ = flushed([b"nothing here", b"and pl4"], GZIP)
    echo = EchoGuard((Secret(PLANTED),), "gzip")
    assert echo.feed(harmless) == harmless
    assert echo.feed(doubtful) == b""
    assert echo.finish() == doubtful


def test_a_body_that_says_nothing_for_ever_is_cut() -> None:
    """Empty blocks after the beginning of a secret would have to be held without end: they are not."""
    engine = zlib.compressobj(wbits=GZIP)
    echo = EchoGuard((Secret(PLANTED),), "gzip")
    echo.feed(engine.compress(b"pl4") + engine.flush(zlib.Z_SYNC_FLUSH))
    empty = b"\x00\x00\x00\xff\xff" * 40_000  # stored blocks of length nought
    passed: list[bytes] = []
    with pytest.raises(ProtocolError) as caught:
        passed.extend(echo.feed(empty) for _ in range(20))
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED
    assert b"".join(passed) == b""


def test_a_hello_in_too_many_records_is_refused_at_once() -> None:
    """One byte in each record would cost far more to join again and again than to send."""
    record = b"\x16\x03\x01\x00\x01"
    start = record + b"\x01" + record + b"\x00" + record + b"\x7f" + record + b"\x00"
    assert read_hello(start + (record + b"a") * (MAX_RECORDS - 4)) is None
    with pytest.raises(ProtocolError) as caught:
        read_hello(start + (record + b"a") * (MAX_RECORDS - 3))
    assert caught.value.reason is Reason.PROTOCOL_REFUSED
