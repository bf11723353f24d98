"""Which operation a method, path and query are, by the URI templates of one service's model. The most specific wins.

Left to right a literal is more specific than a label, a label than a greedy one; then the constant query keys count.
Source: Smithy 2.0, http trait: "specificity routing" and "greedy labels".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from proxy.intents.reading import decode_component

type Query = Mapping[str, Sequence[str]]
"""Every parameter with all its values, in order."""

MAX_SEGMENTS: Final = 128
_EMPTY: Final[dict[str, str]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One template's constant query, and the operations that share the whole of it. A value of None: any value."""

    names: tuple[str, ...]
    constants: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The operations that a request may be, and the values of the path's labels, decoded.

    `is_odd` says that a query key which elsewhere makes another operation of this path is here with a value that makes
    none: two readers may differ.
    """

    names: tuple[str, ...]
    labels: Mapping[str, str]
    is_odd: bool


@dataclass(slots=True)
class _Node:
    literals: dict[str, "_Node"] = field(default_factory=dict)
    label: "_Node | None" = None
    greedy: "_Node | None" = None
    routes: list[tuple[Route, tuple[str, ...]]] = field(default_factory=list)
    """Routes that end here, the most constant first, with the names of the labels on the way."""


@dataclass(frozen=True, slots=True)
class Router:
    """The routes of one service, by method."""

    roots: Mapping[str, _Node]

    def find(self, method: str, path: str, query: Query) -> Match | None:
        """Return what a still encoded path means, None when no template fits. Raises IntentError for a bad escape."""
        root = self.roots.get(method)
        if root is None:
            return None
        segments = [decode_component(each) if "%" in each else each for each in path[1:].split("/")]
        if not segments[-1]:
            segments.pop()
        if len(segments) > MAX_SEGMENTS:
            return None
        return _find(root, segments, 0, (), query)


def build_router(lines: Iterable[str]) -> Router:
    """Read `METHOD TEMPLATE OPERATION...` lines."""
    roots: dict[str, _Node] = {}
    for line in lines:
        method, template, *names = line.split(" ")
        path, _, constants = template.partition("?")
        node, labels = roots.setdefault(method, _Node()), []
        for segment in filter(None, path.split("/")):
            if not segment.startswith("{"):
                node = node.literals.setdefault(segment, _Node())
                continue
            labels.append(segment.strip("{}+"))
            if segment.endswith("+}"):
                node.greedy = node = node.greedy or _Node()
            else:
                node.label = node = node.label or _Node()
        route = Route(names=tuple(names), constants=tuple(_read_constants(constants)))
        node.routes.append((route, tuple(labels)))
        node.routes.sort(key=lambda each: -len(each[0].constants))
    return Router(roots)


def _read_constants(text: str) -> Iterable[tuple[str, str | None]]:
    for part in filter(None, text.split("&")):
        name, _, value = part.partition("=")
        yield name, value or None


def _find(node: _Node, segments: list[str], at: int, values: tuple[str, ...], query: Query) -> Match | None:
    if at == len(segments):
        return _end(node, values, query)
    literal = node.literals.get(segments[at])
    if literal is not None and (found := _find(literal, segments, at + 1, values, query)) is not None:
        return found
    if node.label is not None and segments[at]:
        found = _find(node.label, segments, at + 1, (*values, segments[at]), query)
        if found is not None:
            return found
    if node.greedy is not None:
        for end in (*range(len(segments) - 1, at, -1), len(segments)):  # what goes on after it is more specific
            taken = "/".join(segments[at:end])
            if (found := _find(node.greedy, segments, end, (*values, taken), query)) is not None:
                return found
    return None


def _end(node: _Node, values: tuple[str, ...], query: Query) -> Match | None:
    for route, labels in node.routes:
        if all(name in query and value in {None, query[name][0]} for name, value in route.constants):
            mine = {name for name, _ in route.constants}
            others = {name.lower() for other, _ in node.routes for name, _ in other.constants}
            odd = any(len(query[name]) > 1 for name in mine) or any(
                name not in mine and name.lower() in others for name in (query if others else ())
            )
            return Match(
                names=route.names, labels=dict(zip(labels, values, strict=True)) if labels else _EMPTY, is_odd=odd
            )
    return None
