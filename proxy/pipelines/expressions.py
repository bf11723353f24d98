"""What the expressions of every CI have in common: precedence, and answers of which some cannot be told.

A value that nobody gave is UNKNOWN, and so is what depends on it; `false && x` is false all the same. Regular
expressions are RE2's, which take linear time; one that RE2 has not is not told either.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, NamedTuple

from proxy.policy.conditions import search

MAX_LENGTH: Final = 4096
MAX_DEPTH: Final = 40
_END: Final = "end"


class Unknown:
    """A value that nobody gave."""


class Regex(NamedTuple):
    """A regular expression, as RE2 has them."""

    pattern: str


type Value = str | int | float | bool | tuple["Value", ...] | Unknown | Regex | None

UNKNOWN: Final = Unknown()


class ExpressionError(ValueError):
    """An expression that the CI would refuse. `line` and `column` count from 1 within it."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line, self.column = line, column


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a build: names as in expressions, and variables; None for a variable list that is not known."""

    values: Mapping[str, str | int | bool | tuple[str, ...] | None] = field(default_factory=dict)
    environment: Mapping[str, str] | None = None


class Token(NamedTuple):
    """A piece of an expression; `at` is its place in the text."""

    kind: str
    text: str
    at: int


class Reader:
    """Reads and evaluates in one pass; both sides of `&&` and `||` are read, whatever the first one says.

    A language says what its tokens are (groups `space` and `sign` are meant so here), what it compares with, and
    what its values are.
    """

    tokens: ClassVar[re.Pattern[str]]
    comparisons: ClassVar[Mapping[str, Callable[[Value, Value], Value]]]

    def __init__(self, text: str) -> None:
        self._text = text
        if len(text) > MAX_LENGTH:
            raise ExpressionError(f"an expression of more than {MAX_LENGTH} characters", 1, 1)
        self._tokens = self._read_tokens()
        self._next = self._depth = 0

    def _read_tokens(self) -> list[Token]:
        found, at = [], 0
        while at < len(self._text):
            match = self.tokens.match(self._text, at)
            if match is None:
                raise self.refuse(at, f"`{self._text[at : at + 10]}` is not understood")
            if match.lastgroup != "space":
                found.append(Token(str(match.lastgroup), match[0], at))
            at = match.end()
        return [*found, Token(_END, "", len(self._text))]

    def refuse(self, at: int, message: str) -> ExpressionError:
        """Return an error about a place in the text."""
        before = self._text[:at]
        return ExpressionError(message, before.count("\n") + 1, at - (before.rfind("\n") + 1) + 1)

    def whole(self) -> Value:
        """Return the value of the whole text. Raises ExpressionError."""
        value = self.expression()
        if self.peek().kind != _END:
            raise self.unexpected()
        return value

    def peek(self) -> Token:
        """Return the token that comes next."""
        return self._tokens[self._next]

    def take(self) -> Token:
        """Return the token that comes next, and go past it."""
        token = self.peek()
        self._next += 1
        return token

    def takes(self, sign: str) -> bool:
        """Go past a sign or word, if it comes next."""
        token = self.peek()
        if token.kind in {"sign", "name"} and token.text == sign:
            self._next += 1
            return True
        return False

    def wants(self, sign: str) -> None:
        """Go past a sign that must come next. Raises ExpressionError."""
        if not self.takes(sign):
            raise self.unexpected(f"; `{sign}` is missing")

    def unexpected(self, more: str = "") -> ExpressionError:
        """Return an error about the token that comes next."""
        token = self.peek()
        return self.refuse(token.at, (f"unexpected `{token.text}`" if token.text else "it ends too early") + more)

    def expression(self) -> Value:
        """Read one expression, as it may stand within parentheses."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self.refuse(self.peek().at, f"nested deeper than {MAX_DEPTH} levels")
        value = self.choice()
        self._depth -= 1
        return value

    def choice(self) -> Value:
        """Read what is joined by `||`."""
        value = self._joined()
        while self.takes("||"):
            value = self.either(value, self._joined())
        return value

    def _joined(self) -> Value:
        value = self._comparison()
        while self.takes("&&"):
            value = self.both(value, self._comparison())
        return value

    def _comparison(self) -> Value:
        left = self._unary()
        for sign, compare in self.comparisons.items():
            if self.takes(sign):
                at = self.peek().at
                right = self._unary()
                self.check(sign, right, at)
                return compare(left, right)
        return left

    def _unary(self) -> Value:
        negations = 0
        while self.takes("!"):
            negations += 1
        if self.takes("("):
            value = self.expression()
            self.wants(")")
        else:
            value = self.primary()
        for _ in range(negations):
            value = self.negate(value)
        return value

    def check(self, sign: str, right: Value, at: int) -> None:
        """Refuse what a comparison does not take on its right side."""
        if sign in {"=~", "!~"} and not isinstance(right, Regex | Unknown):
            raise self.refuse(at, f"`{sign}` wants a regular expression such as /^v[0-9]/")

    def primary(self) -> Value:
        """Read a value. Raises ExpressionError."""
        raise NotImplementedError

    def either(self, left: Value, right: Value) -> Value:
        """Return what `||` makes of two values."""
        if left is True or right is True:
            return True
        return UNKNOWN if isinstance(left, Unknown) or isinstance(right, Unknown) else False

    def both(self, left: Value, right: Value) -> Value:
        """Return what `&&` makes of two values."""
        if isinstance(left, Unknown):
            return left if right is True or isinstance(right, Unknown) else False
        if left is not True:
            return False
        return right if isinstance(right, Unknown) else right is True

    def negate(self, value: Value) -> Value:
        """Return what `!` makes of a value."""
        return invert(value)


def read_regex(text: str) -> Regex:
    """Return the regular expression that stands between slashes, with its flags."""
    end = text.rindex("/")
    flags = "".join(sorted(set(text[end + 1 :]) & set("ims")))
    pattern = text[1:end].replace("\\/", "/")
    return Regex(f"(?{flags}){pattern}" if flags else pattern)


def invert(value: Value) -> Value:
    """Return whether a value is false or null."""
    return value if isinstance(value, Unknown) else value in (False, None)


def equal(left: Value, right: Value) -> Value:
    """Return whether two values are the same, in type too."""
    if isinstance(left, Unknown) or isinstance(right, Unknown):
        return UNKNOWN
    return type(left) is type(right) and left == right


def like(left: Value, right: Value) -> Value:
    """Return whether a regular expression is found in a text; what is no text has none."""
    if isinstance(left, Unknown) or not isinstance(right, Regex):
        return UNKNOWN
    if not isinstance(left, str):
        return False
    found = search(right.pattern, left)
    return UNKNOWN if found is None else found
