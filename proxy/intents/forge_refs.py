"""A forge's API moves refs as a push does: what it moves is told as the intent of git that a push would be.

A ref's id is `HOST/PATH#refs/heads/NAME`. `#HEAD` is the default branch when the request leaves it to the forge, `#?` a
ref that the request does not name (the base of a pull request); a repository that it does not name is `HOST/?/?`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from proxy.model.errors import IntentError
from proxy.model.intent import EffectClass, Intent, Resource

DEFAULT_BRANCH: Final = "HEAD"
UNKNOWN_REF: Final = "?"
# git-check-ref-format(1): what a ref's name never holds. `#` would end the repository's part of an id early.
_NAME: Final = re.compile(
    r"(?!.*(?:\.\.|@\{|//|/\.|\.lock(?:/|\Z)))[^\x00-\x20\x7f~^:?*\[\\#/.][^\x00-\x20\x7f~^:?*\[\\#]*"
)
_QUALIFIED: Final = re.compile(r"(?:refs|heads|tags|remotes|pull)(?:/|\Z)", re.IGNORECASE)
_ZERO: Final = re.compile(r"0{40}(?:0{24})?")
_OBJECT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class RefMove:
    """One ref that a request creates, updates or deletes. Facts are `old`, `new` and `force`, as far as known."""

    action: str
    ref: str
    facts: Mapping[str, str] = field(default_factory=dict)


def check_name(name: str) -> str:
    """Return a branch's, tag's or full ref's name as it is. Raises IntentError for what git does not allow."""
    if len(name) > 512 or not name.isprintable() or _NAME.fullmatch(name) is None or name.endswith(("/", ".")):
        raise IntentError("the name of a branch, tag or ref is not one that git allows")
    return name


def branch_ref(name: str | None) -> str:
    """Return the ref of a branch, of the default branch for None. Raises IntentError for a name that has two readings.

    `refs/heads/main` may be taken for itself or for refs/heads/refs/heads/main.
    """
    if name is None:
        return DEFAULT_BRANCH
    if _QUALIFIED.match(name) is not None:
        raise IntentError("name the branch alone, without refs/ or heads/")
    return f"refs/heads/{check_name(name)}"


def tag_ref(name: str) -> str:
    """Return the ref of a tag, as `branch_ref` does."""
    if _QUALIFIED.match(name) is not None:
        raise IntentError("name the tag alone, without refs/ or tags/")
    return f"refs/tags/{check_name(name)}"


def full_ref(name: str) -> str:
    """Return a full ref's name. Raises IntentError unless it begins with `refs/`."""
    if not name.startswith("refs/"):
        raise IntentError("a ref must be named in full, from refs/ on")
    return check_name(name)


def is_object(name: str) -> bool:
    """Whether a name can only be an object's: then nothing of that name moves."""
    return _OBJECT.fullmatch(name) is not None


def move_between(ref: str, old: str | None, new: str | None) -> RefMove:
    """Tell a creation, an update and a deletion by the ids before and after; all zeros is nothing, as in git."""
    facts = {name: value for name, value in (("old", old), ("new", new)) if value}
    if new is not None and _ZERO.fullmatch(new):
        return RefMove(action="delete", ref=ref, facts=facts)
    is_creation = old is not None and _ZERO.fullmatch(old) is not None
    return RefMove(action="create" if is_creation else "update", ref=ref, facts=facts)


def describe_moves(repository: str, moves: list[RefMove]) -> tuple[Intent, ...]:
    """Return git's intents for moved refs of `HOST/PATH`."""
    return tuple(
        Intent(
            protocol="git",
            action=f"push.{move.action}",
            resource=Resource(type="git-ref", id=f"{repository}#{move.ref}"),
            effect=EffectClass.DELETE if move.action == "delete" else EffectClass.WRITE,
            exact=move.ref not in {DEFAULT_BRANCH, UNKNOWN_REF},
            facts=move.facts,
        )
        for move in moves
    )


def is_workflow(path: str) -> bool:
    """Whether a file's path is one that GitHub runs. Raises IntentError for a path that goes up or stands still."""
    parts = path.lower().split("/")
    if not parts[-1] or {"", ".", ".."} & set(parts):
        raise IntentError("the path of a file is not a plain one")
    return parts[:2] == [".github", "workflows"]
