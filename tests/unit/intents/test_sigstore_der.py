"""What is read of DER: timestamp queries as openssl writes them, and public keys."""

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import CertificateSigningRequestBuilder, Name

from proxy.intents.sigstore_der import name_digest, read_base64, read_imprint, read_key
from proxy.model.errors import IntentError

HELLO = hashlib.sha256(b"hello").hexdigest()
# openssl ts -query, with certificates and a nonce, of sha256; without either, of sha512
WITH_NONCE = f"30440201013031300d060960864801650304020105000420{HELLO}020900e6d8b27d92408dca0101ff"
PLAIN = f"30560201013051300d060960864801650304020305000440{hashlib.sha512(b'hello').hexdigest()}"
SHA1 = f"3024020101301f300706052b0e03021a0414{hashlib.sha1(b'hello').hexdigest()}"


@pytest.mark.parametrize("text, name", [(WITH_NONCE, "sha256"), (PLAIN, "sha512"), (SHA1, "sha1")])
def test_the_imprint_of_a_timestamp_query(text: str, name: str) -> None:
    """What is to be stamped is told with its hash, whatever follows it."""
    assert read_imprint(bytes.fromhex(text)) == f"{name}:{hashlib.new(name, b'hello').hexdigest()}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "30",
        "3000",
        "0500",
        "30800000",  # of indefinite length
        PLAIN[:-2],
        PLAIN + "00",
        PLAIN + PLAIN,
        "3081" + PLAIN[2:],  # a length in more bytes than it needs
        "308200" + PLAIN[2:],
        "3084000000" + PLAIN[2:],
        WITH_NONCE.replace("020101", "020102", 1),  # of version 2
        WITH_NONCE.replace("020101", "040101", 1),
        WITH_NONCE.replace("6086480165", "8086480165", 1),  # an identifier that begins with nothing
        WITH_NONCE.replace("04020105000420", "04020205000420", 1),  # sha384 of 32 bytes
        WITH_NONCE.replace("04020105000420", "04020705000420", 1),  # an unknown hash
        WITH_NONCE.replace("04020105000420", "04028105000420", 1),  # an identifier that ends early
        "30080201013003300106",
        "300a0201013005300306000400",
        "300b020101300630020600" + "0400",
        "3026020101302130070605" + "2b0e03021a" + "0414" + "00" * 20 + "0500",  # more in the imprint
        "3f" + WITH_NONCE[2:],  # a tag of more than one byte
    ],
)
def test_hostile_queries_are_refused(text: str) -> None:
    """What is not DER, not of version 1, or of no known hash is denied."""
    with pytest.raises(IntentError):
        read_imprint(bytes.fromhex(text))


CURVES = [(ec.SECP256R1(), "ecdsa-p256"), (ec.SECP384R1(), "ecdsa-p384"), (ec.SECP256K1(), "ecdsa-1.3.132.0.10")]


@pytest.mark.parametrize("curve, algorithm", CURVES)
def test_keys_on_curves(curve: ec.EllipticCurve, algorithm: str) -> None:
    """The curve is part of the algorithm: by its name, or its number where it has none here."""
    key = ec.generate_private_key(curve).public_key()
    raw = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    assert read_key(raw) == (algorithm, raw)
    assert read_key(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)) == (algorithm, raw)


def test_keys_of_other_kinds() -> None:
    """Ed25519 and RSA, the latter in its own format too."""
    edwards = ed25519.Ed25519PrivateKey.generate().public_key()
    raw = edwards.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert read_key(raw) == ("ed25519", raw)
    old = rsa.generate_private_key(65537, 2048).public_key()
    raw = old.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert read_key(b"\n" + old.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)) == ("rsa", raw)
    raw = old.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    assert read_key(old.public_bytes(Encoding.PEM, PublicFormat.PKCS1)) == ("rsa", raw)


def test_the_key_of_a_signing_request() -> None:
    """A certificate signing request is about the key in it."""
    private = ec.generate_private_key(ec.SECP256R1())
    request = CertificateSigningRequestBuilder().subject_name(Name([])).sign(private, hashes.SHA256())
    raw = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    assert read_key(request.public_bytes(Encoding.PEM)) == ("ecdsa-p256", raw)
    assert read_key(request.public_bytes(Encoding.DER)) == ("ecdsa-p256", raw)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----",
        b"-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----",
        b"-----BEGIN PUBLIC KEY-----\nM\n-----END PUBLIC KEY-----",
        b"-----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----",
        b"-----BEGIN PUBLIC KEY-----\nMAA=\n-----END RSA PUBLIC KEY-----",
        b"-----BEGIN RSA PUBLIC KEY-----\nMAA=\n-----END RSA PUBLIC KEY-----",
        b"-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n-----BEGIN PUBLIC KEY-----\nMAA=\n",
        b"\xff",
        b"0\x00",
        b"0\x82",
    ],
)
def test_what_is_no_key_is_refused(text: bytes) -> None:
    """A key is one PEM block of a known label, or DER; anything else is denied."""
    with pytest.raises(IntentError):
        read_key(text)


def test_base64() -> None:
    """Both alphabets are taken, padded or not; other signs are not."""
    for text in ("+/8=", "-_8=", "-_8"):
        assert read_base64(text) == b"\xfb\xff"
    assert read_base64("") == b""
    for text in ("a", "a b=", "é", "a=b", "\n"):
        with pytest.raises(IntentError):
            read_base64(text)


def test_digests_have_the_length_of_their_hash() -> None:
    """A digest of another length than its hash has is none."""
    assert name_digest("sha256", b"\0" * 32) == f"sha256:{'00' * 32}"
    for name, size in (("sha256", 31), ("sha512", 32), ("md5", 16), ("", 0)):
        with pytest.raises(IntentError):
            name_digest(name, b"\0" * size)
