"""Reads what a `.gem` is called: a tar whose `metadata.gz` is a YAML specification (RubyGems' Gem::Package).

A builder writes the metadata first, so a prefix is enough where the registry refuses a second one (RubyGems.org does).
Tar, gzip and YAML each have readers that take the same bytes differently; what is not as RubyGems itself writes it, to
the byte where it matters, is an IntentError. Of the YAML only three top-level keys are read: every line without
indentation must be plainly a key or an item of a list, and a key may stand there once, so that whatever another reader
takes for the top-level `name` is the line that was read.
"""

import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from proxy.intents.packages import check_text
from proxy.model.errors import IntentError

METADATA_LIMIT: Final = 1024 * 1024
"""The longest `metadata.gz` that is read. One that is longer is denied."""
SPECIFICATION_LIMIT: Final = 4 * 1024 * 1024
"""The longest specification, inflated."""
BLOCK: Final = 512
PREFIX_LIMIT: Final = METADATA_LIMIT + BLOCK

NAME: Final = re.compile(r"(?![0-9.-]*\Z)[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
VERSION: Final = re.compile(r"(?=.{1,128}\Z)[0-9]+(?:\.[0-9A-Za-z]+)*")
PLATFORM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

_METADATA: Final = "metadata.gz"
_MEMBERS: Final = frozenset({_METADATA, "data.tar.gz", "checksums.yaml.gz"})
_OCTAL: Final = re.compile(rb"[0-7]{1,11}[ \0]*")
_ZEROS: Final = bytes(BLOCK)

# libyaml breaks lines at these too (YAML 1.1); controls and byte order marks have no place in a specification.
_ODD: Final = re.compile(r"[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_FIRST: Final = "--- !ruby/object:Gem::Specification"
_KEY: Final = re.compile(r"([a-z][a-z0-9_]{0,63}):(?: (.*))?")
_ITEM: Final = re.compile(r"-(?: .*)?")
_QUOTED: Final = re.compile(r"'([A-Za-z0-9._-]*)'|\"([A-Za-z0-9._-]*)\"")
_VERSION_TAG: Final = "!ruby/object:Gem::Version"
_VERSION_LINE: Final = "  version: "
# Psych reads these as no text. What begins with a letter, has one that no number has, or has two dots, is no number.
_WORDS: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
_TEXT_MARK: Final = re.compile(r"\A[A-Za-z_]|[G-NP-WYZg-np-wyz]|\..*\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Specification:
    """What a gem says it is. `platform` is empty where it is not a plain text."""

    name: str
    version: str
    platform: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    name: str
    begin: int
    end: int
    following: int
    """Where the next member's header is."""


def is_enough(prefix: bytes) -> bool:
    """Whether a prefix holds the metadata; also where reading on would not mend what is broken."""
    if len(prefix) < BLOCK:
        return False
    try:
        member = _read_member(prefix, 0)
        return member.name != _METADATA or len(prefix) >= member.end
    except IntentError:
        return True


def read_prefix(body: bytes) -> Specification:
    """Read a gem whose metadata comes first. Raises IntentError."""
    if len(body) < BLOCK:
        raise IntentError("the gem ends early")
    member = _read_member(body, 0)
    if member.name != _METADATA:
        raise IntentError("the gem's metadata does not come first, as a builder of today writes it")
    return _read_metadata(body, member)


def read_whole(body: bytes) -> Specification:
    """Read a gem of which every member was looked at: none unknown, none twice. Raises IntentError."""
    found: dict[str, _Member] = {}
    for member in _walk(body):
        if member.name in found:
            raise IntentError("a member of the gem is there twice")
        found[member.name] = member
    if _METADATA not in found:
        raise IntentError("the gem has no metadata")
    return _read_metadata(body, found[_METADATA])


def _walk(body: bytes) -> Iterator[_Member]:
    at = 0
    while body[at : at + BLOCK] != _ZEROS:
        if len(body) < at + BLOCK:
            raise IntentError("the gem ends early")
        member = _read_member(body, at)
        yield member
        at = member.following
    if body[at:].strip(b"\0"):
        raise IntentError("something follows the end of the gem")


def _read_member(body: bytes, at: int) -> _Member:
    """Read one header (POSIX ustar): a plain file, with a name that RubyGems writes."""
    header = body[at : at + BLOCK]
    name = header[:100].rstrip(b"\0").decode("latin-1")
    if name.removesuffix(".sig") not in _MEMBERS:
        raise IntentError(f"{name[:64]!r} is no member of a gem")
    if header[156:157] not in b"0\0" or header[157:257].strip(b"\0") or header[345:500].strip(b"\0"):
        raise IntentError("a member of the gem is not a plain file")
    total = sum(header[:148]) + sum(header[156:]) + 8 * 0x20
    if _octal(header[148:156]) != total:
        raise IntentError("a header of the gem has a wrong checksum")
    size = _octal(header[124:136])
    if name == _METADATA and size > METADATA_LIMIT:
        raise IntentError(f"the gem's metadata is longer than the {METADATA_LIMIT} bytes read to decide")
    begin = at + BLOCK
    return _Member(name=name, begin=begin, end=begin + size, following=begin + -(-size // BLOCK) * BLOCK)


def _octal(field: bytes) -> int:
    if _OCTAL.fullmatch(field) is None:
        raise IntentError("a header of the gem has a number that is not octal")
    return int(field.rstrip(b" \0"), 8)


def _read_metadata(body: bytes, member: _Member) -> Specification:
    packed = body[member.begin : member.end]
    if len(packed) != member.end - member.begin:
        raise IntentError("the gem ends early")
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = stream.decompress(packed, SPECIFICATION_LIMIT)
    except zlib.error:
        raise IntentError("the gem's metadata is not gzip") from None
    # Some readers take what follows the first gzip member for more of the text, others leave it.
    if not stream.eof or stream.unused_data:
        raise IntentError("the gem's metadata is not one gzip member of a bounded length")
    try:
        return read_specification(plain.decode("utf-8"))
    except UnicodeDecodeError:
        raise IntentError("the gem's metadata is not UTF-8") from None


def read_specification(text: str) -> Specification:
    """Read name, version and platform of a specification's YAML. Raises IntentError."""
    if _ODD.search(text) is not None:
        raise IntentError("the specification has a character that YAML readers take differently")
    lines = [*text.split("\n"), ""]
    if lines[0] != _FIRST or not lines[1].startswith("name: "):
        raise IntentError("the specification does not begin as RubyGems writes it, with the name")
    places = _find_keys(lines)
    for key in ("name", "version"):
        if key not in places:
            raise IntentError(f"the specification has no {key}")
    return Specification(
        name=check_text(_read_scalar(lines, places["name"], "name: "), NAME, "a gem's name"),
        version=check_text(_read_version(lines, places["version"]), VERSION, "a gem's version"),
        platform=_read_platform(lines, places),
    )


def _find_keys(lines: list[str]) -> Mapping[str, int]:
    """Return the line of each top-level key. Raises IntentError for a line that could be one in another spelling."""
    places: dict[str, int] = {}
    for at, line in enumerate(lines[1:], start=1):
        if not line or line[0] == " ":
            continue
        found = _KEY.fullmatch(line)
        if found is None:
            if _ITEM.fullmatch(line) is None:
                raise IntentError("a line of the specification is neither a plain key nor an item")
            continue
        if found[1] in places:
            raise IntentError(f"the specification has {found[1]!r} twice")
        places[found[1]] = at
    return places


def _read_version(lines: list[str], at: int) -> str:
    """Return the version: the one line below its tag."""
    if lines[at] != f"version: {_VERSION_TAG}" or not lines[at + 1].startswith(_VERSION_LINE):
        raise IntentError("the specification's version is not written as RubyGems writes it")
    return _read_scalar(lines, at + 1, _VERSION_LINE)


def _read_platform(lines: list[str], places: Mapping[str, int]) -> str:
    """Return a platform that is a text; '' for an old one that is an object, or none."""
    at = places.get("platform")
    if at is None or PLATFORM.fullmatch(lines[at].removeprefix("platform: ")) is None:
        return ""
    return _read_scalar(lines, at, "platform: ")


def _read_scalar(lines: list[str], at: int, prefix: str) -> str:
    """Return the text of a line, which must be a text to Psych and end there: the next line is a key again."""
    if _KEY.fullmatch(lines[at + 1]) is None:
        raise IntentError("a value of the specification may go on in the next line")
    value = lines[at].removeprefix(prefix)
    quoted = _QUOTED.fullmatch(value)
    if quoted is not None:
        return quoted[1] or quoted[2] or ""
    if value.lower() in _WORDS or _TEXT_MARK.search(value) is None:
        raise IntentError("a value of the specification is a number or a word to YAML; quote it")
    return value
