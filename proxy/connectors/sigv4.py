"""AWS Signature Version 4: sign a request with the real credential. `sigv4_inbound` reads what the client signed.

Pure. Source: AWS IAM User Guide, "Create a signed AWS API request"; S3 API Reference, "Authenticating Requests".
S3 encodes the path once and leaves it as it is; every other service normalises it and encodes it again.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote

from proxy.model.errors import CredentialError
from proxy.model.grant import Secret
from proxy.model.intent import RequestView
from proxy.model.reason import Reason

ALGORITHM: Final = "AWS4-HMAC-SHA256"
UNSIGNED: Final = "UNSIGNED-PAYLOAD"
UNSIGNED_TRAILER: Final = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
CHUNKED: Final = frozenset({"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"})
"""Modes in which each chunk of the body is signed too (S3 API Reference, "transferring payload in multiple chunks")."""
EMPTY_DIGEST: Final = hashlib.sha256(b"").hexdigest()
S3_SERVICES: Final = frozenset({"s3", "s3express", "s3-outposts", "s3-object-lambda"})
PRESIGN_NAMES: Final = frozenset(
    {
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-signedheaders",
        "x-amz-signature",
        "x-amz-security-token",
    }
)
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_SPACES: Final = re.compile(r"[ \t]+")
_UNRESERVED: Final = "-_.~"
# Signed besides every x-amz-*: what says how the body is to be read. Everything a hop may change stays out.
_ALSO_SIGNED: Final = frozenset({"content-type", "content-md5"})


@dataclass(frozen=True, slots=True)
class Keys:
    """A credential to sign with."""

    access_key: str
    secret_key: Secret
    session_token: Secret | None


def payload_mode(view: RequestView, service: str) -> str | None:
    """Return what to sign for the body: a digest or a sentinel; None when the digest must be computed.

    Raises CredentialError (`signing-unsupported`) for what cannot be signed again.
    """
    declared = view.header("x-amz-content-sha256")
    if declared is None:
        if service in S3_SERVICES and "x-amz-signature" in query_names(view.query):
            return UNSIGNED
        return EMPTY_DIGEST if view.body_length == 0 else None
    if (
        declared in {UNSIGNED, UNSIGNED_TRAILER}
        or (declared in CHUNKED and service in S3_SERVICES)
        or _HEX.fullmatch(declared)
    ):
        return declared
    if declared.startswith("STREAMING-AWS4-ECDSA"):
        raise _unsupported("SigV4a (asymmetric) signatures cannot be re-signed; use a single-region endpoint")
    if declared == "STREAMING-AWS4-HMAC-SHA256-EVENTS":
        raise _unsupported(
            "event streams sign every message, which cannot be re-signed; use a rule with inspect: false"
        )
    raise _unsupported("x-amz-content-sha256 holds neither a SHA-256 nor a mode that is known")


def sign(view: RequestView, query: str | None, keys: Keys, what: "Scope") -> tuple[tuple[str, str | Secret], ...]:
    """Return the header fields that sign `view`, sent with `query`. Raises nothing."""
    stamp = what.at.strftime("%Y%m%dT%H%M%SZ")
    fields: dict[str, str] = {
        name: value
        for name, value in join_fields(view.headers)
        if (name.startswith("x-amz-") or name in _ALSO_SIGNED) and name not in _REPLACED
    }
    fields["host"] = host_field(view)
    fields["x-amz-date"] = stamp
    put: list[tuple[str, str | Secret]] = [("x-amz-date", stamp)]
    if what.service in S3_SERVICES or view.header("x-amz-content-sha256") is not None:
        fields["x-amz-content-sha256"] = what.payload
        put.append(("x-amz-content-sha256", what.payload))
    if keys.session_token is not None:
        fields["x-amz-security-token"] = keys.session_token.reveal()
        put.append(("x-amz-security-token", keys.session_token))
    signed = ";".join(sorted(fields))
    seal = Seal(keys.secret_key, stamp, what.region, what.service)
    signature = seal.sign(ALGORITHM, digest_request(view, query, fields, what))
    put.append(
        (
            "authorization",
            f"{ALGORITHM} Credential={keys.access_key}/{seal.scope}, SignedHeaders={signed}, Signature={signature}",
        )
    )
    return tuple(put)


def digest_request(view: RequestView, query: str | None, fields: Mapping[str, str], what: "Scope") -> str:
    """Return the SHA-256 of the canonical request, in hex. `fields` are those that are signed."""
    canonical = "\n".join(
        (
            view.method,
            canonical_path(view.path, what.service),
            canonical_query(query),
            "".join(f"{name}:{fields[name]}\n" for name in sorted(fields)),
            ";".join(sorted(fields)),
            what.payload,
        )
    )
    return hashlib.sha256(canonical.encode("latin-1")).hexdigest()


class Seal:
    """Signs texts of one day, region and service with one secret. Holds the derived key, and never shows it."""

    __slots__ = ("_key", "scope", "stamp")

    def __init__(self, secret: Secret, stamp: str, region: str, service: str) -> None:
        self.stamp = stamp
        self.scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
        self._key = _signing_key(secret.reveal(), stamp[:8], region, service)

    def sign(self, algorithm: str, *lines: str) -> str:
        """Return the signature of `algorithm`, date, scope and `lines`, one below the other, in hex."""
        text = "\n".join((algorithm, self.stamp, self.scope, *lines))
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Verified:
    """A client's signature that is right: what signs the rest of its request, and the signature to go on from."""

    seal: Seal
    signature: str


