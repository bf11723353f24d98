"""How GitLab names projects, and which refs its operations move."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from proxy.intents.forge_refs import UNKNOWN_REF, RefMove, branch_ref, tag_ref
from proxy.intents.rack import read_text
from proxy.model.errors import IntentError

type Variables = Mapping[str, str]
type Fields = Mapping[str, Any]

CI_FILE: Final = ".gitlab-ci.yml"
_PART: Final = re.compile(r"(?!.*\.(?:git|atom)\Z)[a-z0-9_][a-z0-9_.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """An operation that moves refs: the parameters to read, and what they mean."""

    fields: tuple[str, ...]
    tell: Callable[[Variables, Fields], list[RefMove]]


def _name(fields: Fields, name: str) -> str:
    text = read_text(fields, name)
    if not text:
        raise IntentError(f"{name!r} is missing")
    return text


def _create_branch(_: Variables, fields: Fields) -> list[RefMove]:
    return [RefMove(action="create", ref=branch_ref(_name(fields, "branch")), facts=_source(fields))]


def _create_tag(_: Variables, fields: Fields) -> list[RefMove]:
    """Tell the tag. A release creates its tag when there is none."""
    return [RefMove(action="create", ref=tag_ref(_name(fields, "tag_name")), facts=_source(fields))]


def _source(fields: Fields) -> dict[str, str]:
    source = read_text(fields, "ref")
    return {"target": source} if source else {}


def _commit(_: Variables, fields: Fields) -> list[RefMove]:
    """Tell the branch committed to, which is created when it starts from another one."""
    starts = any(fields.get(name) is not None for name in ("start_branch", "start_sha"))
    facts = {"force": "true"} if fields.get("force") else {}
    return [RefMove(action="create" if starts else "update", ref=branch_ref(_name(fields, "branch")), facts=facts)]


def _commit_changelog(_: Variables, fields: Fields) -> list[RefMove]:
    return [RefMove(action="update", ref=branch_ref(read_text(fields, "branch")))]


def _update_unknown(_: Variables, __: Fields) -> list[RefMove]:
    return [RefMove(action="update", ref=UNKNOWN_REF)]


def _merge(_: Variables, fields: Fields) -> list[RefMove]:
    """Tell the target, and the source when the call has it deleted. A merge request may say so itself, unseen here."""
    moves = [RefMove(action="update", ref=UNKNOWN_REF)]
    asked = fields["should_remove_source_branch"]
    if not (asked is None or asked is False or asked == "false"):
        moves.append(RefMove(action="delete", ref=UNKNOWN_REF))
    return moves


_COMMITS: Final = Moves(fields=("branch", "start_branch", "start_sha", "force", "actions"), tell=_commit)
_FILES: Final = Moves(fields=("branch", "start_branch"), tell=_commit)

MOVES: Final[Mapping[str, Moves]] = {
    "branches.create": Moves(fields=("branch", "ref"), tell=_create_branch),
    "branches.delete": Moves(
        fields=(), tell=lambda variables, _: [RefMove(action="delete", ref=branch_ref(variables["branch"]))]
    ),
    "branches.delete-merged": Moves(fields=(), tell=lambda _, __: [RefMove(action="delete", ref=UNKNOWN_REF)]),
    "tags.create": Moves(fields=("tag_name", "ref"), tell=_create_tag),
    "tags.delete": Moves(
        fields=(), tell=lambda variables, _: [RefMove(action="delete", ref=tag_ref(variables["tag"]))]
    ),
    "releases.create": Moves(fields=("tag_name", "ref"), tell=_create_tag),
    "commits.create": _COMMITS,
    "commits.cherry-pick": _FILES,
    "commits.revert": _FILES,
    "files.create": _FILES,
    "files.update": _FILES,
    "files.delete": _FILES,
    "submodules.update": _FILES,
    "changelog.create": Moves(fields=("branch",), tell=_commit_changelog),
    "merge-requests.merge": Moves(fields=("should_remove_source_branch",), tell=_merge),
    "merge-requests.rebase": Moves(fields=(), tell=_update_unknown),
    "suggestions.apply": Moves(fields=(), tell=_update_unknown),
}


def touches_ci(variables: Variables, fields: Fields) -> bool:
    """Whether a file operation or commit changes what the project's pipelines are. Raises IntentError.

    Only the usual file is known; a project may name another one in its settings.
    """
    path = variables.get("path")
    found = path is not None and _is_ci(path)
    actions = fields.get("actions")
    if actions is None:
        return found
    if not isinstance(actions, list):
        raise IntentError("the actions of the commit are not a list")
    for action in actions:
        if not isinstance(action, Mapping) or not isinstance(action.get("file_path"), str):
            raise IntentError("an action of the commit has no path")
        paths = [action["file_path"], action.get("previous_path")]
        found = any(_is_ci(one) for one in paths if isinstance(one, str)) or found
    return found


def _is_ci(path: str) -> bool:
    """Compare a path with the usual file's. Raises IntentError for one that GitLab tidies up first.

    A leading slash is taken off by GitLab (Gitlab::Git::Index), so it is here.
    """
    parts = path.lower().removeprefix("/").split("/")
    if {"", ".", ".."} & set(parts):
        raise IntentError("the path of a file is not a plain one")
    return parts == [CI_FILE]


def check_path(path: str) -> str:
    """Return the one spelling of a project's or group's path, `#42` for a number.

    Raises IntentError for what GitLab does not allow: a path that is encoded twice has a percent sign left.
    """
    if path.isdecimal() and path.isascii():
        return f"#{path.lstrip('0') or '0'}"
    folded = path.lower()
    if not path.isascii() or any(_PART.fullmatch(part) is None for part in folded.split("/")):
        raise IntentError(f"{path[:64]!r} is not the path of a project or group")
    return folded
