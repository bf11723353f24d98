"""GraphQL's executable documents, read strictly: tokens, grammar, values (spec of October 2021, section 2).

Only what may be sent to a server is read; a type system is refused. The cost is bounded by the text: one pass, a bound
on its length, on nesting, and fragments are looked up, never copied. What lexers are known to disagree on (a lone
carriage return, a byte order mark, control characters, exotic line ends) is refused wherever it stands.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NoReturn

from proxy.model.errors import IntentError

MAX_TEXT: Final = 1 << 17
MAX_DEPTH: Final = 48
_REMEMBERED: Final = 1 << 13

_TOKEN: Final = re.compile(
    r"""[ \t\n,]*+(?:\#[^\n]*+(?:\n[ \t\n,]*+|\Z))*+
    (?:(?P<name>[_A-Za-z][_0-9A-Za-z]*+)
    |(?P<punctuator>\.\.\.|[!$&()\:=@\[\]{|}])
    |(?P<block>\"\"\"(?:[^"\\]++|\\\"\"\"|\\|\"(?!\"\"))*+\"\"\")
    |(?P<string>"(?:[^"\\\n]++|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*+"(?!"))
    |(?P<number>-?(?:0|[1-9][0-9]*+)(?P<fraction>\.[0-9]++)?(?P<exponent>[eE][+-]?[0-9]++)?(?![_0-9A-Za-z.]))
    |(?P<end>\Z))""",
    re.VERBOSE,
)
_REFUSED: Final = re.compile("\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x85\u2028\u2029\ufeff]")
_ESCAPE: Final = re.compile(r'\\(?:u([0-9A-Fa-f]{4})|(["\\/bfnrt]))')
_CONSTANTS: Final[Mapping[str, bool | None]] = {"true": True, "false": False, "null": None}
_PLAIN_ESCAPES: Final = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True, slots=True)
class Variable:
    """`$name` where a value stands."""

    name: str


type Value = str | int | float | bool | Variable | tuple[Value, ...] | Mapping[str, Value] | None
"""A literal. An enum's value is its text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldText:
    """A field of the root as written: its real name, never its alias."""

    name: str
    arguments: Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What stands at the root of an operation or fragment: fields, and the names of fragments to look up."""

    fields: tuple[FieldText, ...]
    spreads: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationText:
    """One operation. `defaults` are its variables' default values."""

    kind: str
    name: str
    defaults: Mapping[str, Value]
    root: Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Operations in order, and fragments by name."""

    operations: tuple[OperationText, ...]
    fragments: Mapping[str, Selection]


def parse_document(text: str) -> Document:
    """Read a document. Raises IntentError for anything that is not one, completely and in bounds."""
    # Clients send the same few documents again and again; only short ones are remembered.
    return _parse_short(text) if len(text) <= _REMEMBERED else _parse(text)


@lru_cache(maxsize=256)
def _parse_short(text: str) -> Document:
    return _parse(text)


def _parse(text: str) -> Document:
    if len(text) > MAX_TEXT:
        raise IntentError(f"the GraphQL document is longer than {MAX_TEXT} characters")
    if _REFUSED.search(text) is not None:
        raise IntentError("the GraphQL document holds a character that servers read differently")
    return _Parser(text.replace("\r\n", "\n")).read_document()


def _cut(text: str) -> Iterator[tuple[str, str]]:
    """Yield (kind, text) of each token. Kinds are the pattern's group names; the last is `end`."""
    at = 0
    while True:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise IntentError("the GraphQL document holds what is no token of the language")
        kind = "number" if match["number"] is not None else match.lastgroup
        at = match.end()
        yield kind, match[kind]


