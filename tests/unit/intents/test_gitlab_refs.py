"""Every operation of GitLab's that moves a ref says which, and of which project."""

from typing import Any

import pytest

from proxy.intents.gitlab_refs import MOVES, check_path, touches_ci
from proxy.intents.gitlab_routes import ROUTES
from proxy.model.errors import IntentError


def tell(operation: str, variables: dict[str, str], fields: dict[str, Any]) -> list[tuple[str, str, dict[str, str]]]:
    moves = MOVES[operation]
    found = moves.tell(variables, {name: fields.get(name) for name in moves.fields})
    return [(move.action, move.ref, dict(move.facts)) for move in found]


@pytest.mark.parametrize(
    "operation, variables, fields, expected",
    [
        ("branches.create", {}, {"branch": "a", "ref": "main"}, [("create", "refs/heads/a", {"target": "main"})]),
        ("branches.create", {}, {"branch": "a"}, [("create", "refs/heads/a", {})]),
        ("branches.delete", {"branch": "a/b"}, {}, [("delete", "refs/heads/a/b", {})]),
        ("branches.delete-merged", {}, {}, [("delete", "?", {})]),
        ("tags.create", {}, {"tag_name": "v1", "ref": "main"}, [("create", "refs/tags/v1", {"target": "main"})]),
        ("tags.delete", {"tag": "v1"}, {}, [("delete", "refs/tags/v1", {})]),
        ("releases.create", {}, {"tag_name": "v1"}, [("create", "refs/tags/v1", {})]),
        ("commits.create", {}, {"branch": "main", "actions": []}, [("update", "refs/heads/main", {})]),
        ("commits.create", {}, {"branch": "a", "start_branch": "main"}, [("create", "refs/heads/a", {})]),
        ("commits.create", {}, {"branch": "a", "start_sha": "1", "force": True},
         [("create", "refs/heads/a", {"force": "true"})]),
        ("commits.cherry-pick", {}, {"branch": "main"}, [("update", "refs/heads/main", {})]),
        ("commits.revert", {}, {"branch": "main"}, [("update", "refs/heads/main", {})]),
        ("files.create", {"path": "a"}, {"branch": "main"}, [("update", "refs/heads/main", {})]),
        ("files.update", {"path": "a"}, {"branch": "a", "start_branch": "main"}, [("create", "refs/heads/a", {})]),
        ("files.delete", {"path": "a"}, {"branch": "main"}, [("update", "refs/heads/main", {})]),
        ("submodules.update", {"submodule": "a"}, {"branch": "main"}, [("update", "refs/heads/main", {})]),
        ("changelog.create", {}, {}, [("update", "HEAD", {})]),
        ("changelog.create", {}, {"branch": "main"}, [("update", "refs/heads/main", {})]),
        ("merge-requests.merge", {}, {}, [("update", "?", {})]),
        ("merge-requests.merge", {}, {"should_remove_source_branch": False}, [("update", "?", {})]),
        ("merge-requests.merge", {}, {"should_remove_source_branch": "false"}, [("update", "?", {})]),
        ("merge-requests.merge", {}, {"should_remove_source_branch": "true"}, [("update", "?", {}), ("delete", "?",
         {})]),
        ("merge-requests.merge", {}, {"should_remove_source_branch": [0]}, [("update", "?", {}), ("delete", "?", {})]),
        ("merge-requests.rebase", {}, {}, [("update", "?", {})]),
        ("suggestions.apply", {}, {}, [("update", "?", {})]),
    ],
)  # fmt: skip
def test_a_moved_ref_is_named(
    operation: str, variables: dict[str, str], fields: dict[str, Any], expected: list[tuple[str, str, dict[str, str]]]
) -> None:
    """The ref is the one of the parameters or path, the default branch, or unknown."""
    assert tell(operation, variables, fields) == expected


