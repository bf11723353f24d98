"""Signature algorithms and the keys they take. Pure. PyJWT supplies the primitives; which one runs is decided here.

Asymmetric only: a shared-secret algorithm would let whoever holds the public key sign (RFC 8725 3.1, 3.5).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import jwt.algorithms
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurve,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
"""Above this a verification takes long enough to be an attack on us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """One JWS algorithm: the `kty` of its keys, and for curves which ones."""

    kty: str
    curve: type[EllipticCurve] | None = None


ALGORITHMS: Final[Mapping[str, Algorithm]] = {
    "RS256": Algorithm(kty="RSA"),
    "RS384": Algorithm(kty="RSA"),
    "RS512": Algorithm(kty="RSA"),
    "PS256": Algorithm(kty="RSA"),
    "PS384": Algorithm(kty="RSA"),
    "PS512": Algorithm(kty="RSA"),
    "ES256": Algorithm(kty="EC", curve=SECP256R1),
    "ES384": Algorithm(kty="EC", curve=SECP384R1),
    "ES512": Algorithm(kty="EC", curve=SECP521R1),
    "EdDSA": Algorithm(kty="OKP"),
}
"""RFC 7518 3.1 and RFC 8037, without `none`, without HMAC."""

_PRIMITIVES: Final = {
    name: primitive for name, primitive in jwt.algorithms.get_default_algorithms().items() if name in ALGORITHMS
}


def fits(algorithm: str, key: object) -> bool:
    """Return whether a public key may be used with an algorithm: right family, right curve, sound size."""
    known = ALGORITHMS.get(algorithm)
    if known is None:
        return False
    if known.kty == "RSA":
        return (
            isinstance(key, RSAPublicKey) and MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS and _has_sound_exponent(key)
        )
    if known.curve is not None:
        return isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, known.curve)
    return isinstance(key, Ed25519PublicKey | Ed448PublicKey)


def _has_sound_exponent(key: RSAPublicKey) -> bool:
    exponent = key.public_numbers().e
    return exponent >= 3 and exponent % 2 == 1 and exponent < 2**33


def is_signed_by(algorithm: str, key: object, signed: bytes, signature: bytes) -> bool:
    """Return whether `signature` over `signed` verifies. False for a key that does not fit the algorithm."""
    return fits(algorithm, key) and _PRIMITIVES[algorithm].verify(signed, key, signature)
