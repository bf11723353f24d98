"""NuGet: nuget.org and the feeds that follow it (Microsoft Learn, "NuGet Server API"; NuGetGallery's routes).

A push is a form with the package as its one file; id and version stand in the package's manifest and nowhere else. A
package too long to be held is a push of any package. Ids, versions and, to ASP.NET, paths have no case: an id is in
lower case here, as the flat container spells it.

Where a feed's parts stand is for its service index to say. Elsewhere than on nuget.org the usual folder names of those
parts are left out, so that one package has one id for installs and pushes.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Final

from proxy.intents.multipart import read_boundary, read_parts
from proxy.intents.nuget_package import ID, VERSION, normalize_id, normalize_version, read_package
from proxy.intents.packages import (
    READS,
    UPLOAD_LIMIT,
    Ecosystem,
    compile_routes,
    join_site,
    read_site,
    refuse_override,
)
from proxy.intents.reading import decode_component, media_type, parse_pairs, read_body
from proxy.intents.routes import cut_path
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, Intent, RequestView

_GALLERY: Final = frozenset(
    {
        "api.nuget.org",
        "www.nuget.org",
        "nuget.org",
        "globalcdn.nuget.org",
        "azuresearch-usnc.nuget.org",
        "azuresearch-ussc.nuget.org",
    }
)
NUGET: Final = Ecosystem(protocol="nuget", hosts=_GALLERY | {"nuget.pkg.github.com"})

_ROUTES: Final = compile_routes(
    {
        "GET /v3/index.json": "ping",
        "GET /query": "search",
        "GET /autocomplete": "search",
        "GET /v3/catalog0/index.json": "search",
        "GET /v3/catalog0/{page}": "search",
        "GET /v3/catalog0/data/{time}/{file}": "search",
        "GET /v3/vulnerabilities/index.json": "audit",
        "GET /v3-vulnerabilities/{time}/{file}": "audit",
        "GET /v3-index/repository-signatures/{version}/index.json": "audit",
        "GET /api/v2": "ping",
        "GET /api/v2/$metadata": "ping",
        "GET /api/v2/package-ids": "search",
        "GET /api/v2/package-versions/{id}": "install",
        "GET /api/v2/query": "search",
        "PUT /api/v2/package": "publish",
        "PUT /api/v2/symbolpackage": "publish",
        "POST /api/v2/package/create-verification-key/{id}": "token.create",
        "POST /api/v2/package/create-verification-key/{id}/{version}": "token.create",
        "GET /api/v2/package/{id}": "install",
        "GET /api/v2/package/{id}/{version}": "install",
        "GET /api/v2/symbolpackage/{id}/{version}": "install",
        "DELETE /api/v2/package/{id}/{version}": "yank",
        "POST /api/v2/package/{id}/{version}": "unyank",
        "PUT /api/v2/package/{id}/deprecations": "deprecate",
        "GET /api/v2/verifykey/{id}": "whoami",
        "GET /api/v2/verifykey/{id}/{version}": "whoami",
        "POST /api/v2/token": "token.exchange",
        "GET /api/v3/staging/package": "stage.list",
        "PUT /api/v3/staging/package": "stage.publish",
        "GET /api/v3/staging/package/{id}/{version}": "stage.get",
        "GET /api/v3/staging/package/{id}/{version}/status": "stage.get",
        "DELETE /api/v3/staging/package/{id}/{version}": "stage.reject",
        "PUT /api/v3/staging/symbols": "stage.publish",
        "GET /api/v3/staging/groups": "stage.list",
    }
)
claims: Final = NUGET.claims
"""nuget.org's, in lower case. Its DELETE takes a version out of searches, and a POST puts it back: yank and unyank."""

_REGISTRATION: Final = re.compile(r"registrations?[0-9a-z-]*")
_PARTS: Final = frozenset(
    {"package", "packages", "symbolpackage", "download", "downloads", "content", "query", "metadata", "flat2",
     "flatcontainer", "v3-flatcontainer"}
)  # fmt: skip
_FOLDERS: Final = _PARTS | {"api", "v2", "v3"}
_FILE: Final = re.compile(r"(.+)\.(?:nupkg|snupkg)")
_DOT: Final = re.compile(r"\.(?=[0-9])")
_FULL_VERSION: Final = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(?:\.[0-9]+)?(?:[-+].*)?")
_KEYED: Final = re.compile(r"packages\(id='([^']*)',version='([^']*)'\)")
_QUOTED: Final = re.compile(r"'([^']*)'")
_ODATA: Final = frozenset({"packages", "packages()", "search()", "getupdates()", "findpackagesbyid()"})


