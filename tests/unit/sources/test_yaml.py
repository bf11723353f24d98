import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.model.errors import Problem, RuleFileError
from proxy.sources.yaml import MAX_BYTES, Place, load_yaml

SCALARS: list[tuple[str, Any]] = [
    ("on", "on"),
    ("no", "no"),
    ("yes", "yes"),
    ("y", "y"),
    ("0777", "0777"),
    ("007", "007"),
    ("1:30", "1:30"),
    ("2026-11-23", "2026-11-23"),
    ("1_000", "1_000"),
    ("0b1", "0b1"),
    ("=", "="),
    ("true", True),
    ("TRUE", True),
    ("False", False),
    ("tRue", "tRue"),
    ("null", None),
    ("~", None),
    ("", None),
    ("0", 0),
    ("-7", -7),
    ("+7", 7),
    ("0o17", 15),
    ("0xFf", 255),
    ("1.5", 1.5),
    ("-1e3", -1000.0),
    (".5", 0.5),
    ("1.", 1.0),
    ("1e", "1e"),
    ("'1'", "1"),
    ('"true"', "true"),
    ("'~'", "~"),
    ("|-\n  1", "1"),
    (">-\n  a\n  b", "a b"),
    ('"\\u00e9"', "é"),
    ("release/*", "release/*"),
    ("a*", "a*"),
    ("main # why", "main"),
]


@pytest.mark.parametrize("text, value", SCALARS)
def test_scalars_are_yaml_1_2_and_leading_zeros_are_kept(text: str, value: object) -> None:
    """`on`, `no`, `0777` and `1:30` are text; numbers, booleans and nothing are what YAML 1.2 says."""
    found = load_yaml(f"key: {text}\n", "x.yaml").value["key"]
    assert (found, type(found)) == (value, type(value))


REFUSED = [
    # text, line, column, message
    ("a: 1\na: 2", 2, 1, "`a` is given twice"),
    ("a: {b: 1, b: 2}", 1, 11, "`b` is given twice"),
    ("'a': 1\na: 2", 2, 1, "`a` is given twice"),
    ("a: &x 1", 1, 4, "aliases are not used here: `&x`"),
    ("a: &x {}", 1, 4, "aliases are not used here: `&x`"),
    ("a: *x", 1, 4, "aliases are not used here: `*x`"),
    ("a: !!str 1", 1, 4, "tags are not used here"),
    ("a: ! x", 1, 4, "tags are not used here"),
    ("a: !!python/object/apply:os.system ['id']", 1, 4, "tags are not used here"),
    ("a: !!map {}", 1, 4, "tags are not used here"),
    ("<<: {a: 1}", 1, 1, "merge keys are not used here"),
    ("a: 1\n---\nb: 2", 2, 1, "a second document"),
    ("%YAML 1.1\n---\na: 1", 1, 1, "directives are not used here"),
    ("%TAG ! x:\n---\na: 1", 1, 1, "directives are not used here"),
    ("1: a", 1, 1, "the key `1` is not text"),
    ("~: a", 1, 1, "the key `~` is not text"),
    ("? [a]\n: b", 1, 3, "a key must be plain text"),
    ("a: [1", 2, 1, "not YAML"),
    ("a: b: c", 1, 5, "not YAML"),
    ("\ta: 1", 1, 1, "not YAML"),
    ("a: 'x", 1, 6, "not YAML"),
    ("a: \x00", 1, 1, "not YAML"),
    ("a: \x1b[0m", 1, 1, "not YAML"),
    ("a: .inf", 1, 4, "is not a finite number"),
    ("a: -.INF", 1, 4, "is not a finite number"),
    ("a: .nan", 1, 4, "is not a finite number"),
    ("a: 1e999", 1, 4, "is not a finite number"),
    ("a: 12345678901234567890", 1, 4, "more than 18 digits"),
    ("a: 0x12345678901234567", 1, 4, "more than 18 digits"),
    ("a: ma\u202ein", 1, 6, "an invisible character, U+202E"),
    ("b: 1\na: x\u200by", 2, 5, "an invisible character, U+200B"),
    ("a: " + "[" * 30, 1, 23, "nested deeper than 20 levels"),
]


