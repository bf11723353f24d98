"""Sealed records: what is private in them is ciphertext inside the line, so the chain is over the ciphertext.

Whoever verifies a trail needs no key of ours, and whoever writes it cannot read it: a data key is made for each class
of records, wrapped for that class's recipients, put on record as `key.sealed`, and forgotten with the process. To
destroy a class's recipient key is to destroy the class. AES-256-GCM (NIST SP 800-38D) under a counted nonce; the
record's clear part is the associated data, so nothing sealed can be moved into another record. Pure.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from proxy.audit.canonical import encode
from proxy.model.errors import AuditError
from proxy.model.record import AuditRecord, Fact, Kind

KEY_BYTES: Final = 32
CLEAR: Final = ("flow", "effect", "reason", "rules", "revision", "session", "connection", "tags")
"""What stays readable in every sealed record: enough to join, count, route and keep, and to mend a torn trail."""
NEVER_SEALED: Final = frozenset({Kind.TRAIL_OPENED, Kind.TRAIL_REPAIRED, Kind.TRAIL_CLOSED, Kind.KEY_SEALED})
"""What `verify` and the next start must be able to read."""

_NONCE_BYTES: Final = 12
_MARK: Final = b',"sealed":{'


@dataclass(frozen=True, slots=True, kw_only=True)
class DataKey:
    """A key for the records of one class, and the same key as its recipients alone can open it."""

    classification: str
    recipients: tuple[str, ...]
    """Public: age recipients, or `kms:` and a key id."""
    wrapped: bytes
    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """The first 16 hex digits of the wrapped key's SHA-256."""
        return key_id(self.wrapped)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealPlan:
    """Which records are sealed, and what of them.

    A record's class is the value of its tag `tag`, else `default`; with neither it stays clear.
    """

    tag: str
    default: str | None = None
    clear: frozenset[str] = frozenset()
    """Fields that stay readable besides `CLEAR`."""


class Sealer:
    """Seals records. Holds one data key for each class at a time; what it sealed it can read until that key goes."""

    def __init__(self, plan: SealPlan, keys: Iterable[DataKey]) -> None:
        """`keys` has one for each class of the plan."""
        self._plan = plan
        self._clear = plan.clear | {*CLEAR}
        self._slots: dict[str, _Slot] = {}
        self._former: dict[str, DataKey] = {}
        for key in keys:
            self.use(key)

    def use(self, key: DataKey) -> None:
        """Seal the key's class with it from now on. Its announcement must be on the way to the trail already."""
        before = self._slots.get(key.classification)
        if before is not None:
            self._former[key.classification] = before.key
        self._slots[key.classification] = _Slot(key)

    def preface(self, at: datetime) -> list[AuditRecord]:
        """Return what a segment begins with, so that it can be opened without the one before.

        The keys in use and the former ones, which records that still wait may be sealed with.
        """
        keys = [*self._former.values(), *(slot.key for slot in self._slots.values())]
        return [announcement(key, at) for key in keys]

    def encode(self, record: AuditRecord) -> bytes:
        """Return the record's bytes as `canonical.encode` does, sealed if its class says so.

        Raises AuditError as that does, and for a record of a class that has no key: it is not written in the clear.
        """
        classification = None if record.kind in NEVER_SEALED else self._class_of(record)
        hidden = {name: fact for name, fact in record.facts.items() if name not in self._clear}
        if classification is None or not hidden:
            return encode(record)
        slot = self._slots.get(classification)
        if slot is None:
            known = ", ".join(sorted(self._slots))
            raise AuditError(f"a record of class {classification!r}, which has no key: the classes are {known}")
        shown = {name: fact for name, fact in record.facts.items() if name in self._clear}
        clear = encode(AuditRecord(kind=record.kind, at=record.at, facts=shown))[:-1]
        data = slot.seal(encode(AuditRecord(kind=record.kind, at=record.at, facts=hidden)), clear)
        return b'%s%s"class":"%s","key":"%s","data":"%s"}}' % (
            clear,
            _MARK,
            classification.encode("ascii"),
            slot.key.id.encode("ascii"),
            b64encode(data),
        )

    def _class_of(self, record: AuditRecord) -> str | None:
        tags = record.facts.get("tags")
        chosen = tags.get(self._plan.tag) if isinstance(tags, dict) else None
        return self._plan.default if chosen is None else str(chosen)


class _Slot:
    """A key and how often it was used. A nonce is a count: this key exists in this process alone, so none repeats."""

    def __init__(self, key: DataKey) -> None:
        self.key = key
        self._cipher = AESGCM(key.secret)
        self._used = 0

    def seal(self, data: bytes, clear: bytes) -> bytes:
        nonce = self._used.to_bytes(_NONCE_BYTES)
        self._used += 1
        return nonce + self._cipher.encrypt(nonce, data, clear)


def key_id(wrapped: bytes) -> str:
    """Return the name of a wrapped key: the first 16 hex digits of its SHA-256."""
    return sha256(wrapped).hexdigest()[:16]


def announcement(key: DataKey, at: datetime) -> AuditRecord:
    """Return the record that lets a key's recipients open what it seals."""
    facts: dict[str, Fact] = {
        "key": key.id,
        "class": key.classification,
        "recipients": list(key.recipients),
        "wrapped": b64encode(key.wrapped).decode("ascii"),
    }
    return AuditRecord(kind=Kind.KEY_SEALED, at=at, facts=facts)


def read_announcement(record: dict[str, Any]) -> tuple[str, bytes]:
    """Return the id and the wrapped key of a `key.sealed` record. Raises AuditError when it is none of ours."""
    try:
        wrapped = b64decode(record["wrapped"], validate=True)
    except (KeyError, TypeError, ValueError):
        raise AuditError("a sealed key that cannot be read") from None
    if record.get("key") != key_id(wrapped):
        raise AuditError("a sealed key whose id is not its own")
    return key_id(wrapped), wrapped


def sealed_with(record: dict[str, Any]) -> str | None:
    """Return the id of the key that a record is sealed with; None when it is not sealed."""
    sealed = record.get("sealed")
    return str(sealed.get("key")) if isinstance(sealed, dict) else None


def unseal(line: bytes, record: dict[str, Any], secret: bytes) -> dict[str, Any]:
    """Return the record on `line` with everything in the clear, without `sealed`.

    Raises AuditError when it does not open: another key's, or altered.
    """
    start = line.find(b'"at":')
    clear = line[start : line.rfind(_MARK)]
    try:
        data = b64decode(record["sealed"]["data"], validate=True)
        opened = AESGCM(secret).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], clear)
        hidden: dict[str, Any] = orjson.loads(b"{" + opened)
    except (KeyError, TypeError, ValueError, InvalidTag):
        raise AuditError("a sealed record that does not open: it was altered, or its key is another's") from None
    return {name: fact for name, fact in record.items() if name != "sealed"} | hidden
