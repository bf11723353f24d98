"""npm: what a request to a package registry asks for. The PUT of a whole package document is read in `npm_documents`.

Paths are those of npm 11 (`lib/commands`, libnpmpublish, libnpmaccess, libnpmteam, libnpmorg, npm-profile) and of the
registries that follow it (verdaccio, GitHub, GitLab). A scoped name is one segment (`@scope%2fname`) or two; its id has
a plain slash: `registry.npmjs.org/@scope/name`. `/-/` begins the registry's own API, or stands between a package and
one of its files.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from proxy.intents.npm_documents import VERSION, decode_document, read_version
from proxy.intents.packages import (
    READS,
    Ecosystem,
    check_text,
    compile_routes,
    join_site,
    read_segments,
    read_site,
    refuse_override,
)
from proxy.intents.reading import decode_component, media_type
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, Intent, RequestView

_GITHUB: Final = "npm.pkg.github.com"
NPM: Final = Ecosystem(protocol="npm", hosts=frozenset({"registry.npmjs.org", "registry.yarnpkg.com", _GITHUB}))

_PACKAGE: Final = compile_routes(
    {
        "GET /{name}": "install",
        "GET /{name}/{version}": "install",
        "GET /{name}/-/{file}": "install",
        "PUT /{name}": "document",
        "PUT /{name}/-rev/{revision}": "document",
        "DELETE /{name}/-rev/{revision}": "unpublish",
        "DELETE /{name}/-/{file}/-rev/{revision}": "unpublish",
        "DELETE /{name}/-/{file}": "unpublish",
        "DELETE /{name}": "unpublish",
    }
)
claims: Final = NPM.claims
_API: Final = compile_routes(
    {
        "GET /ping": "ping",
        "GET /whoami": "whoami",
        "GET /all": "search",
        "GET /v1/search": "search",
        "GET /_view/starredByUser": "search",
        "GET /npm/v1/keys": "audit",
        "GET /npm/v1/attestations/{spec}": "audit",
        "POST /npm/v1/security/advisories/bulk": "audit",
        "POST /npm/v1/security/audits": "audit",
        "POST /npm/v1/security/audits/quick": "audit",
        "POST /npm/v1/oidc/token/exchange/package/{name}": "token.exchange",
        "GET /npm/v1/tokens": "token.list",
        "POST /npm/v1/tokens": "token.create",
        "DELETE /npm/v1/tokens/token/{secret}": "token.revoke",
        "DELETE /user/token/{secret}": "token.revoke",
        "GET /npm/v1/user": "profile.get",
        "POST /npm/v1/user": "profile.set",
        "POST /v1/login": "login",
        "GET /v1/done": "login",
        "PUT /user/{user}": "login",
        "PUT /user/{user}/-rev/{revision}": "login",
        "GET /user/{user}": "profile.get",
        "GET /user/{user}/package": "search",
        "GET /package/{name}/dist-tags": "tag.list",
        "PUT /package/{name}/dist-tags/{tag}": "tag.set",
        "POST /package/{name}/dist-tags/{tag}": "tag.set",
        "DELETE /package/{name}/dist-tags/{tag}": "tag.remove",
        "GET /package/{name}/collaborators": "owner.list",
        "GET /package/{name}/visibility": "access.get",
        "GET /package/{name}/access": "access.get",
        "POST /package/{name}/access": "access.set",
        "GET /package/{name}/trust": "trust.list",
        "POST /package/{name}/trust": "trust.create",
        "DELETE /package/{name}/trust/{id}": "trust.revoke",
        "POST /stage/package/{name}": "stage.publish",
        "GET /stage": "stage.list",
        "GET /stage/{id}": "stage.get",
        "GET /stage/{id}/tarball": "stage.get",
        "POST /stage/{id}/approve": "stage.approve",
        "DELETE /stage/{id}": "stage.reject",
        "GET /org/{org}/package": "search",
        "GET /org/{org}/user": "member.list",
        "PUT /org/{org}/user": "member.set",
        "DELETE /org/{org}/user": "member.remove",
        "GET /org/{org}/team": "team.list",
        "PUT /org/{org}/team": "team.create",
        "DELETE /team/{org}/{team}": "team.delete",
        "GET /team/{org}/{team}/user": "member.list",
        "PUT /team/{org}/{team}/user": "member.set",
        "DELETE /team/{org}/{team}/user": "member.remove",
        "GET /team/{org}/{team}/package": "team.list",
        "PUT /team/{org}/{team}/package": "team.grant",
        "DELETE /team/{org}/{team}/package": "team.revoke",
        "GET /npm/v1/hooks": "hook.list",
        "GET /npm/v1/hooks/hook/{id}": "hook.list",
        "POST /npm/v1/hooks/hook": "hook.set",
        "PUT /npm/v1/hooks/hook/{id}": "hook.set",
        "DELETE /npm/v1/hooks/hook/{id}": "hook.remove",
    }
)
_API_WORDS: Final = frozenset(
    {"all", "_view", "npm", "org", "package", "ping", "stage", "team", "user", "v1", "whoami"}
)
"""What may follow `/-/` where it begins the API; anything else there is a package's file."""

