"""jobgate as an issuer: short tokens about a job, signed with a key in a file or in AWS KMS, and the public documents.

Clouds trust the key by the documents at the issuer's URL: they are static, so anything that serves files can. Sources:
OpenID Connect Discovery 1.0; RFC 7517, RFC 7518, RFC 7638; AWS KMS API Reference, `Sign`, `GetPublicKey`.
"""

import asyncio
import json
import uuid
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from proxy.connectors.app_key import public_key, sign_jwt
from proxy.connectors.kms import KmsKey, ask_kms
from proxy.connectors.own_claims import CLAIMS, OwnToken, own_claims
from proxy.connectors.parts import ConnectorParts
from proxy.connectors.secret_sources import SecretSource, read_pem
from proxy.model.errors import ConfigError, CredentialError
from proxy.model.grant import HeldToken, MintRequest, Secret

_SHORTEST: Final = 2048
_RAW_LIMIT: Final = 4096
"""Bytes that KMS digests itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnIssuerSettings:
    """Who jobgate is as an issuer. `also` are public keys in PEM that are published beside the one that signs."""

    url: str
    key: Path | KmsKey
    lifetime: timedelta
    also: tuple[Path, ...] = ()


class OwnIssuer:
    """Signs tokens about jobs. The key is read each time anew: replacing the file, or the alias, rotates it."""

    def __init__(self, settings: OwnIssuerSettings, parts: ConnectorParts) -> None:
        self._settings = settings
        self._parts = parts

    async def mint(self, request: MintRequest, audience: str) -> HeldToken:
        """Return a token about the request's job for one audience. Raises CredentialError."""
        settings, now = self._settings, self._parts.clock.now()
        token = OwnToken(
            url=settings.url,
            audience=audience,
            rule=request.rule or "",
            now=now,
            lifetime=settings.lifetime,
            token_id=uuid.uuid4().hex,
        )
        signed = await self._sign(own_claims(request.labels, token))
        return HeldToken(audience=audience, token=signed, expires_at=now + settings.lifetime)

    async def documents(self) -> dict[str, dict[str, Any]]:
        """Return what stands at the issuer's URL, by path. Raises CredentialError or ConfigError for a bad key."""
        keys = {kid_of(key): key for key in (await self._public(), *map(_load_public, self._settings.also))}
        url = self._settings.url
        return {
            "/.well-known/openid-configuration": {
                "issuer": url,
                "jwks_uri": f"{url}/.well-known/jwks.json",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "claims_supported": ["iss", "sub", "aud", "iat", "nbf", "exp", "jti", *CLAIMS],
            },
            "/.well-known/jwks.json": {
                "keys": [{**jwk_of(key), "kid": kid, "use": "sig", "alg": "RS256"} for kid, key in keys.items()]
            },
        }

    async def _public(self) -> RSAPublicKey:
        key = self._settings.key
        if isinstance(key, KmsKey):
            found = await ask_kms(self._parts, key, "GetPublicKey", {})
            text = found.get("PublicKey")
            try:
                made = load_der_public_key(b64decode(text if isinstance(text, str) else "", validate=True))
            except ValueError:
                raise CredentialError("KMS: it gives no public key") from None
            return _check(made, f"KMS: {key.key_id}")
        return public_key(await self._read(key))

    async def _sign(self, claims: Mapping[str, Any]) -> Secret:
        key = self._settings.key
        if not isinstance(key, KmsKey):
            pem = await self._read(key)
            kid = kid_of(public_key(pem))
            return await asyncio.to_thread(sign_jwt, pem, claims, kid)
        head = {"alg": "RS256", "typ": "JWT", "kid": kid_of(await self._public())}
        signed = f"{_encode(json.dumps(head).encode())}.{_encode(json.dumps(claims).encode())}"
        asked = {"Message": b64encode(signed.encode()).decode(), "MessageType": "RAW"}
        if len(signed) > _RAW_LIMIT:
            asked = {"Message": b64encode(sha256(signed.encode()).digest()).decode(), "MessageType": "DIGEST"}
        asked["SigningAlgorithm"] = "RSASSA_PKCS1_V1_5_SHA_256"
        signature = (await ask_kms(self._parts, key, "Sign", asked)).get("Signature")
        try:
            raw = b64decode(signature if isinstance(signature, str) else "", validate=True)
        except ValueError:
            raw = b""
        if not raw:
            raise CredentialError("KMS: it gives no signature")
        return Secret(f"{signed}.{_encode(raw)}")

    async def _read(self, path: Path) -> Secret:
        return await read_pem(SecretSource(file=str(path)), self._parts)


def jwk_of(key: RSAPublicKey) -> dict[str, str]:
    """Return the members of a JWK that its thumbprint is made of (RFC 7518 6.3.1)."""
    numbers = key.public_numbers()
    return {"e": _number(numbers.e), "kty": "RSA", "n": _number(numbers.n)}


def kid_of(key: RSAPublicKey) -> str:
    """Return a key's thumbprint (RFC 7638), which is its id."""
    text = json.dumps(jwk_of(key), separators=(",", ":"), sort_keys=True)
    return _encode(sha256(text.encode()).digest())


def _load_public(path: Path) -> RSAPublicKey:
    try:
        return _check(load_pem_public_key(path.read_bytes()), str(path))
    except OSError as error:
        raise ConfigError(f"issuer.also: {path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"issuer.also: {path}: not a public key in PEM") from None


def _check(key: object, where: str) -> RSAPublicKey:
    if not isinstance(key, RSAPublicKey) or key.key_size < _SHORTEST:
        raise ConfigError(f"{where}: not an RSA key of {_SHORTEST} bits or more")
    return key


def _number(value: int) -> str:
    return _encode(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
