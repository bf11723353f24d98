"""PyPI and the indexes that follow it: installs (PEP 503, 658, 691, 740), uploads and trusted publishing's tokens.

An upload is `POST`ed as multipart/form-data with `:action=file_upload` (Warehouse's forklift; twine, uv, poetry, flit).
On Warehouse's own hosts it is read only as far as the file's headers, so that a wheel need not be held. Fields behind
the file change nothing there that is decided here: Warehouse takes the first `name` (WTForms' StringField), and checks
the file's name and metadata against it. Other indexes take the last one, so there the whole form is read.

A package's id has its normal name (PEP 503): `pypi.org/typing-extensions`.
"""

import hashlib
import re
from collections.abc import Sequence
from functools import partial
from typing import Final

from proxy.intents.multipart import Part, reaches, read_boundary, read_parts
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
from proxy.intents.reading import decode_component, media_type, read_body
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, Intent, RequestView

_FILES: Final = "files.pythonhosted.org"
PYPI: Final = Ecosystem(
    protocol="pypi",
    hosts=frozenset({"pypi.org", "upload.pypi.org", "test.pypi.org", "test-files.pythonhosted.org", _FILES}),
)
claims: Final = PYPI.claims
FORM_LIMIT: Final = 1024 * 1024
"""How far an upload to Warehouse is read for the file's headers: all metadata, the long description with it."""