# validate-npm-package-name: URL-safe, no leading dot, hyphen or underscore (behind a scope an underscore may lead).
# Capitals stay: old names have them, and differ by them.
_NAME: Final = re.compile(
    r"(?=.{1,214}\Z)(?!(?i:node_modules|favicon\.ico)\Z)"
    r"(?:@[A-Za-z0-9_~-][A-Za-z0-9._~-]*/[A-Za-z0-9_~]|[A-Za-z0-9~])[A-Za-z0-9._~-]*"
)
_WORD: Final = re.compile(r"[A-Za-z0-9_@~][A-Za-z0-9._~@:+-]{0,255}")
_PLAIN_VERSION: Final = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(?:[.+-].*)?")


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where a path leads: the registry's id, and the parts after it. A first part `-` is the registry's own API."""

    registry: str
    parts: Sequence[str]


def decode(view: RequestView, spoken: frozenset[str]) -> Intent | BodyWanted | None:
    """Read a request to an npm registry; None when it is none. Raises IntentError."""
    if not claims(view.authority.host, spoken):
        return None
    refuse_override(view)
    spot = _locate(view)
    if spot is None:
        return None
    if not spot.parts:
        is_read = view.method in READS
        return NPM.intent("ping" if is_read else "unknown", spot.registry, kind="registry", exact=is_read)
    return _decode_api(view, spot) if spot.parts[0] == "-" else _decode_package(view, spot)


def _decode_package(view: RequestView, spot: _Spot) -> Intent | BodyWanted | None:
    name = spot.parts[0]
    if _NAME.fullmatch(name) is None:
        if NPM.knows(view):
            raise IntentError(f"{name[:64]!r} is not an npm package name")
        return None  # a part of another ecosystem's path
    where = f"{spot.registry}/{name}"
    route = _PACKAGE.find(view.method, spot.parts)
    if route is None:
        is_plain = len(spot.parts) == 1 and "/" not in name
        return None if is_plain and not NPM.knows(view) else NPM.intent("unknown", where, exact=False)
    action, found = route
    if action == "document":
        if not NPM.knows(view) and media_type(view) != "application/json":
            return None  # another ecosystem's upload: npm's documents are JSON and say so
        return decode_document(view, NPM, where, name, "revision" if "revision" in found else "publish")
    if action == "install":
        return NPM.intent(action, where, _read_facts(name, found))
    return NPM.intent(action, where, {key: value for key, value in _read_facts(name, found).items() if key != "what"})


def _read_facts(name: str, found: dict[str, str]) -> dict[str, str]:
    """Return what a path says of a version. A file is called `name-version.tgz`, with or without the scope."""
    version = found.get("version")
    if version is not None:
        return {"what": "metadata", "version": check_text(version, VERSION, "a version or a tag")}
    file = found.get("file")
    if file is None:
        return {"what": "metadata"}
    facts = {"what": "artifact", "file": check_text(file, _FILE, "an npm file name")}
    stem = file.removesuffix(".tgz")
    for prefix in (f"{name}-", f"{name.rpartition('/')[2]}-"):
        if stem != file and stem.startswith(prefix) and VERSION.fullmatch(stem.removeprefix(prefix)):
            return {**facts, "version": stem.removeprefix(prefix)}
    return facts


_FILE: Final = re.compile(r"(?:@[A-Za-z0-9_~-][A-Za-z0-9._~-]*/)?[A-Za-z0-9_~][A-Za-z0-9._~+-]{0,511}")


def _decode_api(view: RequestView, spot: _Spot) -> Intent | BodyWanted:
    rest = spot.parts[1:]
    route = _API.find(view.method, rest)
    if route is None:
        return NPM.intent("unknown", f"{spot.registry}/-", kind="registry", exact=False)
    action, found = route
    name, secret = found.pop("name", None), found.pop("secret", None)
    found.pop("spec", None)
    for value in found.values():
        check_text(value, _WORD, "a plain word")
    if name is None:
        # A token in a path (npm logout) stands last; it is no part of a name, and never recorded.
        where = "/".join((spot.registry, "-", *(rest if secret is None else rest[:-1])))
        return NPM.intent(action, where, found, kind="registry", exact=action not in _UNNAMED)
    where = f"{spot.registry}/{check_text(name, _NAME, 'an npm package name')}"
    if action == "stage.publish":
        return decode_document(view, NPM, where, name, "stage")
    if action == "tag.set":
        version = read_version(view)
        return version if isinstance(version, BodyWanted) else NPM.intent(action, where, {**found, "version": version})
    return NPM.intent(action, where, found)


_UNNAMED: Final = frozenset({"stage.approve", "stage.reject", "team.grant", "team.revoke"})
"""Actions on a package that the path does not name."""


def _locate(view: RequestView) -> _Spot | None:
    parts = _join_scopes(read_segments(view))
    if NPM.knows(view):
        if view.authority.host == _GITHUB and len(parts) == 4 and parts[0] == "download":
            # GitHub's artifacts: /download/@owner/name/version/digest
            parts = [parts[1], "-", f"{parts[1].rpartition('/')[2]}-{decode_component(parts[2])}.tgz"]
        return _Spot(read_site(view), parts)
    begin = _find_begin(parts)
    if begin is None:
        return None
    return _Spot(join_site(read_site(view), parts[:begin]), parts[begin:])


def _join_scopes(segments: Sequence[str]) -> list[str]:
    """Write `@scope%2fname` and `@scope`, `name` alike: as one part with a slash."""
    parts: list[str] = []
    for segment in segments:
        if parts and parts[-1][:1] == "@" and "/" not in parts[-1] and segment != "-":
            parts[-1] = f"{parts[-1]}/{segment}"
        elif segment[:1] == "@" and "%" in segment:
            parts.append(decode_component(segment))
        else:
            parts.append(segment)
    return parts


def _find_begin(parts: Sequence[str]) -> int | None:
    """Return where the registry's prefix ends, on a host that has other things too; None where nothing is npm's."""
    first = 0
    for at in range(len(parts) - 2):
        if parts[at] == "-" and parts[at + 1] == "packages" and parts[at + 2] == "npm":
            first = at + 3  # GitLab: /api/v4/groups/ID/-/packages/npm
    for at in range(first, len(parts)):
        if parts[at] == "-":
            return _begin_dash(parts, first, at)
        if "/" in parts[at]:
            return at
    for marker, back in (("-rev", 1), ("-tag", 2)):
        if marker in parts[first + back :]:
            return parts.index(marker, first + back) - back
    if len(parts) - first > 1 and _PLAIN_VERSION.fullmatch(parts[-1]):
        return len(parts) - 2
    return len(parts) - 1 if len(parts) > first else None


def _begin_dash(parts: Sequence[str], first: int, at: int) -> int | None:
    """Say what the `-` at `at` stands for. Routers fold case: another spelling is still npm's."""
    after = parts[at + 1].lower() if at + 1 < len(parts) else ""
    if after in _API_WORDS:
        return at
    return at - 1 if at > first and after.endswith(".tgz") else None
