"""What an entry for a transparency log says: Rekor 1 (`kind`, `apiVersion`, `spec`) and Rekor 2 (`...RequestV002`).

Facts: `digest` of the artifact where there is one, `payload` (the digest of what an envelope holds), `predicate_type`
and `subjects` of an in-toto statement. An entry is public for ever, whatever it says.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

from proxy.intents.plain_names import inner_object, plain_object, text_of
from proxy.intents.reading import member, read_object
from proxy.intents.sigstore_der import HASHES, name_digest, read_base64
from proxy.model.errors import IntentError

LIMIT: Final = 8 * 1024 * 1024
MAX_SUBJECTS: Final = 32
"""So many of a statement's subjects are stated; all are counted."""

_KINDS: Final = frozenset({"alpine", "cose", "helm", "jar", "rfc3161", "rpm", "tuf"})
"""Kinds of Rekor 1 whose digest stands inside what they hold: it is not told."""
_VERSION: Final = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}")
_STATEMENT: Final = "application/vnd.in-toto+json"
_TEXT: Final = re.compile(r"[!-~]{1,256}")
_HEX: Final = re.compile(r"[0-9a-f]+")
_TYPE: Final = re.compile(r"[A-Z0-9_]{1,64}")


def read_entry(body: bytes) -> tuple[dict[str, str], bool]:
    """Return the facts of an entry for Rekor 1, and whether its kind is read. Raises IntentError."""
    document = plain_object(read_object(body), "the entry")
    kind, version, spec = text_of(document, "kind"), text_of(document, "apiVersion"), inner_object(document, "spec")
    if _VERSION.fullmatch(version) is None or (kind not in _KINDS and kind not in _READERS):
        raise IntentError("the entry's kind or version is not one that logs take")
    facts = {"kind": kind, "version": version}
    if kind not in _READERS:
        return facts, False
    _READERS[kind](spec, facts)
    return facts, True


def _read_hashed(spec: Mapping[str, Any], facts: dict[str, str]) -> None:
    facts["digest"] = _read_hash(inner_object(inner_object(spec, "data"), "hash"))


def _read_rekord(spec: Mapping[str, Any], facts: dict[str, str]) -> None:
    """Read `data` with its content, its hash, or both."""
    parts = inner_object(spec, "data")
    if member(parts, "url") is not None:
        raise IntentError("an entry's content is sent, not fetched by the log")
    stated = None if member(parts, "hash") is None else _read_hash(inner_object(parts, "hash"))
    if member(parts, "content") is None and stated is None:
        raise IntentError("the entry has neither content nor hash")
    if member(parts, "content") is not None:
        raw = read_base64(text_of(parts, "content"))
        name = "sha256" if stated is None else stated.partition(":")[0]
        digest = name_digest(name, hashlib.new(name, raw).digest())
        if stated not in {None, digest}:
            raise IntentError("the entry's content has another hash than it states")
        stated = digest
    facts["digest"] = str(stated)


def _read_intoto(spec: Mapping[str, Any], facts: dict[str, str]) -> None:
    """Read an envelope, as text (version 0.0.1) or as an object whose payload is encoded twice (0.0.2)."""
    envelope = member(inner_object(spec, "content"), "envelope")
    if isinstance(envelope, str):
        _read_envelope(_parse(envelope), facts)
    else:
        _read_envelope(plain_object(envelope, "the envelope"), facts, twice=True)


def _read_dsse(spec: Mapping[str, Any], facts: dict[str, str]) -> None:
    _read_envelope(_parse(text_of(inner_object(spec, "proposedContent"), "envelope")), facts)


_READERS: Final = {
    "hashedrekord": _read_hashed,
    "rekord": _read_rekord,
    "intoto": _read_intoto,
    "dsse": _read_dsse,
}


