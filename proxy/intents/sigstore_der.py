"""The little DER (X.690) that Sigstore's requests hold: what a timestamp is asked for (RFC 3161), and public keys.

Only definite lengths in their shortest form, and no tag of more than one byte: two readers of anything else may differ.
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from proxy.model.errors import IntentError

_INTEGER, _BITS, _OCTETS, _OID, _SEQUENCE = 0x02, 0x03, 0x04, 0x06, 0x30
_LONG: Final = 0x80
_TAG_NUMBER: Final = 0x1F

HASHES: Final = {"sha1": 20, "sha224": 28, "sha256": 32, "sha384": 48, "sha512": 64}
"""Names of hashes, and how many bytes they have."""
_HASH_OIDS: Final = {
    "1.3.14.3.2.26": "sha1",
    "2.16.840.1.101.3.4.2.4": "sha224",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
_KEY_OIDS: Final = {"1.2.840.113549.1.1.1": "rsa", "1.2.840.10045.2.1": "ecdsa", "1.3.101.112": "ed25519"}
_CURVES: Final = {"1.2.840.10045.3.1.7": "p256", "1.3.132.0.34": "p384", "1.3.132.0.35": "p521"}
_PEM: Final = re.compile(
    r"\s*-----BEGIN (?P<label>PUBLIC KEY|RSA PUBLIC KEY|CERTIFICATE REQUEST)-----\r?\n"
    r"(?P<text>[A-Za-z0-9+/=\r\n]+)-----END (?P=label)-----\s*"
)


@dataclass(frozen=True, slots=True)
class _Item:
    """One value: its tag, its content, and both with the length between them."""

    tag: int
    content: bytes
    whole: bytes


def _read_items(raw: bytes) -> list[_Item]:
    """Cut bytes into the values they are. Raises IntentError."""
    items, at = [], 0
    while at < len(raw):
        tag, begin, end = _read_header(raw, at)
        if end > len(raw):
            raise IntentError("a DER value is longer than what holds it")
        items.append(_Item(tag, raw[begin:end], raw[at:end]))
        at = end
    return items


def _read_header(raw: bytes, at: int) -> tuple[int, int, int]:
    """Return the tag of the value at `at`, and where its content begins and ends."""
    if len(raw) < at + 2 or raw[at] & _TAG_NUMBER == _TAG_NUMBER:
        raise IntentError("a DER value has no plain tag and length")
    length, begin = raw[at + 1], at + 2
    if length >= _LONG:
        count = length - _LONG
        length, begin = int.from_bytes(raw[begin : begin + count]), begin + count
        if count not in {1, 2, 3} or length < (_LONG if count == 1 else 1 << 8 * (count - 1)):
            raise IntentError("a DER length is not in its shortest form")
    return raw[at], begin, begin + length


def _open(raw: bytes, tags: Sequence[int]) -> list[_Item]:
    """Return what a sequence holds, which must begin with `tags`. Raises IntentError."""
    outer = _read_items(raw)
    if len(outer) != 1 or outer[0].tag != _SEQUENCE:
        raise IntentError("a DER sequence was expected")
    items = _read_items(outer[0].content)
    if [item.tag for item in items[: len(tags)]] != list(tags):
        raise IntentError("a DER sequence holds something else than was expected")
    return items


def _read_oid(content: bytes) -> str:
    """Return an object identifier with its numbers in decimal."""
    numbers, value = [], 0
    for byte in content:
        if value == 0 and byte == _LONG:
            raise IntentError("an object identifier is not in its shortest form")
        value = value << 7 | byte & 0x7F
        if byte < _LONG:
            numbers.append(value)
            value = 0
    if not content or content[-1] >= _LONG:
        raise IntentError("an object identifier ends early")
    first = min(numbers[0] // 40, 2)
    return ".".join(str(number) for number in (first, numbers[0] - 40 * first, *numbers[1:]))


def read_imprint(raw: bytes) -> str:
    """Return what a TimeStampReq (RFC 3161 2.4.1) wants stamped, as `HASH:HEX`. Raises IntentError."""
    version, imprint = _open(raw, (_INTEGER, _SEQUENCE))[:2]
    if version.content != b"\x01":
        raise IntentError("the request for a timestamp is not of version 1")
    items = _open(imprint.whole, (_SEQUENCE, _OCTETS))
    name = _HASH_OIDS.get(_read_oid(_open(items[0].whole, (_OID,))[0].content))
    if name is None or len(items) > 2:
        raise IntentError("the hash to be stamped is not a known one")
    return name_digest(name, items[1].content)


def name_digest(name: str, digest: bytes) -> str:
    """Return `HASH:HEX`. Raises IntentError when the digest is not as long as its hash makes it."""
    if HASHES.get(name) != len(digest):
        raise IntentError("a digest is not as long as its hash makes it")
    return f"{name}:{digest.hex()}"


def read_key(text: bytes) -> tuple[str, bytes]:
    """Return a public key's algorithm and the bytes that are the key.

    Takes PEM or DER, a key or a certificate signing request (PKCS #10), whose key it is then. Raises IntentError.
    """
    label, raw = "", text
    if not text.startswith(b"0"):  # the tag of a sequence
        found = _PEM.fullmatch(text.decode("ascii", "replace"))
        if found is None:
            raise IntentError("the public key is neither one PEM block nor DER")
        label, raw = found["label"], read_base64("".join(found["text"].split()))
    if label == "RSA PUBLIC KEY":
        _open(raw, (_INTEGER, _INTEGER))
        return "rsa", raw
    outer = _open(raw, (_SEQUENCE,))
    if [item.tag for item in outer] == [_SEQUENCE, _SEQUENCE, _BITS]:
        raw = _open(outer[0].whole, (_INTEGER, _SEQUENCE, _SEQUENCE))[2].whole
    kind = _open(_open(raw, (_SEQUENCE, _BITS))[0].whole, (_OID,))
    name = _read_oid(kind[0].content)
    curve = _read_oid(kind[1].content) if len(kind) > 1 and kind[1].tag == _OID else ""
    algorithm = _KEY_OIDS.get(name, name)
    return (f"{algorithm}-{_CURVES.get(curve, curve)}" if curve else algorithm), raw


def read_base64(text: str) -> bytes:
    """Decode base64 in either alphabet, padded or not (protobuf's JSON takes all of them). Raises IntentError."""
    plain = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (Base64Error, ValueError):
        raise IntentError("a text of the body is not base64") from None
