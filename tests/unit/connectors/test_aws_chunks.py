"""Each chunk is verified as the placeholder signed it, and signed again; of a chunk that is not, nothing leaves."""

import hashlib
import itertools
from collections.abc import Iterable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.connectors.aws_chunks import MAX_CHUNK, ChunkResigner
from proxy.connectors.sigv4 import Seal, Verified
from proxy.model.errors import ProtocolError
from proxy.model.grant import Secret
from proxy.model.reason import Reason
from tests.fakes.aws_chunked import Chain, derive

STAMP = "20130524T000000Z"
THEIRS, OURS = "0" * 64, "1" * 64
CRC = b"x-amz-checksum-crc32c:sOO8/Q=="


def seal(secret: str) -> Seal:
    return Seal(Secret(secret), STAMP, "eu-west-1", "s3")


def chain(secret: str) -> Chain:
    return Chain(key=derive(secret, STAMP[:8], "eu-west-1", "s3"), stamp=STAMP)


def resigner(length: int, *, has_trailer: bool = False) -> ChunkResigner:
    return ChunkResigner(
        Verified(seal("theirs"), THEIRS), Verified(seal("ours"), OURS), decoded_length=length, has_trailer=has_trailer
    )


def run(made: ChunkResigner, wire: bytes, cuts: Iterable[int] = ()) -> bytes:
    edges = [0, *sorted(cut % (len(wire) + 1) for cut in cuts), len(wire)]
    pieces = [wire[begin:end] for begin, end in itertools.pairwise(edges)]
    return b"".join(made.feed(piece) for piece in pieces[:-1]) + made.feed_last(pieces[-1])


def test_the_documented_example() -> None:
    """The chain of the S3 API Reference's own example is verified, and made again with the same key, to the letter."""
    example = Seal(Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), STAMP, "us-east-1", "s3")
    first = Verified(example, "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9")
    wire = (
        b"10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n"
        + b"a" * 65536
        + b"\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n"
        + b"a" * 1024
        + b"\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n"
    )
    assert run(ChunkResigner(first, first, decoded_length=66560, has_trailer=False), wire) == wire


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=300), max_size=5),
    trailers=st.sampled_from([[], [CRC], [CRC, b"x-amz-meta:b"]]),
    cuts=st.lists(st.integers(0, 3000), max_size=8),
)
def test_every_chunk_is_signed_again(pieces: list[bytes], trailers: list[bytes], cuts: list[int]) -> None:
    """However the body is cut on its way, what leaves is the same object under our chain, byte for byte as long."""
    wire = chain("theirs").encode(THEIRS, pieces, trailers)
    made = resigner(sum(map(len, pieces)), has_trailer=bool(trailers))

    sent = run(made, wire, cuts)

    assert sent == chain("ours").encode(OURS, pieces, trailers)
    assert len(sent) == len(wire)


def test_one_chunk_is_held_at_a_time() -> None:
    """A chunk leaves as soon as it is whole, and none of it before."""
    made = resigner(2000)
    wire = chain("theirs").encode(THEIRS, [b"a" * 1000, b"b" * 1000])
    at = wire.index(b"\r\n", 200) + 2

    assert made.feed(wire[: at - 1]) == b""
    assert made.feed(wire[at - 1 : at]).endswith(b"a\r\n")
    made.feed(wire[at:])
    assert made.finish() == b""


def test_a_trailer_may_end_its_lines_twice() -> None:
    """The documentation's example puts a line feed before CRLF; the field is the same and so is its signature."""
    wire = chain("theirs").encode(THEIRS, [b"x"], [CRC]).replace(CRC + b"\r\n", CRC + b"\n\r\n")
    expected = chain("ours").encode(OURS, [b"x"], [CRC]).replace(CRC + b"\r\n", CRC + b"\n\r\n")
    assert run(resigner(1, has_trailer=True), wire) == expected


WIRE = chain("theirs").encode(THEIRS, [b"hello", b"world"])
TRAILED = chain("theirs").encode(THEIRS, [b"hello"], [CRC])
SHORT = partial(resigner, 10)
WITH_TRAILER = partial(resigner, 5, has_trailer=True)


