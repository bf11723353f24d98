"""Whether a rule names an action in so many words: what hands out credentials is never meant by a wildcard. Pure."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from proxy.model.intent import Intent

_STARS: Final = re.compile(r"(\*\*/|\*+)")
_MEANT: Final = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/:#@]*"}


def is_named(lines: Iterable[str], part: Intent, action: str) -> bool:
    """Whether one of a rule's `intent` lines names `action` on the resource of `part`.

    The resource may be a pattern; what is not known of patterns here matches less than the rule's own reading.
    """
    return any(action == word and where.fullmatch(part.resource.id) for word, where in _read(lines, part.protocol))


def parts_of(intent: Intent) -> Iterator[Intent]:
    """Yield everything a request does."""
    yield intent
    for other in intent.also:
        yield from parts_of(other)


def _read(lines: Iterable[str], protocol: str) -> Iterator[tuple[str, re.Pattern[str]]]:
    for line in lines:
        words = line.split(maxsplit=2)
        if len(words) == 3 and words[0] == protocol:
            pieces = _STARS.split(words[2])
            yield words[1], re.compile("".join(_MEANT.get(piece) or re.escape(piece) for piece in pieces))
