"""Maven repositories: what a path of the layout names, and Maven Central's publisher API.

A file stands at `GROUP/ARTIFACT/VERSION/ARTIFACT-VERSION[-CLASSIFIER].EXT` with its signature and checksums beside it,
`maven-metadata.xml` beside the versions (Maven's "Repository Layout", "Repository Metadata"). Reading and deploying
differ by the method only. Where a repository ends and a group begins cannot be seen on a host of one's own, so an id
is the path as it stands, up to the artifact: `repo1.maven.org/maven2/org/slf4j/slf4j-api`.
"""

import re
from collections.abc import Sequence
from typing import Final

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
from proxy.intents.reading import decode_component, read_query
from proxy.model.errors import IntentError
from proxy.model.intent import Intent, RequestView

_CENTRAL: Final = "central.sonatype.com"
_ANY: Final = "*"
_PREFIXES: Final = {
    "repo1.maven.org": ("maven2",),
    "repo.maven.apache.org": ("maven2",),
    "plugins.gradle.org": ("m2",),
    _CENTRAL: ("repository", "maven-snapshots"),
    "maven.pkg.github.com": (_ANY, _ANY),  # owner and repository
}
"""Where a public host's repository stands; `*` is any one segment."""
MAVEN: Final = Ecosystem(protocol="maven", hosts=frozenset(_PREFIXES))

# Publishing By Using the Portal Publisher API (central.sonatype.org) and its OpenAPI document.
_PORTAL: Final = compile_routes(
    {
        "POST /api/v1/publisher/upload": "upload",
        "POST /api/v1/publisher/status": "stage.get",
        "GET /api/v1/publisher/published": "stage.get",
        "POST /api/v1/publisher/deployment/{id}": "stage.approve",
        "DELETE /api/v1/publisher/deployment/{id}": "stage.reject",
        "POST /api/v1/publisher/deployments/files": "stage.list",
    }
)
claims: Final = MAVEN.claims
_UPLOADS: Final = {"USER_MANAGED": "stage.publish", "AUTOMATIC": "publish"}
_ACTIONS: Final = {"GET": "install", "HEAD": "install", "PUT": "publish", "DELETE": "unpublish"}

_GROUP: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_SEGMENT: Final = re.compile(r"(?!\.)[A-Za-z0-9._+~-]{1,255}")
_ABOVE: Final = re.compile(r"(?!\.)[A-Za-z0-9._+~ -]{1,255}")
"""A segment that may be the path of a repository: Azure's project names have spaces, escaped in ids as everywhere."""
_METADATA: Final = re.compile(r"maven-metadata\.xml(?:\.(?:md5|sha1|sha256|sha512))?")
# What follows `ARTIFACT-VERSION`: a classifier, an extension (`tar.gz`), a signature and checksums.
_TAIL: Final = re.compile(r"(?:-[A-Za-z0-9_.+-]+)?(?:\.[A-Za-z0-9_-]+)+")
_STAMP: Final = re.compile(r"[0-9]{8}\.[0-9]{6}-[0-9]+")
_SUMS: Final = (".md5", ".sha1", ".sha256", ".sha512")
_SIGNATURES: Final = (".asc", ".sigstore", ".sigstore.json")
_EXPLODE: Final = frozenset({"x-explode-archive", "x-explode-archive-atomic"})


def decode(view: RequestView, spoken: frozenset[str]) -> Intent | None:
    """Read a request to a Maven repository; None when it is none. Raises IntentError."""
    if not claims(view.authority.host, spoken):
        return None
    refuse_override(view)
    raw = read_segments(view)
    segments = [decode_component(segment) for segment in raw]
    if not MAVEN.knows(view):
        return _decode_elsewhere(view, segments)
    if _has_prefix(view, segments):
        return _decode_public(view, segments)
    route = _PORTAL.find(view.method, raw) if view.authority.host == _CENTRAL else None
    if route is None:
        return MAVEN.intent("unknown", read_site(view), kind="registry", exact=False)
    return _decode_portal(view, *route)