_ROUTES: Final = compile_routes(
    {
        "GET /simple": "search",
        "GET /simple/{name}": "install",
        "GET /pypi/{name}/json": "install",
        "GET /pypi/{name}/{version}/json": "install",
        "GET /integrity/{name}/{version}/{file}/provenance": "audit",
        "GET /search": "search",
        "GET /_/oidc/audience": "ping",
        "POST /_/oidc/mint-token": "token.exchange",
        "POST /_/oidc/github/mint-token": "token.exchange",
        "POST /account/login": "login",
        "POST /legacy": "upload",
    }
)
_NAME: Final = re.compile(r"(?=.{1,128}\Z)[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_SEPARATORS: Final = re.compile(r"[-_.]+")
# PEP 440 in its many spellings, as old files have them; an upload's is without those that a file's name is cut at.
_VERSION: Final = re.compile(r"v?[0-9][A-Za-z0-9.!+_-]{0,127}")
_PLAIN_VERSION: Final = re.compile(r"[0-9][A-Za-z0-9.!+]{0,127}")
_STEM: Final = r"(?P<stem>[A-Za-z0-9][A-Za-z0-9._+!-]{0,250})"
_UPLOADED: Final = re.compile(rf"{_STEM}\.(?P<suffix>whl|egg|tar\.gz|zip|tar\.bz2|tgz)")
_FILE: Final = re.compile(
    rf"{_STEM}\.(?P<suffix>whl|egg|tar\.gz|zip|tar\.bz2|tgz|exe|rpm|deb|dmg|msi)(?:\.(?:metadata|asc|provenance))?"
)
_TAGGED: Final = frozenset({"whl", "egg"})
_UNCUT: Final = frozenset({"exe", "rpm", "deb", "dmg", "msi"})
_SHA256: Final = re.compile(r"[0-9A-Fa-f]{64}")
_ONCE: Final = frozenset({":action", "name", "version", "filetype", "sha256_digest", "protocol_version"})
_MARKERS: Final = frozenset({"packages", "files", "download", "+f"})


def decode(view: RequestView, spoken: frozenset[str]) -> Intent | BodyWanted | None:
    """Read a request to a Python package index; None when it is none. Raises IntentError."""
    if not claims(view.authority.host, spoken):
        return None
    refuse_override(view)
    return _decode_public(view) if PYPI.knows(view) else _decode_elsewhere(view)


def _decode_public(view: RequestView) -> Intent | BodyWanted | None:
    """Read a host that is nothing but Warehouse or its files."""
    site = read_site(view)
    segments = read_segments(view)
    if segments[:1] == ["packages"] and view.method in READS:
        return _read_file(site, segments[-1])
    route = _ROUTES.find(view.method, segments)
    if route is None:
        return PYPI.intent("unknown", site, kind="registry", exact=False)
    action, found = route
    if action == "upload":
        return _read_upload(view, site)
    if "name" not in found:
        return PYPI.intent(action, site, kind="registry")
    return _read_metadata(site, action, found)


def canonicalize(name: str) -> str:
    """Return a name's one spelling (PEP 503). Raises IntentError for what is no name."""
    return _SEPARATORS.sub("-", check_text(name, _NAME, "a Python package name")).lower()


def _read_metadata(site: str, action: str, found: dict[str, str]) -> Intent:
    facts = {} if action == "audit" else {"what": "metadata"}
    if "version" in found:
        facts["version"] = check_text(found["version"], _VERSION, "a version")
    return PYPI.intent(action, f"{site}/{canonicalize(found['name'])}", facts)


def _decode_elsewhere(view: RequestView) -> Intent | BodyWanted | None:
    """Read a host that may have other things too: an index below a path, or any form with `:action`."""
    segments = read_segments(view)
    if view.method == "POST" and media_type(view) == "multipart/form-data":
        base = segments[:-1] if segments[-1:] in (["legacy"], ["upload"], ["simple"]) else segments
        return _read_upload(view, join_site(read_site(view), base))
    if view.method not in READS:
        return None
    for at in range(max(0, len(segments) - 2), len(segments)):
        if segments[at] in {"simple", "+simple"}:
            site = join_site(read_site(view), segments[:at])
            if at == len(segments) - 1:
                return PYPI.intent("search", site, kind="registry")
            return _read_metadata(site, "install", {"name": decode_component(segments[-1])})
    begin = _find_json(segments)
    if begin is not None:
        found = dict(zip(("name", "version"), segments[begin + 1 : -1], strict=False))
        return _read_metadata(join_site(read_site(view), segments[:begin]), "install", found)
    begin = _find_files(segments)
    return None if begin is None else _read_file(join_site(read_site(view), segments[:begin]), segments[-1])


def _find_json(segments: Sequence[str]) -> int | None:
    """Return where `pypi/NAME/json` or `pypi/NAME/VERSION/json` begins."""
    if segments[-1:] != ["json"]:
        return None
    if segments[-4:-3] == ["pypi"] and _VERSION.fullmatch(segments[-2]) is not None:
        return len(segments) - 4
    return len(segments) - 3 if segments[-3:-2] == ["pypi"] else None


def _find_files(segments: Sequence[str]) -> int | None:
    """Return where the path of a distribution's file begins: at the last marker, or the first of several in a row."""
    if len(segments) < 2 or _FILE.fullmatch(segments[-1]) is None:
        return None
    at = max((at for at, segment in enumerate(segments[:-1]) if segment in _MARKERS), default=None)
    while at and segments[at - 1] in _MARKERS:
        at -= 1
    return at


def _read_file(site: str, segment: str) -> Intent:
    """Read a file's name. One that does not tell the package is a read of any."""
    file = decode_component(segment)
    found = _FILE.fullmatch(file)
    if found is None:
        raise IntentError(f"{file[:64]!r} is not a distribution's file name")
    named = _split_stem(found["stem"], found["suffix"])
    if named is None:
        return PYPI.intent("install", f"{site}/*", {"what": "artifact", "file": file}, exact=False)
    name, version = named
    return PYPI.intent("install", f"{site}/{name}", {"what": "artifact", "file": file, "version": version})


def _split_stem(stem: str, suffix: str) -> tuple[str, str] | None:
    """Cut a file's name into package and version (PEP 427, PEP 625); None when it could be cut in two ways."""
    if suffix in _TAGGED:
        name, _, rest = stem.partition("-")
        version = rest.partition("-")[0]
    else:
        name, _, version = stem.rpartition("-")
    if suffix in _UNCUT or _VERSION.fullmatch(version) is None:
        return None
    return None if _NAME.fullmatch(name) is None else (canonicalize(name), version)


def _read_upload(view: RequestView, site: str) -> Intent | BodyWanted | None:
    if view.query:
        raise IntentError("an upload has no query: its `:action` could stand there too")
    boundary = read_boundary(view)
    until = "content" if PYPI.knows(view) else None
    if until is None:
        body = read_body(view, UPLOAD_LIMIT)
    else:
        body = read_body(view, FORM_LIMIT, partial(reaches, boundary=boundary, name=until))
    if isinstance(body, BodyWanted):
        return body
    parts = read_parts(body, boundary, until)
    if until is None and not any(part.name == ":action" for part in parts):
        return None  # another ecosystem's form
    return _read_form(site, parts)


def _read_form(site: str, parts: Sequence[Part]) -> Intent:
    fields: dict[str, str] = {}
    for part in parts:
        if part.name in _ONCE:
            if part.name in fields:
                raise IntentError(f"the field {part.name} was sent twice")
            fields[part.name] = part.text
    files = [part for part in parts if part.name == "content"]
    if len(files) != 1 or files[0].filename is None:
        raise IntentError("an upload has exactly one file")
    if fields.get(":action") != "file_upload" or fields.get("protocol_version", "1") != "1":
        raise IntentError("the only form that an index takes is file_upload, in its version 1")
    name = canonicalize(fields.get("name", ""))
    version = check_text(fields.get("version", ""), _PLAIN_VERSION, "a plain version")
    filename = files[0].filename
    _check_filename(filename, name, version)
    facts = {"version": version, "file": filename}
    if "filetype" in fields:
        facts["filetype"] = check_text(fields["filetype"], _NAME, "a file type")
    if files[0].content is not None:
        facts["sha256"] = hashlib.sha256(files[0].content).hexdigest()
    elif "sha256_digest" in fields:
        # Warehouse compares it with what it stores.
        facts["sha256"] = check_text(fields["sha256_digest"], _SHA256, "a SHA-256 digest").lower()
    return PYPI.intent("publish", f"{site}/{name}", facts)


def _check_filename(filename: str, name: str, version: str) -> None:
    """Raise IntentError unless a file's name is that of the package and version: some indexes go by nothing else.

    Tags follow the version of a wheel or an egg only (PEP 427); an sdist's version is what follows the last hyphen.
    """
    found = _UPLOADED.fullmatch(filename)
    if found is None:
        raise IntentError("the file's name is not a distribution's")
    stem, suffix = found["stem"], found["suffix"]
    named, _, rest = stem.partition("-") if suffix in _TAGGED else stem.rpartition("-")
    if _SEPARATORS.sub("-", named).lower() != name or (rest.partition("-")[0]).lower() != version.lower():
        raise IntentError("the file's name is not that of the package and version")
