"""Strict YAML: one plain document, every value with its place. A surprise is an error with a line, never a guess.

The parser's events are walked first (iteratively: a nesting bomb would overflow a recursive composer's stack), and only
what passed is composed. Scalars follow the YAML 1.2 core schema with one exception: a whole number with a leading zero
stays text, because an account id must not lose digits. So `on`, `no`, `0777` and `1:30` are text.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from proxy.model.errors import Problem, RuleFileError

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 20
REFERENCE: Final = "!reference"
MAX_NODES: Final = 100_000
MAX_DIGITS: Final = 18

type Path = tuple[str | int, ...]
"""Where a value stands: mapping keys and list indices from the top."""

# These make text read other than it is, so that a reviewer approves something else (Unicode TR36, CVE-2021-42574).
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_PLAIN = ""  # how the C parser names the style of an unquoted scalar
_NULL = {"", "~", "null", "Null", "NULL"}
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_RADIX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a file; line and column count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A document's value, and where each part of it stands."""

    name: str
    value: Any
    lines: tuple[str, ...] = field(default=(), repr=False)
    values: dict[Path, Place] = field(default_factory=dict, repr=False)
    keys: dict[Path, Place] = field(default_factory=dict, repr=False)

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Return where the value at `path` (or its key) begins; of a path that is not there, its nearest parent."""
        if key and path in self.keys:
            return self.keys[path]
        for length in range(len(path), -1, -1):
            found = self.values.get(path[:length])
            if found is not None:
                return found
        return Place(1, 1)

    def line(self, path: Path) -> int:
        """Return the line of the value at `path`."""
        return self.place(path).line

    def problem(self, path: Path, message: str, hint: str = "", *, key: bool = False) -> Problem:
        """Describe a fault at `path`, with the line and a caret under it."""
        return _problem(self.name, self.lines, self.place(path, key=key), message, hint)

    def shifted(self, problem: Problem, path: Path, offset: tuple[int, int]) -> Problem:
        """Move a problem to a line and column within the text at `path`, where the file shows that text as it is."""
        place = self.place(path)
        text = self._text_at(path)
        line, column = offset
        if text is None or line > 1 or not 0 < place.line <= len(self.lines):
            return problem
        start = self.lines[place.line - 1].find(text, place.column - 1, place.column + len(text))
        if start < 0:
            return problem
        return _problem(self.name, self.lines, Place(place.line, start + column), problem.message, problem.hint)

    def _text_at(self, path: Path) -> str | None:
        value = self.value
        for part in path:
            value = value[part]
        return value if isinstance(value, str) else None


@dataclass(slots=True)
class _Reader:
    """One pass over one text."""

    name: str
    lines: tuple[str, ...]
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    is_ci: bool = False
    built: int = 0

    def refuse(self, mark: Any, message: str, hint: str = "") -> RuleFileError:
        place = Place(1, 1) if mark is None else Place(mark.line + 1, mark.column + 1)
        return RuleFileError([_problem(self.name, self.lines, place, message, hint)])

    def scan(self, text: str) -> None:
        """Refuse, from the events alone, whatever is not plain data."""
        depth = nodes = documents = 0
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                self._check_document(event, documents)
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            elif isinstance(event, yaml.NodeEvent):
                nodes += 1
                self._check_node(event, nodes)
                if isinstance(event, yaml.CollectionStartEvent):
                    depth += 1
                    if depth > MAX_DEPTH:
                        raise self.refuse(event.start_mark, f"nested deeper than {MAX_DEPTH} levels")

    def _check_document(self, event: yaml.DocumentStartEvent, documents: int) -> None:
        if documents > 1:
            raise self.refuse(event.start_mark, "a second document", "One file is one document: remove the `---`.")
        if event.version is not None or event.tags:
            raise self.refuse(event.start_mark, "directives are not used here", "Remove the line that begins with `%`.")

    def _check_node(self, event: yaml.NodeEvent, nodes: int) -> None:
        if nodes > MAX_NODES:
            raise self.refuse(event.start_mark, f"more than {MAX_NODES} values", "Split the file.")
        if event.anchor is not None and not self.is_ci:
            sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
            hint = "Write the value out. Does a value begin with `*` or `&`? Quote it."
            raise self.refuse(event.start_mark, f"aliases are not used here: `{sign}{event.anchor}`", hint)
        tag = getattr(event, "tag", None)
        if tag is not None and not (self.is_ci and tag == REFERENCE and isinstance(event, yaml.SequenceStartEvent)):
            hint = "Write the plain value. Does a value begin with `!`? Quote it."
            raise self.refuse(event.start_mark, f"tags are not used here: `{tag}`", hint)

    def build(self, node: yaml.Node, path: Path) -> Any:
        """Turn a node into plain values, noting where each stands."""
        self.built += 1
        if len(path) > MAX_DEPTH or self.built > MAX_NODES:
            raise self.refuse(node.start_mark, "aliases that make it too large, or hold themselves")
        self.values[path] = Place(node.start_mark.line + 1, node.start_mark.column + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if isinstance(node, yaml.SequenceNode):
            found = [self.build(child, (*path, index)) for index, child in enumerate(node.value)]
            return {REFERENCE: found} if node.tag == REFERENCE else found
        return self._mapping(node, path)

    def _mapping(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if self.is_ci and key_node.value == "<<" and key_node.style == _PLAIN:
                merged = {**self._merged(value_node, path), **merged}
                continue
            key = self._key(key_node)
            if key in found:
                first = self.keys[(*path, key)]
                raise self.refuse(key_node.start_mark, f"`{key}` is given twice", f"The first is on line {first.line}.")
            self.keys[(*path, key)] = Place(key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            found[key] = self.build(value_node, (*path, key))
        return {**merged, **found}

    def _merged(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        """Return what a merge key brings: of a mapping, or of several, of which the first ones win."""
        found: dict[str, Any] = {}
        for each in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(each, yaml.MappingNode):
                raise self.refuse(each.start_mark, "`<<` takes a mapping, or a list of them")
            found = {**self.build(each, (*path, "<<")), **found}
        return found

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self.refuse(node.start_mark, "a key must be plain text")
        key = self._scalar(node)
        if key == "<<" and node.style == _PLAIN:
            raise self.refuse(node.start_mark, "merge keys are not used here: `<<`", "Write the values out.")
        if not isinstance(key, str):
            raise self.refuse(node.start_mark, f"the key `{node.value}` is not text", f'Quote it: "{node.value}".')
        return key

    def _scalar(self, node: yaml.ScalarNode) -> object:
        text = str(node.value)
        if node.style != _PLAIN:  # quoted, or a block: text as it stands
            return text
        if text in _NULL:
            return None
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        if _INTEGER.fullmatch(text) or _RADIX.fullmatch(text):
            if len(text) > MAX_DIGITS:
                raise self.refuse(node.start_mark, f"a number of more than {MAX_DIGITS} digits", "Quote it as text.")
            return int(text, 0)
        if _FLOAT.fullmatch(text):
            number = float(text.replace(".inf", "inf").replace(".nan", "nan")) if text[-1] not in "fFnN" else math.inf
            if not math.isfinite(number):
                raise self.refuse(node.start_mark, f"`{text}` is not a finite number", "Quote it if it is text.")
            return number
        return text


def load_yaml(text: str | bytes, name: str, *, is_ci: bool = False) -> Located:
    """Read one strict YAML document; an empty one has the value None.

    `is_ci` reads it as CI files are written: with aliases, merge keys, and GitLab's `!reference [...]`, which becomes a
    mapping of that name.

    `name` stands in the messages. Raises RuleFileError, whose Problem has line, column, excerpt and hint, for anything
    that is not UTF-8, is over 1 MiB, or uses anchors, aliases, tags, merge keys, directives or a second document.
    """
    decoded = _decode(text, name)
    reader = _Reader(name, tuple(decoded.splitlines()), is_ci=is_ci)
    try:
        reader.scan(decoded)
        node = yaml.compose(decoded, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        raise reader.refuse(where, f"not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise _first_line(name, f"not YAML: {getattr(error, 'reason', 'unreadable')}") from None
    value = None if node is None else reader.build(node, ())
    return Located(name=name, value=value, lines=reader.lines, values=reader.values, keys=reader.keys)


def _decode(text: str | bytes, name: str) -> str:
    """Return the text without a byte order mark, or say why it cannot be read as UTF-8."""
    try:
        raw = text.encode() if isinstance(text, str) else text
        if len(raw) > MAX_BYTES:
            raise _first_line(name, f"larger than {MAX_BYTES // 1024} KiB", "Split the file.")
        decoded = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeError as error:
        raise _first_line(
            name, f"not UTF-8 (byte {error.start})" if isinstance(error, UnicodeDecodeError) else "not UTF-8"
        ) from None
    hidden = _INVISIBLE.search(decoded)
    if hidden is not None:
        before = decoded[: hidden.start()]
        place = Place(before.count("\n") + 1, hidden.start() - (before.rfind("\n") + 1) + 1)
        raise RuleFileError(
            [
                _problem(
                    name,
                    (),
                    place,
                    f"an invisible character, U+{ord(hidden[0]):04X}",
                    "Delete it: it hides what the line says.",
                )
            ]
        )
    return decoded


def _first_line(name: str, message: str, hint: str = "") -> RuleFileError:
    return RuleFileError([Problem(file=name, line=1, column=1, message=message, hint=hint)])


def _problem(name: str, lines: tuple[str, ...], place: Place, message: str, hint: str) -> Problem:
    return Problem(
        file=name, line=place.line, column=place.column, message=message, hint=hint, excerpt=_excerpt(lines, place)
    )


def _excerpt(lines: tuple[str, ...], place: Place) -> str:
    """Return the line with a caret below, cut to a readable width around it."""
    if not 0 < place.line <= len(lines):
        return ""
    start = max(0, place.column - 80)
    shown = "".join(_printable(lines[place.line - 1][start : start + 120]))
    return f"{shown}\n{' ' * (place.column - 1 - start)}^"


def _printable(text: str) -> Iterator[str]:
    for character in text:
        yield character if character.isprintable() else "?" if character != "\t" else " "
