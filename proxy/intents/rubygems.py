"""RubyGems: rubygems.org and the servers that follow it (guides.rubygems.org, "RubyGems.org API"; its Rails routes).

A publish is `POST /api/v1/gems` with a gem as the body, or, with attestations, as a part of a form. The name is in the
gem and nowhere else. On RubyGems.org, which refuses a gem with two metadata, a long gem is read only that far;
everywhere else the whole of it is.

These servers are Rack applications: they mix the query with the form, take `.json` at the end of a path for a format,
and find a form's `_method` in any POST that says it is one. A gem's name keeps its case in the id.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Final

from proxy.intents.multipart import read_boundary, read_parts
from proxy.intents.packages import (
    READS,
    UPLOAD_LIMIT,
    Ecosystem,
    check_text,
    compile_routes,
    join_site,
    read_site,
    refuse_override,
)
from proxy.intents.rack import is_form
from proxy.intents.reading import decode_component, media_type, parse_pairs, read_body
from proxy.intents.routes import cut_path
from proxy.intents.rubygems_package import (
    NAME,
    PLATFORM,
    PREFIX_LIMIT,
    VERSION,
    Specification,
    is_enough,
    read_prefix,
    read_whole,
)
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, Intent, RequestView

GEM: Final = Ecosystem(protocol="gem", hosts=frozenset({"rubygems.org", "www.rubygems.org", "index.rubygems.org"}))
HELD_LIMIT: Final = 4 * 1024 * 1024
"""The longest gem that is held whole for RubyGems.org, for its digest."""
_FORM_LIMIT: Final = 16 * 1024

_ROUTES: Final = compile_routes(
    {
        "GET /gems": "search",
        "POST /gems": "publish",
        "DELETE /gems/yank": "yank",
        "PUT /gems/unyank": "unyank",
        "GET /gems/{name}": "install",
        "GET /gems/{name}/reverse_dependencies": "install",
        "GET /gems/{name}/owners": "owner.list",
        "POST /gems/{name}/owners": "owner.add",
        "PUT /gems/{name}/owners": "owner.set",
        "PATCH /gems/{name}/owners": "owner.set",
        "DELETE /gems/{name}/owners": "owner.remove",
        "GET /gems/{name}/trusted_publishers": "trust.list",
        "GET /gems/{name}/trusted_publishers/{id}": "trust.list",
        "POST /gems/{name}/trusted_publishers": "trust.create",
        "DELETE /gems/{name}/trusted_publishers/{id}": "trust.revoke",
        "GET /versions/{name}": "install",
        "GET /versions/{name}/latest": "install",
        "GET /versions/{name}/reverse_dependencies": "install",
        "GET /versions/{file}/downloads": "search",
        "GET /versions/{file}/downloads/search": "search",
        "GET /downloads": "search",
        "GET /downloads/top": "search",
        "GET /downloads/all": "search",
        "GET /downloads/{file}": "search",
        "GET /dependencies": "dependencies",
        "GET /search": "search",
        "GET /search/autocomplete": "search",
        "GET /activity/latest": "search",
        "GET /activity/just_updated": "search",
        "GET /timeframe_versions": "search",
        "GET /attestations/{file}": "audit",
        "GET /owners/{handle}/gems": "search",
        "GET /profiles/{handle}": "profile.get",
        "GET /profile/me": "login",
        "GET /multifactor_auth": "profile.get",
        "GET /api_key": "token.create",
        "POST /api_key": "token.create",
        "PUT /api_key": "token.create",
        "PATCH /api_key": "token.create",
        "PUT /api_key/reset": "token.create",
        "POST /api_key/revoke": "token.revoke",
        "POST /webauthn_verification": "login",
        "GET /webauthn_verification/{id}/status": "login",
        "GET /web_hooks": "hook.list",
        "POST /web_hooks": "hook.set",
        "POST /web_hooks/fire": "hook.set",
        "DELETE /web_hooks/remove": "hook.remove",
        "POST /oidc/trusted_publisher/exchange_token": "token.exchange",
        "POST /oidc/api_key_roles/{id}/assume_role": "token.exchange",
        "GET /oidc/api_key_roles": "token.list",
        "GET /oidc/api_key_roles/{id}": "token.list",
        "GET /oidc/id_tokens": "token.list",
        "GET /oidc/id_tokens/{id}": "token.list",
        "GET /oidc/providers": "trust.list",
        "GET /oidc/providers/{id}": "trust.list",
    }
)
claims: Final = GEM.claims
"""Below `/api/v1`. The old `GET /api_key` makes a key where there is none yet; a fired hook calls any address."""
_BY_FORM: Final = frozenset({"yank", "unyank", "hook.set", "hook.remove"})
"""Actions whose gem a parameter names, not the path."""

_INDEXES: Final = re.compile(
    r"(?:(?:latest_|prerelease_)?specs\.4\.8|Marshal\.4\.8|yaml)(?:\.gz|\.Z)?|names|versions(?:\.list)?"
)
_FORMAT: Final = re.compile(r"\.(?:json|ya?ml|xml|marshal|html|js|txt|sha256)\Z")
_FILE_SUFFIXES: Final = (".gemspec.rz", ".gem")
_STEM: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
_NUMBER: Final = re.compile(r"-(?=[0-9])")
_PARAMETER: Final = re.compile(r"[a-z][a-z_]*")


def decode(view: RequestView, spoken: frozenset[str]) -> Intent | BodyWanted | None:
    """Read a request to a gem server; None when it is none. Raises IntentError."""
    if not claims(view.authority.host, spoken):
        return None
    refuse_override(view)
    segments = cut_path(view.path)
    api = _find_api(segments)
    if api is not None and (api == 0 or not GEM.knows(view)):
        found = _decode_api(view, segments[:api], segments[api + 2 :])
        if found is not None:
            return found
    found = _read_index(view, segments) if view.method in READS else _read_file_change(view, segments)
    if found is not None or not GEM.knows(view):
        return found
    return GEM.intent("unknown", read_site(view), kind="registry", exact=False)


def _find_api(segments: Sequence[str]) -> int | None:
    """Return where the last `api/v1` is: the registry may itself stand below another."""
    for at in range(len(segments) - 2, -1, -1):
        if segments[at] == "api" and segments[at + 1] == "v1":
            return at
    return None


def _read_index(view: RequestView, segments: Sequence[str]) -> Intent | None:
    """Read the compact index, the old indexes, and a gem's files."""
    if not segments:
        return None
    last = segments[-1]
    if _INDEXES.fullmatch(last) is not None:
        site = _site(view, segments[:-1])
        return None if site is None else GEM.intent("install", site, {"what": "metadata"}, kind="registry")
    if segments[-2:-1] == ["info"]:
        site = _site(view, segments[:-2])
        return None if site is None else GEM.intent("install", _name(site, last), {"what": "metadata"})
    if last.endswith(_FILE_SUFFIXES):
        above = segments[:-1]
        for folder in ("gems", "downloads", "Marshal.4.8", "quick"):
            above = above[:-1] if above[-1:] == [folder] else above
        site = _site(view, above)
        return None if site is None else _read_file(site, decode_component(last))
    if GEM.knows(view) and len(segments) in {6, 7} and segments[:3] == ["api", "v2", "rubygems"]:
        return _read_v2(read_site(view), segments[3:])
    return None


