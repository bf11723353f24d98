"""Cargo: crates.io and the registries that follow it (the Cargo book, "Web API", "Index Format"; crates.io's router).

A publish is `PUT /api/v1/crates/new`: a 32-bit little-endian length, that many bytes of JSON, a second length, and the
crate. The JSON says name and version; a registry that trusted the crate's own manifest instead would refuse a crate
whose manifest says otherwise (crates.io does). A crate's id is in lower case with hyphens: registries keep `a_b`,
`A-B` and `a-b` from being three crates.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Final

from proxy.intents.packages import (
    READS,
    UPLOAD_LIMIT,
    Ecosystem,
    check_text,
    compile_routes,
    join_site,
    read_segments,
    read_site,
    refuse_override,
)
from proxy.intents.reading import decode_component, media_type, member, read_body, read_object
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, Intent, RequestView

CARGO: Final = Ecosystem(protocol="cargo", hosts=frozenset({"crates.io", "index.crates.io", "static.crates.io"}))
METADATA_LIMIT: Final = 1024 * 1024
"""The longest JSON of a publish, the readme with it. One that is longer is denied."""
_CHANGE_LIMIT: Final = 16 * 1024

_ROUTES: Final = compile_routes(
    {
        "GET /crates": "search",
        "GET /keywords": "search",
        "GET /categories": "search",
        "GET /summary": "search",
        "PUT /crates/new": "publish",
        "GET /crates/{name}": "install",
        "PATCH /crates/{name}": "access.set",
        "DELETE /crates/{name}": "unpublish",
        "GET /crates/{name}/owners": "owner.list",
        "PUT /crates/{name}/owners": "owner.add",
        "DELETE /crates/{name}/owners": "owner.remove",
        "GET /crates/{name}/owner_user": "owner.list",
        "GET /crates/{name}/owner_team": "owner.list",
        "GET /crates/{name}/versions": "install",
        "GET /crates/{name}/downloads": "install",
        "GET /crates/{name}/reverse_dependencies": "install",
        "PUT /crates/{name}/follow": "star",
        "DELETE /crates/{name}/follow": "star",
        "GET /crates/{name}/{version}": "install",
        "PATCH /crates/{name}/{version}": "change",
        "GET /crates/{name}/{version}/download": "download",
        "GET /crates/{name}/{version}/readme": "install",
        "GET /crates/{name}/{version}/dependencies": "install",
        "DELETE /crates/{name}/{version}/yank": "yank",
        "PUT /crates/{name}/{version}/unyank": "unyank",
        "GET /me": "whoami",
        "GET /me/tokens": "token.list",
        "PUT /me/tokens": "token.create",
        "GET /me/tokens/{id}": "token.list",
        "DELETE /me/tokens/{id}": "token.revoke",
        "DELETE /tokens/current": "token.revoke",
        "POST /trusted_publishing/tokens": "token.exchange",
        "DELETE /trusted_publishing/tokens": "token.revoke",
        "GET /trusted_publishing/github_configs": "trust.list",
        "POST /trusted_publishing/github_configs": "trust.create",
        "DELETE /trusted_publishing/github_configs/{id}": "trust.revoke",
        "GET /trusted_publishing/gitlab_configs": "trust.list",
        "POST /trusted_publishing/gitlab_configs": "trust.create",
        "DELETE /trusted_publishing/gitlab_configs/{id}": "trust.revoke",
    }
)
claims: Final = CARGO.claims
_UNNAMED: Final = frozenset({"trust.create", "trust.revoke"})
"""Actions on a crate that the path does not name."""
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_VERSION: Final = re.compile(
    r"(?=.{5,128}\Z)(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?"
)
# A name has no dot, so the version begins after the last hyphen before the first dot.
_FILE: Final = re.compile(r"([^.]*)-([0-9]+\..*)\.crate")


def decode(view: RequestView, spoken: frozenset[str]) -> Intent | BodyWanted | None:
    """Read a request to a Cargo registry or its index; None when it is none. Raises IntentError."""
    if not claims(view.authority.host, spoken):
        return None
    refuse_override(view)
    segments = read_segments(view)
    if view.method in READS:
        found = _read_index(view, segments) or _read_download(view, segments)
        if found is not None:
            return found
    begin = _find_api(segments)
    if begin is not None and (begin == 0 or not CARGO.knows(view)):
        return _decode_api(view, join_site(read_site(view), segments[:begin]), segments[begin + 2 :])
    if CARGO.knows(view):
        return CARGO.intent("unknown", read_site(view), kind="registry", exact=False)
    return None


def canonicalize(name: str) -> str:
    """Return a crate's one spelling. Raises IntentError for what is no crate's name."""
    return check_text(name, _NAME, "a crate name").lower().replace("_", "-")


def _find_api(segments: Sequence[str]) -> int | None:
    for at in range(len(segments) - 1):
        if segments[at] == "api" and segments[at + 1] == "v1":
            return at
    return None


def _read_index(view: RequestView, segments: Sequence[str]) -> Intent | None:
    """Read a sparse index's file: `config.json`, or a name below its own first letters."""
    if segments[-1:] == ["config.json"]:
        return CARGO.intent("ping", _site(view, segments[:-1]), kind="registry")
    name = segments[-1] if segments else ""
    folders = _name_folders(name)
    above = segments[: -1 - len(folders)]
    if segments[len(above) : -1] != folders or name != name.lower() or _NAME.fullmatch(name) is None:
        return None
    return CARGO.intent("install", f"{_site(view, above)}/{canonicalize(name)}", {"what": "metadata"})


