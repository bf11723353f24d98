"""TLS towards the job: a certificate authority, a server context per host. TLS towards upstreams: one client context.

The CA's key exists in this process's memory only; what is written is its certificate. Leaf certificates carry a key of
their own, so the CA's key never takes part in a handshake (T38).
"""

import contextlib
import hashlib
import os
import ssl
import stat
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from time import monotonic
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from mitmproxy import certs

from proxy.gateway.authorities import check_accepted, check_authority
from proxy.model.authority import parse_host
from proxy.model.errors import ConfigError, ProtocolError

ALPN: Final = ["http/1.1"]
CA_FILE: Final = "ca.pem"
BUNDLE_FILE: Final = "bundle.pem"
KEY_LOG_VARIABLES: Final = ("SSLKEYLOGFILE", "MITMPROXY_SSLKEYLOGFILE")
_CA_BITS: Final = 2048
_CONTEXTS: Final = 512
_RENEWED_AFTER: Final = 7 * 24 * 3600.0
"""Seconds; far below the life of a leaf, so that a proxy that runs for a year never shows an expired one."""
_SAMPLE: Final = "jobgate.invalid"


def refuse_key_logging(environ: Mapping[str, str]) -> None:
    """Refuse to start where TLS secrets would be written to a file (C09, T41). Raises ConfigError."""
    for name in KEY_LOG_VARIABLES:
        if environ.get(name):
            raise ConfigError(f"{name} is set: it would write every TLS session's secrets to a file; unset it")


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateAuthority:
    """Signs leaf certificates. `chain` is sent beside a leaf; `anchor` is what a client must trust."""

    certificate: x509.Certificate
    key: Any = field(repr=False)
    anchor: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()

    @classmethod
    def generate(cls) -> "CertificateAuthority":
        """Make a CA for this start; nobody else ever holds its key."""
        key, certificate = certs.create_ca(organization="jobgate", cn="jobgate (this instance)", key_size=_CA_BITS)
        return cls(certificate=certificate, key=key, anchor=certificate)

    @classmethod
    def load(cls, certificate_path: Path, key_path: Path) -> "CertificateAuthority":
        """Read an operator's CA: a PEM file with the CA first and its issuers after it, and the CA's private key.

        Raises ConfigError for files that cannot be used, a key that others can read, and a CA that strict clients
        would refuse (RFC 5280 4.2.1; Python's VERIFY_X509_STRICT, Go, GnuTLS).
        """
        key = _read_key(key_path)
        try:
            chain = x509.load_pem_x509_certificates(certificate_path.read_bytes())
        except OSError as error:
            raise ConfigError(f"ca.certificate: {certificate_path} cannot be read: {error.strerror}") from None
        except ValueError:
            raise ConfigError(f"ca.certificate: {certificate_path} holds no PEM certificate") from None
        check_authority(chain, key, str(certificate_path))
        sent = tuple(each for each in chain if each.issuer != each.subject)
        ca = cls(certificate=chain[0], key=key, anchor=chain[-1], chain=sent)
        check_accepted(LeafContexts(ca).context_for(_SAMPLE), _SAMPLE, ca.pem, str(certificate_path))
        return ca

    @property
    def pem(self) -> bytes:
        """The certificate a client must trust, as PEM."""
        return self.anchor.public_bytes(serialization.Encoding.PEM)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the CA certificate, in hex."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def write_certificate(self, directory: Path) -> None:
        """Write `ca.pem`, and `bundle.pem` (the machine's public roots and ours), for clients; never a key.

        Most CA variables replace a tool's trust store, so they must name the bundle. Raises ConfigError.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
            _replace(directory / CA_FILE, self.pem)
            _replace(directory / BUNDLE_FILE, _public_roots() + b"\n" + self.pem)
        except OSError as error:
            raise ConfigError(f"certs: {directory} cannot be written: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class _LeafIssuer:
    """The CA as `certs.dummy_cert` reads it, but for the public key it copies into the leaf."""

    ca: x509.Certificate
    leaf_key: ec.EllipticCurvePublicKey

    @property
    def subject(self) -> x509.Name:
        return self.ca.subject

    @property
    def extensions(self) -> x509.Extensions:
        return self.ca.extensions

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self.leaf_key


class LeafContexts:
    """A server context per host, made when a rule first lets a job ask for it, and kept for the last few hundred."""

    def __init__(
        self, ca: CertificateAuthority, maximum: int = _CONTEXTS, clock: Callable[[], float] = monotonic
    ) -> None:
        self._ca = ca
        self._maximum = maximum
        self._clock = clock
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._key_pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._contexts: OrderedDict[str, tuple[ssl.SSLContext, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._contexts)

    def context_for(self, host: str) -> ssl.SSLContext:
        """Return a context for exactly this canonical host, which refuses any other SNI (A01, A06)."""
        now = self._clock()
        known = self._contexts.get(host)
        if known is not None and now - known[1] < _RENEWED_AFTER:
            self._contexts.move_to_end(host)
            return known[0]
        context = self._make_context(host)
        self._contexts[host] = context, now
        self._contexts.move_to_end(host)
        if len(self._contexts) > self._maximum:
            self._contexts.popitem(last=False)
        return context

    def _make_context(self, host: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(ALPN)
        context.num_tickets = 0  # a handshake is cheap here, and a ticket would outlive the decision it came from
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
        chain = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in self._ca.chain)
        with _in_memory(self._leaf(host) + chain + self._key_pem) as path:
            context.load_cert_chain(path)
        context.sni_callback = _expect(host)
        return context

    def _leaf(self, host: str) -> bytes:
        name = x509.IPAddress(ip_address(host)) if _is_address(host) else x509.DNSName(host)
        issuer: Any = _LeafIssuer(self._ca.certificate, self._key.public_key())
        return certs.dummy_cert(self._ca.key, issuer, host, [name]).to_pem()


def upstream_context(trust: Path | None, own: CertificateAuthority | None = None) -> ssl.SSLContext:
    """Return the client context for upstreams: certificate and name always verified, TLS 1.2 or later, HTTP/1.1.

    `trust` replaces the machine's public roots. `own` is refused as a root: what we intercept we never believe (T40).
    Raises ConfigError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(ALPN)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.hostname_checks_common_name = False  # RFC 9525 2: a name is in subjectAltName or nowhere
    named = "the machine's trust store" if trust is None else f"upstream.trust: {trust}"
    try:
        context.load_verify_locations(cadata=(trust.read_bytes() if trust is not None else _public_roots()).decode())
    except (ssl.SSLError, ValueError):
        raise ConfigError(f"{named} holds no PEM certificates; name a file of them in `upstream.trust`") from None
    except OSError as error:
        raise ConfigError(f"{named} cannot be read: {error.strerror}") from None
    if own is not None:
        mine = own.certificate.public_bytes(serialization.Encoding.DER)
        if mine in context.get_ca_certs(binary_form=True):
            raise ConfigError("upstream.trust: holds the proxy's own CA, which only jobs may trust; take it out")
    return context