def _read_v2(site: str, rest: Sequence[str]) -> Intent | None:
    """Read `NAME/versions/VERSION` and `NAME/versions/VERSION/contents`, each with a format or without."""
    parts = [*rest[:-1], _FORMAT.sub("", rest[-1])]
    if parts[1] != "versions" or parts[3:] not in ([], ["contents"]):
        return None
    facts = {"what": "metadata", "version": check_text(decode_component(parts[2]), VERSION, "a gem's version")}
    return GEM.intent("install", _name(site, parts[0]), facts)


def _site(view: RequestView, above: Sequence[str]) -> str | None:
    """Return the site with the path above; None where a public host has nothing below that path."""
    if above and GEM.knows(view):
        return None
    return join_site(read_site(view), above)


def _name(site: str, segment: str) -> str:
    return f"{site}/{check_text(decode_component(segment), NAME, "a gem's name")}"


def _read_file(site: str, file: str) -> Intent:
    """Read `NAME-VERSION[-PLATFORM].gem`. One that could be cut in two ways is a read of any gem."""
    named = split_file(file)
    if named is None:
        return GEM.intent("install", f"{site}/*", {"what": "artifact", "file": file}, exact=False)
    what = "artifact" if file.endswith(".gem") else "metadata"
    return GEM.intent("install", f"{site}/{named.name}", {"what": what, **_facts(named)})