def decode(view: RequestView, spoken: frozenset[str]) -> Intent | BodyWanted | None:
    """Read a request to a NuGet feed; None when it is none. Raises IntentError."""
    if not claims(view.authority.host, spoken):
        return None
    refuse_override(view)
    # ASP.NET MVC takes the method from a parameter of this name too.
    if view.query and any(name.lower() == "x-http-method-override" for name, _ in parse_pairs(view.query)):
        raise IntentError("a parameter asks for another method than the request line")
    segments = [segment.lower() for segment in cut_path(view.path)]
    found = _decode_gallery(view, segments) if view.authority.host in _GALLERY else _decode_elsewhere(view, segments)
    if found is not None or not NUGET.knows(view):
        return found
    return NUGET.intent("unknown", read_site(view), kind="registry", exact=False)


def _decode_gallery(view: RequestView, segments: Sequence[str]) -> Intent | BodyWanted | None:
    site = read_site(view)
    route = _ROUTES.find(view.method, segments)
    if route is None:
        return _read_files(view, segments) if view.method in READS else None
    action, found = route
    if action in {"publish", "stage.publish"}:
        return _read_push(view, site, action, is_symbols=segments[-1].startswith("symbol"))
    if action == "unyank" and view.body_length != 0:
        raise IntentError("a relisting has no body: its form could ask for another method")
    if "id" not in found:
        return NUGET.intent(action, site, kind="registry")
    facts = {}
    if action == "install":
        facts["what"] = "artifact" if segments[2].endswith("package") else "metadata"
    if "version" in found:
        facts["version"] = normalize_version(found["version"])
    return NUGET.intent(action, f"{site}/{normalize_id(found['id'])}", facts)


def _decode_elsewhere(view: RequestView, segments: Sequence[str]) -> Intent | BodyWanted | None:
    """Read a feed below any path: by the shape of what is read, and by what a client sends to push and delete."""
    if view.method in READS:
        return _read_files(view, segments) or _read_service(view, segments)
    if view.method == "PUT" and media_type(view) == "multipart/form-data":
        is_symbols = segments[-1:] == ["symbolpackage"]
        return _read_push(view, _site(view, segments), "publish", is_symbols=is_symbols)
    return _read_version_change(view, segments)


def _read_service(view: RequestView, segments: Sequence[str]) -> Intent | None:
    """Read a feed's service index. What other `index.json` there is cannot be told from it."""
    if segments[-1:] != ["index.json"]:
        return None
    is_exact = NUGET.knows(view) or segments[-2:-1] in ([], ["v3"], ["nuget"])
    return NUGET.intent("ping", _site(view, segments[:-1]), kind="registry", exact=is_exact)


def _read_version_change(view: RequestView, segments: Sequence[str]) -> Intent | None:
    """Read `DELETE` or `POST` of `ID/VERSION`: what a client puts behind the address it pushes to."""
    if len(segments) < 2 or view.method not in {"DELETE", "POST"}:
        return None
    name, version = decode_component(segments[-2]), decode_component(segments[-1])
    if ID.fullmatch(name) is None or VERSION.fullmatch(version) is None:
        return None
    if view.method == "POST" and (segments[-3:-2] != ["package"] or view.body_length != 0):
        return None
    action = "unpublish" if view.method == "DELETE" else "unyank"
    where = f"{_site(view, segments[:-2])}/{normalize_id(name)}"
    return NUGET.intent(action, where, {"version": normalize_version(version)})


def _site(view: RequestView, above: Sequence[str]) -> str:
    """Return the site with the feed's path, without the folders of its parts."""
    kept = [] if view.authority.host in _GALLERY else list(above)
    while kept and (kept[-1] in _FOLDERS or _REGISTRATION.fullmatch(kept[-1]) is not None):
        kept.pop()
    return join_site(read_site(view), kept)


def _read_files(view: RequestView, segments: Sequence[str]) -> Intent | None:
    """Read the flat container, registrations, loose files and the old OData feed."""
    return _read_container(view, segments) or _read_registration(view, segments) or _read_odata(view, segments)


def _intent(view: RequestView, above: Sequence[str], name: str, what: str, version: str | None = None) -> Intent:
    facts = {"what": what}
    if version is not None:
        facts["version"] = normalize_version(decode_component(version))
    return NUGET.intent("install", f"{_site(view, above)}/{normalize_id(decode_component(name))}", facts)


