"""AWS Signature Version 4: read what a client signed with its placeholder, and sign again with the real credential.

Pure. Source: AWS IAM User Guide, "Create a signed AWS API request"; S3 API Reference, "Authenticating Requests".
S3 encodes the path once and leaves it as it is; every other service normalises it and encodes it again.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable
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
_SCOPE: Final = re.compile(r"[^/]+/[0-9]{8}/([a-z0-9-]+)/([A-Za-z0-9-]+)/aws4_request")
_FIELD: Final = re.compile(r"\s*(Credential|SignedHeaders|Signature)=([^,\s]+)\s*")
_SPACES: Final = re.compile(r"[ \t]+")
_UNRESERVED: Final = "-_.~"
# Signed besides every x-amz-*: what says how the body is to be read. Everything a hop may change stays out.
_ALSO_SIGNED: Final = frozenset({"content-type", "content-md5"})


@dataclass(frozen=True, slots=True)
class Inbound:
    """What the client's own signature names."""

    region: str
    service: str
    presigned: bool


@dataclass(frozen=True, slots=True)
class Keys:
    """A credential to sign with."""

    access_key: str
    secret_key: Secret
    session_token: Secret | None


def read_inbound(view: RequestView) -> Inbound | None:
    """Return the client's signature, None when it did not sign.

    Raises CredentialError (`signing-unsupported`) for SigV4a and anything else that is not plain SigV4.
    """
    headers = [value for name, value in view.headers if name == "authorization"]
    names = query_names(view.query)
    if len(headers) > 1 or (headers and names & PRESIGN_NAMES):
        raise _unsupported("the request is signed more than once")
    if headers and headers[0].startswith("AWS"):
        return _read_header(headers[0])
    if names & PRESIGN_NAMES:
        return _read_presigned(view)
    if "signature" in names and "awsaccesskeyid" in names:
        raise _unsupported("Signature Version 2 cannot be re-signed; use a client from after 2014")
    return None


def payload_mode(view: RequestView, service: str) -> str | None:
    """Return what to sign for the body: a digest or a sentinel; None when the digest must be computed.

    Raises CredentialError (`signing-unsupported`) for bodies signed chunk by chunk.
    """
    declared = view.header("x-amz-content-sha256")
    if declared is None:
        if view.body_length == 0:
            return EMPTY_DIGEST
        return UNSIGNED if service in S3_SERVICES and "x-amz-signature" in query_names(view.query) else None
    if declared in {UNSIGNED, UNSIGNED_TRAILER} or _HEX.fullmatch(declared):
        return declared
    if declared.startswith("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"):
        raise _unsupported(
            "this upload signs every chunk, which is not re-signed yet; let the SDK use TLS and its default checksum "
            f"mode ({UNSIGNED_TRAILER}), or set payload signing off"
        )
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
        for name, value in _joined(view.headers)
        if (name.startswith("x-amz-") or name in _ALSO_SIGNED) and name not in _REPLACED
    }
    fields["host"] = _host_field(view)
    fields["x-amz-date"] = stamp
    put: list[tuple[str, str | Secret]] = [("x-amz-date", stamp)]
    if what.service in S3_SERVICES or view.header("x-amz-content-sha256") is not None:
        fields["x-amz-content-sha256"] = what.payload
        put.append(("x-amz-content-sha256", what.payload))
    if keys.session_token is not None:
        fields["x-amz-security-token"] = keys.session_token.reveal()
        put.append(("x-amz-security-token", keys.session_token))
    signed = ";".join(sorted(fields))
    canonical = "\n".join(
        (
            view.method,
            canonical_path(view.path, what.service),
            canonical_query(query),
            "".join(f"{name}:{fields[name]}\n" for name in sorted(fields)),
            signed,
            what.payload,
        )
    )
    scope = f"{stamp[:8]}/{what.region}/{what.service}/aws4_request"
    text = f"{ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode('latin-1')).hexdigest()}"
    key = _signing_key(keys.secret_key.reveal(), stamp[:8], what.region, what.service)
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    put.append(
        (
            "authorization",
            f"{ALGORITHM} Credential={keys.access_key}/{scope}, SignedHeaders={signed}, Signature={signature}",
        )
    )
    return tuple(put)


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
    kept = [pair for pair in query.split("&") if _name_of(pair) not in PRESIGN_NAMES]
    return "&".join(kept) or None


def query_names(query: str | None) -> frozenset[str]:
    """Return the decoded parameter names in lower case."""
    return frozenset(_name_of(pair) for pair in query.split("&")) if query else frozenset()


_REPLACED: Final = frozenset({"x-amz-date", "x-amz-security-token", "x-amz-content-sha256"})


def _read_header(header: str) -> Inbound:
    scheme, _, rest = header.partition(" ")
    if scheme == "AWS4-ECDSA-P256-SHA256":
        raise _unsupported("SigV4a (asymmetric) signatures cannot be re-signed; use a single-region endpoint")
    if scheme != ALGORITHM:
        raise _unsupported(f"only {ALGORITHM} signatures can be re-signed")
    fields: dict[str, str] = {}
    for part in rest.split(","):
        match = _FIELD.fullmatch(part)
        if match is None or match[1] in fields:
            raise _unsupported("the Authorization field is not a well-formed AWS signature")
        fields[match[1]] = match[2]
    if len(fields) != 3:
        raise _unsupported("the Authorization field is not a well-formed AWS signature")
    return _read_scope(fields["Credential"], presigned=False)


def _read_presigned(view: RequestView) -> Inbound:
    values = _query_values(view.query)
    if any(len(values.get(name, ())) > 1 for name in PRESIGN_NAMES):
        raise _unsupported("the request is signed more than once")
    if values.get("x-amz-algorithm") != [ALGORITHM] or not {"x-amz-credential", "x-amz-signature"} <= values.keys():
        raise _unsupported(f"only {ALGORITHM} pre-signed URLs can be re-signed")
    return _read_scope(values["x-amz-credential"][0], presigned=True)


def _read_scope(credential: str, *, presigned: bool) -> Inbound:
    match = _SCOPE.fullmatch(credential)
    if match is None:
        raise _unsupported("the credential scope is not KEY/DATE/REGION/SERVICE/aws4_request")
    return Inbound(region=match[1], service=match[2], presigned=presigned)


def _query_values(query: str | None) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for pair in (query or "").split("&"):
        values.setdefault(_name_of(pair), []).append(unquote(pair.partition("=")[2]))
    return values


def _name_of(pair: str) -> str:
    return unquote(pair.partition("=")[0]).lower()


def _reencode(text: str) -> str:
    return quote(unquote(text, "latin-1"), safe=_UNRESERVED, encoding="latin-1")


def _joined(headers: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    joined: dict[str, str] = {}
    for name, value in headers:
        plain = _SPACES.sub(" ", value).strip(" ")
        joined[name] = f"{joined[name]},{plain}" if name in joined else plain
    return joined.items()


def _host_field(view: RequestView) -> str:
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