def read_request(body: bytes) -> dict[str, str]:
    """Return the facts of an entry for Rekor 2. Raises IntentError."""
    document = plain_object(read_object(body), "the entry")
    hashed = either(document, "hashedRekordRequestV002", "hashed_rekord_request_v002")
    envelope = either(document, "dsseRequestV002", "dsse_request_v002")
    if (hashed is None) is (envelope is None):
        raise IntentError("the entry is not of one known kind")
    if envelope is not None:
        facts = {"kind": "dsse", "version": "0.0.2"}
        _read_envelope(inner_object(plain_object(envelope, "the entry"), "envelope"), facts)
        return facts
    request = plain_object(hashed, "the entry")
    raw = read_base64(text_of(request, "digest"))
    name = next((name for name, size in HASHES.items() if size == len(raw)), "")
    facts = {"kind": "hashedrekord", "version": "0.0.2", "digest": name_digest(name, raw)}
    verifier = inner_object(inner_object(request, "signature"), "verifier")
    scheme = either(verifier, "keyDetails", "key_details")
    if isinstance(scheme, str) and _TYPE.fullmatch(scheme) is not None:
        facts["key_type"] = scheme
    return facts


def either(value: Mapping[str, Any], name: str, other: str) -> Any:
    """Return a member that protobuf's JSON takes under two names. Raises IntentError when both are there."""
    first, second = member(value, name), member(value, other)
    if first is not None and second is not None:
        raise IntentError(f"the body has both {name!r} and {other!r}")
    return second if first is None else first


def _read_envelope(envelope: Mapping[str, Any], facts: dict[str, str], *, twice: bool = False) -> None:
    """Read a DSSE envelope."""
    kind = either(envelope, "payloadType", "payload_type")
    if not isinstance(kind, str) or _TEXT.fullmatch(kind) is None:
        raise IntentError("the envelope's payload has no type")
    raw = read_base64(text_of(envelope, "payload"))
    if twice:
        try:
            raw = read_base64(raw.decode("ascii"))
        except UnicodeDecodeError:
            raise IntentError("the envelope's payload is not encoded twice") from None
    facts["payload_type"] = kind
    facts["payload"] = name_digest("sha256", hashlib.sha256(raw).digest())
    if kind == _STATEMENT:
        _read_statement(plain_object(read_object(raw), "the statement"), facts)


def _read_statement(statement: Mapping[str, Any], facts: dict[str, str]) -> None:
    """Read an in-toto statement: what it is about, and what kind of thing it says."""
    kind = member(statement, "predicateType")
    if isinstance(kind, str) and _TEXT.fullmatch(kind) is not None:
        facts["predicate_type"] = kind
    subjects = member(statement, "subject")
    if not isinstance(subjects, list) or not subjects:
        raise IntentError("the statement has no subject")
    digests = [digest for subject in subjects for digest in _read_subject(subject)]
    facts["subjects"] = " ".join(digests[:MAX_SUBJECTS])
    facts["subjects_count"] = str(len(subjects))
    if len(subjects) == 1 and digests:
        facts["digest"] = next((digest for digest in digests if digest.startswith("sha256:")), digests[0])


def _read_subject(value: object) -> list[str]:
    """Return a subject's digests that are hashes known here; git commits and the like are not."""
    digests = inner_object(plain_object(value, "a subject of the statement"), "digest")
    return [_read_digest(name, text) for name, text in digests.items() if name in HASHES]


def _read_hash(value: Mapping[str, Any]) -> str:
    return _read_digest(text_of(value, "algorithm"), text_of(value, "value"))


def _read_digest(name: str, text: object) -> str:
    if not isinstance(text, str) or _HEX.fullmatch(text) is None or len(text) % 2:
        raise IntentError("a digest of the entry is not in lower-case hexadecimal")
    return name_digest(name, bytes.fromhex(text))


def _parse(text: str) -> Mapping[str, Any]:
    return plain_object(read_object(text.encode("utf-8", "replace")), "the envelope")
