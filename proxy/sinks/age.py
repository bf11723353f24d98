"""Data keys wrapped for age recipients: `age1...` or an SSH public key (https://age-encryption.org/v1)."""

import secrets
from collections.abc import Sequence
from typing import Any, Final

from proxy.audit.sealing import KEY_BYTES, DataKey
from proxy.model.errors import ConfigError

MAX_WRAPPED: Final = 1500
"""Bytes, so that the wrapped key is one text of a record."""


def make_age_key(classification: str, recipients: Sequence[str]) -> DataKey:
    """Return a new data key that any one of the recipients can open. Raises ConfigError."""
    setting = f"audit.seal.classes.{classification}.recipients"
    pyrage = _load()
    secret = secrets.token_bytes(KEY_BYTES)
    wrapped = pyrage.encrypt(secret, [_read(setting, each) for each in recipients])
    if len(wrapped) > MAX_WRAPPED:
        raise ConfigError(f"{setting}: too many, or too large; a wrapped key may have {MAX_WRAPPED} bytes")
    return DataKey(classification=classification, recipients=tuple(recipients), wrapped=wrapped, secret=secret)


def _read(setting: str, text: str) -> Any:
    pyrage = _load()
    read = pyrage.ssh.Recipient if text.startswith("ssh-") else pyrage.x25519.Recipient
    try:
        return read.from_str(text)
    except pyrage.RecipientError as error:
        raise ConfigError(f"{setting}: {text[:80]!r} is no age recipient ({error}); write age1... or ssh-...") from None


def _load() -> Any:
    try:
        import pyrage  # noqa: PLC0415 - an extra, needed by this setting alone
    except ImportError:
        raise ConfigError("audit.seal: age recipients need the extra: pip install 'jobgate[age]'") from None
    return pyrage
