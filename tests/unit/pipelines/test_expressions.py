"""What every CI's expressions share; what each adds is tested with it."""

import re

import pytest

from proxy.pipelines.expressions import (
    MAX_LENGTH,
    UNKNOWN,
    ExpressionError,
    Reader,
    Regex,
    Value,
    equal,
    invert,
    like,
    read_regex,
)


class Letters(Reader):
    """A language of `t`, `f` and `u`."""

    tokens = re.compile(r"(?P<space>\s+)|(?P<name>[a-z])|(?P<sign>\|\||&&|==|[!()])")
    comparisons = {"==": equal}  # noqa: RUF012 - a ClassVar in its base

    def primary(self) -> Value:
        values: dict[str, Value] = {"t": True, "f": False, "u": UNKNOWN}
        return values[self.take().text]


def test_three_values_and_precedence() -> None:
    """What an unknown cannot change is known; `!` binds before `==`, that before `&&`, and that before `||`."""
    for text, expected in {
        "t || u": True,
        "u || t": True,
        "f || u": UNKNOWN,
        "f || f": False,
        "u && f": False,
        "f && u": False,
        "u && t": UNKNOWN,
        "u && u": UNKNOWN,
        "t && u": UNKNOWN,
        "t && t": True,
        "t || f && f": True,
        "(t || f) && f": False,
        "!f == t": True,
        "!u": UNKNOWN,
    }.items():
        assert Letters(text).whole() is expected, text


@pytest.mark.parametrize(
    "text, column, message",
    [
        ("t t", 3, "unexpected `t`"),
        ("(t", 3, "it ends too early; `)` is missing"),
        ("t ?", 3, "`?` is not understood"),
        ("(" * 41 + "t" + ")" * 41, 41, "nested deeper"),
        (" " * (MAX_LENGTH + 1), 1, "more than"),
    ],
)
def test_mistakes_have_a_place(text: str, column: int, message: str) -> None:
    with pytest.raises(ExpressionError, match=re.escape(message)) as caught:
        Letters(text).whole()
    assert (caught.value.line, caught.value.column) == (1, column)


def test_a_language_says_what_its_values_are() -> None:
    with pytest.raises(NotImplementedError):
        Reader.primary(Letters("t"))


def test_only_regular_expressions_search() -> None:
    reader = Letters("t")
    reader.check("=~", Regex("x"), 0)
    reader.check("==", "x", 0)
    with pytest.raises(ExpressionError, match="wants a regular expression"):
        reader.check("=~", "x", 0)


def test_comparisons_of_what_is_not_known_are_not_known() -> None:
    assert equal(UNKNOWN, 1) is UNKNOWN
    assert equal(1, True) is False
    assert invert(None) is True
    assert like(UNKNOWN, Regex("x")) is UNKNOWN
    assert like("x", "x") is UNKNOWN
    assert like(None, Regex("x")) is False
    assert like("axb", Regex("x")) is True
    assert like("axb", Regex("(?!x)")) is UNKNOWN, "RE2 has no such thing"
    assert read_regex("/a\\/b/ig") == Regex("(?i)a/b")
    assert read_regex("/a/") == Regex("a")
