"""The trail's head, signed: who holds a checkpoint can tell a trail cut short or written anew. Pure; keys are given.

A checkpoint is a signed note (C2SP signed-note) with an Ed25519 signature over a body like C2SP tlog-checkpoint:

    <origin>
    <number of records, decimal>
    <SHA-256 of the last record's line, base64>
    at <RFC 3339 time>

    — <origin> <base64 of 4 bytes key id and 64 bytes signature>

Ours is a chain and not a Merkle tree: the third line is the chain's head. See https://c2sp.org/signed-note.
"""

import base64
import re
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from proxy.audit.canonical import format_time
from proxy.audit.chain import Head
from proxy.model.errors import AuditError
from proxy.model.record import Checkpoint

_ED25519: Final = b"\x01"
_ORIGIN: Final = re.compile(r"[A-Za-z0-9._/-]{1,200}")
_NOTE: Final = re.compile(
    r"(?P<body>(?P<origin>[A-Za-z0-9._/-]{1,200})\n(?P<size>0|[1-9][0-9]{0,17})\n(?P<head>[A-Za-z0-9+/]{43}=)\n"
    r"at (?P<at>[0-9T:.-]{26}Z)\n)\n— (?P<name>[A-Za-z0-9._/-]{1,200}) (?P<signature>[A-Za-z0-9+/]{91}=)\n"
)
_RAW_NOTE: Final = re.compile(_NOTE.pattern.encode())
_NEXT_NOTE: Final = re.compile(b"(?<=\n)" + _NOTE.pattern.encode())
# The same, line by line, with the empty line that follows each note in the file.
_NOTE_LINES: Final = tuple(
    re.compile(shape.encode())
    for shape in (
        r"[A-Za-z0-9._/-]{1,200}",
        r"0|[1-9][0-9]{0,17}",
        r"[A-Za-z0-9+/]{43}=",
        r"at [0-9T:.-]{26}Z",
        "",
        r"— [A-Za-z0-9._/-]{1,200} [A-Za-z0-9+/]{91}=",
        "",
    )
)


@dataclass(frozen=True, slots=True)
class NoteAt:
    """A checkpoint as it stands in a file, and the line it begins on, counted from 1."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Notes:
    """What a checkpoints file holds: whole notes, lines that are none, and the bytes of one that a crash tore off."""

    whole: tuple[NoteAt, ...]
    broken: tuple[int, ...]
    torn: int


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key and the origin it signs for."""

    origin: str
    key: Ed25519PublicKey

    @property
    def key_id(self) -> bytes:
        """The four bytes by which a note's signature names its key (C2SP signed-note)."""
        return sha256(self.origin.encode() + b"\n" + _ED25519 + self.key.public_bytes_raw()).digest()[:4]

    @property
    def name(self) -> str:
        """The key as one line, `origin+id+key` (C2SP vkey)."""
        public = base64.b64encode(_ED25519 + self.key.public_bytes_raw()).decode()
        return f"{self.origin}+{self.key_id.hex()}+{public}"

    def to_file(self) -> str:
        """Return what stands in a `.pub` file: the vkey line, and the same key as PEM for openssl."""
        pem = self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        return f"{self.name}\n{pem}"


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key and the origin it signs for."""

    origin: str
    key: Ed25519PrivateKey

    def __post_init__(self) -> None:
        if _ORIGIN.fullmatch(self.origin) is None:
            raise AuditError("a trail's origin is 1 to 200 letters, digits, dots, slashes, dashes and underscores")

    def __repr__(self) -> str:
        return f"Signer({self.origin!r})"

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return Verifier(self.origin, self.key.public_key())

    def sign(self, head: Head, at: datetime) -> Checkpoint:
        """Return a checkpoint of `head`."""
        digest = base64.b64encode(bytes.fromhex(head.digest)).decode()
        body = f"{self.origin}\n{head.size}\n{digest}\nat {format_time(at)}\n"
        signature = base64.b64encode(self.verifier.key_id + self.key.sign(body.encode())).decode()
        signed = f"{body}\n— {self.origin} {signature}\n"
        return Checkpoint(origin=self.origin, size=head.size, head=head.digest, at=at, signed=signed)


def read_verifier(text: str) -> Verifier:
    """Read a `.pub` file: its first line is the vkey. Raises AuditError when it is not one, or is inconsistent."""
    line = text.partition("\n")[0].strip()
    origin, _, rest = line.partition("+")
    key_id, _, encoded = rest.partition("+")
    try:
        raw = base64.b64decode(encoded, validate=True)
        verifier = Verifier(origin, Ed25519PublicKey.from_public_bytes(raw[1:]))
    except ValueError:
        raise AuditError("not a checkpoint key: the first line must be origin+id+key") from None
    if raw[:1] != _ED25519 or _ORIGIN.fullmatch(origin) is None or verifier.key_id.hex() != key_id:
        raise AuditError("not a checkpoint key: its id does not belong to it")
    return verifier


def split_notes(raw: bytes) -> Notes:
    """Take a checkpoints file apart: notes, each followed by an empty line. Nothing is verified here."""
    whole: list[NoteAt] = []
    broken: list[int] = []
    at, line = 0, 1
    while at < len(raw):
        found = _RAW_NOTE.match(raw, at)
        if found is not None and raw.startswith(b"\n", found.end()):
            whole.append(NoteAt(line, found[0].decode()))
            end = found.end() + 1
        elif _is_torn_note(raw[at:]):
            return Notes(tuple(whole), tuple(broken), len(raw) - at)
        else:
            broken.append(line)
            following = _NEXT_NOTE.search(raw, at + 1)
            end = len(raw) if following is None else following.start()
        line += raw.count(b"\n", at, end)
        at = end
    return Notes(tuple(whole), tuple(broken), 0)


def _is_torn_note(rest: bytes) -> bool:
    """Return whether `rest` is how a note begins: whole lines in its order, then at most one that is cut."""
    *lines, cut = rest.split(b"\n")
    if len(lines) >= len(_NOTE_LINES):
        return False
    in_order = all(shape.fullmatch(line) for shape, line in zip(_NOTE_LINES, lines, strict=False))
    return in_order and (cut == b"" or _NOTE_LINES[len(lines)].pattern != b"")


def read_key_id(note: str) -> bytes:
    """Return the key id a note names. Unverified: use it only to choose the key. Raises AuditError."""
    return base64.b64decode(_match(note)["signature"])[:4]


def open_note(note: str, verifier: Verifier) -> Checkpoint:
    """Return the checkpoint a note states. Raises AuditError unless `verifier` signed exactly this text."""
    found = _match(note)
    if not found["origin"] == found["name"] == verifier.origin:
        raise AuditError("a checkpoint of another trail")
    signature = base64.b64decode(found["signature"])
    if base64.b64encode(signature).decode() != found["signature"]:
        raise AuditError("not a checkpoint: bits that mean nothing are set")
    if signature[:4] != verifier.key_id:
        raise AuditError("a checkpoint signed by another key")
    try:
        verifier.key.verify(signature[4:], found["body"].encode())
    except InvalidSignature:
        raise AuditError("a checkpoint whose signature does not verify") from None
    return Checkpoint(
        origin=found["origin"],
        size=int(found["size"]),
        head=base64.b64decode(found["head"]).hex(),
        at=datetime.fromisoformat(found["at"]),
        signed=note,
    )


def _match(note: str) -> re.Match[str]:
    found = _NOTE.fullmatch(note)
    if found is None:
        raise AuditError("not a checkpoint")
    return found
