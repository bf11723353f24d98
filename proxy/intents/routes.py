"""Tables of routes, and how one is found: a tree of path segments, so that a thousand lines cost no more than ten.

A line is `METHOD /a/{name}/c`. `{name}` fills exactly one segment, `{name...}` at the end fills one or more. Of two
lines that fit, the one that names a segment literally, earliest, is meant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from proxy.intents.reading import decode_component
from proxy.model.errors import IntentError

MAX_SEGMENTS: Final = 128
"""A path of more segments is refused unread."""


@dataclass(slots=True)
class _Node[T]:
    literal: dict[str, "_Node[T]"] = field(default_factory=dict)
    variable: "_Node[T] | None" = None
    ends: dict[str, tuple[T, tuple[str, ...]]] = field(default_factory=dict)
    """Method to value and names of the variables, for paths that end here."""
    tails: dict[str, tuple[T, tuple[str, ...]]] = field(default_factory=dict)
    """The same for paths whose last variable begins here."""


@dataclass(frozen=True, slots=True)
class Found[T]:
    """What a path is: the table's value, and the variables, each decoded once.

    `end` counts the segments up to the last variable, that included: the path of the thing acted on, without the verb.
    """

    value: T
    variables: Mapping[str, str]
    end: int


@dataclass(frozen=True, slots=True)
class Routes[T]:
    """A compiled table."""

    root: _Node[T]

    def find(self, method: str, segments: Sequence[str]) -> Found[T] | None:
        """Return the line that fits; HEAD is read as GET.

        Raises IntentError when a variable is not percent-encoded UTF-8.
        """
        hit = _walk(self.root, "GET" if method == "HEAD" else method, segments, 0)
        if hit is None:
            return None
        (value, names), places, tail = hit
        texts = [decode_component(segments[at]) for at in places]
        end = places[-1] + 1 if places else 0
        if tail is not None:
            texts.append("/".join(decode_component(segment) for segment in segments[tail:]))
            end = len(segments)
        return Found(value, dict(zip(names, texts, strict=True)), end)


type _Hit[T] = tuple[tuple[T, tuple[str, ...]], tuple[int, ...], int | None]
"""The leaf, where its variables stand, and where its tail begins."""


def _walk[T](
    node: _Node[T], method: str, segments: Sequence[str], at: int, places: tuple[int, ...] = ()
) -> _Hit[T] | None:
    """Search depth first, literals before variables. Never deeper than the table, never wider than its nodes."""
    if at == len(segments):
        end = node.ends.get(method)
        return None if end is None else (end, places, None)
    child = node.literal.get(segments[at])
    if child is not None:
        hit = _walk(child, method, segments, at + 1, places)
        if hit is not None:
            return hit
    if node.variable is not None:
        hit = _walk(node.variable, method, segments, at + 1, (*places, at))
        if hit is not None:
            return hit
    tail = node.tails.get(method)
    return None if tail is None else (tail, places, at)


def compile_routes[T](table: Mapping[str, T]) -> Routes[T]:
    """Plant a table. Raises ValueError for two lines that fit the same paths: the table contradicts itself."""
    root: _Node[T] = _Node()
    for line, value in table.items():
        method, _, path = line.partition(" /")
        node, names = root, []
        for segment in path.split("/"):
            names += [segment[1:-1].removesuffix("...")] if segment.startswith("{") else []
            if segment.endswith("...}"):
                break
            if segment.startswith("{"):
                node.variable = node.variable or _Node()
                node = node.variable
            else:
                node = node.literal.setdefault(segment, _Node())
        leaves = node.tails if line.endswith("...}") else node.ends
        if method in leaves:
            raise ValueError(f"two routes for {line}")
        leaves[method] = (value, tuple(names))
    return Routes(root)


def cut_path(path: str) -> list[str]:
    """Return a path's segments, still encoded, without the empty one that a closing slash leaves.

    Raises IntentError for an empty segment, which a router may squeeze out, and for a path without end.
    """
    segments = path[1:].split("/")
    if not segments[-1]:
        segments.pop()
    if "" in segments:
        raise IntentError("the path has an empty segment")
    if len(segments) > MAX_SEGMENTS:
        raise IntentError(f"the path has more than {MAX_SEGMENTS} segments")
    return segments
