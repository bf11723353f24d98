"""Where bodies end: one reading of every length, and the same payload however the bytes were cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.gateway.framing import (
    CHUNKED,
    EMPTY,
    UNTIL_CLOSE,
    ChunkedDecoder,
    Decoder,
    Framing,
    encode_chunk,
    end_chunks,
    frame_request,
    frame_response,
)
from proxy.model.errors import ProtocolError
from proxy.model.reason import Reason

AMBIGUOUS: list[tuple[list[str], list[str], str]] = [
    (["5"], ["chunked"], "1.1"),
    (["0"], ["chunked"], "1.1"),
    (["5", "5"], [], "1.1"),
    (["5", "6"], [], "1.1"),
    (["5, 5"], [], "1.1"),
    (["5,6"], [], "1.1"),
    (["+5"], [], "1.1"),
    (["-5"], [], "1.1"),
    (["05"], [], "1.1"),
    (["00"], [], "1.1"),
    (["0x5"], [], "1.1"),
    (["5.0"], [], "1.1"),
    (["5e1"], [], "1.1"),
    (["1_0"], [], "1.1"),
    (["5 5"], [], "1.1"),
    ([""], [], "1.1"),
    (["\u0665"], [], "1.1"),
    (["9" * 19], [], "1.1"),
    ([], ["gzip"], "1.1"),
    ([], ["identity"], "1.1"),
    ([], ["gzip, chunked"], "1.1"),
    ([], ["chunked, gzip"], "1.1"),
    ([], ["chunked, chunked"], "1.1"),
    ([], ["chunked", "chunked"], "1.1"),
    ([], ["xchunked"], "1.1"),
    ([], ["chunked;q=1"], "1.1"),
    ([], ["\x0bchunked"], "1.1"),
    ([], ["chunked "], "1.1"),
    ([], [""], "1.1"),
    ([], ["chunked"], "1.0"),
]


@pytest.mark.parametrize("lengths, codings, version", AMBIGUOUS)
def test_an_ambiguous_length_is_refused(lengths: list[str], codings: list[str], version: str) -> None:
    """Nothing that two parsers could frame differently is framed at all, in either direction."""
    with pytest.raises(ProtocolError) as caught:
        frame_request(lengths, codings, version)
    assert caught.value.reason is Reason.FRAMING_AMBIGUOUS
    with pytest.raises(ProtocolError):
        frame_response("GET", 200, lengths, codings, version)


@pytest.mark.parametrize(
    "lengths, codings, length", [([], [], 0), (["0"], [], 0), (["17"], [], 17), ([], ["Chunked"], CHUNKED)]
)
def test_a_plain_length_is_taken(lengths: list[str], codings: list[str], length: int) -> None:
    """No length means no request body; one plain number or `chunked` is taken."""
    assert frame_request(lengths, codings, "1.1").length == length


@pytest.mark.parametrize(
    "method, status, lengths, length",
    [
        ("GET", 200, [], UNTIL_CLOSE),
        ("GET", 200, ["3"], 3),
        ("HEAD", 200, ["3"], 0),
        ("GET", 204, [], 0),
        ("GET", 304, ["3"], 0),
        ("GET", 100, [], 0),
    ],
)
def test_a_response_is_framed_by_its_request_and_status(
    method: str, status: int, lengths: list[str], length: int
) -> None:
    """HEAD, 1xx, 204 and 304 have no body whatever they claim; no length means until close."""
    assert frame_response(method, status, lengths, [], "1.1").length == length


def drive(decoder: Decoder, wire: bytes, cuts: list[int]) -> tuple[bytes, bytes]:
    points = sorted({0, len(wire), *(cut % (len(wire) + 1) for cut in cuts)})
    payload, rest = b"", b""
    for start, stop in pairwise(points):
        if decoder.done:
            rest += wire[start:stop]
        else:
            payload += decoder.feed(wire[start:stop])
            rest = decoder.rest
    return payload, rest


@given(
    parts=st.lists(st.binary(min_size=1, max_size=70), max_size=6),
    cuts=st.lists(st.integers(0, 2000), max_size=12),
    after=st.binary(max_size=20),
    trailers=st.sampled_from([b"", b"a: b\r\n", b"a: b\r\nc:\r\n"]),
)
def test_chunked_reading_does_not_depend_on_cuts(
    parts: list[bytes], cuts: list[int], after: bytes, trailers: bytes
) -> None:
    """What we encode we decode, with trailers and what follows intact, wherever the network cuts it."""
    wire = b"".join(b"".join(encode_chunk(part)) for part in parts) + end_chunks(trailers) + after
    decoder = ChunkedDecoder()

    payload, rest = drive(decoder, wire, cuts)

    assert decoder.done
    assert payload == b"".join(parts)
    assert rest == after
    assert decoder.trailers == trailers


@given(body=st.binary(min_size=1, max_size=200), after=st.binary(max_size=20), cuts=st.lists(st.integers(0, 300)))
def test_counted_reading_does_not_depend_on_cuts(body: bytes, after: bytes, cuts: list[int]) -> None:
    """A counted body takes exactly its count."""
    assert drive(Framing(len(body)).decoder(), body + after, cuts) == (body, after)


@given(wire=st.binary(max_size=60), cuts=st.lists(st.integers(0, 60), max_size=6))
def test_arbitrary_bytes_read_the_same_whole_or_cut(wire: bytes, cuts: list[int]) -> None:
    """Malformed chunking is refused, or not, regardless of how it arrives."""

    def outcome(points: list[int]) -> object:
        decoder = ChunkedDecoder()
        try:
            return (drive(decoder, wire, points), decoder.done)
        except ProtocolError:
            return "refused"

    assert outcome(cuts) == outcome([]) == outcome(list(range(len(wire))))


BROKEN = [
    b"5;ext=1\r\nhello\r\n0\r\n\r\n",
    b"5 \r\nhello\r\n0\r\n\r\n",
    b" 5\r\nhello\r\n0\r\n\r\n",
    b"5\nhello\n0\n\n",
    b"5\r\nhello0\r\n\r\n",
    b"5\r\nhello!\r\n0\r\n\r\n",
    b"5\r\nhell\r\n0\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b"+5\r\nhello\r\n0\r\n\r\n",
    b"-1\r\n",
    b"\r\n",
    b"g\r\n",
    b"000000005\r\nhello",
    b"fffffffff\r\n",
    b"10000000000000005\r\nhello",
    b"5\r\rhello",
    b"5\rXhello",
    b"5\r\nhello\rX",
    b"5\r\nhello\n0\r\n\r\n",
    b"0\r\nbad trailer\r\n\r\n",
    b"0\r\na: b\nc: d\r\n\r\n",
    b"0\r\n folded: x\r\n\r\n",
    b"0\r\na: \x00\r\n\r\n",
    b"0\r\n" + b"a: b\r\n" * 4000 + b"\r\n",
    b"0\r\n" + b"a" * 20000,
]


@pytest.mark.parametrize("wire", BROKEN)
def test_broken_chunking_is_refused(wire: bytes) -> None:
    """Extensions, odd sizes, bare line ends and long or malformed trailers end the exchange."""
    with pytest.raises(ProtocolError) as caught:
        ChunkedDecoder().feed(wire)
    assert caught.value.reason is Reason.BODY_MALFORMED


@pytest.mark.parametrize("framing, is_fault", [(EMPTY, False), (Framing(3), True), (Framing(CHUNKED), True)])
def test_a_connection_that_ends_inside_a_body_is_a_fault(framing: Framing, *, is_fault: bool) -> None:
    """Only a body until close is completed by a close."""
    decoder = framing.decoder()
    if is_fault:
        with pytest.raises(ProtocolError):
            decoder.end()
    else:
        decoder.end()


def test_a_close_completes_a_body_until_close() -> None:
    """A close-delimited body is whole when the connection ends."""
    decoder = Framing(UNTIL_CLOSE).decoder()
    assert decoder.feed(b"abc") == b"abc"
    decoder.end()
    assert decoder.done


def test_an_empty_chunk_is_never_written() -> None:
    """An empty piece must not end the body early."""
    with pytest.raises(ValueError, match="ends the body"):
        encode_chunk(b"")
