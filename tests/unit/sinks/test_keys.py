"""Keys that sign checkpoints come from safe places only."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from proxy.audit.checkpoint import read_verifier
from proxy.model.errors import AuditError, ConfigError
from proxy.sinks.keys import make_signer, publish_key

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_an_operators_key_is_used(tmp_path: Path) -> None:
    """The same file gives the same key at every start."""
    path = write(tmp_path / "key.pem", PEM)
    assert make_signer("jobgate/a", path).verifier.key.public_bytes_raw() == KEY.public_key().public_bytes_raw()


def test_without_one_each_start_has_its_own() -> None:
    """Two starts never share a made key."""
    assert make_signer("jobgate/a").verifier.name != make_signer("jobgate/a").verifier.name


@pytest.mark.parametrize(
    "content, mode, message",
    [
        (PEM, 0o640, "chmod 600"),
        (PEM, 0o604, "chmod 600"),
        (b"", 0o600, "openssl genpkey"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 0o600, "openssl genpkey"),
        (KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")), 0o600, "unencrypted"),
        (
            generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            0o600,
            "not an Ed25519 key",
        ),
    ],
)
def test_a_key_that_is_open_or_wrong_is_refused(tmp_path: Path, content: bytes, mode: int, message: str) -> None:
    """The error names the setting and what to do."""
    with pytest.raises(ConfigError, match=message) as caught:
        make_signer("jobgate/a", write(tmp_path / "key.pem", content, mode))
    assert "audit.checkpoint_key" in str(caught.value)


def test_a_missing_key_is_refused(tmp_path: Path) -> None:
    """No file, no start: a made key in its place would look like tampering to whoever holds the public one."""
    with pytest.raises(ConfigError, match="No such file"):
        make_signer("jobgate/a", tmp_path / "none.pem")


def test_the_public_key_is_published(tmp_path: Path) -> None:
    """The file beside the trail reads back as the key; publishing again changes nothing."""
    verifier = make_signer("jobgate/a").verifier
    path = publish_key(tmp_path, verifier)
    assert publish_key(tmp_path, verifier) == path
    assert read_verifier(path.read_text()) == verifier
    assert [each.name for each in tmp_path.iterdir()] == [f"key-{verifier.key_id.hex()}.pub"]


def test_a_key_that_cannot_be_published_stops_the_start(tmp_path: Path) -> None:
    """Checkpoints that nobody could verify are not written."""
    with pytest.raises(AuditError, match="cannot be written"):
        publish_key(tmp_path / "nowhere", make_signer("jobgate/a").verifier)
