"""A document is read as the specification says, or refused."""

import time
from contextlib import suppress

import pytest

from proxy.intents.graphql_text import MAX_DEPTH, MAX_TEXT, FieldText, Value, Variable, parse_document
from proxy.model.errors import IntentError


def roots(text: str) -> list[tuple[str, str, list[str], list[str]]]:
    """Kind, name, fields and spreads of each operation."""
    return [
        (one.kind, one.name, [field.name for field in one.root.fields], list(one.root.spreads))
        for one in parse_document(text).operations
    ]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("{ a }", [("query", "", ["a"], [])]),
        ("{a b,c}", [("query", "", ["a", "b", "c"], [])]),
        ("query{a}", [("query", "", ["a"], [])]),
        ("mutation M { x: merge y: merge }", [("mutation", "M", ["merge", "merge"], [])]),
        ("subscription S { s { t } }", [("subscription", "S", ["s"], [])]),
        ("query A { a } query B { b }", [("query", "A", ["a"], []), ("query", "B", ["b"], [])]),
        ("{ ...F ... on Query { b ...G } ... @include(if: true) { c } }", [("query", "", ["b", "c"], ["F", "G"])]),
        (
            "query ($a: [Int!]! = [1, 2] @d, $b: S = {x: {y: E}}) @d(a: 1) { a @skip(if: $a) }",
            [("query", "", ["a"], [])],
        ),
        ("# mutation { a }\n{ b } # c", [("query", "", ["b"], [])]),
        ("#\n#\r\n{ b\r\n}", [("query", "", ["b"], [])]),
        ('{ a(t: "} mutation { b }") }', [("query", "", ["a"], [])]),
        ('{ a(t: """ " \\""" } #""") }', [("query", "", ["a"], [])]),
        ("{ query mutation fragment on { a } }", [("query", "", ["query", "mutation", "fragment", "on"], [])]),
        ("query query { a }", [("query", "query", ["a"], [])]),
        ("{ a { b { c(d: 1) { ...F } } } }", [("query", "", ["a"], [])]),
    ],
)
def test_a_document_is_its_operations(text: str, expected: list[tuple[str, str, list[str], list[str]]]) -> None:
    """Comments, strings and names that look like something else change nothing."""
    assert roots(text) == expected


@pytest.mark.parametrize(
    "text, value",
    [
        ("1", 1),
        ("-0", 0),
        ("1.5e3", 1500.0),
        ("2E2", 200.0),
        ("true", True),
        ("false", False),
        ("null", None),
        ("ENUM", "ENUM"),
        ('""', ""),
        ('"a\\n\\u00e9\\"\\\\ö"', 'a\né"\\ö'),
        ('""""""', ""),
        ('"""a\\"""b\\n"""', 'a"""b\\n'),
        ("$v", Variable("v")),
        ("[]", ()),
        ("[1 [2], $v]", (1, (2,), Variable("v"))),
        ("{}", {}),
        ('{a: 1, b: {c: "d"}}', {"a": 1, "b": {"c": "d"}}),
    ],
)
def test_a_value_is_what_it_says(text: str, value: Value) -> None:
    """Every kind of literal is understood."""
    document = parse_document(f"{{ a(v: {text}) }}")
    assert document.operations[0].root.fields == (FieldText(name="a", arguments={"v": value}),)


