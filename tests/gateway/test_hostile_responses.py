"""A hostile stranger reads our answers: credentials in places nobody searched, and bodies that end too early."""

import asyncio
import gzip
import os
import socket
import struct
from contextlib import suppress

import pytest

from proxy.model.grant import Edits, Secret
from proxy.model.reason import Reason
from tests.gateway.stage import IN_A_CROWD, Client, Stage, inner, plain, until

pytestmark = IN_A_CROWD

SECRET = "pl4nted-7f3c9d2e5b8a4f60"
WATCHED = Edits(put=(("x-token", Secret(SECRET)),), watch=(Secret(SECRET),))
PARTIAL = b"HTTP/1.1 200 OK\r\n\r\npartial"


async def heard(client: Client, until_bytes: bytes) -> bytes:
    """What the job hears until `until_bytes`, the end of the connection, or a short silence."""
    got = b""
    with suppress(TimeoutError, OSError):
        while until_bytes not in got and (piece := await asyncio.wait_for(client.reader.read(65_536), 1)):
            got += piece
    return got


@pytest.mark.parametrize(
    "reply",
    [
        f"HTTP/1.1 400 no such token {SECRET}\r\ncontent-length: 2\r\n\r\nok",
        f"HTTP/1.1 200 OK\r\nx-{SECRET}: 1\r\ncontent-length: 2\r\n\r\nok",
        f"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-{SECRET}: 1\r\n\r\n",
        f"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: {SECRET}\r\n\r\n",
    ],
    ids=["status phrase", "field name", "trailer name", "trailer value"],
)
async def test_no_part_of_an_answer_repeats_the_credential(stage: Stage, reply: str) -> None:
    """Not only values and bodies: the reason phrase and the names of fields are the upstream's words too."""
    stage.engine.edits = WATCHED
    stage.origin.reply = reply.encode()
    client = await stage.client()
    client.send(plain())
    assert SECRET.encode() not in await heard(client, SECRET.encode())


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "gzip, br", "aws-chunked", "no-such"])
async def test_an_answer_that_cannot_be_read_is_not_passed(stage: Stage, coding: str) -> None:
    """A coding we did not offer and cannot search is refused where a credential is watched for."""
    stage.engine.edits = WATCHED
    body = SECRET.encode()
    stage.origin.reply = (
        f"HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    )
    stage.origin.reply += body
    client = await stage.client()
    client.send(plain())
    assert (await client.reply())[0] == 502
    await until(lambda: bool(stage.engine.outcomes))
    assert stage.engine.last_outcome.reason is Reason.CREDENTIAL_ECHO


async def test_a_coding_named_hop_by_hop_is_still_a_coding(stage: Stage) -> None:
    """`Connection: content-encoding` takes the field away from the job, not from the guard."""
    stage.engine.edits = WATCHED
    body = gzip.compress(f"you sent {SECRET}".encode())
    stage.origin.reply = (
        b"HTTP/1.1 200 OK\r\nconnection: content-encoding\r\ncontent-encoding: gzip\r\n"
        b"content-length: %d\r\n\r\n" % len(body)
    ) + body
    client = await stage.client()
    client.send(plain())
    assert body not in await heard(client, body)


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as a crashed server or a middlebox does."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def sever(writer: asyncio.StreamWriter) -> None:
    """End the TCP connection under TLS without a word, as whoever sits on the wire can."""
    with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)


async def test_a_reset_is_not_the_end_of_a_body(stage: Stage) -> None:
    """A body that lasts until close and is cut by a reset is cut for the job too, and recorded as such."""

    def answer(_: bytearray, writer: asyncio.StreamWriter) -> None:
        writer.write(PARTIAL)
        asyncio.get_running_loop().call_later(0.1, reset, writer)

    stage.origin.answer = answer
    client = await stage.client()
    client.send(plain())
    got = await heard(client, b"0\r\n\r\n")
    assert b"partial" in got
    assert not got.endswith(b"0\r\n\r\n")
    await until(lambda: bool(stage.engine.outcomes))
    assert stage.engine.last_outcome.reason is Reason.UPSTREAM_CLOSED


async def test_tls_that_ends_without_a_word_is_not_the_end_of_a_body(stage: Stage) -> None:
    """Without close_notify a body that lasts until close may be a forged end (RFC 8446 6.1, RFC 9112 9.8)."""

    def answer(_: bytearray, writer: asyncio.StreamWriter) -> None:
        writer.write(PARTIAL)
        asyncio.get_running_loop().call_later(0.1, sever, writer)

    stage.origin.answer = answer
    client = await stage.tunnel()
    client.send(inner())
    got = await heard(client, b"0\r\n\r\n")
    assert b"partial" in got
    assert not got.endswith(b"0\r\n\r\n")


async def test_a_cut_answer_does_not_look_whole_to_http_1_0(stage: Stage) -> None:
    """HTTP/1.0 knows the end of an unmeasured body by the connection's: a cut one must end in a reset."""

    def answer(_: bytearray, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7\r\npartial\r\n")
        asyncio.get_running_loop().call_later(0.1, writer.transport.abort)

    stage.origin.answer = answer
    client = await stage.client()
    client.send(plain(version="1.0"))
    assert b"content-length" not in await client.head()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(client.reader.read(), 5)
