"""Chunk-signed uploads, as a client makes them and as S3 checks them. It shares no line with the proxy's resigner.

Source: S3 API Reference, "transferring payload in multiple chunks" and "... with trailing headers".
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.fakes.aws_verifier import RefusedError

PAYLOAD = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
_EMPTY = hashlib.sha256(b"").hexdigest()


def derive(secret: str, day: str, region: str, service: str) -> bytes:
    key = b"AWS4" + secret.encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """What signs the chunks of one upload."""

    key: bytes = field(repr=False)
    stamp: str
    region: str = "eu-west-1"

    @property
    def scope(self) -> str:
        return f"{self.stamp[:8]}/{self.region}/s3/aws4_request"

    def sign(self, *lines: str) -> str:
        algorithm, *rest = lines
        return hmac.digest(self.key, "\n".join([algorithm, self.stamp, self.scope, *rest]).encode(), "sha256").hex()

    def chunk(self, previous: str, data: bytes) -> str:
        return self.sign("AWS4-HMAC-SHA256-PAYLOAD", previous, _EMPTY, hashlib.sha256(data).hexdigest())

    def trailer(self, previous: str, lines: Iterable[bytes]) -> str:
        text = b"".join(line + b"\n" for line in lines)
        return self.sign("AWS4-HMAC-SHA256-TRAILER", previous, hashlib.sha256(text).hexdigest())

    def encode(self, seed: str, pieces: Iterable[bytes], trailers: Iterable[bytes] = ()) -> bytes:
        """The body on the wire."""
        out, previous, lines = b"", seed, list(trailers)
        for piece in (*pieces, b""):
            previous = self.chunk(previous, piece)
            out += f"{len(piece):x};chunk-signature={previous}\r\n".encode() + piece + (b"\r\n" if piece else b"")
        for line in lines:
            out += line + b"\r\n"
        if lines:
            out += f"x-amz-trailer-signature:{self.trailer(previous, lines)}\r\n".encode()
        return out + b"\r\n"

    def decode(self, seed: str, wire: bytes, *, has_trailer: bool) -> bytes:
        """The object, every signature checked. Raises RefusedError as S3 does."""
        whole, previous = b"", seed
        while True:
            head, _, wire = wire.partition(b"\r\n")
            size, _, signature = head.partition(b";chunk-signature=")
            data = wire[: int(size, 16)]
            previous = self._compare(self.chunk(previous, data), signature)
            if not data:
                break
            whole += data
            wire = wire[len(data) + 2 :]
        if has_trailer:
            *lines, last = wire.removesuffix(b"\r\n\r\n").split(b"\r\n")
            self._compare(self.trailer(previous, lines), last.partition(b":")[2])
        elif wire != b"\r\n":
            raise RefusedError(400, "IncompleteBody", "the body goes on after its last chunk")
        return whole

    @staticmethod
    def _compare(expected: str, signature: bytes) -> str:
        if expected.encode() != signature:
            raise RefusedError(403, "SignatureDoesNotMatch", "a chunk is not signed as it should be")
        return expected


def chunked_put(
    host: str,
    target: str,
    pieces: Iterable[bytes],
    *,
    key_id: str,
    secret: str,
    trailers: Iterable[bytes] = (),
    mode: str = "",
) -> tuple[bytes, bytes]:
    """A PUT of `pieces`, as a client sends it that holds these keys: its head and its body."""
    pieces, trailers = list(pieces), list(trailers)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    chain = Chain(key=derive(secret, stamp[:8], "eu-west-1", "s3"), stamp=stamp)
    length = len(chain.encode("0" * 64, pieces, trailers))
    fields = {
        "content-encoding": "aws-chunked",
        "content-length": str(length),
        "host": host,
        "x-amz-content-sha256": mode or (TRAILER if trailers else PAYLOAD),
        "x-amz-date": stamp,
        "x-amz-decoded-content-length": str(sum(map(len, pieces))),
    }
    if trailers:
        fields["x-amz-trailer"] = ",".join(line.partition(b":")[0].decode() for line in trailers)
    names = sorted(fields)
    signed = (f"{name}:{fields[name]}" for name in names)
    lines = ("PUT", target, "", *signed, "", ";".join(names), fields["x-amz-content-sha256"])
    seed = chain.sign("AWS4-HMAC-SHA256", hashlib.sha256("\n".join(lines).encode()).hexdigest())
    fields["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key_id}/{chain.scope}, SignedHeaders={';'.join(names)}, Signature={seed}"
    )
    head = "\r\n".join([f"PUT {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""])
    return head.encode(), chain.encode(seed, pieces, trailers)
