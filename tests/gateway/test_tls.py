"""Our certificates and contexts: which authorities are accepted, who gets which leaf, and what upstreams must show."""

import ssl
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from shutil import which

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from proxy.gateway.tls import CertificateAuthority, LeafContexts, Roots, refuse_key_logging, upstream_context
from proxy.model.errors import ConfigError
from tests.gateway.certificates import Authority, as_pem, write_files

HOSTS = [
    *("a.example", "_dmarc.a_b.example", "xn--nxasmq6b.example", "localhost", "1.2.3.4"),
    "a" * 63 + "." + "b" * 63 + ".example",
]


def handshake(server: ssl.SSLContext, trust: bytes, name: str | None, alpn: list[str] | None = None) -> ssl.SSLObject:
    """Shake hands in memory as a strict client; raises what the client or the server makes of it."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.verify_flags |= ssl.VERIFY_X509_STRICT
    tls.check_hostname = name is not None
    tls.load_verify_locations(cadata=trust.decode())
    if alpn:
        tls.set_alpn_protocols(alpn)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.wrap_bio(down, up, server_hostname=name)
    ours = server.wrap_bio(up, down, server_side=True)
    for side in (client, ours, client, ours):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return client


def leaf_of(client: ssl.SSLObject) -> x509.Certificate:
    encoded = client.getpeercert(binary_form=True)
    assert encoded is not None
    return x509.load_der_x509_certificate(encoded)


@pytest.fixture(scope="module")
def ca() -> CertificateAuthority:
    return CertificateAuthority.generate()


@pytest.fixture(scope="module")
def leaves(ca: CertificateAuthority) -> LeafContexts:
    return LeafContexts(ca)


@pytest.mark.parametrize("host", HOSTS)
def test_a_strict_client_accepts_the_leaf_of_every_host(
    ca: CertificateAuthority, leaves: LeafContexts, host: str
) -> None:
    """TLS 1.3, X.509 as strict as OpenSSL knows, the very host: odd names, long names and addresses too."""
    is_address = host == "1.2.3.4"
    if is_address:  # Python sends no SNI for an address and checks it against the IP entry
        assert handshake(leaves.context_for(host), ca.pem, host).version() == "TLSv1.3"
    client = handshake(leaves.context_for(host), ca.pem, host)
    leaf = leaf_of(client)
    assert client.version() == "TLSv1.3"
    assert leaf.not_valid_before_utc < datetime.now(UTC) < leaf.not_valid_after_utc
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    kind = x509.IPAddress if is_address else x509.DNSName
    assert [str(each) for each in names.get_values_for_type(kind)] == [host]
    assert len(list(names)) == 1


def test_the_authoritys_key_takes_part_in_no_handshake(ca: CertificateAuthority, leaves: LeafContexts) -> None:
    """Leaves carry another key than the authority (T38), and two leaves carry different serials."""
    one, two = (leaf_of(handshake(leaves.context_for(host), ca.pem, host)) for host in HOSTS[:2])
    assert one.public_key() != ca.certificate.public_key()
    assert one.serial_number != two.serial_number
    assert "key" not in repr(ca).replace("public_key", "")


@pytest.mark.parametrize("name", ["b.example", "sub.a.example", "example", "a.example.evil", "127.1"])
def test_another_name_sees_an_alert(leaves: LeafContexts, ca: CertificateAuthority, name: str) -> None:
    """The context of a host answers to that host alone (A01)."""
    with pytest.raises(ssl.SSLError):
        handshake(leaves.context_for("a.example"), ca.pem, name)


def test_a_name_is_wanted_for_a_name_and_none_for_an_address(leaves: LeafContexts, ca: CertificateAuthority) -> None:
    """No SNI is refused for a host name; an address has none by definition, and any is refused (A06, RFC 6066 3)."""
    with pytest.raises(ssl.SSLError):
        handshake(leaves.context_for("a.example"), ca.pem, None)
    with pytest.raises(ssl.SSLError):
        handshake(leaves.context_for("1.2.3.4"), ca.pem, "a.example")
    assert handshake(leaves.context_for("1.2.3.4"), ca.pem, None).version() == "TLSv1.3"


@pytest.mark.parametrize("name", ["A.Example", "a.example"])
def test_case_is_no_difference(leaves: LeafContexts, ca: CertificateAuthority, name: str) -> None:
    """SNI is compared in canonical form, as every authority is."""
    assert handshake(leaves.context_for("a.example"), ca.pem, name).version() == "TLSv1.3"


@pytest.mark.parametrize("offer, chosen", [(["h2", "http/1.1"], "http/1.1"), (["h2"], None), ([], None)])
def test_only_http_1_1_is_chosen(
    leaves: LeafContexts, ca: CertificateAuthority, offer: list[str], chosen: str | None
) -> None:
    """h2 is never agreed on (A20)."""
    client = handshake(leaves.context_for("a.example"), ca.pem, "a.example", offer)
    assert client.selected_alpn_protocol() == chosen


def test_a_context_hands_out_nothing_to_come_back_with(leaves: LeafContexts) -> None:
    """No session tickets, no renegotiation, nothing below TLS 1.2."""
    tls = leaves.context_for("a.example")
    assert tls.num_tickets == 0
    assert tls.options & ssl.OP_NO_TICKET
    assert tls.options & ssl.OP_NO_RENEGOTIATION
    assert tls.minimum_version == ssl.TLSVersion.TLSv1_2


def test_contexts_are_kept_bounded_and_renewed(ca: CertificateAuthority) -> None:
    """The last few are kept, the least used goes first, and none is kept until its leaf expires."""
    now = [0.0]
    leaves = LeafContexts(ca, maximum=2, clock=lambda: now[0])
    first, second = leaves.context_for("a.example"), leaves.context_for("b.example")
    assert leaves.context_for("a.example") is first
    leaves.context_for("c.example")
    assert len(leaves) == 2
    assert leaves.context_for("a.example") is first
    assert leaves.context_for("b.example") is not second

    kept = leaves.context_for("b.example")
    now[0] = 6 * 24 * 3600.0
    assert leaves.context_for("b.example") is kept
    now[0] = 8 * 24 * 3600.0
    renewed = leaves.context_for("b.example")
    assert renewed is not kept
    assert leaves.context_for("b.example") is renewed
    serials = {leaf_of(handshake(tls, ca.pem, "b.example")).serial_number for tls in (kept, renewed)}
    assert len(serials) == 2
    assert len(leaves) == 2


def test_a_leaf_can_be_loaded_by_an_undumpable_process() -> None:
    """Nothing touches a disk, nor needs a /proc that hardening takes away (C08)."""
    script = (
        "import os\nfrom proxy.system import harden_process\n"
        "from proxy.gateway.tls import CertificateAuthority, LeafContexts\n"
        "os.geteuid() == 0 and (os.setgroups([]), os.setgid(65534), os.setuid(65534))\n"
        "harden_process({})\n"
        "print(LeafContexts(CertificateAuthority.generate()).context_for('a.example').cert_store_stats())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_only_certificates_are_written(ca: CertificateAuthority, tmp_path: Path) -> None:
    """Two files, readable by all, whole, without a key; written again they are the same two files (C10)."""
    folder = tmp_path / "certs"
    for _ in range(2):
        ca.write_certificate(folder)
        assert sorted(path.name for path in folder.iterdir()) == ["bundle.pem", "ca.pem"]
    assert (folder / "ca.pem").read_bytes() == ca.pem
    bundle = (folder / "bundle.pem").read_bytes()
    assert bundle.endswith(b"\n" + ca.pem)
    assert bundle.count(b"BEGIN CERTIFICATE") > 1
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        assert b"PRIVATE" not in path.read_bytes()


def test_a_new_start_replaces_the_files(ca: CertificateAuthority, tmp_path: Path) -> None:
    """What is there is never mixed with what is new, and a place that cannot be written says so."""
    CertificateAuthority.generate().write_certificate(tmp_path)
    ca.write_certificate(tmp_path)
    assert (tmp_path / "ca.pem").read_bytes() == ca.pem
    with pytest.raises(ConfigError, match=r"certs: .* cannot be written"):
        ca.write_certificate(tmp_path / "ca.pem")


ROOT = Authority(name="Root")
OWN = Authority(name="Signing", issuer=ROOT)


@pytest.mark.parametrize(
    "chain",
    [
        (Authority(),),
        (Authority(path_length=0),),
        (OWN, ROOT),
        (Authority(name="Third", issuer=OWN, path_length=0), OWN, ROOT),
        (Authority(key=rsa.generate_private_key(65537, 2048)),),
    ],
    ids=["root", "path length 0", "intermediate", "two intermediates", "rsa"],
)
def test_an_operators_authority_is_used(chain: tuple[Authority, ...], tmp_path: Path) -> None:
    """Leaves of a good authority, whole chain sent, are accepted by a strict client that knows the root alone."""
    ca = CertificateAuthority.load(*write_files(tmp_path, as_pem(*chain), chain[0].key_pem()))
    client = handshake(LeafContexts(ca).context_for("a.example"), as_pem(chain[-1]), "a.example")
    assert client.version() == "TLSv1.3"
    assert x509.load_pem_x509_certificate(ca.pem).subject == chain[-1].subject


@pytest.mark.parametrize(
    "chain, fault",
    [
        ((Authority(to_day=-1),), "valid from"),
        ((Authority(to_day=0),), "valid from"),
        ((Authority(from_day=1),), "valid from"),
        ((Authority(is_ca=False),), "not a CA certificate"),
        ((Authority(is_critical=False),), "must be critical"),
        ((Authority(may_sign=False),), "keyCertSign"),
        ((Authority(may_sign=None),), "keyCertSign"),
        ((Authority(identifier=False),), "subjectKeyIdentifier"),
        ((Authority(name=""),), "subject is empty"),
        ((Authority(key=rsa.generate_private_key(65537, 1024)),), "1024 bits"),
        ((OWN,), "end with the self-signed root"),
        ((OWN, Authority(name="Root")), "did not sign the one before"),
        ((OWN, Authority(name="Stranger")), "did not sign the one before"),
        ((ROOT, OWN), "did not sign the one before"),
        ((Authority(name="S", issuer=(old := Authority(name="Old", to_day=-1))), old), "issuer 1: it is valid from"),
        ((Authority(name="S", issuer=(end := Authority(name="End", path_length=0))), end), "issuer 1: its pathLen 0"),
        ((Authority(name="S", issuer=(no := Authority(name="No", is_ca=False))), no), "issuer 1: it is not a CA"),
    ],
)
def test_an_authority_that_clients_would_refuse_is_refused_at_start(
    chain: tuple[Authority, ...], fault: str, tmp_path: Path
) -> None:
    """Every rule strict clients keep is checked before a job meets it, up to the root, and named."""
    with pytest.raises(ConfigError, match=fault):
        CertificateAuthority.load(*write_files(tmp_path, as_pem(*chain), chain[0].key_pem()))


@pytest.mark.real
def test_a_sha1_authority_is_refused(tmp_path: Path) -> None:
    """A signature hash that clients gave up is named; only openssl still makes one."""
    openssl = which("openssl")
    assert openssl is not None
    key, pem = tmp_path / "key", tmp_path / "pem"
    words = f"req -x509 -newkey rsa:2048 -nodes -sha1 -days 30 -subj /CN=Old -keyout {key} -out {pem}".split()
    subprocess.run([openssl, *words], capture_output=True, timeout=60, check=True)
    key.chmod(0o600)
    with pytest.raises(ConfigError, match="signed with sha1"):
        CertificateAuthority.load(pem, key)


def test_what_no_check_names_a_strict_client_still_refuses(tmp_path: Path) -> None:
    """A name constraint that excludes every host leaves no fault to name, and no client to accept: refused."""
    good = Authority()
    now = good.certificate()
    builder = (
        x509.CertificateBuilder()
        .subject_name(now.subject)
        .issuer_name(now.subject)
        .public_key(good.key.public_key())
        .serial_number(1)
        .not_valid_before(now.not_valid_before_utc)
        .not_valid_after(now.not_valid_after_utc)
    )
    for extension in now.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    builder = builder.add_extension(x509.NameConstraints([x509.DNSName("only.example")], None), critical=True)
    pem = builder.sign(good.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(ConfigError, match="a strict client refuses it"):
        CertificateAuthority.load(*write_files(tmp_path, pem, good.key_pem()))


@pytest.mark.parametrize(
    "key, mode, fault",
    [
        (Authority().key_pem(), 0o600, "belongs to another certificate"),
        (ROOT.key_pem(), 0o640, "can be read by others"),
        (ROOT.key_pem(), 0o604, "can be read by others"),
        (b"", 0o600, "not an unencrypted PEM"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 0o600, "not an unencrypted PEM"),
        (
            ROOT.key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"x"),
            ),
            0o600,
            "not an unencrypted PEM",
        ),
        (
            ed25519.Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            0o600,
            "belongs to another certificate",
        ),
    ],
    ids=["foreign", "group", "world", "empty", "garbage", "encrypted", "ed25519"],
)
def test_a_key_that_cannot_be_used_is_refused(key: bytes, mode: int, fault: str, tmp_path: Path) -> None:
    """Foreign, readable by others, encrypted or broken: each is named, and none is printed."""
    with pytest.raises(ConfigError, match=fault) as caught:
        CertificateAuthority.load(*write_files(tmp_path, as_pem(ROOT), key, mode))
    assert "PRIVATE" not in str(caught.value)


@pytest.mark.parametrize(
    "certificates", [b"", b"no pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_certificate_that_cannot_be_read_is_refused(certificates: bytes, tmp_path: Path) -> None:
    """A file that holds no certificate is named, and so is one that is not there."""
    paths = write_files(tmp_path, certificates, ROOT.key_pem())
    with pytest.raises(ConfigError, match="holds no PEM certificate"):
        CertificateAuthority.load(*paths)
    for at in range(2):
        missing = [*paths]
        missing[at] = tmp_path / "absent"
        with pytest.raises(ConfigError, match="cannot be read"):
            CertificateAuthority.load(*missing)


def test_upstreams_are_verified_by_the_machines_roots_or_the_operators(tmp_path: Path) -> None:
    """Certificate and name are checked, TLS 1.2 or later, against exactly the roots that were named."""
    for tls in (upstream_context(None), upstream_context(_pem_file(tmp_path, as_pem(ROOT)))):
        assert tls.verify_mode is ssl.CERT_REQUIRED
        assert tls.check_hostname
        assert not tls.hostname_checks_common_name
        assert tls.minimum_version == ssl.TLSVersion.TLSv1_2
    assert len(tls.get_ca_certs()) == 1


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_trust_file_without_roots_is_refused(content: bytes, tmp_path: Path) -> None:
    """No roots means no upstream could be verified: that is said at start."""
    with pytest.raises(ConfigError, match="holds no PEM certificates"):
        upstream_context(_pem_file(tmp_path, content))
    with pytest.raises(ConfigError, match="cannot be read"):
        upstream_context(tmp_path / "absent")


def test_our_own_authority_is_never_believed(ca: CertificateAuthority, tmp_path: Path) -> None:
    """A trust file into which our CA was put, as `bundle.pem` would be, is refused (T40)."""
    ca.write_certificate(tmp_path)
    for name in ("ca.pem", "bundle.pem"):
        with pytest.raises(ConfigError, match="proxy's own CA"):
            upstream_context(tmp_path / name, ca)
    assert upstream_context(_pem_file(tmp_path, as_pem(ROOT)), ca).get_ca_certs()


@pytest.mark.parametrize("name", ["SSLKEYLOGFILE", "MITMPROXY_SSLKEYLOGFILE"])
def test_key_logging_stops_the_start(name: str) -> None:
    """Neither variable may be set when the proxy starts (C09, T41)."""
    with pytest.raises(ConfigError, match=name):
        refuse_key_logging({name: "/tmp/keys"})
    refuse_key_logging({name: "", "HOME": "/"})


def _pem_file(folder: Path, content: bytes) -> Path:
    path = folder / "trust.pem"
    path.write_bytes(content)
    return path


def test_changed_roots_are_read_again(ca: CertificateAuthority, tmp_path: Path) -> None:
    """What is in the file is believed, and no longer what was (T39); what cannot be believed leaves what was there."""
    before = as_pem(ROOT)
    file = _pem_file(tmp_path, before)
    roots = Roots(file, ca)
    first, named = roots.context, roots.digest
    assert roots.reload() is False
    assert roots.context is first

    file.write_bytes(as_pem(Authority()))
    assert roots.reload() is True
    (second,) = roots.context.get_ca_certs(binary_form=True)
    assert second not in first.get_ca_certs(binary_form=True)
    assert roots.digest != named

    kept = roots.context
    for content in (b"", b"no certificate", ca.pem):
        file.write_bytes(content)
        for _ in range(2):  # said again for as long as it is so
            with pytest.raises(ConfigError, match=r"upstream\.trust"):
                roots.reload()
        assert roots.context is kept
    file.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        roots.reload()
    file.write_bytes(before)
    assert roots.reload() is True
    assert roots.digest == named


def test_the_machines_own_roots_are_watched_too(ca: CertificateAuthority) -> None:
    """Without a file of the operator's there is still one to look at."""
    roots = Roots(None, ca)
    assert roots.reload() is False
    assert roots._look() is not None
