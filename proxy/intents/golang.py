"""Go: module proxies and checksum databases (Go Modules Reference, "GOPROXY protocol" and "Checksum database").

A path is `BASE/MODULE/@v/VERSION.zip` and the like; capitals are written `!x` in it, and are capitals in the id:
`proxy.golang.org/github.com/Azure/go-autorest`. Go publishes by a git tag; only private proxies take uploads.
"""

import re
from collections.abc import Sequence
from typing import Final

from proxy.intents.packages import READS, Ecosystem, check_text, join_site, read_segments, read_site, refuse_override
from proxy.intents.reading import decode_component
from proxy.model.errors import IntentError
from proxy.model.intent import Intent, RequestView

_SUMS: Final = "sum.golang.org"
GO: Final = Ecosystem(protocol="go", hosts=frozenset({"proxy.golang.org", _SUMS}))
claims: Final = GO.claims

_ACTIONS: Final = {"PUT": "publish", "POST": "publish", "DELETE": "unpublish"}
# golang.org/x/mod/module: CheckPath. The first element is a domain with a dot, in lower case as it stands.
_DOMAIN: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z](?:[a-z0-9-]*[a-z0-9])?")
_ELEMENT: Final = re.compile(r"(?!\.)[A-Za-z0-9._~-]{1,128}(?<!\.)")
_VERSION: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+~-]{0,255}")
_ESCAPED: Final = re.compile(r"!([a-z])")
_CAPITAL: Final = re.compile(r"[A-Z]|!(?![a-z])")
_TILE: Final = re.compile(r"tile/[0-9]{1,2}/(?:[0-9]{1,2}|data)/(?:x[0-9]{3}/){0,6}[0-9]{3}(?:\.p/[0-9]{1,3})?")
_KINDS: Final = {"info": "metadata", "mod": "metadata", "zip": "artifact"}


def decode(view: RequestView, spoken: frozenset[str]) -> Intent | None:
    """Read a request to a module proxy or a checksum database; None when it is none. Raises IntentError."""
    if not claims(view.authority.host, spoken):
        return None
    refuse_override(view)
    segments = read_segments(view)
    found = _read_module(view, segments) or _read_sums(view, segments)
    if found is not None:
        return found
    if GO.knows(view):
        return GO.intent("unknown", read_site(view), kind="registry", exact=False)
    if view.method in _ACTIONS and segments[-2:] == ["go", "upload"]:
        # Gitea: the body is a module's zip, whose name stands in its directory at the end.
        return GO.intent("publish", f"{join_site(read_site(view), segments[:-2])}/*", exact=False)
    return None


def _read_module(view: RequestView, segments: Sequence[str]) -> Intent | None:
    """Read `MODULE/@v/FILE` and `MODULE/@latest`."""
    if segments[-1:] == ["@latest"]:
        path, facts = segments[:-1], {"what": "metadata"}
    elif segments[-2:-1] == ["@v"]:
        path, facts = segments[:-2], _read_file(segments[-1])
    else:
        return None
    site, module = _split_module(view, path)
    if view.method in READS:
        return GO.intent("install", f"{site}/{module}", facts)
    action = None if GO.knows(view) else _ACTIONS.get(view.method)
    if action is None:
        return GO.intent("unknown", f"{site}/{module}", exact=False)
    return GO.intent(action, f"{site}/{module}", {key: facts[key] for key in facts if key == "version"})


def _read_file(segment: str) -> dict[str, str]:
    if segment == "list":
        return {"what": "metadata"}
    version, _, suffix = segment.rpartition(".")
    if suffix not in _KINDS:
        raise IntentError(f"{segment[:64]!r} is none of a module's files")
    return {"what": _KINDS[suffix], "version": check_text(_unescape(version), _VERSION, "a version")}


def _split_module(view: RequestView, path: Sequence[str]) -> tuple[str, str]:
    """Return the site with the proxy's base path, and the module's path, which begins with the first domain."""
    if GO.knows(view):
        # proxy.golang.org/cached-only answers with what it has.
        begin = 1 if path[:1] == ["cached-only"] else 0
    else:
        begin = next((at for at, segment in enumerate(path) if _DOMAIN.fullmatch(segment)), len(path))
    return join_site(read_site(view), path[:begin] if not GO.knows(view) else ()), _read_path(path[begin:])


def _read_path(segments: Sequence[str]) -> str:
    elements = [_unescape(segment) for segment in segments]
    if not elements:
        raise IntentError("the path names no module")
    check_text(elements[0], _DOMAIN, "the domain that a module begins with")
    for element in elements[1:]:
        check_text(element, _ELEMENT, "an element of a module's path")
    return "/".join(elements)


def _unescape(segment: str) -> str:
    """Write `!x` as `X` (module.UnescapePath). Raises IntentError for a capital that is not escaped."""
    text = decode_component(segment)
    if _CAPITAL.search(text) is not None:
        raise IntentError("a capital of a module's path or version is not written as `!x`")
    return _ESCAPED.sub(lambda found: found[1].upper(), text)


def _read_sums(view: RequestView, segments: Sequence[str]) -> Intent | None:
    """Read a checksum database, on its own host or through a proxy as `BASE/sumdb/NAME`."""
    if view.method not in READS:
        return None
    if view.authority.host == _SUMS:
        site, rest = read_site(view), segments
    elif "sumdb" in segments[:-2]:
        at = segments.index("sumdb")
        check_text(segments[at + 1], _DOMAIN, "a checksum database's name")
        site, rest = join_site(read_site(view), segments[:at]), segments[at + 2 :]
    else:
        return None
    if rest[:1] == ["lookup"] and len(rest) > 1:
        last, _, version = rest[-1].rpartition("@")
        module = _read_path([*rest[1:-1], last])
        return GO.intent(
            "audit", f"{site}/{module}", {"version": check_text(_unescape(version), _VERSION, "a version")}
        )
    if rest in (["latest"], ["supported"]) or _TILE.fullmatch("/".join(rest)) is not None:
        return GO.intent("audit", site, kind="registry")
    return None