class Roots:
    """What upstreams are verified by, as the file was when it was last read (T39). Raises ConfigError when made."""

    def __init__(self, trust: Path | None, own: CertificateAuthority) -> None:
        self._trust, self._own = trust, own
        self._stamp = self._look()
        self.context = upstream_context(trust, own)

    @property
    def digest(self) -> str:
        """The hex SHA-256 of the roots in force, in the order of their encodings: names them on record."""
        return hashlib.sha256(b"".join(sorted(self.context.get_ca_certs(binary_form=True)))).hexdigest()

    def reload(self) -> bool:
        """Read the file if it is another one by now; return whether it was. Raises ConfigError: the old roots stay."""
        stamp = self._look()
        if stamp == self._stamp:
            return False
        self.context = upstream_context(self._trust, self._own)
        self._stamp = stamp
        return True

    def _look(self) -> tuple[int, int, int] | None:
        path = self._trust or _public_file()
        try:
            found = path.stat() if path is not None else None
        except OSError:
            found = None
        return None if found is None else (found.st_ino, found.st_size, found.st_mtime_ns)


def _expect(host: str) -> Any:
    """Return an SNI callback that accepts `host` and nothing else; an address has no SNI (RFC 6066 3)."""
    wanted = None if _is_address(host) else host

    def check(_: ssl.SSLObject, server_name: str | None, __: ssl.SSLContext) -> int | None:
        try:
            named = None if server_name is None else parse_host(server_name)
        except ProtocolError:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        return None if named == wanted else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    return check


def _is_address(host: str) -> bool:
    return ":" in host or host.rpartition(".")[2].isdigit()


def _read_key(path: Path) -> Any:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
                raise ConfigError(f"ca.key: {path} can be read by others; run `chmod 600 {path}`")
            return serialization.load_pem_private_key(file.read(65_536), password=None)
    except OSError as error:
        raise ConfigError(f"ca.key: {path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"ca.key: {path} is not an unencrypted PEM private key") from None


def _public_roots() -> bytes:
    """Return the machine's own trust store as PEM; empty where there is none."""
    path = _public_file()
    return b"" if path is None else path.read_bytes()


def _public_file() -> Path | None:
    paths = ssl.get_default_verify_paths()
    for path in (paths.openssl_cafile, "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"):
        if Path(path).is_file() and os.access(path, os.R_OK):
            return Path(path)
    return None


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """Give `content` a path without letting it touch a disk: OpenSSL reads certificate chains from files only."""
    descriptor = os.memfd_create("leaf", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, readable by every user of the machine."""
    if path.exists() and hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(content).digest():
        return
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
