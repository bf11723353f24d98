"""Uploads whose every chunk is signed, through a running sidecar to an S3 that checks each of them."""

import itertools
from collections.abc import Iterator

import pytest

from proxy.connectors.placeholders import AWS_KEY, AWS_SECRET
from tests.fakes.aws_chunked import TRAILER, chunked_put
from tests.fakes.aws_stage import S3, STS, AwsStage, aws_rule
from tests.fakes.raw import RawClient, Reply

CRC = b"x-amz-checksum-crc32c:sOO8/Q=="
MIB = bytes(range(256)) * 4096


@pytest.fixture(scope="module")
def aws_stage() -> Iterator[AwsStage]:
    made = AwsStage((S3, STS))
    made.world.rules = [aws_rule("plain"), {**aws_rule("meant"), "intent": "aws s3:PutObject arn:aws:s3:::releases/**"}]
    made.start()
    yield made
    made.stop()


@pytest.fixture
def stage(aws_stage: AwsStage) -> Iterator[AwsStage]:
    yield aws_stage
    aws_stage.settle()


def put(stage: AwsStage, head: bytes, body: bytes, cut: int = 1 << 16) -> Reply:
    with RawClient(stage.world, stage.open()) as client:
        client.tunnel(S3)
        client.send(head)
        for piece in itertools.batched(body, cut, strict=False):
            client.send(bytes(piece))
        return client.reply("PUT")


def signed(target: str, *pieces: bytes, trailers: tuple[bytes, ...] = (), key: str = AWS_KEY) -> tuple[bytes, bytes]:
    return chunked_put(S3, target, pieces, key_id=key, secret=AWS_SECRET.reveal(), trailers=trailers)


@pytest.mark.parametrize("folder", ["plain", "meant"])
@pytest.mark.parametrize("trailers", [(), (CRC,)], ids=["payload", "trailer"])
@pytest.mark.parametrize(
    "pieces", [(b"hello",), (b"a" * 65536, b"b" * 10), (), (MIB, MIB, b"end")], ids=["one", "two", "empty", "large"]
)
def test_an_upload_arrives_signed_by_the_jobs_key(
    stage: AwsStage, folder: str, trailers: tuple[bytes, ...], pieces: tuple[bytes, ...]
) -> None:
    """S3 gets the object it was sent, every chunk and the trailer signed with the key that was minted for the job."""
    target = f"/{folder}/{len(trailers)}{len(pieces)}"
    head, body = signed(target, *pieces, trailers=trailers)

    answer = put(stage, head, body)

    assert (answer.status, answer.denial) == (200, {})
    assert stage.sts.stored[f"releases{target}"] == b"".join(pieces)
    (wire,) = stage.reached(target)
    assert AWS_KEY.encode() not in wire.values(b"authorization")[0]
    assert len(wire.body) == len(body)
    flow = stage.world.ended(path=target)
    assert (flow.effect, flow.reason, flow.status) == ("allow", "allowed", 200)
    assert stage.leaks() == []


def test_an_upload_in_small_pieces(stage: AwsStage) -> None:
    """However its bytes come in, an upload is the same upload."""
    head, body = signed("/plain/pieces", b"x" * 700, b"y" * 300, trailers=(CRC,))
    assert put(stage, head, body, cut=7).status == 200
    assert stage.sts.stored["releases/plain/pieces"] == b"x" * 700 + b"y" * 300


HEAD, BODY = signed("/plain/evil", b"hello", b"world")
REFUSED_AT_ONCE = [
    pytest.param(*signed("/plain/evil", b"x", key="AKIAJOBSOWN"), "signing-unsupported", id="the-jobs-own-key"),
    pytest.param(HEAD.replace(b"/evil", b"/eviL"), BODY, "signing-broken", id="another-target-than-signed"),
    pytest.param(HEAD.replace(b"length: 10", b"length: 11"), BODY, "signing-broken", id="another-size-than-signed"),
]


@pytest.mark.parametrize("head, body, reason", REFUSED_AT_ONCE)
def test_a_head_that_is_not_signed_so(stage: AwsStage, head: bytes, body: bytes, reason: str) -> None:
    """A request that the placeholder did not sign costs no key, and nothing of it leaves."""
    before = len(stage.sts.seen)
    answer = put(stage, head, body)
    assert stage.refused(answer, head.split(b" ")[1].decode(), reason).effect == "deny"
    assert len(stage.sts.seen) == before


def resigned(old: bytes, new: bytes) -> tuple[bytes, bytes]:
    """A request whose head is right and whose body was changed since it was signed."""
    target = f"/plain/{new.strip().decode().replace(';', '-')}"
    head, body = signed(target, b"hello", b"world")
    assert old in body
    return head, body.replace(old, new, 1)


@pytest.mark.parametrize(
    "old, new",
    [(b"hello", b"jello"), (b"world", b"World"), (b"5;", b"6;"), (b"5;", b"4;"), (b"\r\n0;", b"xx0;")],
)
def test_a_chunk_that_is_not_signed_so(stage: AwsStage, old: bytes, new: bytes) -> None:
    """The upload is broken off before the chunk leaves, the job is told, and S3 never gets a whole request."""
    head, body = resigned(old, new)
    target = head.split(b" ")[1].decode()
    answer = put(stage, head, body)
    assert answer.reason == "signing-broken"
    assert stage.reached(target) == []
    assert f"releases{target}" not in stage.sts.stored
    flow = stage.world.ended(path=target)
    assert (flow.effect, flow.reason) == ("allow", "signing-broken")
    assert stage.leaks() == []


def test_the_mode_must_be_what_the_body_is(stage: AwsStage) -> None:
    """A body without the trailer that was announced, and signed for, does not pass for one with it."""
    head, body = chunked_put(S3, "/plain/mode", [b"hello"], key_id=AWS_KEY, secret=AWS_SECRET.reveal(), mode=TRAILER)
    assert put(stage, head, body).reason == "signing-broken"
    assert stage.reached("/plain/mode") == []


def test_after_all_of_it(stage: AwsStage) -> None:
    """The sidecar has kept its trail whole and still serves."""
    stage.check_trail()
    assert put(stage, *signed("/plain/last", b"x")).status == 200