class _Parser:
    """A reader with one token of foresight. Every method consumes what it is named for."""

    def __init__(self, text: str) -> None:
        self._tokens = _cut(text)
        self._kind, self._text = next(self._tokens)
        self._depth = 0

    def _fail(self) -> NoReturn:
        raise IntentError("the GraphQL document cannot be parsed")

    def _take(self) -> str:
        if self._kind == "end":
            self._fail()
        text = self._text
        self._kind, self._text = next(self._tokens)
        return text

    def _is(self, punctuator: str) -> bool:
        return self._kind == "punctuator" and self._text == punctuator

    def _skip(self, punctuator: str) -> bool:
        found = self._is(punctuator)
        if found:
            self._take()
        return found

    def _expect(self, punctuator: str) -> None:
        if not self._skip(punctuator):
            self._fail()

    def _name(self) -> str:
        if self._kind != "name":
            self._fail()
        return self._take()

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise IntentError("the GraphQL document is nested too deeply")

    def read_document(self) -> Document:
        operations: list[OperationText] = []
        fragments: dict[str, Selection] = {}
        while self._kind != "end":
            if self._is("{"):
                operations.append(OperationText(kind="query", name="", defaults={}, root=self._selection_set()))
                continue
            keyword = self._name()
            if keyword in {"query", "mutation", "subscription"}:
                operations.append(self._operation(keyword))
            elif keyword == "fragment":
                name, selection = self._fragment()
                if fragments.setdefault(name, selection) is not selection:
                    raise IntentError("two fragments of the GraphQL document have one name")
            else:
                self._fail()
        names = [operation.name for operation in operations]
        if not names or len(set(names)) != len(names) or (len(names) > 1 and "" in names):
            raise IntentError("the GraphQL document needs one operation, or several with a name each")
        return Document(operations=tuple(operations), fragments=fragments)

    def _operation(self, kind: str) -> OperationText:
        name = self._name() if self._kind == "name" else ""
        defaults: dict[str, Value] = {}
        declared: set[str] = set()
        if self._skip("("):
            while not self._skip(")") or not declared:
                self._variable(declared, defaults)
        self._directives()
        return OperationText(kind=kind, name=name, defaults=defaults, root=self._selection_set())

    def _variable(self, declared: set[str], defaults: dict[str, Value]) -> None:
        self._expect("$")
        name = self._name()
        if name in declared:
            raise IntentError("a variable of the GraphQL document is declared twice")
        declared.add(name)
        self._expect(":")
        self._type()
        if self._skip("="):
            defaults[name] = self._value(is_constant=True)
        self._directives()

    def _type(self) -> None:
        if self._skip("["):
            self._enter()
            self._type()
            self._depth -= 1
            self._expect("]")
        else:
            self._name()
        self._skip("!")

    def _fragment(self) -> tuple[str, Selection]:
        name = self._name()
        if name == "on" or self._name() != "on":
            self._fail()
        self._name()
        self._directives()
        return name, self._selection_set()

    def _selection_set(self) -> Selection:
        """Read `{...}`. Inline fragments are opened: their fields are this set's."""
        self._expect("{")
        self._enter()
        fields: list[FieldText] = []
        spreads: list[str] = []
        while not self._is("}") or not (fields or spreads):
            if self._skip("..."):
                self._spread(fields, spreads)
            else:
                fields.append(self._field())
        self._take()
        self._depth -= 1
        return Selection(fields=tuple(fields), spreads=tuple(spreads))

    def _spread(self, fields: list[FieldText], spreads: list[str]) -> None:
        if self._kind == "name" and self._text != "on":
            spreads.append(self._take())
            self._directives()
            return
        if self._kind == "name":
            self._take()
            self._name()
        self._directives()
        inner = self._selection_set()
        fields.extend(inner.fields)
        spreads.extend(inner.spreads)

    def _field(self) -> FieldText:
        name = self._name()
        if self._skip(":"):
            name = self._name()
        arguments = self._arguments(is_constant=False)
        self._directives()
        if self._is("{"):
            self._selection_set()
        return FieldText(name=name, arguments=arguments)

    def _arguments(self, *, is_constant: bool) -> Mapping[str, Value]:
        found: dict[str, Value] = {}
        if self._skip("("):
            while not self._skip(")") or not found:
                self._member(found, is_constant=is_constant)
        return found

    def _member(self, found: dict[str, Value], *, is_constant: bool) -> None:
        name = self._name()
        if name in found:
            raise IntentError("a name of the GraphQL document stands twice in one place")
        self._expect(":")
        found[name] = self._value(is_constant=is_constant)

    def _directives(self) -> None:
        """Read and forget: a field that is skipped at run time still counts as asked for."""
        while self._skip("@"):
            self._name()
            self._arguments(is_constant=False)

    def _value(self, *, is_constant: bool) -> Value:
        if self._kind == "punctuator":
            return self._compound(is_constant=is_constant)
        kind, text = self._kind, self._take()
        if kind == "string":
            return _unescape(text[1:-1])
        if kind == "block":
            return text[3:-3].replace('\\"""', '"""')
        if kind == "number":
            return float(text) if set(text) & set(".eE") else self._integer(text)
        return _CONSTANTS.get(text, text)

    def _integer(self, text: str) -> int:
        if len(text) > 20:
            raise IntentError("a number of the GraphQL document is too long")
        return int(text)

    def _compound(self, *, is_constant: bool) -> Value:
        if self._skip("$"):
            if is_constant:
                self._fail()
            return Variable(self._name())
        self._enter()
        value: Value
        if self._skip("["):
            items: list[Value] = []
            while not self._skip("]"):
                items.append(self._value(is_constant=is_constant))
            value = tuple(items)
        else:
            self._expect("{")
            members: dict[str, Value] = {}
            while not self._skip("}"):
                self._member(members, is_constant=is_constant)
            value = members
        self._depth -= 1
        return value


def _unescape(text: str) -> str:
    """Return a string's value. A half of a surrogate pair stays what it is: no name holds one."""
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda hit: chr(int(hit[1], 16)) if hit[1] else _PLAIN_ESCAPES[hit[2]], text)
