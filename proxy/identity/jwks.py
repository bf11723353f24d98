"""Read what an issuer publishes: its discovery document (OpenID Connect Discovery 4) and its keys (RFC 7517). Pure."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import jwt.algorithms
from jwt.exceptions import InvalidKeyError

from proxy.identity.algorithms import fits
from proxy.identity.strict import decode_base64url, load_object
from proxy.model.authority import parse_authority
from proxy.model.errors import IssuerError, ProtocolError
from proxy.model.identity import KeySet, VerificationKey

MAX_DOCUMENT: Final = 256 * 1024
"""Bytes. Google's key set has 2 KB, a large tenant's 40 KB."""

MAX_KEYS: Final = 64
MAX_KEY_ID: Final = 256
_MAX_MEMBER: Final = 2048

# The public members of each key type. Whatever else stands there, private parts included, is not even looked at.
_PUBLIC: Final[Mapping[str, tuple[str, ...]]] = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_BUILDERS: Final = {
    "RSA": jwt.algorithms.RSAAlgorithm.from_jwk,
    "EC": jwt.algorithms.ECAlgorithm.from_jwk,
    "OKP": jwt.algorithms.OKPAlgorithm.from_jwk,
}


def discovery_url(issuer: str) -> str:
    """Return where an issuer's discovery document is, by its name alone."""
    return issuer.removesuffix("/") + "/.well-known/openid-configuration"


def read_discovery(raw: bytes, issuer: str) -> str:
    """Return the address of the keys.

    Raises IssuerError for a document that is not this issuer's, or that sends us to another host.
    """
    document = _load(raw, "discovery document")
    if document.get("issuer") != issuer:
        raise IssuerError("the discovery document names another issuer")
    address = document.get("jwks_uri")
    if not isinstance(address, str) or not _is_beside(address, issuer):
        raise IssuerError("the discovery document's `jwks_uri` is not an https address at the issuer's host")
    return address


def read_keys(raw: bytes, issuer: str, algorithms: Collection[str]) -> KeySet:
    """Return the keys usable for signatures with one of `algorithms`; unusable entries are passed over.

    Raises IssuerError for what is no key set, or one without a usable key: an empty answer is a fault, not news.
    """
    entries = _load(raw, "key set").get("keys")
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise IssuerError("the key set has no list of at most 64 keys")
    keys = tuple(key for entry in entries if isinstance(entry, dict) for key in _read_key(entry, algorithms))
    if not keys:
        raise IssuerError("the key set holds no usable signing key")
    return KeySet(issuer=issuer, keys=keys)


def _load(raw: bytes, name: str) -> dict[str, Any]:
    if len(raw) > MAX_DOCUMENT:
        raise IssuerError(f"the {name} is larger than 256 KiB")
    try:
        return load_object(raw)
    except ValueError as error:
        raise IssuerError(f"the {name}: {error}") from None


def _is_beside(address: str, issuer: str) -> bool:
    try:
        there, here = urlsplit(address), urlsplit(issuer)
        return (
            there.scheme == "https"
            and address.isascii()
            and address.isprintable()
            and " " not in address
            and not there.fragment
            and parse_authority(there.netloc, 443) == parse_authority(here.netloc, 443)
        )
    except (ValueError, ProtocolError):
        return False


def _read_key(entry: Mapping[str, Any], algorithms: Collection[str]) -> Iterator[VerificationKey]:
    kid, stated = entry.get("kid"), entry.get("alg")
    if not _is_for_signatures(entry) or not _is_key_id(kid):
        return
    key = _build(entry)
    for algorithm in algorithms:
        if stated in (None, algorithm) and fits(algorithm, key):
            yield VerificationKey(kid=kid, algorithm=algorithm, key=key)


def _is_for_signatures(entry: Mapping[str, Any]) -> bool:
    use, operations = entry.get("use"), entry.get("key_ops")
    return use in (None, "sig") and (operations is None or (isinstance(operations, list) and "verify" in operations))


def _is_key_id(kid: object) -> bool:
    return kid is None or (isinstance(kid, str) and 0 < len(kid) <= MAX_KEY_ID)


def _build(entry: Mapping[str, Any]) -> object:
    """Return the public key of a JWK, None when it is none that we could use."""
    kty = entry.get("kty")
    if not isinstance(kty, str) or kty not in _PUBLIC:
        return None
    members = {name: entry.get(name) for name in _PUBLIC[kty]}
    try:
        for name, value in members.items():
            if not isinstance(value, str) or len(value) > _MAX_MEMBER:
                return None
            if name != "crv":
                decode_base64url(value)
        return _BUILDERS[kty]({"kty": kty, **members})
    except (InvalidKeyError, ValueError):
        return None
