"""Which operation of GitHub's REST API a path is, how harmful it is, and which permission it needs.

The table is github_table.txt, compiled from GitHub's own description by .ci/compile_github_table.py. A path that it
does not hold is judged by its method, but as administration wherever it may touch what decides over others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from proxy.intents.routes import Found, Routes, compile_routes
from proxy.model.intent import EffectClass

READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_SECRETIVE: Final = frozenset(
    {"access_tokens", "archive", "authorizations", "jitconfig", "secret-scanning", "token", "tokens"}
)
"""Unlisted reads below these may answer a secret."""
_RISKY: Final = frozenset(
    {"agents", "branches", "collaborators", "dispatches", "environments", "forks", "generate", "hooks", "import"}
    | {"installation", "invitations", "keys", "memberships", "permissions", "properties", "protection", "rulesets"}
    | {"runner-groups", "runners", "secret-scanning", "secrets", "settings", "teams", "transfer", "variables"}
)
"""Unlisted writes below these are administration."""
_BY_METHOD: Final[Mapping[str, EffectClass]] = {
    "POST": EffectClass.WRITE,
    "PUT": EffectClass.WRITE,
    "PATCH": EffectClass.WRITE,
    "DELETE": EffectClass.DELETE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation. `permission` is for example `contents=write`, empty where none is known."""

    name: str
    effect: EffectClass
    permission: str
    is_listed: bool = True


@cache
def load_routes() -> Routes[Operation]:
    """Read the table, once, when a request to GitHub first needs it."""
    lines = (files(__package__) / "github_table.txt").read_text("ascii").splitlines()
    table: dict[str, Operation] = {}
    for line in lines:
        if not line.startswith("#"):
            method, path, name, effect, permission = line.split(" ")
            found = Operation(name=name, effect=EffectClass(effect), permission=permission.removeprefix("-"))
            table[f"{method} {path}"] = found
    return compile_routes(table)


def find_operation(method: str, segments: Sequence[str]) -> Found[Operation]:
    """Return the operation of a path; of one that is not listed, the worst that its method and words allow.

    A POST that is no route of its own is the PATCH of that path: GitHub takes either. Raises IntentError for a path
    that cannot be decoded.
    """
    routes = load_routes()
    found = routes.find(method, segments)
    if found is None and method == "POST":
        found = routes.find("PATCH", segments)
    if found is None and segments and segments[0] in _NUMBERED:
        found = _find_numbered(method, segments)
    return found or _guess(method, segments)


_NUMBERED: Final[Mapping[str, tuple[str, ...]]] = {
    "repositories": ("repos", "-"),
    "organizations": ("orgs",),
    "user": ("users",),
}
"""How GitHub writes the same paths with a number for the name, in the links of its own answers."""


def _find_numbered(method: str, segments: Sequence[str]) -> Found[Operation] | None:
    """Find `/repositories/1/x` as `/repos/{owner}/{repo}/x`; the number stays all that is known of the name."""
    if len(segments) < 2 or not segments[1].isdecimal():
        return None
    renamed = (*_NUMBERED[segments[0]], f"#{segments[1]}", *segments[2:])
    found = load_routes().find(method, renamed)
    if found is None and method == "POST":
        found = load_routes().find("PATCH", renamed)
    return found


def _guess(method: str, segments: Sequence[str]) -> Found[Operation]:
    """Judge an unlisted path. Only below a repository can a write be less than administration."""
    words = {segment.lower() for segment in segments}
    if method in READS:
        effect = EffectClass.CREDENTIAL if words & _SECRETIVE else EffectClass.READ
    else:
        is_plain = len(segments) > 3 and segments[0] == "repos" and not words & (_RISKY | _SECRETIVE)
        harsh = EffectClass.ADMIN if method in _BY_METHOD else EffectClass.UNKNOWN
        effect = _BY_METHOD.get(method, EffectClass.UNKNOWN) if is_plain else harsh
    variables = {}
    if segments[:1] == ["repos"] and len(segments) > 2:
        variables = {"owner": segments[1], "repo": segments[2]}
    return Found(Operation(name="unlisted", effect=effect, permission="", is_listed=False), variables, 0)
