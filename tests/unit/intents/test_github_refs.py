"""Every operation that moves a ref says which."""

from typing import Any

import pytest

from proxy.intents.github_refs import MOVES
from proxy.model.errors import IntentError

SHA = "1" * 40


def tell(operation: str, variables: dict[str, str], fields: dict[str, Any]) -> list[tuple[str, str, dict[str, str]]]:
    moves = MOVES[operation]
    found = moves.tell(variables, {name: fields.get(name) for name in moves.fields})
    return [(move.action, move.ref, dict(move.facts)) for move in found]


@pytest.mark.parametrize(
    "operation, variables, fields, expected",
    [
        ("git/create-ref", {}, {"ref": "refs/heads/a", "sha": SHA}, [("create", "refs/heads/a", {"new": SHA})]),
        ("git/create-ref", {}, {"ref": "refs/tags/v1", "sha": SHA}, [("create", "refs/tags/v1", {"new": SHA})]),
        ("git/update-ref", {"ref": "heads/a/b"}, {"sha": SHA}, [("update", "refs/heads/a/b", {"new": SHA,
         "force": "false"})]),
        ("git/update-ref", {"ref": "heads/a"}, {"sha": SHA, "force": True},
         [("update", "refs/heads/a", {"new": SHA, "force": "true"})]),
        ("git/update-ref", {"ref": "heads/a"}, {"sha": SHA, "force": "no"},
         [("update", "refs/heads/a", {"new": SHA, "force": "true"})]),
        ("git/delete-ref", {"ref": "tags/v1"}, {}, [("delete", "refs/tags/v1", {})]),
        ("repos/create-or-update-file-contents", {"path": "a"}, {"branch": "main"}, [("update", "refs/heads/main",
         {})]),
        ("repos/create-or-update-file-contents", {"path": "a"}, {}, [("update", "HEAD", {})]),
        ("repos/delete-file", {"path": "a"}, {}, [("update", "HEAD", {})]),
        ("repos/merge", {}, {"base": "main"}, [("update", "refs/heads/main", {})]),
        ("repos/merge-upstream", {}, {"branch": "main"}, [("update", "refs/heads/main", {})]),
        ("repos/rename-branch", {"branch": "old"}, {"new_name": "new"},
         [("create", "refs/heads/new", {}), ("delete", "refs/heads/old", {})]),
        ("repos/create-release", {}, {"tag_name": "v1"}, [("create", "refs/tags/v1", {})]),
        ("repos/create-release", {}, {"tag_name": "v1", "target_commitish": "main"},
         [("create", "refs/tags/v1", {"target": "main"})]),
        ("repos/update-release", {}, {"tag_name": "v2", "draft": True}, [("create", "refs/tags/v2", {})]),
        ("repos/update-release", {}, {"draft": False}, [("create", "?", {})]),
        ("repos/update-release", {}, {"draft": "false"}, [("create", "?", {})]),
        ("repos/update-release", {}, {"draft": True}, []),
        ("repos/update-release", {}, {}, []),
        ("repos/create-deployment", {}, {"ref": "main"}, [("update", "refs/heads/main", {})]),
        ("repos/create-deployment", {}, {"ref": "main", "auto_merge": "false"}, [("update", "refs/heads/main", {})]),
        ("repos/create-deployment", {}, {"ref": "main", "auto_merge": False}, []),
        ("repos/create-deployment", {}, {"ref": SHA}, []),
        ("code-scanning/commit-autofix", {}, {"target_ref": "refs/heads/a"}, [("update", "refs/heads/a", {})]),
        ("pulls/merge", {}, {}, [("update", "?", {})]),
        ("pulls/merge-async", {}, {}, [("update", "?", {})]),
        ("pulls/update-branch", {}, {}, [("update", "?", {})]),
    ],
)  # fmt: skip
def test_a_moved_ref_is_named(
    operation: str, variables: dict[str, str], fields: dict[str, Any], expected: list[tuple[str, str, dict[str, str]]]
) -> None:
    """The ref is the one of the body or path, the default branch, or unknown: never none where one may move."""
    assert tell(operation, variables, fields) == expected


@pytest.mark.parametrize(
    "operation, variables, fields",
    [
        ("git/create-ref", {}, {"sha": SHA}),
        ("git/create-ref", {}, {"ref": "refs/heads/a"}),
        ("git/create-ref", {}, {"ref": "heads/a", "sha": SHA}),
        ("git/create-ref", {}, {"ref": ["refs/heads/a"], "sha": SHA}),
        ("git/update-ref", {"ref": "heads/a"}, {}),
        ("git/update-ref", {"ref": "refs/heads/a"}, {"sha": SHA}),
        ("git/delete-ref", {"ref": "Refs/heads/a"}, {}),
        ("git/delete-ref", {"ref": "heads/a..b"}, {}),
        ("repos/create-or-update-file-contents", {"path": "a"}, {"branch": "refs/heads/main"}),
        ("repos/create-or-update-file-contents", {"path": "a"}, {"branch": ""}),
        ("repos/create-or-update-file-contents", {"path": "a"}, {"branch": 1}),
        ("repos/merge", {}, {}),
        ("repos/rename-branch", {"branch": "old"}, {}),
        ("repos/rename-branch", {"branch": "refs/heads/old"}, {"new_name": "new"}),
        ("repos/create-release", {}, {}),
        ("repos/create-release", {}, {"tag_name": "refs/tags/v1"}),
        ("repos/update-release", {}, {"tag_name": ""}),
        ("repos/create-deployment", {}, {}),
        ("code-scanning/commit-autofix", {}, {"target_ref": "main"}),
    ],
)
def test_a_ref_that_is_not_named_plainly_is_refused(
    operation: str, variables: dict[str, str], fields: dict[str, Any]
) -> None:
    """A missing, doubled or odd name leaves it open what moves."""
    with pytest.raises(IntentError):
        tell(operation, variables, fields)