@pytest.mark.parametrize(
    "make, wire",
    [
        pytest.param(SHORT, WIRE.replace(b"hello", b"jello"), id="data-changed"),
        pytest.param(SHORT, WIRE.replace(b"world", b"World"), id="second-chunk-changed"),
        pytest.param(SHORT, chain("other").encode(THEIRS, [b"hello", b"world"]), id="other-key"),
        pytest.param(SHORT, chain("theirs").encode(OURS, [b"hello", b"world"]), id="other-request"),
        pytest.param(SHORT, chain("theirs").encode(THEIRS, [b"world", b"hello"])[:200] + WIRE[200:], id="mixed"),
        pytest.param(SHORT, WIRE[:-1], id="cut"),
        pytest.param(SHORT, WIRE[:40], id="cut-in-a-head"),
        pytest.param(SHORT, WIRE[:95], id="cut-in-a-chunk"),
        pytest.param(SHORT, b"", id="empty"),
        pytest.param(SHORT, WIRE + b"x", id="more-after-the-end"),
        pytest.param(SHORT, WIRE.replace(b"5;", b"6;", 1), id="size-too-large"),
        pytest.param(SHORT, WIRE.replace(b"5;", b"4;", 1), id="size-too-small"),
        pytest.param(SHORT, WIRE.replace(b"5;", b"-5;", 1), id="size-negative"),
        pytest.param(SHORT, WIRE.replace(b"5;", b"0x5;", 1), id="size-of-another-kind"),
        pytest.param(SHORT, WIRE.replace(b"5;", b";", 1), id="no-size"),
        pytest.param(SHORT, WIRE.replace(b"5;chunk", b"5;x=y;chunk", 1), id="another-extension"),
        pytest.param(SHORT, WIRE.replace(b"chunk-signature=", b"chunk-signature="[:-1], 1), id="no-signature"),
        pytest.param(SHORT, b"a" * 200, id="no-head"),
        pytest.param(SHORT, b"\r\n" + WIRE, id="empty-line-first"),
        pytest.param(partial(resigner, 9), WIRE, id="longer-than-said"),
        pytest.param(partial(resigner, 11), WIRE, id="shorter-than-said"),
        pytest.param(WITH_TRAILER, chain("theirs").encode(THEIRS, [b"hello"]), id="no-trailer"),
        pytest.param(partial(resigner, 5), TRAILED, id="trailer-unasked"),
        pytest.param(WITH_TRAILER, TRAILED.replace(b"sOO8", b"xxxx"), id="trailer-changed"),
        pytest.param(WITH_TRAILER, TRAILED.replace(CRC, b"no field"), id="trailer-no-field"),
        pytest.param(WITH_TRAILER, TRAILED.replace(CRC, CRC + b"\r\n" + CRC), id="trailer-twice"),
        pytest.param(WITH_TRAILER, TRAILED.replace(CRC + b"\r\n", b""), id="trailer-empty"),
        pytest.param(WITH_TRAILER, TRAILED.replace(b"trailer-signature", b"trailer-signatures"), id="no-last"),
        pytest.param(WITH_TRAILER, TRAILED.replace(b"\r\n\r\n", b""), id="trailer-cut"),
        pytest.param(WITH_TRAILER, TRAILED.replace(CRC, CRC + b"a" * 9000), id="trailer-too-long"),
        pytest.param(WITH_TRAILER, TRAILED.replace(b"\r\n\r\n", b"a" * 9000), id="trailer-without-end"),
    ],
)
def test_what_is_not_signed_so_is_broken_off(make: partial[ChunkResigner], wire: bytes) -> None:
    """A changed, moved, cut or foreign chunk, whole or byte by byte, ends the upload before it is passed on."""
    for cuts in ((), range(len(wire))):
        with pytest.raises(ProtocolError) as caught:
            run(make(), wire, cuts)
        assert caught.value.reason is Reason.SIGNING_BROKEN


def test_a_chunk_is_not_held_without_limit() -> None:
    """One chunk of a whole upload would be as much memory as the upload."""
    with pytest.raises(ProtocolError) as caught:
        resigner(MAX_CHUNK + 1).feed(f"{MAX_CHUNK + 1:x};chunk-signature={'0' * 64}\r\n".encode())
    assert caught.value.reason is Reason.BODY_TOO_LARGE
    digest = hashlib.sha256(bytes(MAX_CHUNK)).hexdigest()
    signed = seal("theirs").sign("AWS4-HMAC-SHA256-PAYLOAD", THEIRS, hashlib.sha256(b"").hexdigest(), digest)
    assert resigner(MAX_CHUNK).feed(f"{MAX_CHUNK:x};chunk-signature={signed}\r\n".encode() + bytes(MAX_CHUNK) + b"\r\n")
