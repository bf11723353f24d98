"""The narrowest patterns for given names: all of them, and as little else as can be."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.patterns import MAX_LENGTH, compile_glob
from proxy.simulate.generalize import FEW, cover, is_literal

BUILDS = [f"/app/{number}/bundle.tgz" for number in range(1284, 1294)]
CASES: list[tuple[str, list[str], tuple[str, ...] | None]] = [
    ("none", [], ()),
    ("one", ["/a"], ("/a",)),
    ("a few", ["/b", "/a", "/b"], ("/a", "/b")),
    ("as many as are listed", [f"/{n}" for n in "abcde"], ("/a", "/b", "/c", "/d", "/e")),
    ("one part varies", BUILDS, ("/app/*/bundle.tgz",)),
    ("within a part", [f"/dist/ui-{n}.0.0.tgz" for n in range(10, 18)], ("/dist/ui-*.0.0.tgz",)),
    ("numbers that begin alike", [f"/v/10{n}/x" for n in range(8)], ("/v/*/x",)),
    ("two of a shape", [*BUILDS, "/app/latest", "/x/y/z"], ("/app/*/bundle.tgz", "/app/latest", "/x/y/z")),
    ("shapes of one each", ["/" + "x/" * n for n in range(3)] + ["/y", "/y/z", "/q"], None),
    ("two parts vary", [f"/{n}/{file}" for n in range(9) for file in ("a.tgz", "b.sig")], ("/*/a.tgz", "/*/b.sig")),
    ("a tail that is alike", [f"/deb/{n}-x86.deb" for n in ("a", "ab", "abc", "b", "c", "d")], ("/deb/*-x86.deb",)),
    ("one begins the others", [f"/deb/x{'y' * n}" for n in range(6)], ("/deb/*",)),
    ("two shapes", [*BUILDS, "/app/latest", "/app/index"], ("/app/*/bundle.tgz", "/app/index", "/app/latest")),
    ("an arn", [f"arn:aws:s3:::b/k{n}" for n in "abcdefg"], ("arn:aws:s3:::b/*",)),
    ("too many shapes", ["/" + "x/" * n for n in range(9)], None),
    ("nothing in common", [f"{n}" for n in "abcdefgh"], None),
    ("a star of their own", ["/a*b"], None),
    ("too long", ["/" + "x" * MAX_LENGTH], None),
    ("empty", [""], None),
]


@pytest.mark.parametrize("name, names, expected", CASES)
def test_names_are_covered(name: str, names: list[str], expected: tuple[str, ...] | None) -> None:
    assert cover(names) == expected, name


SEGMENT = st.sampled_from(["a", "b", "app", "v1", "v2", "x-1", "x-2", "1284", "1285"])
NAMES = st.lists(st.lists(SEGMENT, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts)), max_size=14)


@given(NAMES)
def test_every_name_is_covered_and_a_few_are_covered_exactly(names: list[str]) -> None:
    """Whatever they are; where they are few, by themselves; and no pattern crosses a separator."""
    found = cover(names)
    if found is None:
        return
    assert len(found) <= FEW
    globs = [compile_glob(each) for each in found]
    assert all(any(glob.matches(name) for glob in globs) for name in names)
    if len(set(names)) <= FEW:
        assert set(found) == set(names)
    for pattern in found:
        assert "**" not in pattern
        assert pattern.count("/") in {name.count("/") for name in names}


@given(NAMES.filter(lambda names: 0 < len(set(names)) <= FEW))
def test_no_smaller_set_of_names_would_do(names: list[str]) -> None:
    """Of few names, no fewer literal patterns cover them: by trying all."""
    found = cover(names)
    assert found is not None
    for fewer in combinations(sorted(set(names)), len(found) - 1):
        assert not set(names) <= set(fewer)


def test_what_means_itself() -> None:
    assert is_literal("a/b")
    assert not is_literal("a*")
    assert not is_literal("")
