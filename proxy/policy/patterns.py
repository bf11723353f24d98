"""Globs over text in segments: `*` within one segment, `**` for whole segments. Always the whole text, never a part.

One language for paths, branches and claims, cut at `/`. No regular expressions: each piece is found left to right, so
the work is bounded by the length of the text (G37). What matches everything is refused: leave the condition out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain, product
from typing import Final

MAX_LENGTH: Final = 1024
MAX_STARS: Final = 8
_TRIPLET: Final = re.compile(r"%[0-9a-fA-F]{2}")
_ENCODED_SEPARATOR: Final = re.compile(r"%2[fF]|%5[cC]")
type _Segment = str | tuple[str, ...] | None
_STAR: Final = "*"
_ANY: Final = "**"


class PatternError(ValueError):
    """A pattern that is refused, and how to write it."""


@dataclass(frozen=True, slots=True)
class Glob:
    """A compiled pattern. `segments` holds a text, a tuple of the texts around `*`, or None for `**`."""

    text: str
    segments: tuple[_Segment, ...]
    needle: str
    """The longest piece without a star: whatever matches holds it, and looking for it costs next to nothing."""
    is_exact: bool
    """Whether it matches one text only."""

    def matches(self, text: str) -> bool:
        """Whether the whole of `text` is what the pattern says. The one place where a pattern meets text."""
        if self.is_exact:
            return text == self.text
        if self.needle not in text:
            return False
        return _match_segments(self.segments, _split(text))


@lru_cache(maxsize=64)
def _split(text: str) -> tuple[str, ...]:
    """Cut a text into segments; the rules of one request all ask for the same few."""
    return tuple(text.split("/"))


@lru_cache(maxsize=65536)
def compile_glob(text: str) -> Glob:
    """Read a pattern. Raises PatternError for an empty one, one that matches everything, or a misplaced `**`."""
    if not text:
        raise PatternError("an empty pattern matches nothing")
    if len(text) > MAX_LENGTH:
        raise PatternError(f"a pattern is at most {MAX_LENGTH} characters")
    if text.count("*") > MAX_STARS:
        raise PatternError(f"a pattern has at most {MAX_STARS} stars; write several patterns")
    if text in {_STAR, _ANY}:
        raise PatternError(f"`{text}` matches everything; leave this condition out")
    needle = max(text.split(_STAR), key=len)
    return Glob(text, tuple(_read_segment(part) for part in text.split("/")), needle, is_exact=_STAR not in text)


def _read_segment(part: str) -> _Segment:
    if part == _ANY:
        return None
    if _ANY in part:
        raise PatternError(f"`**` stands alone between slashes, not as in `{part}`; within a segment write `*`")
    return tuple(part.split(_STAR)) if _STAR in part else part


def compile_path(text: str) -> Glob:
    """Read a pattern for request paths. Raises PatternError for what no request jobgate forwards could have."""
    if not text.startswith("/"):
        raise PatternError(f"a path begins with `/`; write `/{text}`")
    for sign, why in (("?", "the query is never part of the path"), ("#", "a fragment is never sent")):
        if sign in text:
            raise PatternError(f"{why}; remove everything from `{sign}`")
    if not text.isascii() or any(character <= " " for character in text):
        raise PatternError("a path is sent percent-encoded; write it as it is sent, such as %20 for a space")
    if "//" in text or "\\" in text or any(part in {".", ".."} for part in text.split("/")):
        raise PatternError("a path is normal: no `//`, `.`, `..` or backslash ever reaches a rule")
    if text == "/**":
        raise PatternError("`/**` matches every path; leave `path` out")
    return compile_glob(normalise_triplets(text))


def normalise_triplets(path: str) -> str:
    """Spell percent-encodings in upper case, as RFC 3986 6.2.2.1 has it: `%2f` and `%2F` are one path."""
    return _TRIPLET.sub(lambda match: match[0].upper(), path) if "%" in path else path


def _match_segments(pattern: tuple[_Segment, ...], text: tuple[str, ...]) -> bool:
    """Match segment by segment; runs between `**` are taken at their leftmost place, which is always enough."""
    if None not in pattern:
        return len(pattern) == len(text) and _match_run(pattern, text)
    first = pattern.index(None)
    last = len(pattern) - 1 - pattern[::-1].index(None)
    tail = pattern[last + 1 :]
    # A trailing `**` stands for at least one segment: `/a/**` is what lies below `/a`, not `/a` itself.
    end = len(text) - (len(tail) or 1)
    if first > end or not _match_run(pattern[:first], text):
        return False
    if tail and not _match_run(tail, text[end:]):
        return False
    return _find_runs(pattern[first : last + 1], text, first, end if tail else len(text) - 1)


def _find_runs(middle: tuple[_Segment, ...], text: tuple[str, ...], position: int, end: int) -> bool:
    run: list[_Segment] = []
    for segment in middle[1:]:
        if segment is not None:
            run.append(segment)
            continue
        while run and not _match_run(run, text[position:]):
            position += 1
            if position + len(run) > end:
                return False
        position += len(run)
        if position > end:
            return False
        run = []
    return True


def _match_run(run: Sequence[_Segment], text: Sequence[str]) -> bool:
    """Match segments one to one from the first; the caller sees to the lengths."""
    return all(segment is None or _match_segment(segment, part) for segment, part in zip(run, text, strict=False))


def _match_segment(pattern: str | tuple[str, ...], text: str) -> bool:
    if isinstance(pattern, str):
        return pattern == text
    if pattern == ("", ""):
        return bool(text) and not _hides_separator(pattern, text)
    first, last = pattern[0], pattern[-1]
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    position, end = len(first), len(text) - len(last)
    for piece in pattern[1:-1]:
        found = text.find(piece, position, end)
        if found < 0:
            return False
        position = found + len(piece)
    return not _hides_separator(pattern, text)


def _hides_separator(pattern: tuple[str, ...], text: str) -> bool:
    """Whether a `*` would swallow an encoded slash: some upstreams decode it into another path (B01)."""
    if "%" not in text:
        return False
    return len(_ENCODED_SEPARATOR.findall(text)) != sum(len(_ENCODED_SEPARATOR.findall(piece)) for piece in pattern)


# --- questions about two patterns, for lint -----------------------------------------------------------------------

_PROBE = "\x00"  # stands in no text or pattern, so that only a wildcard can match it


def covers(wide: Glob, narrow: Glob) -> bool:
    """Whether every text that `narrow` matches is one that `wide` matches."""
    return all(wide.matches(probe) for probe in _probes(narrow))


def _probes(glob: Glob) -> list[str]:
    """Return texts of every shape a pattern has: each star as nothing, one and two strange letters or segments."""
    last = len(glob.segments) - 1
    choices = [_shapes(segment, is_last=index == last) for index, segment in enumerate(glob.segments)]
    return ["/".join(chain.from_iterable(parts)) for parts in product(*choices)]


def _shapes(segment: _Segment, *, is_last: bool) -> tuple[tuple[str, ...], ...]:
    if segment is None:
        some = tuple(parts for count in (1, 2) for parts in product(("", _PROBE), repeat=count))
        return some if is_last else ((), *some)
    if isinstance(segment, str):
        return ((segment,),)
    filled = tuple((star.join(segment),) for star in ("", _PROBE, _PROBE * 2))
    return filled[1:] if segment == ("", "") else filled


def overlaps(left: Glob, right: Glob) -> bool:
    """Whether some text is matched by both."""
    if left.is_exact:
        return right.matches(left.text)
    if right.is_exact:
        return left.matches(right.text)
    return _meet(_expand(left.segments), _expand(right.segments))


def _expand(segments: tuple[_Segment, ...]) -> tuple[_Segment, ...]:
    """Write a trailing `**`, which is at least one segment, as one of any text and then any number."""
    return (*segments[:-1], ("", "", ""), None) if segments[-1] is None else segments


def _meet(left: tuple[_Segment, ...], right: tuple[_Segment, ...]) -> bool:
    @cache
    def meet(i: int, j: int) -> bool:
        if i == len(left) or j == len(right):
            return all(part is None for part in left[i:]) and all(part is None for part in right[j:])
        if left[i] is None or right[j] is None:
            return meet(i + 1, j) or meet(i, j + 1)
        return _segments_meet(left[i], right[j]) and meet(i + 1, j + 1)

    return meet(0, 0)


def _segments_meet(left: _Segment, right: _Segment) -> bool:
    one, other = _letters(left), _letters(right)
    if {one, other} == {_STAR, ""}:  # a whole segment of `*` is never empty
        return False

    @cache
    def meet(i: int, j: int) -> bool:
        if i == len(one) or j == len(other):
            return set(one[i:]) | set(other[j:]) <= {_STAR}
        if one[i] == _STAR or other[j] == _STAR:
            return meet(i + 1, j) or meet(i, j + 1)
        return one[i] == other[j] and meet(i + 1, j + 1)

    return meet(0, 0)


def _letters(segment: _Segment) -> str:
    return segment if isinstance(segment, str) else _STAR.join(segment or ("", ""))