def test_defaults_and_fragments_are_kept() -> None:
    """What a variable is when nobody gives it, and what a fragment stands for, can be looked up."""
    document = parse_document('mutation M($b: String = "main", $c: I) { ...F } fragment F on Mutation { x ...G }')
    assert document.operations[0].defaults == {"b": "main"}
    assert [field.name for field in document.fragments["F"].fields] == ["x"]
    assert document.fragments["F"].spreads == ("G",)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment",
        "a",
        "{",
        "{ }",
        "{ a",
        "{ a } }",
        "{ a() }",
        "{ a(b) }",
        "{ a(b: ) }",
        "{ a(b: 1 b: 2) }",
        "{ a(b: {c: 1 c: 2}) }",
        "{ a { } }",
        "{ a: }",
        "{ a: b: c }",
        "{ ... }",
        "{ ... on { a } }",
        "{ a(b:",
        "{ a(b: [",
        "{ a(b: $",
        "{ a(b: {",
        "query (",
        "query ($a: I =",
        "{ a @",
        "{ ...",
        "{ ... on",
        "fragment F on",
        "{ a ! }",
        "{ a & b }",
        "{ a(b: |) }",
        "{ a @ }",
        "query { a } { b }",
        "{ a } { b }",
        "query A { a } query A { b }",
        "query A { a } { b }",
        "fragment F on T { a }",
        "{ ...F } fragment F on T { a } fragment F on T { b }",
        "{ ...F } fragment on on T { a }",
        "{ ...F } fragment F T { a }",
        "{ ...F } fragment F { a }",
        "query ($a: Int, $a: Int) { a }",
        "query () { a }",
        "query (a: Int) { a }",
        "query ($a Int) { a }",
        "query ($a: [Int) { a }",
        "query ($a: Int = $b) { a }",
        "query ($a: Int = [$b]) { a }",
        "type A { a: Int }",
        "schema { query: Q }",
        "extend type A { a: Int }",
        '"description" query { a }',
        "{ a(b: 01) }",
        "{ a(b: 1x) }",
        "{ a(b: 1.) }",
        "{ a(b: 1.5.5) }",
        "{ a(b: -) }",
        "{ a(b: 123456789012345678901) }",
        '{ a(b: "x) }',
        '{ a(b: "x\ny") }',
        '{ a(b: "\\x") }',
        '{ a(b: "\\u12") }',
        '{ a(b: "\\u{1F600}") }',
        '{ a(b: "x""y") }',
        '{ a(b: """x) }',
        "{ a(b: 'x') }",
        "{ a ; b }",
        "{ é }",
        "{ a\u00a0b }",
        "\ufeff{ a }",
        "{ a #\r mutation }",
        "{ a #\u2028 }",
        "{ a \x0b }",
        '{ a(b: "\x00") }',
        "{ a . . . b }",
    ],
)
def test_what_is_no_document_is_refused(text: str) -> None:
    """Nothing is repaired, skipped or guessed, and a type system is not executable."""
    with pytest.raises(IntentError):
        parse_document(text)


@pytest.mark.parametrize(
    "text",
    [
        "{ a" * (MAX_DEPTH + 1) + "}" * (MAX_DEPTH + 1),
        "{ a(b: " + "[" * 100_000 + "]" * 100_000 + ") }",
        "{ a(b: " + "{a:" * 20_000 + "1" + "}" * 20_000 + ") }",
        "query ($a: " + "[" * 60 + "A" + "]" * 60 + ") { a }",
        "{" + "a " * MAX_TEXT + "}",
    ],
)
def test_nesting_and_length_are_bounded(text: str) -> None:
    """A document costs no more than its bound, whatever it repeats."""
    with pytest.raises(IntentError):
        parse_document(text)


@pytest.mark.parametrize(
    "text",
    [
        '"' * (MAX_TEXT - 10),
        "#" * (MAX_TEXT - 10),
        "#\n" * (MAX_TEXT // 2 - 10),
        '{ a(b: """' + '\\"""' * 30_000,
        '{ a(b: "' + "\\\\" * 60_000,
        "{" + "a:a " * 32_000 + "}",
        "{" + "...F " * 26_000 + "}",
        "1" * (MAX_TEXT - 10),
    ],
)
def test_the_longest_document_is_read_in_one_pass(text: str) -> None:
    """No text makes the reader go back and forth."""
    started = time.perf_counter()
    with suppress(IntentError):
        parse_document(text)
    assert time.perf_counter() - started < 2