def _read_container(view: RequestView, segments: Sequence[str]) -> Intent | None:
    """Read `ID/index.json`, `ID/VERSION/ID.VERSION.nupkg` and what is beside it, and `packages/ID.VERSION.nupkg`."""
    *above, last = segments or [""]
    file = _FILE.fullmatch(decode_component(last))
    if len(above) > 1 and (
        (file is not None and file[1] == ".".join(decode_component(each) for each in above[-2:]))
        or last == f"{above[-2]}.nuspec"
        or above[-3:-2] == ["v3-flatcontainer"]
    ):
        return _intent(view, above[:-2], above[-2], "artifact" if file else "metadata", above[-1])
    if last == "index.json" and len(above) > 1 and (above[-2] in _PARTS or _REGISTRATION.fullmatch(above[-2])):
        return _intent(view, above[:-1], above[-1], "metadata")
    if file is None:
        return None
    named = split_file(file[1])
    if named is not None:
        return _intent(view, above, named[0], "artifact", named[1])
    return NUGET.intent("install", f"{_site(view, above)}/*", {"what": "artifact", "file": file[0]}, exact=False)


def split_file(stem: str) -> tuple[str, str] | None:
    """Cut `ID.VERSION`; None when there is not exactly one way to. A file's version has three numbers or four."""
    found = [
        (stem[: cut.start()], stem[cut.end() :])
        for cut in _DOT.finditer(stem)
        if _FULL_VERSION.fullmatch(stem[cut.end() :]) and ID.fullmatch(stem[: cut.start()])
    ]
    return found[0] if len(found) == 1 else None


def _read_registration(view: RequestView, segments: Sequence[str]) -> Intent | None:
    """Read `registration5-semver1/ID/VERSION.json` and `.../ID/page/LOW/HIGH.json`."""
    if not segments or not segments[-1].endswith(".json"):
        return None
    if segments[-3:-2] == ["page"] and len(segments) > 4 and _REGISTRATION.fullmatch(segments[-5]):
        return _intent(view, segments[:-4], segments[-4], "metadata")
    if len(segments) > 2 and _REGISTRATION.fullmatch(segments[-3]):
        return _intent(view, segments[:-2], segments[-2], "metadata", segments[-1].removesuffix(".json"))
    return None


def _read_odata(view: RequestView, segments: Sequence[str]) -> Intent | None:
    """Read `Packages(Id='ID',Version='VERSION')` and the functions of a V2 feed."""
    rest = list(segments[:-1] if segments[-1:] == ["$count"] else segments)
    if not rest or (view.authority.host in _GALLERY and rest[:-1] != ["api", "v2"]):
        return None
    last = decode_component(rest[-1])
    keyed = _KEYED.fullmatch(last)
    if keyed is not None:
        return _intent(view, rest[:-1], keyed[1], "metadata", keyed[2])
    if last not in _ODATA and not (last == "query" and rest[-2:-1] == ["v3"]):
        return None
    asked = [value for name, value in parse_pairs(view.query or "") if name.lower() == "id"]
    if last != "findpackagesbyid()":
        return NUGET.intent("search", _site(view, rest[:-1]), kind="registry")
    quoted = _QUOTED.fullmatch(asked[0]) if len(asked) == 1 else None
    if quoted is None:
        raise IntentError("the feed is asked for no one package")
    return _intent(view, rest[:-1], quoted[1], "metadata")


def _read_push(view: RequestView, site: str, action: str, *, is_symbols: bool) -> Intent | BodyWanted:
    boundary = read_boundary(view)
    facts = {"what": "symbols" if is_symbols else "package"}
    if view.body_length is not None and view.body_length > UPLOAD_LIMIT:
        return NUGET.intent(action, f"{site}/*", facts, exact=False)
    body = read_body(view, UPLOAD_LIMIT)
    if isinstance(body, BodyWanted):
        return body
    parts = read_parts(body, boundary)
    # nuget.org takes the first file, others the last, or the whole body.
    if len(parts) != 1 or parts[0].filename is None or parts[0].content is None:
        raise IntentError("a push has one file and nothing else")
    package = read_package(parts[0].content)
    facts |= {"version": package.version, "sha256": hashlib.sha256(parts[0].content).hexdigest()}
    return NUGET.intent(action, f"{site}/{package.id}", facts)
