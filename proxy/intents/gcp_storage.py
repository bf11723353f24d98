"""Cloud Storage: objects and buckets by its JSON and its XML API. Sources: Cloud Storage's references of both.

An object's id is `storage/BUCKET/OBJECT`, with the object's own slashes. Copies, rewrites and composed objects also
read their sources. A name in the query, in the path and in the metadata must be one name.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from proxy.intents.reading import (
    decode_component,
    media_type,
    member,
    read_body,
    read_object,
    read_query,
    single_header,
)
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, EffectClass, Intent, RequestView, Resource

_HOST: Final = "storage.googleapis.com"
_ENDINGS: Final = (f".{_HOST}", ".storage.mtls.googleapis.com")
_HOSTS: Final = frozenset({_HOST, "storage.mtls.googleapis.com", "storage.cloud.google.com", "www.googleapis.com"})
_READS: Final = frozenset({"GET", "HEAD"})
_LIMIT: Final = 1 << 20
_READ, _LIST, _WRITE, _DELETE = EffectClass.READ, EffectClass.LIST, EffectClass.WRITE, EffectClass.DELETE
_ADMIN, _CREDENTIAL, _UNKNOWN = EffectClass.ADMIN, EffectClass.CREDENTIAL, EffectClass.UNKNOWN
_BOUNDARY: Final = re.compile(
    r"""multipart/related[ ]?;[ ]?boundary=(?:"([0-9A-Za-z'()+_,./:=?-]{1,70})"|([0-9A-Za-z'+_.=-]{1,70}))""",
    re.IGNORECASE,
)
_OTHERS: Final = rb"(?:(?i:mime-version|content-transfer-encoding):[^\r\n]*\r?\n)*"
_PART: Final = re.compile(
    rb"(--[^\r\n]+\r?\n)" + _OTHERS + rb"(?i:content-type): ?application/json[^\r\n]*\r?\n" + _OTHERS + rb"\r?\n"
)
"""A first part that is JSON, up to its content; Google's Python and Java libraries end lines differently."""
_ACL_PARAMETERS: Final = frozenset({"predefinedacl", "predefineddefaultobjectacl", "destinationpredefinedacl"})
_XML_ADMIN: Final = frozenset(
    {"acl", "cors", "lifecycle", "logging", "versioning", "website", "billing", "encryption", "policy", "tagging"}
    | {"storageclass", "defaultobjectacl", "retention", "compose-acl", "location", "uniformbucketlevelaccess"}
)
"""Sub-resources of the XML API that are settings."""


def is_storage(host: str) -> bool:
    """Whether a host is Cloud Storage's; a bucket may stand in its name."""
    return host in _HOSTS or host.endswith(_ENDINGS)


def read_storage(view: RequestView) -> Intent | BodyWanted:
    """Read a request to either API. Raises IntentError."""
    path = view.path
    for prefix in ("/upload/storage/v1/b/", "/resumable/upload/storage/v1/b/"):
        if path.startswith(prefix):
            return _read_upload(view, path.removeprefix(prefix))
    for prefix in ("/storage/v1/", "/download/storage/v1/"):
        if path.startswith(prefix):
            return _read_json(view, path.removeprefix(prefix))
    if path.startswith("/batch"):  # may hold any request
        return _intent("unknown", _UNKNOWN, "")
    if view.authority.host == "www.googleapis.com":
        return _intent("unknown", _UNKNOWN, path.strip("/"))
    return _read_xml(view)


def _intent(action: str, effect: EffectClass, what: str, *, also: tuple[Intent, ...] = ()) -> Intent:
    return Intent(
        protocol="gcp",
        action=f"storage.{action}",
        resource=Resource(type="gcp-storage", id=f"storage/{what}".rstrip("/")),
        effect=effect,
        exact=effect is not _UNKNOWN,
        also=also,
    )


def _object(bucket: str, name: str) -> str:
    if not bucket or not name or any(each in {"", ".", ".."} for each in name.split("/")) or not name.isprintable():
        raise IntentError("the object has a name that a rule could not hold to")
    return f"{_bucket(bucket)}/{name}"


def _bucket(name: str) -> str:
    if not name or set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789-_.") or name in {".", ".."}:
        raise IntentError("the bucket has a name that none has")
    return name


def _acl(query: Mapping[str, str], what: str) -> tuple[Intent, ...]:
    """Return the change of access rights that rides on a write."""
    if any(name.lower() in _ACL_PARAMETERS for name in query):
        return (_intent("objects.setAcl", _ADMIN, what),)
    return ()


def _read_json(view: RequestView, rest: str) -> Intent | BodyWanted:  # noqa: PLR0911 - one for each shape a path has
    query = read_query(view)
    parts = [decode_component(part) for part in rest.rstrip("/").split("/")]
    match parts:
        case ["b"]:
            return (
                _intent("buckets.enumerate", _LIST, "")
                if view.method == "GET"
                else _intent("buckets.create", _ADMIN, "")
            )
        case ["b", bucket]:
            return _by_method(view, "buckets", _bucket(bucket), _ADMIN)
        case ["b", bucket, "o"] if view.method == "GET":
            return _intent("objects.enumerate", _LIST, _bucket(bucket))
        case ["b", bucket, "o", name]:
            found = _by_method(view, "objects", _object(bucket, name), _WRITE)
            changed = _acl(query, found.resource.id.removeprefix("storage/")) if view.method not in _READS else ()
            return (
                found
                if not changed
                else _intent(found.action.removeprefix("storage."), found.effect, _object(bucket, name), also=changed)
            )
        case ["b", bucket, "o", name, "compose"] if view.method == "POST":
            return _compose(view, bucket, name, query)
        case ["b", bucket, "o", name, ("copyTo" | "rewriteTo") as verb, "b", other, "o", target] if (
            view.method == "POST"
        ):
            source = _intent("objects.get", _READ, _object(bucket, name))
            what = _object(other, target)
            return _intent(
                f"objects.{'copy' if verb == 'copyTo' else 'rewrite'}", _WRITE, what, also=(source, *_acl(query, what))
            )
        case ["b", bucket, *_]:
            is_look = view.method in _READS
            return _intent(
                "settings.get" if is_look else "settings.change", _READ if is_look else _ADMIN, _bucket(bucket)
            )
        case ["projects", _, "hmacKeys", *_]:
            return _intent("hmacKeys", _CREDENTIAL, "")
    return _intent("unknown", _UNKNOWN, "")


def _by_method(view: RequestView, kind: str, what: str, write: EffectClass) -> Intent:
    """Read the plain methods of one thing. Deleting a bucket is a deletion, changing one an administrator's."""
    table = {
        "GET": (f"{kind}.get", _READ),
        "HEAD": (f"{kind}.get", _READ),
        "PUT": (f"{kind}.update", write),
        "PATCH": (f"{kind}.patch", write),
        "DELETE": (f"{kind}.remove", _DELETE),
    }
    action, effect = table.get(view.method, ("unknown", _UNKNOWN))
    return _intent(action, effect, what)


def _compose(view: RequestView, bucket: str, name: str, query: Mapping[str, str]) -> Intent | BodyWanted:
    body = read_body(view, _LIMIT)
    if isinstance(body, BodyWanted):
        return body
    sources = member(read_object(body), "sourceObjects")
    if not isinstance(sources, list) or not all(isinstance(each, dict) for each in sources):
        raise IntentError("the composition names no sources")
    names = [member(each, "name") for each in sources]
    if not all(isinstance(each, str) for each in names):
        raise IntentError("a source of the composition has no name")
    what = _object(bucket, name)
    reads = tuple(_intent("objects.get", _READ, _object(bucket, each)) for each in names)
    return _intent("objects.compose", _WRITE, what, also=(*reads, *_acl(query, what)))


def _read_upload(view: RequestView, rest: str) -> Intent | BodyWanted:  # noqa: PLR0911 - one for each shape a path has
    """Read an upload: its name stands in the query, or in the metadata that begins a session."""
    parts = [decode_component(part) for part in rest.rstrip("/").split("/")]
    if len(parts) not in {2, 3} or parts[1] != "o":
        return _intent("unknown", _UNKNOWN, "")
    query, bucket = read_query(view), _bucket(parts[0])
    if "upload_id" in query:  # a session that was begun, and decided on, before
        action = (
            "objects.upload" if view.method == "PUT" else "objects.cancel" if view.method == "DELETE" else "unknown"
        )
        return _intent(action, _WRITE if action != "unknown" else _UNKNOWN, bucket)
    named = query.get("name") or (parts[2] if len(parts) == 3 else None)
    kind = query.get("uploadType")
    if kind == "media" and named is not None:
        return _created(query, bucket, named)
    body: bytes | BodyWanted
    if kind == "multipart":
        body = _read_metadata(view)
    elif kind == "resumable" and media_type(view) in {"application/json", ""}:
        if view.body_length == 0:
            return _created(query, bucket, named or "")
        body = read_body(view, _LIMIT)
    else:
        raise IntentError("the upload is of no type that names its object")
    if isinstance(body, BodyWanted):
        return body
    told = read_object(body)
    inside = member(told, "name")
    if inside is not None and named is not None and inside != named:
        raise IntentError("the upload names two objects")
    found = _created(query, bucket, named or (inside if isinstance(inside, str) else ""))
    if member(told, "acl") is None or found.also:
        return found
    what = found.resource.id.removeprefix("storage/")
    return _intent("objects.create", _WRITE, what, also=(_intent("objects.setAcl", _ADMIN, what),))


def _read_metadata(view: RequestView) -> bytes | BodyWanted:
    """Return the first of the two parts of a `multipart/related` upload; the object itself is not read."""
    found = _BOUNDARY.fullmatch(single_header(view, "content-type").strip())
    if found is None:
        raise IntentError("the content type is not multipart/related with a plain boundary and nothing else")
    line = b"\n--" + (found[1] or found[2]).encode()
    prefix = read_body(view, _LIMIT, lambda data: line in data)
    if isinstance(prefix, BodyWanted):
        return prefix
    part = _PART.match(prefix)
    end = -1 if part is None else prefix.find(line, part.end() - 1)
    if part is None or end < 0 or part[1].rstrip(b"\r\n") != line[1:]:
        raise IntentError("the upload does not begin with its metadata")
    return prefix[part.end() : end].rstrip(b"\r")


def _created(query: Mapping[str, str], bucket: str, name: str) -> Intent:
    what = _object(bucket, name)
    return _intent("objects.create", _WRITE, what, also=_acl(query, what))


def _read_xml(view: RequestView) -> Intent:  # noqa: PLR0911 - one for each shape a path has
    """Read the XML API: bucket in the host or first in the path, settings as words of the query."""
    host = view.authority.host
    inside = next((host.removesuffix(ending) for ending in _ENDINGS if host.endswith(ending)), "")
    segments = [decode_component(part) for part in view.path[1:].split("/")]
    bucket, name = (inside, "/".join(segments)) if inside else (segments[0], "/".join(segments[1:]))
    words = {key.lower() for key, _ in parse_qsl(view.query or "", keep_blank_values=True)}
    headers = {key for key, _ in view.headers}
    if not bucket:
        return _intent("buckets.enumerate", _LIST, "") if view.method == "GET" else _intent("unknown", _UNKNOWN, "")
    what = _object(bucket, name) if name else _bucket(bucket)
    if words & _XML_ADMIN:
        is_look = view.method in _READS
        return _intent("settings.get" if is_look else "settings.change", _READ if is_look else _ADMIN, what)
    if not name:
        return {
            "GET": _intent("objects.enumerate", _LIST, what),
            "HEAD": _intent("buckets.get", _READ, what),
            "PUT": _intent("buckets.create", _ADMIN, what),
            "DELETE": _intent("buckets.remove", _DELETE, what),
        }.get(view.method, _intent("unknown", _UNKNOWN, what))
    also: tuple[Intent, ...] = ()
    for field in ("x-goog-copy-source", "x-amz-copy-source"):
        if field in headers:
            source, _, key = decode_component(single_header(view, field).removeprefix("/")).partition("/")
            also += (_intent("objects.get", _READ, _object(source, key)),)
    if headers & {"x-goog-acl", "x-amz-acl"}:
        also += (_intent("objects.setAcl", _ADMIN, what),)
    if view.method in _READS:
        return _intent("objects.get", _READ, what)
    if view.method == "DELETE":
        return _intent("objects.remove", _DELETE, what)
    if (
        view.method == "PUT"
        or (view.method == "POST" and words & {"uploads", "uploadid"})
        or "x-goog-resumable" in headers
    ):
        return _intent("objects.create", _WRITE, what, also=also)
    return _intent("unknown", _UNKNOWN, what)
