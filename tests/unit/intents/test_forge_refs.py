"""A moved ref has one name, or the request is refused."""

import pytest

from proxy.intents import forge_refs
from proxy.intents.forge_refs import RefMove
from proxy.model.errors import IntentError
from proxy.model.intent import EffectClass

ZERO, OLD, NEW = "0" * 40, "1" * 40, "2" * 64


@pytest.mark.parametrize("name", ["main", "feature/x", "release-1.2", "ü", "a@b", "heads-up", "refsx", "v1.lockx"])
def test_a_plain_name_becomes_a_ref(name: str) -> None:
    """A branch or tag is named below its own namespace."""
    assert forge_refs.branch_ref(name) == f"refs/heads/{name}"
    assert forge_refs.tag_ref(name) == f"refs/tags/{name}"
    assert forge_refs.full_ref(f"refs/pull/{name}") == f"refs/pull/{name}"


def test_no_name_is_the_default_branch() -> None:
    """What is left to the forge is told as such."""
    assert forge_refs.branch_ref(None) == "HEAD"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "refs/heads/main",
        "refs",
        "heads/main",
        "HEADS/main",
        "tags/v1",
        "a..b",
        "a b",
        "a\n",
        "a\u202e",
        "/a",
        "a/",
        ".a",
        "a/.b",
        "a.",
        "a//b",
        "a.lock",
        "a.lock/b",
        "a@{1}",
        "a~1",
        "a^",
        "a:b",
        "a?",
        "a*",
        "a[b",
        "a\\b",
        "a#b",
        "x" * 513,
    ],
)
def test_a_name_that_git_refuses_or_reads_twice_is_refused(name: str) -> None:
    """`refs/heads/main` may be that branch or one of that name: nobody can tell."""
    for read in (forge_refs.branch_ref, forge_refs.tag_ref):
        with pytest.raises(IntentError):
            read(name)


@pytest.mark.parametrize("name", ["main", "heads/main", "ref/heads/main", "REFS/heads/main", "refs/heads/a b", "refs/"])
def test_a_full_ref_begins_with_refs(name: str) -> None:
    """Where a full name belongs, a short one is refused."""
    with pytest.raises(IntentError):
        forge_refs.full_ref(name)


@pytest.mark.parametrize(
    "old, new, action, facts",
    [
        (None, None, "update", {}),
        (OLD, NEW, "update", {"old": OLD, "new": NEW}),
        (ZERO, NEW, "create", {"old": ZERO, "new": NEW}),
        (OLD, ZERO, "delete", {"old": OLD, "new": ZERO}),
        (None, "0" * 64, "delete", {"new": "0" * 64}),
        ("", "0" * 41, "update", {"new": "0" * 41}),
    ],
)
def test_zeros_are_nothing(old: str | None, new: str | None, action: str, facts: dict[str, str]) -> None:
    """From nothing is a creation, to nothing a deletion, as in git's own protocol."""
    assert forge_refs.move_between("refs/heads/a", old, new) == RefMove(action=action, ref="refs/heads/a", facts=facts)


def test_a_move_is_told_as_a_push() -> None:
    """A rule about pushes holds for every way to push."""
    moves = [
        RefMove(action="delete", ref="refs/heads/a", facts={"old": OLD}),
        RefMove(action="update", ref="HEAD"),
        RefMove(action="create", ref="?"),
    ]

    found = forge_refs.describe_moves("forge.example/a/b", moves)

    assert [(one.name, one.resource.id, one.effect, one.exact) for one in found] == [
        ("git push.delete", "forge.example/a/b#refs/heads/a", EffectClass.DELETE, True),
        ("git push.update", "forge.example/a/b#HEAD", EffectClass.WRITE, False),
        ("git push.create", "forge.example/a/b#?", EffectClass.WRITE, False),
    ]
    assert found[0].facts == {"old": OLD}


@pytest.mark.parametrize(
    "name, expected",
    [(OLD, True), (NEW, True), ("1" * 41, False), ("main", False), ("A" * 40, False)],
)
def test_only_a_whole_hash_is_an_object(name: str, expected: bool) -> None:  # noqa: FBT001 - a table's column
    """A branch can be called like a short hash."""
    assert forge_refs.is_object(name) is expected


@pytest.mark.parametrize(
    "path, expected",
    [
        (".github/workflows/a.yml", True),
        (".GitHub/Workflows/a.yml", True),
        (".github/workflows", True),
        (".github/workflows/a/b", True),
        (".github/actions/a/action.yml", False),
        ("docs/.github/workflows/a.yml", False),
        ("a", False),
    ],
)
def test_a_workflow_is_known_by_its_path(path: str, expected: bool) -> None:  # noqa: FBT001 - a table's column
    """The folder that GitHub runs is told in any case."""
    assert forge_refs.is_workflow(path) is expected


@pytest.mark.parametrize(
    "path", ["", "/", "a/", "/a", "a//b", "./.github/workflows/a", "a/../.github/workflows/a", ".."]
)
def test_a_path_that_moves_is_refused(path: str) -> None:
    """A path that a server may tidy up first is not judged."""
    with pytest.raises(IntentError):
        forge_refs.is_workflow(path)
