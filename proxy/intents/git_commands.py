"""What a push asks for: the commands before its pack (gitprotocol-pack(5), "reference update request"). Pure.

`OLD NEW REF` each, the first with the client's capabilities after a NUL; in a signed push they stand in the
certificate. Two readings of one list are refused: a ref twice, ids of two lengths, commands beside a certificate.
Whether an update is forced cannot be told from it: that takes the history between the two commits.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from proxy.intents.forge_refs import RefMove, full_ref, move_between
from proxy.intents.git_packets import DELIMITER, FLUSH, read_packets
from proxy.model.errors import IntentError

MAX_COMMANDS: Final = 1000
_ID: Final = re.compile("[0-9a-f]{40}(?:[0-9a-f]{24})?")
_ZERO: Final = re.compile("0+")
_CERTIFICATE: Final = "push-cert"
_CERTIFICATE_END: Final = "push-cert-end"
_SIGNATURE: Final = "-----BEGIN "


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """The command section. `moves` is empty for the probe that clients send before a large push."""

    moves: tuple[RefMove, ...]
    capabilities: frozenset[str]
    options: tuple[str, ...] = ()
    is_signed: bool = False


@dataclass(frozen=True, slots=True)
class _Sections:
    """The packets before each of the one or two flushes, and whether the last flush was there."""

    lines: list[bytes]
    options: list[bytes]
    is_whole: bool


def ends_commands(prefix: bytes) -> bool:
    """Whether the command section, push options included, is all there. Raises IntentError for what is no packet."""
    return _cut(prefix).is_whole


def read_push(prefix: bytes) -> Push:
    """Read the command section. Raises IntentError for one that git could read in another way, or not at all."""
    sections = _cut(prefix)
    if not sections.is_whole:
        raise IntentError("the push ends before its list of refs does")
    lines = [_text(line) for line in sections.lines]
    capabilities = _capabilities(lines)
    lines = [line.partition("\0")[0].removesuffix("\n") for line in lines]
    shallow = [line for line in lines if line.startswith("shallow ")]
    if lines[: len(shallow)] != shallow or any(_ID.fullmatch(line[8:]) is None for line in shallow):
        raise IntentError("a push's `shallow` line stands out of place or names no commit")
    commands = lines[len(shallow) :]
    is_signed = commands[:1] == [_CERTIFICATE]
    if is_signed:
        commands = _read_certificate(commands)
    if len(commands) > MAX_COMMANDS:
        raise IntentError(f"a push moves at most {MAX_COMMANDS} refs at a time")
    moves = _read_moves(commands, capabilities)
    options = tuple(_text(option) for option in sections.options)
    return Push(moves=moves, capabilities=capabilities, options=options, is_signed=is_signed)


def _cut(prefix: bytes) -> _Sections:
    lines: list[bytes] = []
    options: list[bytes] = []
    wants_options = in_options = False
    for content, _ in read_packets(prefix):
        if content == DELIMITER:
            raise IntentError("a delimiter has no place in a push")
        if content is FLUSH:
            if in_options or not wants_options:
                return _Sections(lines, options, is_whole=True)
            in_options = True
        elif in_options:
            options.append(content)
        else:
            words = content.partition(b"\0")[2].split()
            wants_options = wants_options or b"push-options" in words
            lines.append(content)
    return _Sections(lines, options, is_whole=False)


def _text(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise IntentError("a line of the push is not UTF-8") from None


def _capabilities(lines: Sequence[str]) -> frozenset[str]:
    """Return the words after the one NUL. Raises IntentError for a second: which list counts is anybody's guess."""
    found = [line.partition("\0")[2] for line in lines if "\0" in line]
    if len(found) > 1 or any("\0" in words for words in found):
        raise IntentError("the push names its capabilities more than once")
    return frozenset(found[0].split()) if found else frozenset()


def _read_certificate(lines: Sequence[str]) -> list[str]:
    """Return the commands of a push certificate: between its first empty line and its signature."""
    if lines[-1] != _CERTIFICATE_END or "" not in lines:
        raise IntentError("the push certificate does not end, or holds no commands")
    body = list(lines[lines.index("") + 1 : -1])
    starts = [at for at, line in enumerate(body) if line.startswith(_SIGNATURE)]
    if len(starts) != 1:
        raise IntentError("the push certificate does not have one signature")
    return body[: starts[0]]


def _read_moves(commands: Sequence[str], capabilities: frozenset[str]) -> tuple[RefMove, ...]:
    width = 64 if "object-format=sha256" in capabilities else 40
    moves = []
    for command in commands:
        old, space, rest = command.partition(" ")
        new, other, ref = rest.partition(" ")
        if not (space and other) or any(_ID.fullmatch(each) is None or len(each) != width for each in (old, new)):
            raise IntentError("a line of the push is not `OLD NEW REF`")
        if _ZERO.fullmatch(old) and _ZERO.fullmatch(new):
            raise IntentError("the push turns nothing into nothing")
        moves.append(move_between(full_ref(ref), old, new))
    if len({move.ref for move in moves}) != len(moves):
        raise IntentError("the push moves a ref twice")
    return tuple(moves)
