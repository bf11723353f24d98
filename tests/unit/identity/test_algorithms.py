"""Which key may be used with which algorithm."""

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from proxy.identity.algorithms import ALGORITHMS, fits, is_signed_by
from tests.fakes.keys import SigningKey, signing_key

FAMILY = {"RS": "RS256", "PS": "RS256", "ES256": "ES256", "ES384": "ES384", "ES512": "ES512", "Ed": "EdDSA"}


def key_for(algorithm: str) -> SigningKey:
    return signing_key(FAMILY.get(algorithm) or FAMILY[algorithm[:2]])


def test_only_asymmetric_algorithms_exist() -> None:
    """Neither `none` nor a shared-secret algorithm can be configured, let alone chosen."""
    assert sorted(ALGORITHMS) == sorted(
        ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_own_signatures_verify_and_others_do_not(algorithm: str) -> None:
    """A signature holds for exactly its message, and a broken one for none."""
    key = key_for(algorithm)
    signature = key.sign_bytes(b"message", algorithm)

    assert is_signed_by(algorithm, key.public, b"message", signature)
    assert not is_signed_by(algorithm, key.public, b"massage", signature)
    assert not is_signed_by(algorithm, key.public, b"message", signature[:-1])
    assert not is_signed_by(algorithm, key.public, b"message", b"\0" * len(signature))
    assert not is_signed_by(algorithm, key.public, b"message", b"")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("other", ["RS256", "ES256", "ES384", "ES512", "EdDSA"])
def test_a_key_serves_its_own_family_alone(algorithm: str, other: str) -> None:
    """No key is used with another family's algorithm, or on another curve."""
    key = signing_key(other)

    assert fits(algorithm, key.public) is (key_for(algorithm) is key)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS256", "HS384", "HS512", "RS1", "ES256K", "", "rs256"])
def test_unknown_algorithms_fit_no_key(algorithm: str) -> None:
    """What is not in the list verifies nothing, whatever the key."""
    assert not any(fits(algorithm, signing_key(name).public) for name in ("RS256", "ES256", "EdDSA"))
    assert not is_signed_by(algorithm, signing_key("RS256").public, b"", b"")


def test_weak_or_absurd_rsa_keys_fit_nothing() -> None:
    """Short moduli, and exponents that are even, tiny or huge, are refused."""
    assert not fits("RS256", signing_key("RS256", "short", 1024).public)
    modulus = signing_key("RS256").public.public_numbers().n
    assert not fits("RS256", RSAPublicNumbers(2**33 + 1, modulus).public_key())
    assert fits("RS256", RSAPublicNumbers(3, modulus).public_key())
    assert not fits("RS256", RSAPublicNumbers(65537, 2**8200 + 1).public_key())


def test_what_is_no_key_fits_nothing() -> None:
    """A private key, a text or nothing is not a public key."""
    assert not fits("RS256", signing_key("RS256").private)
    assert not fits("EdDSA", "text")
    assert not fits("ES256", None)
