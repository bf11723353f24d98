"""RS256: a private key in PEM, and JWTs signed with it (RFC 7515, RFC 7518 3.3). The key never leaves this file."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from proxy.model.errors import CredentialError
from proxy.model.grant import Secret

_HEADER: Final = {"alg": "RS256", "typ": "JWT"}
_SHORTEST: Final = 2048
"""Bits of a modulus (RFC 7518 3.3)."""


def public_key(pem: Secret) -> RSAPublicKey:
    """Return the public half. Raises CredentialError as `sign_jwt` does."""
    return _load(pem).public_key()


def sign_jwt(pem: Secret, claims: Mapping[str, object], kid: str | None = None) -> Secret:
    """Return the signed token, which names its key when `kid` is given.

    Raises CredentialError when the key is not a plain RSA key of 2048 bits or more. It takes milliseconds: call it from
    a thread.
    """
    header = _HEADER if kid is None else {**_HEADER, "kid": kid}
    signed = f"{_encode(header)}.{_encode(claims)}"
    signature = _load(pem).sign(signed.encode(), PKCS1v15(), SHA256())
    return Secret(f"{signed}.{_base64url(signature)}")


def _load(pem: Secret) -> RSAPrivateKey:
    try:
        key = load_pem_private_key(pem.reveal().encode(), password=None)
    except TypeError:
        raise CredentialError("the private key has a passphrase; store it without one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CredentialError("the private key is not one in PEM") from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < _SHORTEST:
        raise CredentialError(f"the private key is not an RSA key of {_SHORTEST} bits or more")
    return key


def _encode(part: Mapping[str, object]) -> str:
    return _base64url(json.dumps(part, separators=(",", ":")).encode())


def _base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
