"""OCI registries: what is pulled, pushed, mounted or deleted. Source: OCI Distribution Specification 1.1.

A repository's id is `HOST/NAME`, a reference's `HOST/NAME:TAG` or `HOST/NAME@sha256:HEX`. A name may hold slashes, so a
path is read from its end. Pushing a manifest is what publishes: its body is read, its digest told and compared.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

from proxy.intents.packages import read_site
from proxy.intents.reading import decode_component, media_type, member, parse_pairs, read_body, read_object, read_query
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, EffectClass, Intent, RequestView, Resource

HOSTS: Final = frozenset(
    {"registry-1.docker.io", "index.docker.io", "ghcr.io", "quay.io", "gcr.io", "public.ecr.aws", "registry.gitlab.com"}
    | {"mcr.microsoft.com", "registry.k8s.io", "registry.access.redhat.com", "registry.redhat.io", "nvcr.io", "cgr.dev"}
)
_ENDINGS: Final = (".gcr.io", "-docker.pkg.dev", ".azurecr.io", ".azurecr.cn", ".azurecr.us")
_ECR: Final = re.compile(r"[0-9]{12}\.dkr[.-]ecr(?:-fips)?\.[a-z0-9-]+\.(?:amazonaws\.com(?:\.cn)?|on\.aws)")
_TOKEN_HOSTS: Final = frozenset({"auth.docker.io"})
_TOKEN_PATHS: Final = frozenset(
    {
        "/token",
        "/v2/token",
        "/service/token",
        "/oauth2/token",
        "/oauth2/exchange",
        "/v2/auth",
        "/artifacts-uploader/token",
    }
)
MANIFEST_LIMIT: Final = 4 << 20
"""The longest manifest registries take (the specification's own advice)."""
# Distribution Specification, "Pulling manifests": <name> and <reference>; RFC 6838 has no say in digests.
_NAME: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_UPLOAD: Final = re.compile(r"[A-Za-z0-9._~=%+-]{1,2048}")
_OVERRIDES: Final = frozenset({"x-http-method-override", "x-http-method", "x-method-override"})
_READS: Final = frozenset({"GET", "HEAD"})
_CHILDREN: Final = 16


def decode(view: RequestView, spoken: frozenset[str]) -> Intent | BodyWanted | None:
    """Read a request to a registry; None when it is none. Raises IntentError."""
    host = view.authority.host
    if host in _TOKEN_HOSTS:
        return _read_token(view)
    is_known = host in HOSTS or host.endswith(_ENDINGS) or (".dkr" in host and _ECR.fullmatch(host) is not None)
    if not is_known and "oci" not in spoken:
        return None
    if view.path in _TOKEN_PATHS:
        return _read_token(view)
    if not view.path.startswith("/v2"):
        return _unknown(view) if is_known else None
    if any(name in _OVERRIDES for name, _ in view.headers):
        raise IntentError("a header asks for another method than the request line")
    return _read_v2(view)


def _intent(
    action: str,
    effect: EffectClass,
    where: str,
    facts: Mapping[str, str] | None = None,
    *,
    kind: str = "repository",
    also: tuple[Intent, ...] = (),
) -> Intent:
    return Intent(
        protocol="oci",
        action=action,
        resource=Resource(type=f"oci-{kind}", id=where),
        effect=effect,
        exact=action != "unknown",
        facts=facts or {},
        also=also,
    )


def _unknown(view: RequestView) -> Intent:
    return _intent("unknown", EffectClass.UNKNOWN, f"{read_site(view)}{view.path.rstrip('/')}", kind="registry")


def _read_v2(view: RequestView) -> Intent | BodyWanted:
    site = read_site(view)
    parts = view.path.removeprefix("/v2").strip("/").split("/")
    if parts in ([""], ["_catalog"]):
        action, effect = ("ping", EffectClass.READ) if parts == [""] else ("catalog", EffectClass.LIST)
        return _intent(action, effect, site, kind="registry") if view.method in _READS else _unknown(view)
    name, kind, last = _cut(parts)
    if not name:
        return _unknown(view)
    repository = _repository(site, name)
    if kind == "manifests":
        return _read_manifest(view, repository, decode_component(last))
    if kind == "blobs":
        return _read_blob(view, repository, _digest(decode_component(last)))
    if kind == "uploads":
        return _read_upload(view, repository, last) if last else _begin_upload(view, site, repository)
    where = repository if kind == "tags" else f"{repository}@{_digest(decode_component(last))}"
    return _intent(kind, EffectClass.LIST, where) if view.method in _READS else _unknown(view)


def _cut(parts: list[str]) -> tuple[list[str], str, str]:
    """Return the name, what is asked for of it, and which, read from the path's end; no name for no registry's path."""
    match parts:
        case [*name, "blobs", "uploads"]:
            return name, "uploads", ""
        case [*name, "blobs", "uploads", upload]:
            return name, "uploads", upload
        case [*name, "tags", "list"]:
            return name, "tags", ""
        case [*name, "manifests" | "blobs" | "referrers" as kind, last]:
            return name, kind, last
    return [], "", ""


def _repository(site: str, name: list[str]) -> str:
    text = "/".join(name)
    if len(text) > 255 or _NAME.fullmatch(text) is None:
        raise IntentError("the name of the repository is none that a registry has")
    return f"{site}/{text}"


def _digest(text: str) -> str:
    if _DIGEST.fullmatch(text) is None:
        raise IntentError("what should be a digest is none")
    return text


def _read_blob(view: RequestView, repository: str, digest: str) -> Intent:
    where = f"{repository}@{digest}"
    if view.method in _READS:
        return _intent("pull.blob", EffectClass.READ, where, {"digest": digest}, kind="blob")
    if view.method == "DELETE":
        return _intent("delete.blob", EffectClass.DELETE, where, {"digest": digest}, kind="blob")
    return _unknown(view)


def _begin_upload(view: RequestView, site: str, repository: str) -> Intent:
    """Read the start of an upload: empty, whole (`digest`), or a mount of another's blob (`mount`, `from`)."""
    if view.method != "POST":
        return _unknown(view)
    query = read_query(view)
    if "mount" in query:
        digest = _digest(query["mount"])
        # Without `from` a registry may take the blob from anywhere: nobody can name where.
        source = _repository(site, query["from"].split("/")) if query.get("from") else f"{site}/?"
        pull = _intent("pull.blob", EffectClass.READ, f"{source}@{digest}", {"digest": digest}, kind="blob")
        return _intent("mount", EffectClass.WRITE, repository, {"digest": digest, "from": source}, also=(pull,))
    facts = {"digest": _digest(query["digest"])} if "digest" in query else {}
    return _intent("push.blob", EffectClass.WRITE, repository, facts)


def _read_upload(view: RequestView, repository: str, upload: str) -> Intent:
    if _UPLOAD.fullmatch(upload) is None:
        raise IntentError("the upload has a name that none has")
    if view.method in _READS:
        return _intent("upload.status", EffectClass.READ, repository)
    if view.method == "DELETE":
        return _intent("upload.cancel", EffectClass.WRITE, repository)
    if view.method not in {"PATCH", "PUT"}:
        return _unknown(view)
    query = read_query(view)
    if view.method == "PUT" and "digest" not in query:
        raise IntentError("an upload ends without a digest")
    facts = {"digest": _digest(query["digest"])} if "digest" in query else {}
    return _intent("push.blob", EffectClass.WRITE, repository, facts)


def _read_manifest(view: RequestView, repository: str, reference: str) -> Intent | BodyWanted:
    is_digest = ":" in reference
    if is_digest:
        _digest(reference)
    elif _TAG.fullmatch(reference) is None:
        raise IntentError("what should be a tag or a digest is neither")
    where = f"{repository}@{reference}" if is_digest else f"{repository}:{reference}"
    facts = {"digest": reference} if is_digest else {"tag": reference}
    if view.method in _READS:
        return _intent("pull.manifest", EffectClass.READ, where, facts, kind="manifest")
    if view.method == "DELETE":
        action = "delete.manifest" if is_digest else "delete.tag"
        return _intent(action, EffectClass.DELETE, where, facts, kind="manifest")
    if view.method != "PUT":
        return _unknown(view)
    body = read_body(view, MANIFEST_LIMIT)
    if isinstance(body, BodyWanted):
        return body
    return _push_manifest(view, repository, reference, body)


def _push_manifest(view: RequestView, repository: str, reference: str, body: bytes) -> Intent:
    """Read a manifest that is pushed: what it is and what it is about (`subject`), and that its digest is right."""
    is_digest = ":" in reference
    algorithm = reference.partition(":")[0] if is_digest else "sha256"
    digest = f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"
    if is_digest and digest != reference:
        raise IntentError("the manifest has another digest than the one it is pushed as")
    told: Mapping[str, Any] = read_object(body)
    facts = {"digest": digest, "media_type": media_type(view)[:128]}
    if not is_digest:
        facts["tag"] = reference
    children = member(told, "manifests")
    if isinstance(children, list):
        found = [each.get("digest") for each in children if isinstance(each, dict)]
        facts["children"] = " ".join(each[:80] for each in found[:_CHILDREN] if isinstance(each, str))
    also: tuple[Intent, ...] = ()
    subject = member(told, "subject")
    if isinstance(subject, dict):
        about = _digest(str(subject.get("digest")))
        facts["subject"] = about
        also = (
            _intent("push.referrer", EffectClass.WRITE, f"{repository}@{about}", {"digest": digest}, kind="manifest"),
        )
    where = f"{repository}@{reference}" if is_digest else f"{repository}:{reference}"
    return _intent("push.manifest", EffectClass.PUBLISH, where, facts, kind="manifest", also=also)


def _read_token(view: RequestView) -> Intent:
    """Read a token endpoint. A GET says its scopes; a POST's form holds a credential and is not looked into."""
    if view.method not in {"GET", "POST"}:
        return _unknown(view)
    scopes = [value for name, value in parse_pairs(view.query or "") if name == "scope"]
    facts = {"scope": " ".join(scopes)[:512]} if scopes else {}
    return _intent("token.mint", EffectClass.CREDENTIAL, read_site(view), facts, kind="registry")