def _has_prefix(view: RequestView, segments: Sequence[str]) -> bool:
    prefix = _PREFIXES[view.authority.host]
    if len(segments) < len(prefix):
        return False
    return all(expected in {_ANY, segment} for expected, segment in zip(prefix, segments, strict=False))


def _decode_public(view: RequestView, segments: Sequence[str]) -> Intent:
    begin = len(_PREFIXES[view.authority.host])
    named = _read_layout(segments, begin)
    if named is None:
        # Directories, catalogues and indexes: what a repository lists, and nothing one can deploy.
        action = "search" if view.method in READS else "unknown"
        return MAVEN.intent(action, join_site(read_site(view), segments[:begin]), kind="registry", exact=False)
    end, facts = named
    for segment in segments[begin : end - 1]:
        check_text(segment, _GROUP, "a part of a group's name")
    return _answer(view, segments, end, facts)


def _decode_elsewhere(view: RequestView, segments: Sequence[str]) -> Intent | None:
    named = _read_layout(segments, 0) if view.method in _ACTIONS else None
    return None if named is None else _answer(view, segments, *named)


def _answer(view: RequestView, segments: Sequence[str], end: int, facts: dict[str, str]) -> Intent:
    if view.method not in READS and any(name in _EXPLODE for name, _ in view.headers):
        raise IntentError("an archive that the repository unpacks deploys what cannot be seen here")
    for segment in segments[: end - 1]:
        check_text(segment, _ABOVE, "a part of a Maven path")
    for text in (segments[end - 1], *facts.values()):
        check_text(text, _SEGMENT, "an artifact, version or file of a Maven repository")
    action = _ACTIONS.get(view.method, "unknown")
    where = "/".join((read_site(view), *segments[:end])).replace(" ", "%20")
    return MAVEN.intent(action, where, facts, exact=action != "unknown")


def _read_layout(segments: Sequence[str], begin: int) -> tuple[int, dict[str, str]] | None:
    """Return how many segments name the artifact, and the facts of the file; None for what is not in the layout."""
    if len(segments) - begin < 3:
        return None
    version, file = segments[-2], segments[-1]
    if _METADATA.fullmatch(file) is not None:
        facts = {"what": "metadata", "file": file}
        if not version.endswith("-SNAPSHOT"):
            return len(segments) - 1, facts
        return len(segments) - 2, {**facts, "version": version}
    if len(segments) - begin < 4 or not file.startswith(f"{segments[-3]}-"):
        return None
    tail = _cut_version(file.removeprefix(f"{segments[-3]}-"), version)
    if tail is None or _TAIL.fullmatch(tail) is None:
        return None
    return len(segments) - 2, {"what": _read_kind(tail), "file": file, "version": version}


def _cut_version(rest: str, version: str) -> str | None:
    """Return what follows the version in a file's name. A snapshot's file may bear the time it was built instead."""
    if rest.startswith(version):
        return rest.removeprefix(version)
    base = version.removesuffix("SNAPSHOT")
    if base == version or not rest.startswith(base):
        return None
    stamp = _STAMP.match(rest, len(base))
    return None if stamp is None else rest[stamp.end() :]


def _read_kind(tail: str) -> str:
    if tail.endswith(_SUMS):
        return "checksum"
    if tail.endswith(_SIGNATURES):
        return "signature"
    return "metadata" if tail in {".pom", ".module"} else "artifact"


def _decode_portal(view: RequestView, action: str, found: dict[str, str]) -> Intent:
    """Read Central's publisher API. A bundle's artifacts stand in a zip, so a publish is one of any."""
    site = read_site(view)
    query = read_query(view)
    if action == "upload":
        kind = query.get("publishingType", "USER_MANAGED")
        if kind not in _UPLOADS:
            raise IntentError("a deployment is published AUTOMATIC or USER_MANAGED")
        facts = {"name": query["name"][:128]} if "name" in query else {}
        return MAVEN.intent(_UPLOADS[kind], f"{site}/*", facts, exact=False)
    if "id" in found:
        deployment = check_text(found["id"], _SEGMENT, "a deployment's id")
        return MAVEN.intent(action, f"{site}/*", {"deployment": deployment}, exact=False)
    return MAVEN.intent(action, site, kind="registry")
