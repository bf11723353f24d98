"""Open what is sealed in a trail, with keys given at that moment: age identities, or AWS KMS as whoever asks.

What no given key opens stays as it stands in the trail; `left` counts it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from proxy.audit.chain import read_record
from proxy.audit.sealing import read_announcement, sealed_with, unseal
from proxy.model.errors import AuditError
from proxy.model.record import Kind

KMS: Final = Path("kms:")
"""In the place of an identity file: ask AWS KMS, with the credentials botocore finds."""

_MAX_FILE: Final = 65_536


class Unsealer:
    """Reads the lines of one trail, in order. Without identities it opens nothing."""

    def __init__(self, identities: Sequence[Path] = ()) -> None:
        """`identities` are files with age identities or SSH private keys, or `KMS`. Raises AuditError."""
        self.left = 0
        self._opens_age = _read_identities([each for each in identities if each != KMS])
        self._asks_kms = KMS in identities
        self._wrapped: dict[str, dict[str, Any]] = {}
        self._secrets: dict[str, bytes | None] = {}

    def read(self, line: bytes) -> dict[str, Any]:
        """Return a line's record, opened where it is sealed and a key is there. Raises AuditError when it is broken."""
        return self.open(line, read_record(line))

    def open(self, line: bytes, record: dict[str, Any]) -> dict[str, Any]:
        """Return the record on `line`, opened where it is sealed and a key is there. Raises AuditError."""
        if record["kind"] == Kind.KEY_SEALED:
            self._wrapped[read_announcement(record)[0]] = record
            return record
        key = sealed_with(record)
        if key is None:
            return record
        secret = self._secret(key)
        if secret is None:
            self.left += 1
            return record
        return unseal(line, record, secret)

    def _secret(self, key: str) -> bytes | None:
        if key not in self._secrets:
            if (record := self._wrapped.get(key)) is None:
                return None  # its announcement was moved away with an older segment, or is still to come
            self._secrets[key] = self._unwrap(record)
        return self._secrets[key]

    def _unwrap(self, record: dict[str, Any]) -> bytes | None:
        wrapped = read_announcement(record)[1]
        recipients = [str(each) for each in record.get("recipients", ())]
        if recipients and recipients[0].startswith("kms:"):
            return _ask_kms(recipients[0].removeprefix("kms:"), wrapped, record) if self._asks_kms else None
        if not self._opens_age:
            return None
        import pyrage  # noqa: PLC0415 - it is there: identities were read with it

        try:
            return bytes(pyrage.decrypt(wrapped, self._opens_age))
        except pyrage.DecryptError:
            return None


def _read_identities(files: Sequence[Path]) -> list[Any]:
    return [identity for path in files for identity in _read_file(path)]


def _read_file(path: Path) -> list[Any]:
    """Return the identities in a file as `age-keygen` or `ssh-keygen` writes it. Errors never show its text."""
    try:
        import pyrage  # noqa: PLC0415 - an extra, needed for sealed trails alone
    except ImportError:
        raise AuditError("sealed records are opened with the extra: pip install 'jobgate[age]'") from None
    try:
        raw = path.read_bytes()[:_MAX_FILE]
    except OSError as error:
        raise AuditError(f"{path} cannot be read: {error.strerror}") from None
    try:
        if raw.startswith(b"-----BEGIN"):
            return [pyrage.ssh.Identity.from_buffer(raw)]
        lines = [line.strip() for line in raw.decode("ascii").splitlines()]
        found = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except (pyrage.IdentityError, UnicodeDecodeError):
        found = []
    if not found:
        raise AuditError(f"{path} holds no age identity: `age-keygen -o FILE` writes one") from None
    return found


def _ask_kms(key: str, wrapped: bytes, record: dict[str, Any]) -> bytes | None:
    """Return the data key, None when KMS says that this one is not for the caller. Raises AuditError."""
    try:
        import botocore.session  # noqa: PLC0415 - heavy, optional
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    except ImportError:
        raise AuditError("asking AWS KMS needs the extra: pip install 'jobgate[aws]'") from None
    parts = key.split(":")
    region = parts[3] if key.startswith("arn:") and len(parts) > 3 else None
    try:
        session: Any = botocore.session.Session  # untyped
        client = session().create_client("kms", region_name=region)
        context = {"jobgate:class": str(record.get("class"))}
        answer = client.decrypt(CiphertextBlob=wrapped, EncryptionContext=context)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in {"AccessDeniedException", "InvalidCiphertextException"}:
            return None
        raise AuditError(f"KMS: {error.response.get('Error', {}).get('Code')}") from None
    except BotoCoreError as error:
        raise AuditError(f"KMS cannot be asked: {type(error).__name__}") from None
    return bytes(answer["Plaintext"])
