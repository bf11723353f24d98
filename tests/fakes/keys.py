"""Signing keys that mint tokens, and a key source that counts, waits and fails on cue."""

import asyncio
import base64
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import jwt.algorithms
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from proxy.model.identity import KeySet, UnverifiedToken, VerificationKey

_CURVES: dict[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


def encode(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def encode_json(value: object) -> str:
    return encode(json.dumps(value, separators=(",", ":")).encode())


class SigningKey:
    """One issuer key. `algorithm` is what its JWK states and what `sign` uses."""

    def __init__(self, algorithm: str, kid: str, private: Any) -> None:
        self.algorithm = algorithm
        self.kid = kid
        self.private = private

    @property
    def public(self) -> Any:
        return self.private.public_key()

    def jwk(self, **changes: object) -> dict[str, Any]:
        """The public JWK; a change of None removes a member."""
        primitive = jwt.algorithms.get_default_algorithms()[self.algorithm]
        stated: dict[str, Any] = dict(primitive.to_jwk(self.public, as_dict=True))
        stated.pop("key_ops", None)
        stated |= {"kid": self.kid, "alg": self.algorithm, "use": "sig", **changes}
        return {name: value for name, value in stated.items() if value is not None}

    def sign_bytes(self, signed: bytes, algorithm: str | None = None) -> bytes:
        primitive = jwt.algorithms.get_default_algorithms()[algorithm or self.algorithm]
        return primitive.sign(signed, self.private)

    def sign_parts(self, header: str, claims: str, algorithm: str | None = None) -> UnverifiedToken:
        """Sign two parts that are encoded already, however wrongly."""
        signature = self.sign_bytes(f"{header}.{claims}".encode(), algorithm)
        return UnverifiedToken(f"{header}.{claims}.{encode(signature)}")

    def sign(self, claims: object, header: Mapping[str, object] | None = None) -> UnverifiedToken:
        """Mint a token; `header` changes or, with None values, removes header fields."""
        fields = {"alg": self.algorithm, "kid": self.kid, "typ": "JWT", **(header or {})}
        fields = {name: value for name, value in fields.items() if value is not None}
        return self.sign_parts(encode_json(fields), encode_json(claims))

    def verification(self, **changes: Any) -> VerificationKey:
        stated: dict[str, Any] = {"kid": self.kid, "algorithm": self.algorithm, "key": self.public, **changes}
        return VerificationKey(**stated)


@cache
def signing_key(algorithm: str = "RS256", kid: str = "key-1", bits: int = 2048) -> SigningKey:
    """Make a key once per test run: RSA keys are slow to make."""
    private: Any
    if algorithm in _CURVES:
        private = ec.generate_private_key(_CURVES[algorithm])
    elif algorithm == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
    else:
        private = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return SigningKey(algorithm, kid, private)


def key_set(issuer: str, *keys: SigningKey) -> KeySet:
    return KeySet(issuer=issuer, keys=tuple(key.verification() for key in keys))


class CountingKeys:
    """`engine.ports.KeySource` over fixed key sets. `error` is raised instead; `gate`, when set, is waited for."""

    def __init__(self, *sets: KeySet) -> None:
        self.sets = {keys.issuer: keys for keys in sets}
        self.asked: list[tuple[str, str | None]] = []
        self.error: BaseException | None = None
        self.gate: asyncio.Event | None = None

    async def keys(self, issuer: str, kid: str | None) -> KeySet:
        self.asked.append((issuer, kid))
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.sets[issuer]