def seal_of(put: Sequence[tuple[str, str | Secret]], keys: Keys, what: "Scope") -> Verified:
    """Return what `sign` signed with, and its signature, to sign the rest of the request."""
    seal = Seal(keys.secret_key, what.at.strftime("%Y%m%dT%H%M%SZ"), what.region, what.service)
    return Verified(seal, str(put[-1][1]).rpartition("Signature=")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a signature is for. `payload` is the body's digest or a sentinel; `at` in UTC."""

    region: str
    service: str
    payload: str
    at: datetime


def canonical_path(path: str, service: str) -> str:
    """Return the path as it is signed. Our paths arrive without dot segments; S3's are taken as they are."""
    if service in S3_SERVICES:
        return quote(unquote(path, "latin-1"), safe="/" + _UNRESERVED, encoding="latin-1")
    segments = [segment for segment in path.split("/") if segment]
    normal = "/" + "/".join(segments) + ("/" if path.endswith("/") and segments else "")
    return quote(normal, safe="/" + _UNRESERVED)


def canonical_query(query: str | None) -> str:
    """Return the query as it is signed: every name and value encoded once, sorted by name, then value."""
    if not query:
        return ""
    pairs = []
    for pair in query.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            pairs.append((_reencode(name), _reencode(value)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def strip_presigned(query: str | None) -> str | None:
    """Return the query without the parameters of a pre-signed URL, the others as they were and in their order."""
    if not query:
        return query
    kept = [pair for pair in query.split("&") if name_of(pair) not in PRESIGN_NAMES]
    return "&".join(kept) or None


def query_names(query: str | None) -> frozenset[str]:
    """Return the decoded parameter names in lower case."""
    return frozenset(name_of(pair) for pair in query.split("&")) if query else frozenset()


_REPLACED: Final = frozenset({"x-amz-date", "x-amz-security-token", "x-amz-content-sha256"})


def name_of(pair: str) -> str:
    """Return the name of one `name=value` of a query, decoded, in lower case."""
    return unquote(pair.partition("=")[0]).lower()


def _reencode(text: str) -> str:
    return quote(unquote(text, "latin-1"), safe=_UNRESERVED, encoding="latin-1")


def join_fields(headers: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """Return each field once, as it is signed: spaces single, the values of a repeated one joined by commas."""
    joined: dict[str, str] = {}
    for name, value in headers:
        plain = _SPACES.sub(" ", value).strip(" ")
        joined[name] = f"{joined[name]},{plain}" if name in joined else plain
    return joined.items()


def host_field(view: RequestView) -> str:
    """Return the Host field that a client of this authority sends and signs."""
    default = {"http": 80, "https": 443}[view.scheme]
    return view.authority.host if view.authority.port == default else str(view.authority)


@lru_cache(maxsize=256)
def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def _unsupported(why: str) -> CredentialError:
    return CredentialError(why, Reason.SIGNING_UNSUPPORTED)
