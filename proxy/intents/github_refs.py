"""Which refs the operations of GitHub's REST API move, and which members of their bodies say so."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from proxy.intents.forge_refs import (
    UNKNOWN_REF,
    RefMove,
    branch_ref,
    full_ref,
    is_object,
    tag_ref,
)
from proxy.intents.rack import read_text
from proxy.model.errors import IntentError

type Variables = Mapping[str, str]
type Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """An operation that moves refs: the members of its body to read, and what they mean."""

    fields: tuple[str, ...]
    tell: Callable[[Variables, Fields], list[RefMove]]


def _name(fields: Fields, name: str) -> str:
    text = read_text(fields, name)
    if not text:
        raise IntentError(f"{name!r} is missing")
    return text


def _create_ref(_: Variables, fields: Fields) -> list[RefMove]:
    facts = {"new": _name(fields, "sha")}
    return [RefMove(action="create", ref=full_ref(_name(fields, "ref")), facts=facts)]


def _update_ref(variables: Variables, fields: Fields) -> list[RefMove]:
    facts = {"new": _name(fields, "sha"), "force": "true" if fields["force"] else "false"}
    return [RefMove(action="update", ref=_ref_of_path(variables), facts=facts)]


def _delete_ref(variables: Variables, _: Fields) -> list[RefMove]:
    return [RefMove(action="delete", ref=_ref_of_path(variables))]


def _ref_of_path(variables: Variables) -> str:
    """Return `refs/` with what stands below it in the path. A second `refs/` there has two readings."""
    if variables["ref"].lower().startswith("refs/"):
        raise IntentError("the path names refs/ twice")
    return full_ref(f"refs/{variables['ref']}")


def _commit(_: Variables, fields: Fields) -> list[RefMove]:
    return [RefMove(action="update", ref=branch_ref(read_text(fields, "branch")))]


def _merge(_: Variables, fields: Fields) -> list[RefMove]:
    return [RefMove(action="update", ref=branch_ref(_name(fields, "base")))]


def _update_unknown(_: Variables, __: Fields) -> list[RefMove]:
    return [RefMove(action="update", ref=UNKNOWN_REF)]


def _rename_branch(variables: Variables, fields: Fields) -> list[RefMove]:
    return [
        RefMove(action="create", ref=branch_ref(_name(fields, "new_name"))),
        RefMove(action="delete", ref=branch_ref(variables["branch"])),
    ]


def _create_release(_: Variables, fields: Fields) -> list[RefMove]:
    """Tell the tag: one that does not exist is created, at once or when the draft is published."""
    target = read_text(fields, "target_commitish")
    facts = {"target": target} if target else {}
    return [RefMove(action="create", ref=tag_ref(_name(fields, "tag_name")), facts=facts)]


def _update_release(variables: Variables, fields: Fields) -> list[RefMove]:
    if fields["tag_name"] is not None:
        return _create_release(variables, fields)
    # Publishing a draft creates the tag that it was drafted with.
    return [] if fields["draft"] is None or fields["draft"] is True else [RefMove(action="create", ref=UNKNOWN_REF)]


def _create_deployment(_: Variables, fields: Fields) -> list[RefMove]:
    """GitHub merges the default branch into the branch that is deployed, unless told not to."""
    ref = _name(fields, "ref")
    if fields["auto_merge"] is False or is_object(ref):
        return []
    return [RefMove(action="update", ref=branch_ref(ref))]


def _commit_autofix(_: Variables, fields: Fields) -> list[RefMove]:
    return [RefMove(action="update", ref=full_ref(_name(fields, "target_ref")))]


MOVES: Final[Mapping[str, Moves]] = {
    "git/create-ref": Moves(fields=("ref", "sha"), tell=_create_ref),
    "git/update-ref": Moves(fields=("sha", "force"), tell=_update_ref),
    "git/delete-ref": Moves(fields=(), tell=_delete_ref),
    "repos/create-or-update-file-contents": Moves(fields=("branch",), tell=_commit),
    "repos/delete-file": Moves(fields=("branch",), tell=_commit),
    "repos/merge": Moves(fields=("base",), tell=_merge),
    "repos/merge-upstream": Moves(fields=("branch",), tell=_commit),
    "repos/rename-branch": Moves(fields=("new_name",), tell=_rename_branch),
    "repos/create-release": Moves(fields=("tag_name", "target_commitish"), tell=_create_release),
    "repos/update-release": Moves(fields=("tag_name", "target_commitish", "draft"), tell=_update_release),
    "repos/create-deployment": Moves(fields=("ref", "auto_merge"), tell=_create_deployment),
    "code-scanning/commit-autofix": Moves(fields=("target_ref",), tell=_commit_autofix),
    "pulls/merge": Moves(fields=(), tell=_update_unknown),
    "pulls/merge-async": Moves(fields=(), tell=_update_unknown),
    "pulls/update-branch": Moves(fields=(), tell=_update_unknown),
}