def _facts(named: Specification) -> dict[str, str]:
    facts = {"version": named.version}
    if named.platform not in {"", "ruby"}:
        facts["platform"] = named.platform
    return facts


def split_file(file: str) -> Specification | None:
    """Cut a file's name into name, version and platform; None when there is not exactly one way to.

    Raises IntentError for what is no gem's file.
    """
    suffix = next((suffix for suffix in _FILE_SUFFIXES if file.endswith(suffix)), "")
    stem = check_text(file.removesuffix(suffix), _STEM, "a gem's file name")
    found = []
    for cut in _NUMBER.finditer(stem):
        version, _, platform = stem[cut.end() :].partition("-")
        if VERSION.fullmatch(version) is None or NAME.fullmatch(stem[: cut.start()]) is None:
            continue
        # No platform begins with a digit; whatever begins with a letter may be one.
        if not platform or platform[0].isalpha():
            found.append(Specification(name=stem[: cut.start()], version=version, platform=platform))
    return found[0] if len(found) == 1 else None


def _decode_api(view: RequestView, above: Sequence[str], rest: Sequence[str]) -> Intent | BodyWanted | None:
    site = join_site(read_site(view), above)
    plain = [*rest[:-1], _FORMAT.sub("", rest[-1])] if rest else []
    route = _ROUTES.find(view.method, plain)
    if route is None:
        if GEM.knows(view) or plain[:1] == ["gems"]:
            return GEM.intent("unknown", site, kind="registry", exact=False)
        return None
    action, found = route
    if action in {"publish", "dependencies"}:
        return _read_push(view, site, None) if action == "publish" else _read_dependencies(view, site)
    named = _read_parameters(view, site, action)
    if named is not None or "name" not in found:
        return named or GEM.intent(action, site, kind="registry")
    return GEM.intent(action, _name(site, found["name"]), {"what": "metadata"} if action == "install" else {})


def _read_parameters(view: RequestView, site: str, action: str) -> Intent | BodyWanted | None:
    """Read the form where it names the gem, or may change the method; None where the path says everything."""
    if action not in _BY_FORM and not is_form(view):
        return None
    parameters = parse_parameters(view)
    if isinstance(parameters, BodyWanted):
        return parameters
    if action not in _BY_FORM:
        return None
    name = parameters.get("gem_name", parameters.get("rubygem_name"))
    if action.startswith("hook.") and name in {None, "*"}:
        return GEM.intent(action, site, kind="registry")
    if name is None:
        raise IntentError("the request names no gem")
    where = f"{site}/{check_text(name, NAME, "a gem's name")}"
    if action.startswith("hook."):
        return GEM.intent(action, where)
    facts = {"version": check_text(parameters.get("version", ""), VERSION, "a gem's version")}
    if parameters.get("platform"):
        facts["platform"] = check_text(parameters["platform"], PLATFORM, "a gem's platform")
    return GEM.intent(action, where, facts)


