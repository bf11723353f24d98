"""GitHub's expressions, as a job's `if` has them, over facts of which some may not be known.

A build is thought through in which nothing fails: `success()` is true, `failure()` and `cancelled()` are not.
Source: docs.github.com, "Evaluate expressions in workflows and actions", "Contexts reference".
"""

import math
import re
from typing import ClassVar, Final

from proxy.pipelines.expressions import UNKNOWN, Facts, Reader, Unknown, Value

CONTEXTS: Final = ("github", "needs", "vars", "inputs")
"""What the `if` of a job may ask about; the other contexts are there only once a job runs."""
_STATUS: Final = {"success": True, "always": True, "failure": False, "cancelled": False}
_FUNCTIONS: Final = frozenset(
    {*_STATUS, "contains", "startswith", "endswith", "format", "join", "tojson", "fromjson", "hashfiles"}
)
_GOES_ON: Final = re.compile(r"\b(?:always|failure|cancelled)\s*\(", re.IGNORECASE)


def evaluate_expression(text: str, facts: Facts) -> bool | None:
    """Return whether an `if` holds, with or without `${{ }}`; None where it cannot be told. Raises ExpressionError."""
    inner = text.strip()
    if inner.startswith("${{") and inner.endswith("}}"):
        inner = inner[3:-2]
    answer = _Expression(inner, facts).whole()
    return None if isinstance(answer, Unknown) else _is_true(answer)


def survives_skips(text: str | None) -> bool:
    """Whether a job with this `if` runs although a job that it needs was skipped."""
    return text is not None and _GOES_ON.search(text) is not None


def _is_true(value: Value) -> bool:
    return value not in (None, False, 0, "") and value == value  # noqa: PLR0124 - NaN is false


def _number(value: Value) -> float:
    """Return the number that a value is compared as: NaN where it is none."""
    if value is None or value == "":
        return 0.0
    try:
        return float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        return math.nan


def _equal(left: Value, right: Value) -> Value:
    if isinstance(left, Unknown) or isinstance(right, Unknown):
        return UNKNOWN
    if isinstance(left, str) and isinstance(right, str):
        return left.lower() == right.lower()
    if isinstance(left, str | float | int | None) and isinstance(right, str | float | int | None):
        return left is right if type(left) is type(right) is type(None) else _number(left) == _number(right)
    return False


def _differ(left: Value, right: Value) -> Value:
    same = _equal(left, right)
    return same if isinstance(same, Unknown) else not same


def _before(left: Value, right: Value) -> Value:
    if isinstance(left, Unknown) or isinstance(right, Unknown):
        return UNKNOWN
    if isinstance(left, str) and isinstance(right, str):
        return left.lower() < right.lower()
    return _number(left) < _number(right)


def _before_or_equal(left: Value, right: Value) -> Value:
    before, same = _before(left, right), _equal(left, right)
    return UNKNOWN if isinstance(before, Unknown) else bool(before or same)


class _Expression(Reader):
    tokens = re.compile(
        r"(?P<space>\s+)"
        r"|(?P<string>'(?:''|[^'])*')"
        r"|(?P<number>-?(?:0x[0-9A-Fa-f]+|[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(?![A-Za-z0-9_.]))"
        r"|(?P<name>[A-Za-z_][A-Za-z0-9_-]*)"
        r"|(?P<sign>==|!=|<=|>=|<|>|\|\||&&|[!()\[\],.*])"
    )
    comparisons: ClassVar = {
        "==": _equal,
        "!=": _differ,
        "<=": _before_or_equal,
        ">=": lambda left, right: _before_or_equal(right, left),
        "<": _before,
        ">": lambda left, right: _before(right, left),
    }

    def __init__(self, text: str, facts: Facts) -> None:
        super().__init__(text)
        self._known = {name.lower(): value for name, value in facts.values.items()}

    def either(self, left: Value, right: Value) -> Value:
        if isinstance(left, Unknown):
            # `x || true` is true, whatever x is.
            return right if not isinstance(right, Unknown) and _is_true(right) else left
        return left if _is_true(left) else right

    def both(self, left: Value, right: Value) -> Value:
        if isinstance(left, Unknown):
            return right if not isinstance(right, Unknown) and not _is_true(right) else left
        return right if _is_true(left) else left

    def negate(self, value: Value) -> Value:
        return value if isinstance(value, Unknown) else not _is_true(value)

    def primary(self) -> Value:
        token = self.peek()
        if token.kind not in {"string", "number", "name"}:
            raise self.unexpected()
        self.take()
        match token.kind:
            case "string":
                return token.text[1:-1].replace("''", "'")
            case "number":
                return float(int(token.text, 16)) if "x" in token.text else float(token.text)
        name = token.text.lower()
        if name in {"true", "false", "null"}:
            return {"true": True, "false": False, "null": None}[name]
        if self.takes("("):
            return self._called(name, token.at)
        if name not in CONTEXTS:
            hint = f"it may ask about {', '.join(f'`{each}`' for each in CONTEXTS)}"
            raise self.refuse(token.at, f"`{token.text}` is nothing that the `if` of a job knows: {hint}")
        return self._property(name)

    def _property(self, name: str) -> Value:
        """Read the rest of `github.event.labels.*.name` or `github['ref']`."""
        is_told = True
        while True:
            if self.takes("."):
                token = self.take()
                if token.kind != "name" and token.text != "*":
                    raise self.refuse(token.at, "the name of a property is missing")
                name = f"{name}.{token.text.lower()}"
            elif self.takes("["):
                index = UNKNOWN if self.takes("*") else self.expression()
                self.wants("]")
                is_told = is_told and isinstance(index, str)
                name = f"{name}.{str(index).lower()}"
            else:
                return self._known.get(name, UNKNOWN) if is_told else UNKNOWN

    def _called(self, name: str, at: int) -> Value:
        if name not in _FUNCTIONS:
            raise self.refuse(at, f"there is no function `{name}`")
        values: list[Value] = []
        while not self.takes(")"):
            values.append(self.expression())
            if not self.takes(","):
                self.wants(")")
                break
        if name in _STATUS:
            return _STATUS[name]
        if name not in {"contains", "startswith", "endswith"}:
            return UNKNOWN
        if len(values) != 2:
            raise self.refuse(at, f"`{name}` takes two values")
        return _searched(name, *values)


def _searched(name: str, text: Value, wanted: Value) -> Value:
    if isinstance(text, Unknown) or isinstance(wanted, Unknown):
        return UNKNOWN
    if isinstance(text, tuple):
        return any(_equal(each, wanted) is True for each in text)
    one, other = _shown(text).lower(), _shown(wanted).lower()
    match name:
        case "contains":
            return other in one
        case "startswith":
            return one.startswith(other)
    return one.endswith(other)


def _shown(value: Value) -> str:
    """Write a value as GitHub makes text of it."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
