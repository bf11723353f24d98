"""Azure Blob storage, and Data Lake on the same objects. Source: Blob service REST API, "operations on blobs".

A blob's id is `ACCOUNT.blob/CONTAINER/BLOB`, whichever of the two hosts it is reached by. What an operation is stands
in `comp` and `restype` of the query; a copy is told by a header, and also reads where it copies from.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from proxy.intents.reading import decode_component, read_query
from proxy.model.errors import IntentError
from proxy.model.intent import EffectClass, Intent, RequestView, Resource

_READS: Final = frozenset({"GET", "HEAD"})
_COPY: Final = "x-ms-copy-source"
_RENAME: Final = "x-ms-rename-source"
_WRITES: Final = frozenset(
    {"block", "blocklist", "page", "appendblock", "metadata", "properties", "tags", "lease", "snapshot", "undelete"}
    | {
        "tier",
        "seal",
        "copy",
        "incrementalcopy",
        "expiry",
        "legalhold",
        "immutabilitypolicies",
        "query",
        "append",
        "flush",
    }
)
"""`comp` of what is done to a blob, and Data Lake's `action`."""
_SETTINGS: Final = frozenset({"acl", "properties", "stats", "metadata"})


def read_blob(view: RequestView) -> Intent:
    """Read a request to a storage account's blobs. Raises IntentError."""
    query = {name.lower(): value for name, value in read_query(view).items()}
    account = view.authority.host.partition(".")[0]
    parts = [decode_component(part) for part in view.path[1:].split("/")]
    if any(part in {".", ".."} or not part.isprintable() for part in parts) or "" in parts[:-1]:
        raise IntentError("the blob has a name that a rule could not hold to")
    container, name = parts[0], "/".join(parts[1:])
    facts = {"sas": "yes"} if "sig" in query else {}
    where = "/".join(part for part in (f"{account.removesuffix('-secondary')}.blob", container, name) if part)
    if query.get("restype") == "service" or not container:
        return _read_service(view, query, where, facts)
    if query.get("restype") in {"container", "filesystem"} or "resource" in query or not name:
        return _read_container(view, query, where, facts, is_file=query.get("resource") == "file" and bool(name))
    return _read_one(view, query, where, facts)


def _intent(
    action: str, effect: EffectClass, where: str, facts: Mapping[str, str], also: tuple[Intent, ...] = ()
) -> Intent:
    return Intent(
        protocol="azure",
        action=f"blob.{action}",
        resource=Resource(type="azure-blob", id=where),
        effect=effect,
        exact=effect is not EffectClass.UNKNOWN,
        facts=facts,
        also=also,
    )


def _read_service(view: RequestView, query: Mapping[str, str], where: str, facts: Mapping[str, str]) -> Intent:
    comp = query.get("comp", "")
    if comp == "userdelegationkey":
        return _intent("delegation-key", EffectClass.CREDENTIAL, where, facts)
    if view.method in _READS:
        return _intent("enumerate", EffectClass.LIST, where, facts)
    return _intent("settings.change", EffectClass.ADMIN, where, facts)


def _read_container(
    view: RequestView, query: Mapping[str, str], where: str, facts: Mapping[str, str], *, is_file: bool
) -> Intent:
    if is_file or (query.get("resource") == "directory" and where.count("/") > 1):
        renamed = _renamed(view)
        return _intent("put", EffectClass.WRITE if view.method == "PUT" else EffectClass.UNKNOWN, where, facts, renamed)
    comp = query.get("comp", "")
    if view.method in _READS:
        is_list = comp == "list" or query.get("resource") == "filesystem"
        return _intent(
            "enumerate" if is_list else "container.get", EffectClass.LIST if is_list else EffectClass.READ, where, facts
        )
    if view.method == "DELETE":
        return _intent("container.remove", EffectClass.DELETE, where, facts)
    return _intent("container.change" if comp in _SETTINGS else "container.put", EffectClass.ADMIN, where, facts)


def _read_one(view: RequestView, query: Mapping[str, str], where: str, facts: Mapping[str, str]) -> Intent:
    comp = query.get("comp", query.get("action", "")).lower()
    if comp in {"setaccesscontrol", "setaccesscontrolrecursive", "acl"} and view.method not in _READS:
        return _intent("acl.change", EffectClass.ADMIN, where, facts)
    if view.method in _READS:
        return _intent("get", EffectClass.READ, where, facts)
    if view.method == "DELETE":
        return _intent("remove", EffectClass.DELETE, where, facts)
    if comp == "query" and view.method == "POST":
        return _intent("query", EffectClass.READ, where, facts)
    if view.method in {"PUT", "PATCH"} and (not comp or comp in _WRITES):
        return _intent(
            f"put.{comp}" if comp else "put", EffectClass.WRITE, where, facts, (*_copied(view), *_renamed(view))
        )
    return _intent("unknown", EffectClass.UNKNOWN, where, facts)


def _copied(view: RequestView) -> tuple[Intent, ...]:
    """Return the read of what a copy comes from: a blob of this or another account, or any URL at all."""
    source = view.header(_COPY)
    if source is None:
        return ()
    told = urlsplit(source)
    host = (told.hostname or view.authority.host).lower()
    account, kind, *_ = (*host.split("."), "", "")
    place = f"{account}.blob" if kind in {"blob", "dfs"} else host
    return (_intent("get", EffectClass.READ, f"{place}{_plain(told.path)}", {}),)


def _renamed(view: RequestView) -> tuple[Intent, ...]:
    """Return the removal of what a Data Lake rename takes away."""
    source = view.header(_RENAME)
    if source is None:
        return ()
    account = view.authority.host.partition(".")[0]
    return (_intent("remove", EffectClass.DELETE, f"{account}.blob{_plain(source.partition('?')[0])}", {}),)


def _plain(path: str) -> str:
    decoded = decode_component(path)
    if not decoded.startswith("/") or {"", ".", ".."} & set(decoded[1:].split("/")):
        raise IntentError("the source of the copy is not a plain path")
    return decoded
