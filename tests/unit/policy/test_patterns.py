import re
from itertools import product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from proxy.policy.patterns import PatternError, compile_glob, compile_path, covers, normalise_triplets, overlaps

MATCHES = [
    # pattern, text, does it match
    ("main", "main", True),
    ("main", "main2", False),
    ("main", "xmain", False),
    ("main", "", False),
    ("main|lib", "main", False),  # glued anchors would match one branch each
    ("acme/app", "acme/app-evil", False),
    ("m.in", "main", False),
    ("[a-z]", "a", False),
    ("release/*", "release/1.0", True),
    ("release/*", "release/", False),
    ("release/*", "release", False),
    ("release/*", "release/1/2", False),
    ("release/*", "pre-release/1", False),
    ("v*", "v", True),
    ("v*", "v1.0", True),
    ("v*", "xv1", False),
    ("v*", "v1/2", False),
    ("v*.*", "v1.2", True),
    ("v*.*", "v12", False),
    ("*-ok-*-end", "a-ok-b-end", True),
    ("*-ok-*-end", "a-ok-end", False),
    ("*-ok-*-end", "a-no-b-end", False),
    ("a*a", "a", False),
    ("a*a", "aa", True),
    ("*ab*ab*", "xabab", True),
    ("*ab*ab*", "xab", False),
    ("/a/**", "/a/b", True),
    ("/a/**", "/a/b/c/d", True),
    ("/a/**", "/a/", True),
    ("/a/**", "/a", False),
    ("/a/**", "/ab/c", False),
    ("/a/**", "/b/a/c", False),
    ("/a/**/z", "/a/z", True),
    ("/a/**/z", "/a/b/c/z", True),
    ("/a/**/z", "/a/b/c/zz", False),
    ("/a/**/z", "/a", False),
    ("/**/z", "/z", True),
    ("/**/z", "/a/b/z", True),
    ("/**/z/**", "/a/z/b", True),
    ("/**/z/**", "/a/z", False),
    ("/**/z/**", "/a/b/c", False),
    ("/**/x/y/**/z", "/x/x/y/z", True),
    ("/**/x/y/**/z", "/x/a/y/z", False),
    ("/**/x/*/**", "/x/1/2", True),
    ("/**/x/**/y/**", "/x/y/z", True),
    ("/**/x/**/y/**", "/y/x/z", False),
    ("/**/x/**/y/**", "/a/x/b", False),
    ("/a/**/b/**", "/a/b", False),
    ("/a/*/c", "/a/b/c", True),
    ("/a/*/c", "/a//c", False),
    ("/a/*", "/a/@x%2Fy", False),  # an upstream may decode it into another segment
    ("/a/*", "/a/x%5Cy", False),
    ("/a/*", "/a/x%20y", True),
    ("/a/@x%2F*", "/a/@x%2Fy", True),
    ("/a/@x%2F*", "/a/@x%2Fy%2Fz", False),
    ("/a/*x", "/a/b%2Fx", False),
    ("/a/**", "/a/@x%2Fy", True),
]


@pytest.mark.parametrize("pattern, text, expected", MATCHES)
def test_a_pattern_matches_the_whole_text_and_nothing_else(pattern: str, text: str, *, expected: bool) -> None:
    """A pattern is anchored at both ends, `*` stays within a segment and only `**` crosses."""
    assert compile_glob(pattern).matches(text) is expected


@pytest.mark.parametrize(
    "pattern, why",
    [
        ("", "matches nothing"),
        ("*", "matches everything"),
        ("**", "matches everything"),
        ("/a**", "stands alone"),
        ("a/***", "stands alone"),
        ("x" * 1025, "at most 1024"),
        ("*a" * 9, "at most 8 stars"),
    ],
)
def test_a_meaningless_pattern_is_refused(pattern: str, why: str) -> None:
    """What matches everything, nothing, or cannot be bounded is refused with what to write instead."""
    with pytest.raises(PatternError, match=why):
        compile_glob(pattern)


@pytest.mark.parametrize(
    "pattern, why",
    [
        ("releases", "write `/releases`"),
        ("/a?x=1", "remove everything from `\\?`"),
        ("/a#x", "remove everything from `#`"),
        ("/ä", "percent-encoded"),
        ("/a b", "percent-encoded"),
        ("/a//b", "normal"),
        ("/a/../b", "normal"),
        ("/./b", "normal"),
        ("/a\\b", "normal"),
        ("/**", "leave `path` out"),
    ],
)
def test_a_path_no_request_can_have_is_refused(pattern: str, why: str) -> None:
    """A path pattern that could never match, or always would, is a mistake told at load."""
    with pytest.raises(PatternError, match=why):
        compile_path(pattern)