@pytest.mark.parametrize("text, line, column, message", REFUSED, ids=range(len(REFUSED)))
def test_surprises_are_errors_with_a_place(text: str, line: int, column: int, message: str) -> None:
    """Whatever is not plain data is refused where it stands, never read in some way."""
    with pytest.raises(RuleFileError) as caught:
        load_yaml(text, "x.yaml")

    (problem,) = caught.value.problems
    assert message in problem.message
    assert problem.file == "x.yaml"
    assert (problem.line, problem.column) == (line, column)


def test_encodings_other_than_utf_8_are_refused() -> None:
    """Bytes are UTF-8, with or without a byte order mark, or they are refused."""
    assert load_yaml("\ufeffa: é".encode(), "x").value == {"a": "é"}
    for raw in ("a: é".encode("latin-1"), "a: 1".encode("utf-16"), "a: \ud800".encode("utf-8", "surrogatepass")):
        with pytest.raises(RuleFileError, match=r"not UTF-8|not YAML"):
            load_yaml(raw, "x")
    with pytest.raises(RuleFileError, match="not UTF-8"):
        load_yaml("a: \ud800", "x")


def test_an_empty_document_is_nothing() -> None:
    """A file of comments holds no value."""
    assert load_yaml("# nothing\n", "x").value is None
    assert load_yaml(b"", "x").place(("a", 1)) == Place(1, 1)


BOMBS = {
    "brackets": "[" * 100_000,
    "braces": "{a: " * 50_000,
    "dashes": "- " * 100_000,
    "aliases": "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n" * 100,
    "many values": "- x\n" * 200_000,
    "one long line": "a: " + "x" * (MAX_BYTES - 10),
    "over the size": "#" * (MAX_BYTES + 1),
    "quotes": '"' * 500_000,
    "question marks": "? " * 100_000,
    "colons": ":" * 500_000,
    "flow keys": "{" + "a," * 300_000,
}


def test_bombs_neither_crash_nor_hang_the_loader() -> None:
    """Every bomb is read or refused by a process that is still alive afterwards, in bounded memory (G36)."""
    program = (
        "import sys, resource\n"
        "from proxy.model.errors import RuleFileError\n"
        "from proxy.sources.yaml import load_yaml\n"
        "load_yaml('a: [1]', 'x')\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "from tests.unit.sources.test_yaml import BOMBS\n"
        "for name, text in BOMBS.items():\n"
        "    try:\n"
        "        load_yaml(text, name)\n"
        "        print('read', name)\n"
        "    except RuleFileError as error:\n"
        "        print('refused', name)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == [
        f"{'read' if name == 'one long line' else 'refused'} {name}" for name in BOMBS
    ]
    assert int(done.stderr) < 150 * 1024  # KiB, the test suite's own imports included


def test_every_value_and_key_knows_its_place() -> None:
    """Keys, values and list entries are found by path; a path that is not there is its nearest parent."""
    located = load_yaml("a: 1\nb:\n  - x\n  - {c: é, d: y}\n", "x.yaml")

    assert located.place(("b", 1, "d")) == Place(4, 15)
    assert located.place(("b", 1, "d"), key=True) == Place(4, 12)
    assert located.place(("b", 0)) == Place(3, 5)
    assert located.place(("b", 1, "nope")) == Place(4, 5)
    assert located.place(("b", 1, "nope"), key=True) == Place(4, 5)
    assert located.line(("b",)) == 3
    problem = located.problem(("b", 1, "d"), "wrong", "right")
    assert problem.excerpt == "  - {c: é, d: y}\n              ^"
    assert str(problem) == "x.yaml:4:15: wrong\n  right"


def test_a_place_within_a_text_is_shown_where_the_file_shows_the_text() -> None:
    """A fault inside a quoted text points into it; in a folded block it points at the block."""
    located = load_yaml("a: 'true && x'\nb: >\n  true &&\n  x\nc: [1]\n", "x.yaml")
    for path, expected in ((("a",), (1, 13)), (("b",), (2, 4)), (("c",), (5, 4))):
        problem = located.shifted(located.problem(path, "m"), path, (1, 9))
        assert (problem.line, problem.column) == expected
    block = located.shifted(located.problem(("a",), "m"), ("a",), (2, 1))
    assert (block.line, block.column) == (1, 4)