def _name_folders(name: str) -> list[str]:
    """Return the folders that an index keeps a name in ("Index Format", "Index files")."""
    if len(name) > 3:
        return [name[:2], name[2:4]]
    return ["3", name[:1]] if len(name) == 3 else [str(len(name))]


def _read_download(view: RequestView, segments: Sequence[str]) -> Intent | None:
    """Read a crate's file: `crates/NAME/NAME-VERSION.crate` or `crates/NAME/VERSION/download`, or a file anywhere."""
    if segments[-1:] == ["download"] and segments[-4:-3] == ["crates"]:
        name, version = segments[-3], decode_component(segments[-2])
        above = segments[:-4]
    else:
        found = _FILE.fullmatch(decode_component(segments[-1])) if segments else None
        if found is None:
            return None
        name, version = found[1], found[2]
        above = segments[:-1]
        if above[-1:] == [name]:
            above = above[:-1]
        if above[-1:] == ["crates"]:
            above = above[:-1]
    if above[-2:] == ["api", "v1"]:
        above = above[:-2]
    facts = {"what": "artifact", "version": check_text(version, _VERSION, "a version")}
    return CARGO.intent("install", f"{_site(view, above)}/{canonicalize(name)}", facts)


def _site(view: RequestView, above: Sequence[str]) -> str:
    return join_site(read_site(view), above)


def _decode_api(view: RequestView, site: str, rest: Sequence[str]) -> Intent | BodyWanted:
    route = _ROUTES.find(view.method, rest)
    if route is None:
        return CARGO.intent("unknown", site, kind="registry", exact=False)
    action, found = route
    if action == "publish":
        return _read_publish(view, site)
    if "name" not in found:
        return CARGO.intent(action, site, kind="registry", exact=action not in _UNNAMED)
    facts = {} if action != "install" else {"what": "metadata"}
    if "version" in found:
        facts["version"] = check_text(found["version"], _VERSION, "a version")
    where = f"{site}/{canonicalize(found['name'])}"
    if action == "change":
        changed = _read_change(view)
        return changed if isinstance(changed, BodyWanted) else CARGO.intent(changed, where, facts)
    return CARGO.intent(action, where, facts)


def _read_change(view: RequestView) -> str | BodyWanted:
    """Return what a change of a version is: crates.io lets nothing but `yanked` and its message be changed."""
    if media_type(view) != "application/json":
        raise IntentError("a change of a version must say that it is application/json")
    body = read_body(view, _CHANGE_LIMIT)
    if isinstance(body, BodyWanted):
        return body
    version = member(read_object(body), "version")
    if not isinstance(version, dict):
        raise IntentError("the change names no version")
    yanked = member(version, "yanked")
    if not isinstance(yanked, bool):
        raise IntentError("the change does not say whether the version is yanked")
    return "yank" if yanked else "unyank"


def _read_publish(view: RequestView, site: str) -> Intent | BodyWanted:
    # A crate that can be held is, for its digest; a longer one is read as far as its metadata.
    is_short = view.body_length is not None and view.body_length <= UPLOAD_LIMIT
    limit, enough = (UPLOAD_LIMIT, None) if is_short else (METADATA_LIMIT + 8, _has_metadata)
    body = read_body(view, limit, enough)
    if isinstance(body, BodyWanted):
        return body
    length = int.from_bytes(body[:4], "little")
    if length > METADATA_LIMIT:
        raise IntentError(f"the metadata is longer than the {METADATA_LIMIT} bytes read to decide")
    if len(body) < length + 8:
        raise IntentError("the publish ends early")
    metadata = read_object(body[4 : length + 4])
    name, version = member(metadata, "name"), member(metadata, "vers")
    if not isinstance(name, str) or not isinstance(version, str):
        raise IntentError("the metadata names no crate and version")
    facts = {"version": check_text(version, _VERSION, "a version")}
    if is_short:
        crate = body[length + 8 :]
        if len(crate) != int.from_bytes(body[length + 4 : length + 8], "little"):
            raise IntentError("the crate is not as long as it says")
        facts["sha256"] = hashlib.sha256(crate).hexdigest()
    return CARGO.intent("publish", f"{site}/{canonicalize(name)}", facts)


def _has_metadata(body: bytes) -> bool:
    """Whether a prefix holds the metadata and the crate's length; also where no more would mend it."""
    length = int.from_bytes(body[:4], "little")
    return len(body) >= 4 and (length > METADATA_LIMIT or len(body) >= length + 8)
