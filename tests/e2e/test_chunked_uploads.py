"""Uploads whose every chunk is signed, through a running sidecar to an S3 that checks each of them."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from proxy.model.grant import Secret
from proxy.model.placeholder import Placeholders, derive_placeholders
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


type Sign = Callable[[Placeholders], tuple[bytes, bytes]]
"""Makes a head and a body with the placeholders of a session."""


def put(stage: AwsStage, sign: Sign, cut: int = 1 << 16) -> Reply:
    session = stage.open()
    head, body = sign(derive_placeholders(session.secret))
    with RawClient(stage.world, session) as client:
        client.tunnel(S3)
        client.send(head)
        for piece in itertools.batched(body, cut, strict=False):
            client.send(bytes(piece))
        return client.reply("PUT")


def signed(target: str, *pieces: bytes, trailers: tuple[bytes, ...] = (), mode: str | None = None) -> Sign:
    more: Any = {"trailers": trailers} | ({} if mode is None else {"mode": mode})

    def sign(own: Placeholders) -> tuple[bytes, bytes]:
        return chunked_put(S3, target, pieces, key_id=own.aws_key, secret=own.aws_secret.reveal(), **more)

    return sign


def changed(sign: Sign, head: tuple[bytes, bytes] = (b"", b""), body: tuple[bytes, bytes] = (b"", b"")) -> Sign:
    """What `sign` makes, with something put in another's place once it is signed."""

    def make(own: Placeholders) -> tuple[bytes, bytes]:
        first, rest = sign(own)
        assert head[0] in first
        assert body[0] in rest
        return first.replace(*head, 1) if head[0] else first, rest.replace(*body, 1) if body[0] else rest

    return make


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
    answer = put(stage, signed(target, *pieces, trailers=trailers))

    assert (answer.status, answer.denial) == (200, {})
    assert stage.sts.stored[f"releases{target}"] == b"".join(pieces)
    (wire,) = stage.reached(target)
    assert b"JOBGATE" not in wire.values(b"authorization")[0]
    flow = stage.world.ended(path=target)
    assert (flow.effect, flow.reason, flow.status) == ("allow", "allowed", 200)
    assert stage.leaks() == []


def test_an_upload_in_small_pieces(stage: AwsStage) -> None:
    """However its bytes come in, an upload is the same upload."""
    assert put(stage, signed("/plain/pieces", b"x" * 700, b"y" * 300, trailers=(CRC,)), cut=7).status == 200
    assert stage.sts.stored["releases/plain/pieces"] == b"x" * 700 + b"y" * 300


EVIL = signed("/plain/evil", b"hello", b"world")


def by_another_key(_: Placeholders) -> tuple[bytes, bytes]:
    return chunked_put(S3, "/plain/evil", [b"x"], key_id="AKIAJOBSOWN", secret="own")


def by_another_session(_: Placeholders) -> tuple[bytes, bytes]:
    return EVIL(derive_placeholders("another password"))


def by_another_secret(own: Placeholders) -> tuple[bytes, bytes]:
    return EVIL(Placeholders(mark=own.mark, aws_secret=Secret("x")))


REFUSED_AT_ONCE = [
    pytest.param(by_another_key, "credential-misuse", id="the-jobs-own-key"),
    pytest.param(by_another_session, "credential-misuse", id="another-sessions-placeholder"),
    pytest.param(by_another_secret, "signing-broken", id="not-with-the-placeholders-secret"),
    pytest.param(changed(EVIL, (b"/evil", b"/eviL")), "signing-broken", id="another-target-than-signed"),
    pytest.param(changed(EVIL, (b"length: 10", b"length: 11")), "signing-broken", id="another-size-than-signed"),
]


@pytest.mark.parametrize("sign, reason", REFUSED_AT_ONCE)
def test_a_head_that_is_not_signed_so(stage: AwsStage, sign: Sign, reason: str) -> None:
    """A request that the session's placeholder did not sign costs no key, and nothing of it leaves."""
    before = len(stage.sts.seen)
    answer = put(stage, sign)
    path = sign(derive_placeholders("x"))[0].split(b" ")[1].decode()
    assert stage.refused(answer, path, reason).effect == "deny"
    assert len(stage.sts.seen) == before


@pytest.mark.parametrize(
    "old, new",
    [(b"hello", b"jello"), (b"world", b"World"), (b"5;", b"6;"), (b"5;", b"4;"), (b"\r\n0;", b"xx0;")],
)
def test_a_chunk_that_is_not_signed_so(stage: AwsStage, old: bytes, new: bytes) -> None:
    """The upload is broken off before the chunk leaves, the job is told, and S3 never gets a whole request."""
    target = f"/plain/{new.strip().decode().replace(';', '-')}"
    answer = put(stage, changed(signed(target, b"hello", b"world"), body=(old, new)))
    assert answer.reason == "signing-broken"
    assert stage.reached(target) == []
    assert f"releases{target}" not in stage.sts.stored
    flow = stage.world.ended(path=target)
    assert (flow.effect, flow.reason) == ("allow", "signing-broken")
    assert stage.leaks() == []


def test_the_mode_must_be_what_the_body_is(stage: AwsStage) -> None:
    """A body without the trailer that was announced, and signed for, does not pass for one with it."""
    assert put(stage, signed("/plain/mode", b"hello", mode=TRAILER)).reason == "signing-broken"
    assert stage.reached("/plain/mode") == []


def test_after_all_of_it(stage: AwsStage) -> None:
    """The sidecar has kept its trail whole and still serves."""
    stage.check_trail()
    assert put(stage, signed("/plain/last", b"x")).status == 200
