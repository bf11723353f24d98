"""A Signature Version 4 verifier of its own, written from the AWS documents; it shares no line with the proxy's signer.

It works on bytes as they came off the wire and believes nothing that is not signed. Sources: IAM User Guide, "Create a
signed AWS API request"; S3 API Reference, "Authenticating Requests: Using the Authorization Header".
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote_to_bytes

_SKEW = timedelta(minutes=15)
_S3_SENTINELS = {
    "UNSIGNED-PAYLOAD",
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
}
"""Whose chunks are signed, if they are, is for S3 itself to check."""
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PRESIGNED = {
    b"X-Amz-Algorithm",
    b"X-Amz-Credential",
    b"X-Amz-Date",
    b"X-Amz-Expires",
    b"X-Amz-SignedHeaders",
    b"X-Amz-Signature",
}
_AUTHENTICATION = {b"x-amz-signature", b"x-amz-credential", b"x-amz-algorithm", b"x-amz-security-token"}


class RefusedError(Exception):
    """What AWS would answer: a status and an error code."""

    def __init__(self, status: int, code: str, why: str) -> None:
        super().__init__(f"{code}: {why}")
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Wire:
    """One request as it arrived. Header names in lower case; the target is raw."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key == name]


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedKey:
    """A key AWS knows. `policy` is the session policy: with one, nothing else is allowed."""

    secret: str
    token: str | None = field(default=None, repr=False)
    principal: str = "arn:aws:iam::123456789012:user/tester"
    expires_at: datetime | None = None
    policy: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """Who signed, and for what."""

    key_id: str
    key: IssuedKey
    region: str
    service: str
    signature: str