def parse_parameters(view: RequestView) -> Mapping[str, str] | BodyWanted:
    """Return what Rails finds in query and form together. Raises IntentError where it could find it elsewhere."""
    form = b""
    if view.body_length != 0:
        if media_type(view) != "application/x-www-form-urlencoded":
            raise IntentError("the parameters must be sent as a urlencoded form")
        body = read_body(view, _FORM_LIMIT)
        if isinstance(body, BodyWanted):
            return body
        form = body
    try:
        pairs = [*parse_pairs(view.query or ""), *parse_pairs(form.decode("ascii"))]
    except UnicodeDecodeError:
        raise IntentError("the form is not percent-encoded") from None
    found = dict(pairs)
    # Rack also cuts at `;`, drops what is around brackets, and nests names.
    if any(_PARAMETER.fullmatch(name) is None for name in found) or b";" in form or ";" in (view.query or ""):
        raise IntentError("a parameter has an unusual name or separator")
    if len(found) != len(pairs) or {"gem_name", "rubygem_name"} <= found.keys():
        raise IntentError("a parameter was sent twice")
    return found


def _read_dependencies(view: RequestView, site: str) -> Intent:
    """Read `?gems=A,B`: a read of each."""
    asked = [value for name, value in parse_pairs(view.query or "") if name == "gems"]
    names = [name for name in ",".join(asked).split(",") if name]
    if not names:
        return GEM.intent("install", site, {"what": "metadata"}, kind="registry")
    reads = [
        GEM.intent("install", f"{site}/{check_text(name, NAME, "a gem's name")}", {"what": "metadata"})
        for name in dict.fromkeys(names)
    ]
    first = names[0]
    return GEM.intent("install", f"{site}/{first}", {"what": "metadata"}, also=tuple(reads[1:]))


def _read_file_change(view: RequestView, segments: Sequence[str]) -> Intent | BodyWanted | None:
    """Read what some repositories take instead of the API: `PUT` or `DELETE` of `gems/FILE.gem`."""
    if GEM.knows(view) or not segments or not segments[-1].endswith(".gem"):
        return None
    file = decode_component(segments[-1])
    site = join_site(read_site(view), segments[:-2] if segments[-2:-1] == ["gems"] else segments[:-1])
    if view.method == "DELETE":
        named = split_file(file)
        if named is None:
            return GEM.intent("yank", f"{site}/*", {"file": file}, exact=False)
        return GEM.intent("yank", f"{site}/{named.name}", _facts(named))
    if view.method == "PUT":
        return _read_push(view, site, file)
    return GEM.intent("unknown", site, kind="registry", exact=False)


def _read_push(view: RequestView, site: str, file: str | None) -> Intent | BodyWanted:
    """Read the gem itself. `file` is the name it must have."""
    if view.query:
        raise IntentError("a push has no query: the gem could be a parameter there")
    content = media_type(view)
    is_split = content.startswith("multipart/")
    if not is_split and content != "application/octet-stream":
        raise IntentError("a gem must be sent as application/octet-stream")
    is_short = view.body_length is not None and view.body_length <= HELD_LIMIT
    is_whole = is_split or is_short or not GEM.knows(view)
    body = read_body(view, UPLOAD_LIMIT) if is_whole else read_body(view, PREFIX_LIMIT, is_enough)
    if isinstance(body, BodyWanted):
        return body
    gem = _read_part(view, body) if is_split else body
    named = read_whole(gem) if is_whole else read_prefix(gem)
    platform = "" if named.platform == "ruby" else named.platform
    if file is not None and file != f"{named.name}-{named.version}{'-' if platform else ''}{platform}.gem":
        raise IntentError("the file's name is not that of the gem in it")
    facts = _facts(named)
    if is_whole:
        facts["sha256"] = hashlib.sha256(gem).hexdigest()
    return GEM.intent("publish", f"{site}/{named.name}", facts)


def _read_part(view: RequestView, body: bytes) -> bytes:
    """Return the gem of a form that `gem push --attestation` sends."""
    found = read_parts(body, read_boundary(view))
    parts = {part.name: part for part in found}
    if len(parts) != len(found) or not {"gem"} <= parts.keys() <= {"gem", "attestations"}:
        raise IntentError("a push's form has one gem, its attestations, and nothing else")
    gem = parts["gem"]
    if gem.filename is None or gem.content is None:
        raise IntentError("the gem is not sent as a file")
    return gem.content