def test_a_long_line_is_cut_around_the_fault_and_controls_are_not_shown() -> None:
    """An excerpt is readable and cannot move a terminal's cursor."""
    with pytest.raises(RuleFileError) as caught:
        load_yaml("a: [" + "x, " * 200 + "&b 1]", "x.yaml")
    excerpt = caught.value.problems[0].excerpt
    shown, caret = excerpt.split("\n")
    assert len(shown) <= 120
    assert shown[caret.index("^")] == "&"
    with pytest.raises(RuleFileError) as caught:
        load_yaml("a:\t\x85'x", "x.yaml")
    assert caught.value.problems[0].excerpt.isprintable() or "\n" in caught.value.problems[0].excerpt


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(alphabet=st.sampled_from("ab:-?[]{},'\"|>&*!%#@`~ \n\t01.é\u2028"), max_size=60)
    | st.binary(max_size=60)
)
def test_any_input_is_plain_data_or_a_located_problem(text: str | bytes) -> None:
    """No input makes the loader raise anything but its own error, with a place inside the text."""
    problems: tuple[Problem, ...] = ()
    value: object = None
    try:
        value = load_yaml(text, "x.yaml").value
    except RuleFileError as error:
        problems = error.problems

    assert is_plain(value)
    assert all(problem.line >= 1 and problem.column >= 1 for problem in problems)


def is_plain(value: object) -> bool:
    match value:
        case dict():
            return all(isinstance(key, str) and is_plain(entry) for key, entry in value.items())
        case list():
            return all(is_plain(entry) for entry in value)
    return value is None or isinstance(value, str | bool | int | float)


ALIASED = [
    ("a: &x [1, 2]\nb: *x", {"a": [1, 2], "b": [1, 2]}),
    ("a: &x {k: 1}\nb: {<<: *x, l: 2}", {"a": {"k": 1}, "b": {"k": 1, "l": 2}}),
    ("a: &x {k: 1}\nb: {k: 3, <<: *x}", {"a": {"k": 1}, "b": {"k": 3}}),
    (
        "a: &x {k: 1}\nb: &y {k: 2, l: 2}\nc: {<<: [*x, *y]}",
        {"a": {"k": 1}, "b": {"k": 2, "l": 2}, "c": {"k": 1, "l": 2}},
    ),
    ("a: &x {k: 1}\nb: &y {k: 2}\nc: {<<: *x, <<: *y}", {"a": {"k": 1}, "b": {"k": 2}, "c": {"k": 1}}),
    ('a: {"<<": 1}', {"a": {"<<": 1}}),
]


@pytest.mark.parametrize("text, value", ALIASED)
def test_files_of_ci_may_name_a_value_twice(text: str, value: object) -> None:
    """Anchors and merge keys as YAML 1.1 defines them: what is written out wins, then what is merged first."""
    assert load_yaml(text, "x", is_ci=True).value == value
    with pytest.raises(RuleFileError):
        load_yaml(text.replace('"<<"', "<<"), "x")


@pytest.mark.parametrize(
    "text, message",
    [
        ("a: &x [*x]", "hold themselves"),
        ("a: &x {<<: *x}", "hold themselves"),
        ("a: &x {b: {<<: *x}}", "hold themselves"),
        ("a: {<<: 1}", "takes a mapping"),
        ("a: {<<: [[1]]}", "takes a mapping"),
        ("a: *x", "undefined alias"),
        ("a: !!python/object:os.system x", "tags"),
        ("a: !reference x", "tags"),
        ("a: !other [x]", "tags"),
        ("a0: &a0 [x,x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1},*a{n - 1}]\n" for n in range(1, 30)), "too large"),
        (
            "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1},*a{n - 1}]}}\n" for n in range(1, 30)),
            "too large",
        ),
    ],
)
def test_aliases_cannot_be_used_to_hold_the_loader_up(text: str, message: str) -> None:
    with pytest.raises(RuleFileError, match=message):
        load_yaml(text, "x", is_ci=True)