@dataclass(slots=True)
class AwsVerifier:
    """Knows keys, and says who signed a request."""

    keys: dict[str, IssuedKey] = field(default_factory=dict)

    def verify(self, wire: Wire, now: datetime) -> Verified:
        """Return who signed. Raises RefusedError."""
        path, _, query = wire.target.partition(b"?")
        names = {pair.partition(b"=")[0].lower() for pair in query.split(b"&")}
        if names & _AUTHENTICATION:
            raise RefusedError(400, "InvalidRequest", "signed in header and query, or left over from a pre-signed URL")
        fields = _authorization(wire)
        key_id, day, region, service, end = _scope(fields[b"Credential"])
        if end != "aws4_request":
            raise RefusedError(403, "IncompleteSignature", "the scope does not end in aws4_request")
        key = self.keys.get(key_id)
        if key is None:
            raise RefusedError(403, "InvalidAccessKeyId", key_id)
        _check_token(wire, key)
        stamp = _time(wire, day, now)
        if key.expires_at is not None and now >= key.expires_at:
            raise RefusedError(403, "ExpiredToken", "the key has expired")
        signed = _signed_names(wire, fields[b"SignedHeaders"])
        request = b"\n".join(
            [
                wire.method,
                _canonical_path(path, service),
                _canonical_query(query),
                b"".join(name + b":" + _canonical_value(wire, name) + b"\n" for name in signed),
                b";".join(signed),
                _payload(wire, service),
            ]
        )
        scope = f"{day}/{region}/{service}/{end}".encode()
        text = b"\n".join([b"AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request).hexdigest().encode()])
        secret = b"AWS4" + key.secret.encode()
        for part in (day, region, service, end):
            secret = hmac.digest(secret, part.encode(), "sha256")
        if not hmac.compare_digest(hmac.digest(secret, text, "sha256").hex().encode(), fields[b"Signature"]):
            raise RefusedError(403, "SignatureDoesNotMatch", request.decode("latin-1"))
        return Verified(key_id, key, region, service, fields[b"Signature"].decode())

    def verify_presigned(self, wire: Wire, now: datetime, service: str) -> Verified:
        """Return who signed a URL, in its query alone, for so many seconds as it says. Raises RefusedError."""
        path, _, query = wire.target.partition(b"?")
        pairs = [pair.partition(b"=") for pair in query.split(b"&")]
        fields = {name: unquote_to_bytes(value) for name, _, value in pairs}
        if len(fields) != len(pairs) or wire.values(b"authorization"):
            raise RefusedError(400, "InvalidRequest", "signed twice, or a parameter is repeated")
        if not fields.keys() >= _PRESIGNED or fields[b"X-Amz-Algorithm"] != b"AWS4-HMAC-SHA256":
            raise RefusedError(403, "MissingAuthenticationToken", "not a pre-signed URL")
        key_id, day, region, named, end = _scope(fields[b"X-Amz-Credential"])
        key = self.keys.get(key_id)
        if key is None:
            raise RefusedError(403, "InvalidClientTokenId", key_id)
        if fields.get(b"X-Amz-Security-Token", b"").decode() != (key.token or ""):
            raise RefusedError(403, "InvalidClientTokenId", "the session token is missing or another key's")
        at = datetime.strptime(fields[b"X-Amz-Date"].decode(), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        ends = at + timedelta(seconds=int(fields[b"X-Amz-Expires"]))
        if not at - _SKEW <= now < ends or (key.expires_at is not None and now >= key.expires_at):
            raise RefusedError(403, "ExpiredToken", "too early, too late, or the key has expired")
        if (named, end, at.strftime("%Y%m%d")) != (service, "aws4_request", day):
            raise RefusedError(403, "SignatureDoesNotMatch", "the scope is not the request's")
        signed = _signed_names(wire, fields[b"X-Amz-SignedHeaders"])
        request = b"\n".join(
            [
                wire.method,
                _canonical_path(path, service),
                _canonical_query(b"&".join(b"".join(pair) for pair in pairs if pair[0] != b"X-Amz-Signature")),
                b"".join(name + b":" + _canonical_value(wire, name) + b"\n" for name in signed),
                b";".join(signed),
                hashlib.sha256(wire.body).hexdigest().encode(),
            ]
        )
        scope = f"{day}/{region}/{service}/{end}".encode()
        stamp = fields[b"X-Amz-Date"]
        text = b"\n".join([b"AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request).hexdigest().encode()])
        secret = b"AWS4" + key.secret.encode()
        for part in (day, region, service, end):
            secret = hmac.digest(secret, part.encode(), "sha256")
        if not hmac.compare_digest(hmac.digest(secret, text, "sha256").hex().encode(), fields[b"X-Amz-Signature"]):
            raise RefusedError(403, "SignatureDoesNotMatch", request.decode("latin-1"))
        return Verified(key_id, key, region, service, fields[b"X-Amz-Signature"].decode())


def check_policy(key: IssuedKey, action: str, resource: str) -> None:
    """Refuse what the session policy does not allow. `*` and `?` are the only wildcards; actions ignore case."""
    if key.policy is None:
        return
    for statement in key.policy["Statement"]:
        actions = _listed(statement["Action"])
        resources = _listed(statement["Resource"])
        fits = any(_fits(action.lower(), each.lower()) for each in actions)
        if statement["Effect"] == "Allow" and fits and any(_fits(resource, each) for each in resources):
            return
    raise RefusedError(403, "AccessDenied", f"{action} on {resource} is not in the session policy")


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _fits(text: str, pattern: str) -> bool:
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def _authorization(wire: Wire) -> dict[bytes, bytes]:
    values = wire.values(b"authorization")
    if len(values) != 1:
        raise RefusedError(403, "MissingAuthenticationToken", f"{len(values)} Authorization fields")
    scheme, _, rest = values[0].partition(b" ")
    if scheme != b"AWS4-HMAC-SHA256":
        raise RefusedError(400, "InvalidRequest", "another algorithm")
    pairs = [part.strip().partition(b"=") for part in rest.split(b",")]
    fields = {name: value for name, _, value in pairs}
    if len(pairs) != 3 or fields.keys() != {b"Credential", b"SignedHeaders", b"Signature"}:
        raise RefusedError(403, "IncompleteSignature", "not exactly Credential, SignedHeaders and Signature")
    return fields


def _scope(credential: bytes) -> tuple[str, str, str, str, str]:
    parts = credential.decode("ascii").split("/")
    if len(parts) != 5 or not all(parts):
        raise RefusedError(403, "IncompleteSignature", "the credential is not KEY/DAY/REGION/SERVICE/aws4_request")
    key_id, day, region, service, end = parts
    return key_id, day, region, service, end


def _check_token(wire: Wire, key: IssuedKey) -> None:
    tokens = wire.values(b"x-amz-security-token")
    wanted = [] if key.token is None else [key.token.encode()]
    if tokens != wanted:
        raise RefusedError(403, "InvalidToken", "the session token is missing, doubled or another key's")


def _time(wire: Wire, day: str, now: datetime) -> bytes:
    stamps = wire.values(b"x-amz-date")
    if len(stamps) != 1:
        raise RefusedError(403, "AccessDenied", "x-amz-date is missing or doubled")
    at = datetime.strptime(stamps[0].decode(), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if abs(at - now) > _SKEW:
        raise RefusedError(403, "RequestTimeTooSkewed", str(at))
    if at.strftime("%Y%m%d") != day:
        raise RefusedError(403, "SignatureDoesNotMatch", "the scope's day is not the request's")
    return stamps[0]


def _signed_names(wire: Wire, listed: bytes) -> list[bytes]:
    signed = listed.split(b";")
    if signed != sorted(set(signed)):
        raise RefusedError(403, "IncompleteSignature", "SignedHeaders is not sorted, or repeats a name")
    present = {name for name, _ in wire.headers}
    must = {b"host"} | {name for name in present if name.startswith(b"x-amz-") or name == b"content-type"}
    if not must <= set(signed):
        raise RefusedError(403, "AccessDenied", f"headers present but not signed: {sorted(must - set(signed))}")
    if not set(signed) <= present:
        raise RefusedError(403, "SignatureDoesNotMatch", f"signed but absent: {sorted(set(signed) - present)}")
    return signed


def _canonical_value(wire: Wire, name: bytes) -> bytes:
    return b",".join(b" ".join(value.replace(b"\t", b" ").split()) for value in wire.values(name))


def _payload(wire: Wire, service: str) -> bytes:
    actual = hashlib.sha256(wire.body).hexdigest().encode()
    declared = wire.values(b"x-amz-content-sha256")
    if not declared:
        if service == "s3":
            raise RefusedError(400, "MissingSecurityHeader", "S3 wants x-amz-content-sha256")
        return actual
    if len(declared) != 1:
        raise RefusedError(400, "InvalidRequest", "x-amz-content-sha256 is doubled")
    if service == "s3" and declared[0].decode() in _S3_SENTINELS:
        return declared[0]
    if declared[0] != actual:
        raise RefusedError(400, "XAmzContentSHA256Mismatch", "the body is not what was declared")
    return declared[0]


def _canonical_path(path: bytes, service: str) -> bytes:
    """S3: the decoded key, encoded once. Others: the path as sent, normalised, and encoded once more."""
    if service == "s3":
        return _encode(_decode(path), b"/")
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in {b"", b"."}:
            kept.append(segment)
    joined = b"/" + b"/".join(kept)
    return _encode(joined + b"/" if path.endswith(b"/") and kept else joined, b"/")


def _canonical_query(query: bytes) -> bytes:
    pairs = [pair.partition(b"=") for pair in query.split(b"&") if pair]
    encoded = [(_encode(_decode(name)), _encode(_decode(value))) for name, _, value in pairs]
    return b"&".join(b"=".join(pair) for pair in sorted(encoded))


def _decode(text: bytes) -> bytes:
    out, rest = bytearray(), text
    while rest:
        head, percent, rest = rest.partition(b"%")
        out += head
        if percent:
            out.append(int(rest[:2], 16))
            rest = rest[2:]
    return bytes(out)


def _encode(text: bytes, also: bytes = b"") -> bytes:
    return b"".join(bytes([each]) if each in _PLAIN or each in also else b"%%%02X" % each for each in text)
