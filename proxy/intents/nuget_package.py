"""Reads what a `.nupkg` is called: a zip with one `.nuspec` at its root (PKWARE's APPNOTE 4.3; NuGet, ".nuspec").

A zip is read in two ways: by the directory at its end, or by the headers before each file. One that is not the same in
both is an IntentError, and so a prefix is never enough: what stands first need not be in the directory. The manifest
is found by its name (NuGet 3 and later) or by the relationships of the package (before): both must name the same file.
"""

import re
import struct
import zlib
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from proxy.intents.aws_xml import Element, read_xml
from proxy.intents.packages import check_text
from proxy.model.errors import IntentError

MANIFEST_LIMIT: Final = 1024 * 1024
"""The longest manifest, inflated."""
ID: Final = re.compile(r"(?=.{1,100}\Z)[A-Za-z0-9_]+(?:[.-][A-Za-z0-9_]+)*")
VERSION: Final = re.compile(
    r"(?=.{1,128}\Z)([0-9]+(?:\.[0-9]+){0,3})(-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(?:\+[0-9A-Za-z.-]+)?"
)

_END: Final = struct.Struct("<4s4H2LH")
_ENTRY: Final = struct.Struct("<4s2B5H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_ENCRYPTED: Final = 0x2041
"""Encryption of any sort, and masked headers."""
_LATER_SIZES: Final = 0x8
_STORED: Final = 0
_DEFLATED: Final = 8
_WIDE: Final = 0xFFFFFFFF
_RELATIONSHIPS: Final = "_rels/.rels"
_MANIFEST_TYPE: Final = "http://schemas.microsoft.com/packaging/2010/07/manifest"
_ATTRIBUTE: Final = r"""\s+[A-Za-z]+="[^"&<>]*\""""
_RELATIONSHIP: Final = rf"<Relationship(?:{_ATTRIBUTE})*\s*/>"
_RELATIONS: Final = re.compile(
    r"(?:\ufeff)?(?:<\?xml(?:\s+[a-z]+=[\"'][A-Za-z0-9.-]*[\"'])*\s*\?>)?\s*"
    rf"<Relationships(?:{_ATTRIBUTE})*\s*>(?:\s*{_RELATIONSHIP})*\s*</Relationships>\s*"
)
_EACH: Final = re.compile(_RELATIONSHIP)
_NAMED: Final = re.compile(r"""\s([A-Za-z]+)="([^"]*)\"""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a package says it is: the id in lower case, the version in its normal form."""

    id: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    name: str
    method: int
    crc: int
    packed: bytes
    length: int


def normalize_id(text: str) -> str:
    """Return a package's one spelling. Raises IntentError for what is no id."""
    return check_text(text, ID, "a NuGet package's id").lower()


def normalize_version(text: str) -> str:
    """Return a version as NuGet compares it: three or four numbers, no metadata. Raises IntentError."""
    found = VERSION.fullmatch(text)
    if found is None:
        raise IntentError(f"{text[:64]!r} is not a NuGet version")
    numbers = [str(int(number)) for number in found[1].split(".")]
    numbers += ["0"] * (3 - len(numbers))
    if numbers[3:] == ["0"]:
        numbers.pop()
    return (".".join(numbers) + (found[2] or "")).lower()


def read_package(body: bytes) -> Manifest:
    """Return what a package is called. Raises IntentError."""
    manifests: list[_Entry] = []
    relationships: list[_Entry] = []
    for entry in _read_entries(body):
        if entry.name.endswith(".nuspec") and "/" not in entry.name:
            manifests.append(entry)
        elif entry.name == _RELATIONSHIPS:
            relationships.append(entry)
    if len(manifests) != 1 or len(relationships) > 1:
        raise IntentError("the package has not exactly one manifest")
    for entry in relationships:
        _check_relationships(_inflate(entry), manifests[0].name)
    return read_manifest(_inflate(manifests[0]))


def read_manifest(text: bytes) -> Manifest:
    """Read a `.nuspec`. Raises IntentError."""
    root = read_xml(text)
    metadata = root.one("metadata")
    if root.name != "package" or metadata is None:
        raise IntentError("the manifest has no metadata")
    return Manifest(id=normalize_id(_text(metadata, "id")), version=normalize_version(_text(metadata, "version")))


def _text(metadata: Element, name: str) -> str:
    if any(each.name != name and each.name.lower() == name for each in metadata.children):
        raise IntentError(f"the manifest has a name that differs from {name!r} only in case")
    element = metadata.one(name)
    if element is None or element.children:
        raise IntentError(f"the manifest has no plain {name}")
    return element.text


def _read_entries(body: bytes) -> list[_Entry]:
    """Return the files, which must fill the archive without a gap: no header may stand where only one way looks."""
    at = len(body) - _END.size
    if at < 0:
        raise IntentError("the package is not a zip")
    sign, disk, first_disk, here, total, size, begin, comment = _END.unpack_from(body, at)
    if sign != b"PK\x05\x06" or disk or first_disk or here != total or comment or begin + size != at:
        raise IntentError("the package is not a plain zip that ends with its directory")
    found: list[tuple[int, int, _Entry]] = []
    place = begin
    for _ in range(total):
        offset, end, entry, place = _read_entry(body, place, at)
        found.append((offset, end, entry))
    if place != at:
        raise IntentError("the package's directory is not as long as it says")
    expected = 0
    for offset, end, _ in sorted(found, key=lambda each: each[0]):
        if offset != expected:
            raise IntentError("the package has bytes between its files")
        expected = end
    if expected != begin:
        raise IntentError("the package has bytes between its files and the directory")
    return [entry for _, _, entry in found]


def _read_entry(body: bytes, place: int, limit: int) -> tuple[int, int, _Entry, int]:
    """Return one file of the directory: where its header begins, where it ends, and where the next entry is."""
    if place + _ENTRY.size > limit:
        raise IntentError("the package's directory ends early")
    fields = _ENTRY.unpack_from(body, place)
    sign, mode, method, crc, packed, length = fields[0], fields[4], fields[5], fields[8], fields[9], fields[10]
    name_length, extra, comment, disk, offset = fields[11], fields[12], fields[13], fields[14], fields[17]
    name_begin = place + _ENTRY.size
    following = name_begin + name_length + extra + comment
    if sign != b"PK\x01\x02" or disk or following > limit or _WIDE in {packed, length, offset}:
        raise IntentError("the package's directory has an entry that is not plain")
    if mode & (_ENCRYPTED | _LATER_SIZES) or method not in {_STORED, _DEFLATED}:
        raise IntentError("the package has a file that is encrypted, streamed or packed unusually")
    raw_name = body[name_begin : name_begin + name_length]
    begin = offset + _LOCAL.size
    if begin > limit:
        raise IntentError("the package's directory points behind the files")
    local = _LOCAL.unpack_from(body, offset)
    content = begin + local[9] + local[10]
    if (local[0], local[2], local[3], *local[6:9]) != (b"PK\x03\x04", mode, method, crc, packed, length):
        raise IntentError("a file of the package is not what the directory says")
    if body[begin : begin + local[9]] != raw_name:
        raise IntentError("a file of the package has another name in the directory")
    end = content + packed
    name = _normalize_name(raw_name)
    entry = _Entry(name=name, method=method, crc=crc, packed=body[content:end], length=length)
    return offset, end, entry, following


def _normalize_name(raw: bytes) -> str:
    """Return a file's name as NuGet compares it: unescaped, in lower case. Raises IntentError for an odd path."""
    name = (unquote_to_bytes(raw) if b"%" in raw else raw).decode("latin-1").replace("\\", "/").lower()
    parts = name.split("/")
    if any(part in {"", ".", ".."} for part in parts[:-1]) or parts[-1] in {".", ".."} or "\0" in name:
        raise IntentError("the package has a file with an odd path")
    return name


def _inflate(entry: _Entry) -> bytes:
    if entry.length > MANIFEST_LIMIT or len(entry.packed) > MANIFEST_LIMIT:
        raise IntentError(f"the manifest is longer than the {MANIFEST_LIMIT} bytes read to decide")
    plain, is_whole = entry.packed, True
    if entry.method == _DEFLATED:
        stream = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        try:
            plain = stream.decompress(entry.packed, MANIFEST_LIMIT + 1)
        except zlib.error:
            raise IntentError("the manifest is not deflated as it says") from None
        is_whole = stream.eof and not stream.unused_data
    if not is_whole or len(plain) != entry.length or zlib.crc32(plain) != entry.crc:
        raise IntentError("the manifest is not what the directory says")
    return plain


def _check_relationships(raw: bytes, manifest: str) -> None:
    """Raise IntentError unless exactly one relationship names a manifest, and names this one."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise IntentError("the package's relationships are not UTF-8") from None
    if _RELATIONS.fullmatch(text) is None:
        raise IntentError("the package's relationships are not written plainly")
    targets = []
    for relationship in _EACH.findall(text):
        pairs = _NAMED.findall(relationship)
        attributes = dict(pairs)
        if len(attributes) != len(pairs):
            raise IntentError("a relationship of the package says something twice")
        if attributes.get("Type", "").lower() == _MANIFEST_TYPE:
            targets.append(_normalize_name(attributes.get("Target", "").removeprefix("/").encode("utf-8")))
    if targets != [manifest]:
        raise IntentError("the package's relationships name another manifest")
