"""The narrowest patterns that cover given names: each of a few, or one whose varying parts are `*`. Pure.

A `*` stands for text within one part, as in rules; nothing is ever widened across a separator.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from proxy.policy.patterns import MAX_LENGTH

_ALIKE: Final = 3
FEW: Final = 5
"""So many names are listed as they are."""
_PARTS: Final = re.compile(r"([/:#@])")


def cover(names: Iterable[str], few: int = FEW) -> tuple[str, ...] | None:
    """Return patterns for these names and as little else as can be: at most `few`; None when that takes more."""
    wanted = sorted(set(names))
    if any(not is_literal(name) for name in wanted):
        return None
    if len(wanted) <= few:
        return tuple(wanted)
    found = sorted(_patterns([tuple(_PARTS.split(name)) for name in wanted]))
    return tuple(found) if len(found) <= few else None


def _patterns(names: list[tuple[str, ...]]) -> Iterator[str]:
    """Give out patterns: three names and more that differ in one part alone are one, the largest such group first."""
    while names:
        groups: dict[tuple[int, tuple[str, ...]], list[tuple[str, ...]]] = {}
        for parts in names:
            for index in range(0, len(parts), 2):
                rest = (*parts[:index], "", *parts[index + 1 :])
                if any(rest[::2]):
                    groups.setdefault((index, rest), []).append(parts)
        (index, rest), group = max(groups.items(), key=lambda item: len(item[1]), default=((0, ()), []))
        if len(group) < _ALIKE:
            yield from ("".join(parts) for parts in names)
            return
        yield "".join((*rest[:index], _affixed(tuple(parts[index] for parts in group)), *rest[index + 1 :]))
        names = [parts for parts in names if parts not in group]


def _affixed(texts: tuple[str, ...]) -> str:
    """Return a pattern for texts of one part: what they all begin and end with, and `*` between."""
    head = _common(texts)
    rest = [text[len(head) :] for text in texts]
    tail = _common([text[::-1] for text in rest])[::-1]
    return f"{_trim(head)}*{_trim(tail[::-1])[::-1]}"


def _common(texts: Iterable[str]) -> str:
    first, *others = texts
    for index, character in enumerate(first):
        if any(not other.startswith(character, index) for other in others):
            return first[:index]
    return first


def _trim(text: str) -> str:
    """Cut back to where a word ends: that two numbers begin alike is chance."""
    return re.sub(r"[A-Za-z0-9]+$", "", text)


def is_literal(name: str) -> bool:
    """Whether a name can stand in a rule and mean itself alone."""
    return bool(name) and "*" not in name and len(name) <= MAX_LENGTH
