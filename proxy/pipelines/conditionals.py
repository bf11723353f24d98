"""Buildkite's `if` expressions and `branches` patterns, over facts of which some may not be known.

Source: "Using conditionals", "Branch configuration".
"""

import difflib
import re
from typing import ClassVar, Final

from proxy.pipelines.expressions import UNKNOWN, Facts, Reader, Unknown, Value, equal, invert, like, read_regex

_ENVIRONMENT: Final = frozenset({"env", "build.env"})
NAMES: Final = (
    "build.author.email", "build.author.id", "build.author.name", "build.author.teams", "build.branch", "build.commit",
    "build.creator.email", "build.creator.id", "build.creator.name", "build.creator.teams", "build.creator.verified",
    "build.id", "build.merge_queue.base_branch", "build.merge_queue.base_commit", "build.message", "build.number",
    "build.pull_request.base_branch", "build.pull_request.draft", "build.pull_request.id", "build.pull_request.label",
    "build.pull_request.labels", "build.pull_request.repository", "build.pull_request.repository.fork", "build.source",
    "build.source_action", "build.source_event", "build.state", "build.tag", "organization.id", "organization.slug",
    "pipeline.default_branch", "pipeline.id", "pipeline.name", "pipeline.repository", "pipeline.slug",
    "pipeline.started_passing", "pipeline.started_failing",
)  # fmt: skip
"""What expressions may ask about."""


def evaluate_condition(text: str, facts: Facts) -> bool | None:
    """Return whether a condition holds, None where that cannot be told. Raises ExpressionError."""
    answer = _Conditional(text, facts).whole()
    return None if isinstance(answer, Unknown) else answer is True


def matches_branches(patterns: str, branch: str | None) -> bool | None:
    """Return whether a branch is one of `main release/* !release/old`: any positive, and no negative one."""
    if branch is None:
        return None
    wanted = [each for each in patterns.split() if not each.startswith("!")]
    unwanted = [each[1:] for each in patterns.split() if each.startswith("!")]
    if any(_is_like(each, branch) for each in unwanted):
        return False
    return not wanted or any(_is_like(each, branch) for each in wanted)


def _is_like(pattern: str, text: str) -> bool:
    """Whether a pattern, in which `*` is any text, is the whole of a text. Each piece is found left to right."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    *middle, last = rest
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in middle:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def _includes(left: Value, right: Value) -> Value:
    if isinstance(left, Unknown) or isinstance(right, Unknown):
        return UNKNOWN
    return isinstance(left, tuple) and any(equal(each, right) is True for each in left)


class _Conditional(Reader):
    tokens = re.compile(
        r"(?P<space>\s+|//[^\n]*)"
        r"|(?P<string>\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*')"
        r"|(?P<integer>[0-9]{1,18}(?![A-Za-z0-9_.]))"
        r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)"
        r"|(?P<sign>==|!=|=~|!~|\|\||&&|[!()\[\],?:])"
        r"|(?P<regex>/(?:\\.|[^/\\\n])+/[a-z]*)",
        re.DOTALL,
    )
    comparisons: ClassVar = {
        "==": equal,
        "!=": lambda left, right: invert(equal(left, right)),
        "=~": like,
        "!~": lambda left, right: invert(like(left, right)),
        "includes": _includes,
    }

    def __init__(self, text: str, facts: Facts) -> None:
        super().__init__(text)
        self._facts = facts

    def choice(self) -> Value:
        value = super().choice()
        if not self.takes("?"):
            return value
        then = self.expression()
        self.wants(":")
        other = self.expression()
        return UNKNOWN if isinstance(value, Unknown) else then if value is True else other

    def primary(self) -> Value:
        if self.takes("["):
            return self._array()
        token = self.peek()
        if token.kind not in {"string", "integer", "regex", "name"}:
            raise self.unexpected()
        self.take()
        match token.kind:
            case "string":
                return re.sub(r"\\(.)", r"\1", token.text[1:-1], flags=re.DOTALL)
            case "integer":
                return int(token.text)
            case "regex":
                return read_regex(token.text)
        return self._named(token.text, token.at)

    def _array(self) -> Value:
        values: list[Value] = []
        while not self.takes("]"):
            values.append(self.expression())
            if not self.takes(","):
                self.wants("]")
                break
        return tuple(values)

    def _named(self, name: str, at: int) -> Value:
        if name in {"true", "false", "null"}:
            return {"true": True, "false": False, "null": None}[name]
        if name in _ENVIRONMENT:
            return self._variable()
        if name in self._facts.values:
            return self._facts.values[name]
        if name not in NAMES:
            close = difflib.get_close_matches(name, NAMES, n=1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            raise self.refuse(at, f"`{name}` is no name that conditions know{hint}")
        return UNKNOWN

    def _variable(self) -> Value:
        self.wants("(")
        at, name = self.peek().at, self.expression()
        self.wants(")")
        if not isinstance(name, str):
            raise self.refuse(at, "a variable's name is text")
        return UNKNOWN if self._facts.environment is None else self._facts.environment.get(name)
