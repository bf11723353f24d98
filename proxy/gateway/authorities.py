"""Is an operator's CA one that strict clients accept? Each check names what is wrong (RFC 5280 4.2.1).

What no check thought of is left to a client: OpenSSL, as strict as it can be told to be, is shown a leaf.
"""

import contextlib
import ssl
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from proxy.model.errors import ConfigError

_ROUNDS: Final = 4


def check_authority(chain: Sequence[x509.Certificate], key: Any, name: str) -> None:
    """Raise ConfigError, naming every fault, unless the first of `chain` can sign leaves that clients accept.

    `chain` goes up to the self-signed root, which is what clients trust; `key` belongs to its first certificate.
    """
    try:
        faults = [*_key_faults(chain[0], key), *_chain_faults(chain)]
        for depth, certificate in enumerate(chain):
            whose = "" if depth == 0 else f"issuer {depth}: "
            faults += [f"{whose}{fault}" for fault in _faults(certificate, depth)]
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"ca.certificate: {name} holds an extension or a key that cannot be read") from None
    if faults:
        raise ConfigError(f"ca.certificate: {name}: " + "; ".join(faults))


def check_accepted(server: ssl.SSLContext, host: str, anchor: bytes, name: str) -> None:
    """Shake hands in memory as a strict client that trusts `anchor` (PEM) alone. Raises ConfigError if it refuses."""
    strict = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    strict.load_verify_locations(cadata=anchor.decode("ascii"))
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = strict.wrap_bio(down, up, server_hostname=host)
    ours = server.wrap_bio(up, down, server_side=True)
    try:
        for side in (client, ours) * _ROUNDS:
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    except ssl.SSLCertVerificationError as error:
        raise ConfigError(f"ca.certificate: {name}: a strict client refuses it: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise ConfigError(f"ca.certificate: {name}: TLS fails with it: {error.reason}") from None
    if client.version() is None:
        raise ConfigError(f"ca.certificate: {name}: no handshake with it comes to an end")


def _chain_faults(chain: Sequence[x509.Certificate]) -> Iterator[str]:
    for depth, (certificate, issuer) in enumerate(pairwise(chain)):
        if not _is_issued_by(certificate, issuer):
            yield f"certificate {depth + 2} in the file did not sign the one before it"
    if not _is_issued_by(chain[-1], chain[-1]):
        yield "the file must end with the self-signed root, which is what clients trust"


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _faults(certificate: x509.Certificate, depth: int) -> Iterator[str]:
    """Yield what is wrong with a CA certificate that has `depth` other CAs below it."""
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
    elif constraints.value.path_length is not None and constraints.value.path_length < depth:
        yield f"its pathLen {constraints.value.path_length} allows fewer CAs below it than there are"
    usage = _extension(certificate, x509.KeyUsage)
    if usage is None or not usage.value.key_cert_sign:
        yield "its keyUsage must include keyCertSign"
    identifier = _extension(certificate, x509.SubjectKeyIdentifier)
    if identifier is None or identifier.critical:
        yield "it has no subjectKeyIdentifier that is not critical"
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
