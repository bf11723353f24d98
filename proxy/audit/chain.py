"""Each line holds the SHA-256 of the line before, newline included: no line can change, go, come or move unnoticed.

`sed -n 7p trail-000000000000.jsonl | sha256sum` is the `prev` of the eighth line. Pure.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson

from proxy.audit.canonical import VERSION
from proxy.model.errors import AuditError
from proxy.model.quick import quick

NO_DIGEST: Final = "0" * 64
"""What the first record of a trail has for `prev`."""

# The envelope as we write it, byte for byte. Inside a JSON text a quote is escaped, so nothing a job says can look so.
_ENVELOPE: Final = re.compile(
    rb'\{"v":(?P<v>[0-9]{1,9}),"seq":(?P<seq>0|[1-9][0-9]{0,17}),"prev":"(?P<prev>[0-9a-f]{64})",'
    rb'"at":"(?P<at>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z)",'
    rb'"kind":"(?P<kind>[a-z.]{1,64})"[,}]'
)


@dataclass(frozen=True, slots=True)
class Head:
    """How far a trail got: its number of records, and the hex digest of the last one's line."""

    size: int
    digest: str


BEGINNING: Final = Head(0, NO_DIGEST)


@quick
@dataclass(frozen=True, slots=True)
class Envelope:
    """The fields in front of every record."""

    version: int
    sequence: int
    previous: str
    at: str
    kind: str


def chain(head: Head, bodies: Iterable[bytes]) -> tuple[list[bytes], Head]:
    """Return the line of each body behind the one before, the first behind `head`; and the head after them."""
    size, digest = head.size, head.digest
    lines: list[bytes] = []
    for body in bodies:
        line = b'{"v":%d,"seq":%d,"prev":"%b",%b\n' % (VERSION, size, digest.encode(), body)
        digest = sha256(line).hexdigest()
        size += 1
        lines.append(line)
    return lines, Head(size, digest)


def link(head: Head, body: bytes) -> tuple[bytes, Head]:
    """Return the line that puts `body` (from `canonical.encode`) after `head`, and the new head."""
    (line,), after = chain(head, (body,))
    return line, after


def read_envelope(line: bytes) -> Envelope:
    """Return the fields in front of a line. Raises AuditError when it is not a line of a trail."""
    found = _ENVELOPE.match(line)
    if found is None:
        raise AuditError("not a record")
    version, sequence, previous, at, kind = found.groups()
    return Envelope(int(version), int(sequence), previous.decode(), at.decode(), kind.decode())


def is_torn(line: bytes) -> bool:
    """Return whether a write was cut short: no newline, or blocks that never reached the disk and read as NUL."""
    return not line.endswith(b"\n") or b"\0" in line


def read_record(line: bytes, envelope: Envelope | None = None) -> dict[str, Any]:
    """Return a line as a mapping. Raises AuditError when it is not one record in the form we write.

    `envelope` is the line's, where the caller has read it already.
    """
    if (envelope or read_envelope(line)).version != VERSION:
        raise AuditError("a record of another version; use the jobgate that wrote it")
    if not line.endswith(b"}\n") or not line.isascii():
        raise AuditError("a torn record")
    try:
        record: dict[str, Any] = orjson.loads(line)
    except ValueError:
        raise AuditError("not a record") from None
    return record


def verify_link(head: Head, line: bytes, envelope: Envelope | None = None) -> Head:
    """Return the head after `line`. Raises AuditError, saying what is wrong, when `line` does not follow `head`.

    `envelope` is the line's, where the caller has read it already.
    """
    envelope = envelope or read_envelope(line)
    if not line.endswith(b"}\n"):
        raise AuditError("a torn record")
    if envelope.sequence != head.size:
        raise AuditError(f"record {head.size} expected, {envelope.sequence} found")
    if envelope.previous != head.digest:
        raise AuditError("does not follow the record before it: one of the two was altered")
    return Head(head.size + 1, sha256(line).hexdigest())