def test_percent_encodings_are_one_spelling() -> None:
    """`%2f` in a rule or a request is `%2F`; text without one is untouched."""
    assert compile_path("/@a%2fb").matches(normalise_triplets("/@a%2Fb"))
    assert normalise_triplets("/plain") == "/plain"


def reference(pattern: str) -> re.Pattern[str]:
    """Write the same language as a regular expression: slow, but plainly right."""
    parts = pattern.split("/")
    text = ""
    for index, part in enumerate(parts):
        slash = "/" if index else ""
        if part == "**":
            text += f"(?:{slash}[^/]*)+" if index == len(parts) - 1 else f"(?:{slash}[^/]*)*"
        else:
            text += slash + ("[^/]+" if part == "*" else "[^/]*".join(re.escape(piece) for piece in part.split("*")))
    return re.compile(text)


PIECES = st.lists(st.sampled_from(["a", "b", "ab", "*", "a*", "*b", "a*b", "**"]), min_size=1, max_size=5)
WORDS = st.lists(st.sampled_from(["", "a", "b", "ab", "aab", "abb"]), min_size=1, max_size=6)


@settings(max_examples=600, deadline=None)
@given(pieces=PIECES, words=WORDS)
def test_matching_agrees_with_a_plain_regular_expression(pieces: list[str], words: list[str]) -> None:
    """Any pattern matches exactly the texts that its definition, written as a regular expression, does."""
    pattern, text = "/" + "/".join(pieces), "/" + "/".join(words)
    assume(pattern.count("*") <= 8)

    assert compile_glob(pattern).matches(text) is (reference(pattern).fullmatch(text) is not None)


def texts() -> list[str]:
    words = ["", "a", "b", "ab", "ba", "abab", "zz"]
    return ["/" + "/".join(choice) for length in (1, 2, 3) for choice in product(words, repeat=length)]


@settings(max_examples=300, deadline=None)
@given(left=PIECES, right=PIECES)
def test_overlap_and_cover_never_contradict_matching(left: list[str], right: list[str]) -> None:
    """A text both match means overlap; a pattern that covers another matches everything the other does."""
    assume("/".join(left).count("*") <= 8 and "/".join(right).count("*") <= 8)
    one, other = compile_glob("/" + "/".join(left)), compile_glob("/" + "/".join(right))
    shared = [text for text in texts() if one.matches(text) and other.matches(text)]
    only_other = [text for text in texts() if other.matches(text) and not one.matches(text)]

    assert overlaps(one, other) or not shared
    assert not covers(one, other) or not only_other


@pytest.mark.parametrize(
    "left, right, expected",
    [
        ("/a/**", "/a/b", True),
        ("/a/b", "/a/**", True),
        ("/a/**", "/b/**", False),
        ("/a/*/c", "/a/b/*", True),
        ("/a/*/c", "/a/b/*d", False),
        ("/a*/x", "/*b/x", True),
        ("/a*c", "/ab*", True),
        ("/a*c", "/b*", False),
        ("/a/**", "/*", False),  # `/a/**` is what lies below, `/*` is one segment
        ("/*/*", "/a*/", False),  # a whole segment of `*` is never empty
        ("/**/x", "/y/**", True),
        ("/**/x/*", "/*/y", True),
    ],
)
def test_overlap_is_exact_where_it_matters(left: str, right: str, *, expected: bool) -> None:
    """Lint says two patterns meet only when some text is matched by both."""
    assert overlaps(compile_glob(left), compile_glob(right)) is expected
    assert overlaps(compile_glob(right), compile_glob(left)) is expected


@pytest.mark.parametrize(
    "wide, narrow, expected",
    [
        ("/a/**", "/a/b/**", True),
        ("/a/**", "/a/*", True),
        ("/a/*", "/a/**", False),
        ("/a/**", "/**/a", False),
        ("v*", "v1*", True),
        ("v1*", "v*", False),
        ("/*/**", "/a/**", True),
        ("/*/**", "/**/a/a", False),  # `//a/a`: a segment of `**` may be empty, one of `*` may not
    ],
)
def test_cover_is_exact_where_it_matters(wide: str, narrow: str, *, expected: bool) -> None:
    """Lint says a pattern covers another only when it matches all the other does."""
    assert covers(compile_glob(wide), compile_glob(narrow)) is expected


def test_adversarial_paths_are_matched_with_bounded_work() -> None:
    """Patterns and paths made to backtrack are answered by work that grows with the text, not exponentially (G37)."""
    pattern = compile_glob("/**/" + "a*a*a*b" + "/**/c")
    assert pattern.matches("/" + "a" * 8000) is False
    assert pattern.matches("/a" * 4000) is False
    assert compile_glob("/**/x/**/y/**/z/**").matches("/x/y" * 2000) is False