@pytest.mark.parametrize(
    "operation, variables, fields",
    [
        ("branches.create", {}, {"ref": "main"}),
        ("branches.create", {}, {"branch": "refs/heads/a"}),
        ("branches.create", {}, {"branch": ["a"]}),
        ("branches.delete", {"branch": "heads/a"}, {}),
        ("tags.create", {}, {"tag_name": ""}),
        ("tags.delete", {"tag": "a b"}, {}),
        ("commits.create", {}, {}),
        ("files.update", {"path": "a"}, {"branch": None}),
        ("changelog.create", {}, {"branch": ""}),
    ],
)
def test_a_ref_that_is_not_named_plainly_is_refused(
    operation: str, variables: dict[str, str], fields: dict[str, Any]
) -> None:
    """A missing or odd name leaves it open what moves."""
    with pytest.raises(IntentError):
        tell(operation, variables, fields)


def test_every_operation_that_moves_a_ref_exists() -> None:
    """A renamed action does not silently lose what it moves."""
    pending, names = [ROUTES.root], set()
    while pending:
        node = pending.pop()
        names |= {operation.name for operation, _ in (*node.ends.values(), *node.tails.values())}
        pending += [*node.literal.values(), *([node.variable] if node.variable is not None else [])]
    assert set(MOVES) <= names


@pytest.mark.parametrize(
    "variables, fields, expected",
    [
        ({}, {}, 0),
        ({"path": "a"}, {}, 0),
        ({"path": ".gitlab-ci.yml"}, {}, 1),
        ({"path": "/.GitLab-CI.yml"}, {}, 1),
        ({"path": "docs/.gitlab-ci.yml"}, {}, 0),
        ({}, {"actions": [{"file_path": "a"}, {"file_path": ".gitlab-ci.yml"}]}, 1),
        ({}, {"actions": [{"file_path": ".gitlab-ci.yml"}, {"file_path": "a"}]}, 1),
        ({}, {"actions": [{"file_path": "a", "previous_path": ".gitlab-ci.yml"}]}, 1),
        ({}, {"actions": []}, 0),
    ],
)
def test_what_pipelines_run_is_noticed(variables: dict[str, str], fields: dict[str, Any], expected: int) -> None:
    """A file that decides what runs is told, be it made, moved or deleted."""
    assert touches_ci(variables, fields) == bool(expected)


@pytest.mark.parametrize(
    "variables, fields",
    [
        ({"path": "a/../.gitlab-ci.yml"}, {}),
        ({"path": "./.gitlab-ci.yml"}, {}),
        ({"path": "//.gitlab-ci.yml"}, {}),
        ({}, {"actions": {"file_path": "a"}}),
        ({}, {"actions": "a"}),
        ({}, {"actions": ["a"]}),
        ({}, {"actions": [{"action": "create"}]}),
        ({}, {"actions": [{"file_path": ["a"]}]}),
        ({}, {"actions": [{"file_path": "a/./b"}]}),
    ],
)
def test_files_that_cannot_be_listed_are_refused(variables: dict[str, str], fields: dict[str, Any]) -> None:
    """A commit whose files are not plain to see is denied."""
    with pytest.raises(IntentError):
        touches_ci(variables, fields)


@pytest.mark.parametrize(
    "path, spelling",
    [("Group/App", "group/app"), ("g/s/u-b_1.x/app", "g/s/u-b_1.x/app"), ("42", "#42"), ("042", "#42"), ("0", "#0")],
)
def test_a_project_has_one_spelling(path: str, spelling: str) -> None:
    """Case and leading zeros make no other project."""
    assert check_path(path) == spelling


@pytest.mark.parametrize(
    "path", ["", "/", "a/", "/a", "a//b", "a%2Fb", "a b", "..", "a/..", "-a/b", "a/b.git", "a/b.atom", "a#b",
    "\u00e4", "\u0664\u0662", "*"]
)  # fmt: skip
def test_an_odd_path_is_refused(path: str) -> None:
    """What is encoded twice, or no path that GitLab gives, is denied."""
    with pytest.raises(IntentError):
        check_path(path)
