"""Certificates as an operator might bring them, right and wrong in one respect each."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True, kw_only=True)
class Authority:
    """How to make one CA certificate; the defaults are right. Times are days from now."""

    name: str = "Example CA"
    key: Any = field(default_factory=new_key)
    issuer: "Authority | None" = None
    from_day: int = -400
    to_day: int = 400
    is_ca: bool = True
    is_critical: bool = True
    path_length: int | None = None
    may_sign: bool | None = True
    identifier: bool = True

    @property
    def subject(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)] if self.name else [])

    def certificate(self) -> x509.Certificate:
        signer = self.issuer or self
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(signer.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=self.from_day))
            .not_valid_after(now + timedelta(days=self.to_day))
            .add_extension(x509.BasicConstraints(ca=self.is_ca, path_length=self.path_length), self.is_critical)
        )
        if self.may_sign is not None:
            usage = {"key_cert_sign": self.may_sign, "crl_sign": self.may_sign, "digital_signature": True}
            others = (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            )
            builder = builder.add_extension(x509.KeyUsage(**usage, **dict.fromkeys(others, False)), critical=True)
        if self.identifier:
            builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False)
        if self.issuer is not None:
            identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.issuer.key.public_key())
            builder = builder.add_extension(identifier, False)
        return builder.sign(signer.key, hashes.SHA256())

    def key_pem(self) -> bytes:
        pem: bytes = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return pem


def as_pem(*authorities: Authority) -> bytes:
    return b"".join(each.certificate().public_bytes(serialization.Encoding.PEM) for each in authorities)


def write_files(folder: Path, certificates: bytes, key: bytes, mode: int = 0o600) -> tuple[Path, Path]:
    """Write what the settings would name; return the paths of certificate and key."""
    paths = folder / "ca.pem", folder / "ca.key"
    for path, content in zip(paths, (certificates, key), strict=True):
        path.write_bytes(content)
        path.chmod(mode)
    return paths
