"""Sigstore: certificates, log entries, timestamps, roots of trust. Sources: OpenAPI of Fulcio, Rekor and the TSA.

A certificate says who signed; an entry in Rekor says what, for everybody and for ever. The digest of what is signed is
told where an entry names it (hashedrekord, dsse, intoto, rekord); nothing of a token or a key is.
"""

import binascii
import re
from collections.abc import Mapping
from typing import Any, Final

from proxy.intents.packages import read_site
from proxy.intents.reading import media_type, member, read_body, read_object
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, EffectClass, Intent, RequestView, Resource

_ENDINGS: Final = (".sigstore.dev", ".sigstage.dev")
_OVERRIDES: Final = frozenset({"x-http-method-override", "x-http-method", "x-method-override"})
_READS: Final = frozenset({"GET", "HEAD"})
_LIMIT: Final = 8 << 20
"""The longest entry that is read; attestations ride in them."""
_DIGEST: Final = re.compile(r"[0-9a-f]{40,128}")
_ALGORITHM: Final = re.compile(r"(?i)sha-?(1|224|256|384|512)")
_CERTIFICATES: Final = frozenset({"/api/v2/signingCert", "/api/v1/signingCert"})
_ENTRIES: Final = frozenset({"/api/v1/log/entries", "/api/v2/log/entries"})
_SEARCHES: Final = frozenset({"/api/v1/log/entries/retrieve", "/api/v1/index/retrieve"})
_STAMPS: Final = frozenset({"/api/v1/timestamp"})
_SHA: Final = {
    bytes.fromhex("2b0e03021a"): "sha1",
    bytes.fromhex("608648016503040201"): "sha256",
    bytes.fromhex("608648016503040202"): "sha384",
    bytes.fromhex("608648016503040203"): "sha512",
}
"""Object identifiers of hashes, as DER writes them (RFC 8017, appendix B.1)."""


def decode(view: RequestView, spoken: frozenset[str]) -> Intent | BodyWanted | None:
    """Read a request to Sigstore; None when it is none. Raises IntentError."""
    if not view.authority.host.endswith(_ENDINGS) and "sigstore" not in spoken:
        return None
    if any(name in _OVERRIDES for name, _ in view.headers):
        raise IntentError("a header asks for another method than the request line")
    path = view.path.rstrip("/")
    if view.method in _READS:
        return _intent(view, "get", EffectClass.READ, path)
    if view.method == "POST":
        if path in _CERTIFICATES:
            return _intent(view, "certificate.sign", EffectClass.CREDENTIAL, "/certificate")
        if path in _SEARCHES:
            return _intent(view, "entry.search", EffectClass.LIST, "/log")
        if path in _ENTRIES or path in _STAMPS:
            return _read_signed(view, path)
    return _intent(view, "unknown", EffectClass.UNKNOWN, path)


def _intent(
    view: RequestView, action: str, effect: EffectClass, what: str, facts: Mapping[str, str] | None = None
) -> Intent:
    return Intent(
        protocol="sigstore",
        action=action,
        resource=Resource(type="sigstore", id=f"{read_site(view)}{what}"),
        effect=effect,
        exact=action != "unknown",
        facts=facts or {},
    )


def _read_signed(view: RequestView, path: str) -> Intent | BodyWanted:
    body = read_body(view, _LIMIT)
    if isinstance(body, BodyWanted):
        return body
    if path in _STAMPS:
        return _intent(view, "timestamp.sign", EffectClass.EXECUTE, "/timestamp", _read_stamp(view, body))
    return _intent(view, "entry.create", EffectClass.PUBLISH, "/log", _read_entry(read_object(body)))


def _read_entry(told: Mapping[str, Any]) -> dict[str, str]:
    """Return kind and digest of an entry, of either version of Rekor."""
    for version_two, kind in (("hashedRekordRequestV002", "hashedrekord"), ("dsseRequestV002", "dsse")):
        request = member(told, version_two)
        if isinstance(request, dict):
            digest = _hex_of_base64(request.get("digest"))
            return {"kind": kind, **({"digest": f"sha256:{digest}"} if digest else {})}
    kind = member(told, "kind")
    if not isinstance(kind, str):
        raise IntentError("the entry has no kind")
    return {"kind": kind[:32], **_find_digest(member(told, "spec"))}


def _find_digest(spec: Any) -> dict[str, str]:
    """Return the digest where a kind's own document has it."""
    for path in (
        ("data", "hash"),
        ("content", "payloadHash"),
        ("content", "hash"),
        ("payloadHash",),
        ("envelopeHash",),
    ):
        found = spec
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            continue
        algorithm, value = found.get("algorithm"), found.get("value")
        if isinstance(algorithm, str) and isinstance(value, str) and _DIGEST.fullmatch(value):
            size = _ALGORITHM.fullmatch(algorithm)
            return {"digest": f"sha{size[1]}:{value}"} if size is not None else {}
    return {}


def _hex_of_base64(text: Any) -> str:
    if not isinstance(text, str):
        return ""
    try:
        return binascii.a2b_base64(text, strict_mode=True).hex()
    except binascii.Error:
        raise IntentError("the entry's digest is not base64") from None


def _read_stamp(view: RequestView, body: bytes) -> dict[str, str]:
    """Return the digest that is stamped: of JSON, or of DER (RFC 3161 2.4.1: version, then the message imprint)."""
    if media_type(view) == "application/json":
        told = read_object(body)
        digest, algorithm = _hex_of_base64(member(told, "artifactHash")), member(told, "hashAlgorithm")
        name = _ALGORITHM.fullmatch(algorithm) if isinstance(algorithm, str) else None
        return {"digest": f"sha{name[1]}:{digest}"} if name is not None and digest else {}
    for identifier, hashed in _SHA.items():
        at = body.find(b"\x06" + bytes([len(identifier)]) + identifier)
        size = int(hashed.removeprefix("sha")) // 8 if hashed != "sha1" else 20
        marks = body.find(b"\x04" + bytes([size]), at) if 0 <= at < 64 else -1
        if 0 <= marks < 96 and len(body) >= marks + 2 + size:
            return {"digest": f"{hashed}:{body[marks + 2 : marks + 2 + size].hex()}"}
    return {}
