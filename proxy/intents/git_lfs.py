"""Git LFS: which objects are asked for or offered, and who locks what. Source: git-lfs, docs/api.

A batch says what is to come; the objects themselves go to the URLs in its answer.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from proxy.intents.reading import member, read_body, read_object
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, EffectClass, Intent, RequestView, Resource

_LIMIT: Final = 1 << 20
OID: Final = re.compile("[0-9a-f]{64}")
_NAMED: Final = 8
_MAX_OBJECTS: Final = 10_000
BATCHES: Final = {"download": ("lfs.download", EffectClass.READ), "upload": ("lfs.upload", EffectClass.WRITE)}
_UNLOCK: Final = re.compile("locks/[A-Za-z0-9_.~-]{1,128}/unlock")
_OBJECT: Final = re.compile("objects/([0-9a-f]{64})(?:/[0-9]{1,18})?(?:/authorize)?")


def read_lfs(view: RequestView, repository: str, rest: str) -> Intent | BodyWanted:
    """Read a call below `REPOSITORY/info/lfs/`, or GitLab's transfers. Raises IntentError for a broken one."""
    method = "GET" if view.method == "HEAD" else view.method
    readers = {"objects/batch": _read_batch, "locks": _read_lock}
    if method == "POST":
        reader = _read_unlock if _UNLOCK.fullmatch(rest) else readers.get(rest)
        if reader is not None:
            return reader(view, repository)
        if rest in {"locks/verify", "verify"}:
            return describe("lfs.verify", repository, EffectClass.READ)
    if method == "GET" and rest == "locks":
        return describe("lfs.locks", repository, EffectClass.LIST)
    found = _OBJECT.fullmatch(rest)
    if found is not None and method in {"GET", "PUT"}:
        name, effect = BATCHES["download" if method == "GET" else "upload"]
        return describe(name, repository, effect, {"objects": found[1]})
    return describe("unknown", repository, EffectClass.UNKNOWN, exact=False)


def describe(
    action: str, where: str, effect: EffectClass, facts: Mapping[str, str] | None = None, *, exact: bool = True
) -> Intent:
    """Return what is done with the objects or locks of the repository `where`."""
    return Intent(
        protocol="git",
        action=action,
        resource=Resource(type="git-repository", id=where),
        effect=effect,
        exact=exact,
        facts=facts or {},
    )


def _read_batch(view: RequestView, repository: str) -> Intent | BodyWanted:
    body = read_body(view, _LIMIT)
    if isinstance(body, BodyWanted):
        return body
    told = read_object(body)
    operation, objects, ref = member(told, "operation"), member(told, "objects"), member(told, "ref")
    if not isinstance(operation, str) or operation not in BATCHES:
        raise IntentError("the LFS batch neither uploads nor downloads")
    if not isinstance(objects, list) or len(objects) > _MAX_OBJECTS:
        raise IntentError("the LFS batch has no list of objects, or too long a one")
    ids = [_read_oid(each) for each in objects]
    facts = {"objects": " ".join(ids[:_NAMED]), "object_count": str(len(ids))}
    name = ref.get("name") if isinstance(ref, dict) else None
    if isinstance(name, str):
        facts["ref"] = name[:256]
    action, effect = BATCHES[operation]
    return describe(action, repository, effect, facts)


def _read_oid(entry: Any) -> str:
    oid = member(entry, "oid") if isinstance(entry, dict) else None
    if not isinstance(oid, str) or OID.fullmatch(oid) is None:
        raise IntentError("an object of the LFS batch has no SHA-256")
    return oid


def _read_lock(view: RequestView, repository: str) -> Intent | BodyWanted:
    body = read_body(view, _LIMIT)
    if isinstance(body, BodyWanted):
        return body
    path = member(read_object(body), "path")
    if not isinstance(path, str):
        raise IntentError("the lock names no file")
    return describe("lfs.lock", repository, EffectClass.WRITE, {"path": path[:256]})


def _read_unlock(view: RequestView, repository: str) -> Intent | BodyWanted:
    """Read an unlock. By force it takes another's lock, which is for administrators."""
    body = read_body(view, _LIMIT)
    if isinstance(body, BodyWanted):
        return body
    force = member(read_object(body), "force")
    if force is not None and not isinstance(force, bool):
        raise IntentError("`force` of the unlock is neither true nor false")
    return describe("lfs.unlock", repository, EffectClass.ADMIN if force else EffectClass.WRITE)
