"""What a client signed with its placeholder, and whether it is what it sends. Pure.

A signature proves who made a request only while nothing of the request can be changed: method, path, query, host, every
`x-amz-*` field and the body's digest are under it. Source: AWS IAM User Guide, "Create a signed AWS API request".
"""

import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import unquote

from proxy.connectors.sigv4 import (
    ALGORITHM,
    PRESIGN_NAMES,
    Scope,
    Seal,
    Verified,
    digest_request,
    host_field,
    join_fields,
    name_of,
    query_names,
)
from proxy.model.errors import CredentialError
from proxy.model.grant import Secret
from proxy.model.intent import RequestView
from proxy.model.reason import Reason

_SCOPE: Final = re.compile(r"([^/]+)/([0-9]{8})/([a-z0-9-]+)/([A-Za-z0-9-]+)/aws4_request")
_FIELD: Final = re.compile(r"\s*(Credential|SignedHeaders|Signature)=([^,\s]+)\s*")
_STAMP: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_SECONDS: Final = re.compile(r"[1-9][0-9]{0,5}")
_LONGEST: Final = 604_800
_EARLY: Final = timedelta(minutes=15)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)  # a seal has its own time


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """What the client's own signature says."""

    key_id: str
    day: str
    region: str
    service: str
    signed: tuple[str, ...]
    """Names of the fields that are under it."""
    signature: str
    stamp: str
    """When it was made: `20130524T000000Z`; empty where that is not said."""
    expires: str | None
    """Seconds that a pre-signed URL is good for; None for a signature in the head."""

    @property
    def presigned(self) -> bool:
        """Whether the signature stands in the query."""
        return self.expires is not None


def read_inbound(view: RequestView) -> Inbound | None:
    """Return the client's signature, None when it did not sign.

    Raises CredentialError (`signing-unsupported`) for SigV4a and anything else that is not plain SigV4.
    """
    headers = [value for name, value in view.headers if name == "authorization"]
    names = query_names(view.query)
    if len(headers) > 1 or (headers and names & PRESIGN_NAMES):
        raise _unsupported("the request is signed more than once")
    if headers and headers[0].startswith("AWS"):
        return _read_header(view, headers[0])
    if names & PRESIGN_NAMES:
        return _read_presigned(view)
    if "signature" in names and "awsaccesskeyid" in names:
        raise _unsupported("Signature Version 2 cannot be re-signed; use a client from after 2014")
    return None


def verify(view: RequestView, inbound: Inbound, secret: Secret, payload: str, now: datetime) -> Verified:
    """Verify a client's signature. `payload`: the body's digest or a sentinel.

    Raises CredentialError (`signing-broken`) for one that is wrong, too small, too old, or not of this request.
    """
    if _STAMP.fullmatch(inbound.stamp) is None or inbound.day != inbound.stamp[:8]:
        raise _broken("x-amz-date is not the signature's")
    if inbound.expires is not None:
        _check_time(inbound.stamp, inbound.expires, now)
    sent = {**dict(join_fields(view.headers)), "host": host_field(view)}
    if view.body_length is not None:
        sent["content-length"] = str(view.body_length)
    missing = [name for name in inbound.signed if name not in sent]
    if missing:
        raise _broken(f"the signature names {missing[0]!r}, which was not sent")
    unsigned = sorted({"host", *(name for name in sent if name.startswith("x-amz-"))} - {*inbound.signed})
    if unsigned:
        raise _broken(f"{unsigned[0]!r} is not under the signature")
    what = Scope(region=inbound.region, service=inbound.service, payload=payload, at=_EPOCH)
    seal = Seal(secret, inbound.stamp, inbound.region, inbound.service)
    query = _without_signature(view.query) if inbound.presigned else view.query
    expected = seal.sign(ALGORITHM, digest_request(view, query, {name: sent[name] for name in inbound.signed}, what))
    if not hmac.compare_digest(expected.encode(), inbound.signature.encode("utf-8", "surrogateescape")):
        raise _broken("the signature is not the one that the placeholder makes of this request")
    return Verified(seal, expected)


def _check_time(stamp: str, expires: str, now: datetime) -> None:
    """Raise CredentialError unless a pre-signed URL is good now: signing it again must not make it live longer."""
    if _SECONDS.fullmatch(expires) is None or int(expires) > _LONGEST:
        raise _broken("X-Amz-Expires is not 1 to 604800 seconds")
    try:
        made = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise _broken("X-Amz-Date is no time") from None
    if not made - _EARLY <= now < made + timedelta(seconds=int(expires)):
        raise _broken("the pre-signed URL has expired, or is not good yet")


def _without_signature(query: str | None) -> str:
    return "&".join(pair for pair in (query or "").split("&") if name_of(pair) != "x-amz-signature")


def _read_header(view: RequestView, header: str) -> Inbound:
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
    stamp = view.header("x-amz-date") or ""
    return _build(fields["Credential"], fields["SignedHeaders"], fields["Signature"], stamp, None)


def _read_presigned(view: RequestView) -> Inbound:
    values: dict[str, list[str]] = {}
    for pair in (view.query or "").split("&"):
        values.setdefault(name_of(pair), []).append(unquote(pair.partition("=")[2]))
    if any(len(values.get(name, ())) > 1 for name in PRESIGN_NAMES):
        raise _unsupported("the request is signed more than once")
    if values.get("x-amz-algorithm") != [ALGORITHM] or not {"x-amz-credential", "x-amz-signature"} <= values.keys():
        raise _unsupported(f"only {ALGORITHM} pre-signed URLs can be re-signed")
    signed, stamp, expires = (values.get(f"x-amz-{name}", [""])[0] for name in ("signedheaders", "date", "expires"))
    return _build(values["x-amz-credential"][0], signed, values["x-amz-signature"][0], stamp, expires)


def _build(credential: str, signed: str, signature: str, stamp: str, expires: str | None) -> Inbound:
    match = _SCOPE.fullmatch(credential)
    if match is None:
        raise _unsupported("the credential scope is not KEY/DATE/REGION/SERVICE/aws4_request")
    return Inbound(
        key_id=match[1],
        day=match[2],
        region=match[3],
        service=match[4],
        signed=tuple(signed.split(";")),
        signature=signature,
        stamp=stamp,
        expires=expires,
    )


def _unsupported(why: str) -> CredentialError:
    return CredentialError(why, Reason.SIGNING_UNSUPPORTED)


def _broken(why: str) -> CredentialError:
    return CredentialError(why, Reason.SIGNING_BROKEN)
