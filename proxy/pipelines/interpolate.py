r"""Buildkite's interpolation of variables in a pipeline's text, as its agent does before it uploads one.

`$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:?message}`, `${NAME?message}`, `${NAME:offset}`,
`${NAME:offset:length}`; `$$` and `\$` are a plain dollar sign. A variable that is not set is an empty text.
Source: github.com/buildkite/interpolate, "Environment variable substitution" of the agent's pipeline command.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MAX_DEPTH: Final = 20
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OFFSETS: Final = re.compile(r":\s?(-?[0-9]{1,9})(?::\s?(-?[0-9]{1,9}))?")
_NEXT: Final = re.compile(r"[$\\]")


class InterpolationError(ValueError):
    """Text that the agent would refuse to upload."""


@dataclass(slots=True)
class Interpolator:
    """Replaces variables; `unset` gathers the names that were asked for and not given."""

    environment: Mapping[str, str]
    unset: set[str] = field(default_factory=set)

    def text(self, text: str) -> str:
        """Return the text with its variables replaced. Raises InterpolationError."""
        if "$" not in text:
            return text
        done, end = self._read(text, 0, stop="", depth=0)
        assert end == len(text)  # noqa: S101 - nothing stops at the top
        return done

    def value(self, value: object) -> object:
        """Replace the variables in every text of a document, keys too. Raises InterpolationError."""
        match value:
            case str():
                return self.text(value)
            case list():
                return [self.value(entry) for entry in value]
            case dict():
                return {self.text(key): self.value(entry) for key, entry in value.items()}
        return value

    def _read(self, text: str, at: int, *, stop: str, depth: int) -> tuple[str, int]:
        """Read up to `stop`, or to the end; return what it comes to, and where it ended."""
        if depth > MAX_DEPTH:
            raise InterpolationError(f"variables nested deeper than {MAX_DEPTH} levels")
        pieces: list[str] = []
        while at < len(text):
            character = text[at]
            if character == stop:
                return "".join(pieces), at
            if character == "\\" and text.startswith("$", at + 1):
                pieces.append("$")
                at += 2
            elif character == "$":
                piece, at = self._variable(text, at + 1, depth)
                pieces.append(piece)
            else:
                end = self._plain(text, at + 1, stop)
                pieces.append(text[at:end])
                at = end
        if stop:
            raise InterpolationError("`${` without its `}`")
        return "".join(pieces), at

    @staticmethod
    def _plain(text: str, at: int, stop: str) -> int:
        found = _NEXT.search(text, at)
        end = found.start() if found is not None else len(text)
        closing = text.find(stop, at, end) if stop else -1
        return closing if closing >= 0 else end

    def _variable(self, text: str, at: int, depth: int) -> tuple[str, int]:
        if text.startswith("$", at):
            return "$", at + 1
        if text.startswith("{", at):
            return self._braced(text, at + 1, depth)
        name = _NAME.match(text, at)
        if name is None:
            return "$", at
        return self._get(name[0]) or "", name.end()

    def _braced(self, text: str, at: int, depth: int) -> tuple[str, int]:
        name = _NAME.match(text, at)
        if name is None:
            raise InterpolationError("`${` is followed by no name")
        at, value = name.end(), self.environment.get(name[0])
        offsets = _OFFSETS.match(text, at)
        if offsets is not None and not text.startswith(":-", at):
            if not text.startswith("}", offsets.end()):
                raise InterpolationError(f"`${{{name[0]}` has something after its offset")
            return _cut(self._get(name[0]) or "", offsets[1], offsets[2]), offsets.end() + 1
        sign, is_null = _sign(text, at)
        if sign == "}":
            return self._get(name[0]) or "", at + 1
        if sign not in {"-", "?"}:
            raise InterpolationError(f"`${{{name[0]}` is followed by `{text[at : at + 2]}`, which is not read here")
        word, end = self._read(text, at + 1 + is_null, stop="}", depth=depth + 1)
        is_given = value is not None and (value != "" or not is_null)
        if is_given and value is not None:
            return value, end + 1
        if sign == "?":
            raise InterpolationError(f"`{name[0]}` is wanted: {word or 'it is not set'}")
        return word, end + 1

    def _get(self, name: str) -> str | None:
        value = self.environment.get(name)
        if value is None:
            self.unset.add(name)
        return value


def _sign(text: str, at: int) -> tuple[str, bool]:
    """Return what is asked of a variable, and whether an empty one counts as none."""
    if text.startswith(":", at):
        return text[at + 1 : at + 2], True
    return text[at : at + 1], False


def _cut(value: str, offset: str, length: str | None) -> str:
    """Return a part of a value, by characters; out of bounds is nothing."""
    start = int(offset)
    start = start if start >= 0 else len(value) + start
    if not 0 <= start <= len(value):
        return ""
    if length is None:
        return value[start:]
    count = int(length)
    return value[start : start + count] if count >= 0 else value[start:count]
