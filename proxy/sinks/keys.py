"""The key that signs checkpoints: an operator's, or one made for this start and never written."""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from proxy.audit.checkpoint import Signer, Verifier
from proxy.audit.naming import key_name
from proxy.model.errors import AuditError, ConfigError

_MAKE_ONE: Final = "make one with `openssl genpkey -algorithm ed25519`"


def make_signer(origin: str, path: Path | None = None, *, setting: str = "audit.checkpoint_key") -> Signer:
    """Return the signer of a trail: from the Ed25519 PEM file at `path`, or with a new key when there is none.

    `setting` is what errors call the file.

    Raises ConfigError when the file is open to others, is no such key, or cannot be read.
    """
    return Signer(origin, Ed25519PrivateKey.generate() if path is None else _read_key(path, setting))


def _read_key(path: Path, setting: str) -> Ed25519PrivateKey:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
                raise ConfigError(f"{setting}: {path} can be read by others; run `chmod 600 {path}`")
            key = load_pem_private_key(file.read(16_384), password=None)
    except OSError as error:
        raise ConfigError(f"{setting}: {path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError):
        raise ConfigError(f"{setting}: {path} is not an unencrypted PEM key; {_MAKE_ONE}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{setting}: {path} is not an Ed25519 key; {_MAKE_ONE}")
    return key


def publish_key(directory: Path, verifier: Verifier) -> Path:
    """Write the public key beside the trail, as `key-<id>.pub`, durably. Raises AuditError."""
    path = directory / key_name(verifier.key_id)
    text = verifier.to_file()
    try:
        with suppress(FileNotFoundError):
            if path.read_text() == text:
                return path
        fresh = path.with_suffix(".new")
        with fresh.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
    except OSError as error:
        raise AuditError(f"{path} cannot be written: {error.strerror}") from None
    return path
