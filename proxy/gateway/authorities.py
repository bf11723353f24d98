"""Is an operator's CA one that strict clients accept? Each check names what is wrong (RFC 5280 4.2.1)."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from proxy.model.errors import ConfigError


def check_authority(certificate: x509.Certificate, key: Any, name: str) -> None:
    """Raise ConfigError, naming every fault, unless `certificate` with `key` can sign leaves clients accept."""
    faults = list(_faults(certificate, key))
    if faults:
        raise ConfigError(f"ca.certificate: {name}: " + "; ".join(faults))


def _faults(certificate: x509.Certificate, key: Any) -> Iterator[str]:
    yield from _key_faults(certificate, key)
    now = datetime.now(UTC)
    if now < certificate.not_valid_before_utc or certificate.not_valid_after_utc < now + timedelta(days=1):
        yield f"it is valid from {certificate.not_valid_before_utc:%F} to {certificate.not_valid_after_utc:%F} only"
    algorithm = certificate.signature_hash_algorithm
    if algorithm is not None and algorithm.name in {"md5", "sha1"}:
        yield f"it is signed with {algorithm.name}, which clients refuse"
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.value.ca:
        yield "it is not a CA certificate (basicConstraints CA:TRUE)"
    elif not constraints.critical:
        yield "its basicConstraints must be critical"
    usage = _extension(certificate, x509.KeyUsage)
    if usage is None or not usage.value.key_cert_sign:
        yield "its keyUsage must include keyCertSign"
    if _extension(certificate, x509.SubjectKeyIdentifier) is None:
        yield "it has no subjectKeyIdentifier"
    if not list(certificate.subject):
        yield "its subject is empty"


def _key_faults(certificate: x509.Certificate, key: Any) -> Iterator[str]:
    public = certificate.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        if public.key_size < 2048:
            yield f"its RSA key has {public.key_size} bits, clients want 2048 or more"
    elif isinstance(public, ec.EllipticCurvePublicKey):
        if public.curve.key_size < 256:
            yield f"its curve {public.curve.name} is too small, use P-256 or larger"
    else:
        yield "its key is neither RSA nor elliptic-curve"
    if _public_bytes(key.public_key()) != _public_bytes(public):
        yield "the private key belongs to another certificate"


def _public_bytes(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _extension[T: x509.ExtensionType](certificate: x509.Certificate, kind: type[T]) -> x509.Extension[T] | None:
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None
