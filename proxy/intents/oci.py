"""OCI registries (OCI Distribution Specification 1.1 with what 1.2 adds, Docker Registry HTTP API V2).

Ids: `HOST/NAME` is a repository, `HOST/NAME:TAG` and `HOST/NAME@sha256:HEX` what is in it. Uploads are on the
repository: nothing can be pulled by their being there. A moved tag is a publish; so is what is attached to another
manifest (a signature, an attestation), whether by `subject` or by a tag that is made of its digest.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Final

from proxy.intents.oci_manifest import Manifest, read_manifest
from proxy.intents.oci_names import Place, check_digest, check_name, check_tag, knows, read_place
from proxy.intents.oci_tokens import is_token_path, read_token
from proxy.intents.packages import READS, read_site, refuse_override
from proxy.intents.reading import media_type, parse_pairs
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, EffectClass, Intent, RequestView, Resource

WORD: Final = "oci"
EFFECTS: Final[Mapping[str, EffectClass]] = {
    "ping": EffectClass.READ,
    "pull.manifest": EffectClass.READ,
    "pull.blob": EffectClass.READ,
    "upload.status": EffectClass.READ,
    "tags": EffectClass.LIST,
    "referrers": EffectClass.LIST,
    "catalog": EffectClass.LIST,
    "mount": EffectClass.WRITE,
    "push.blob": EffectClass.WRITE,
    "push.manifest": EffectClass.WRITE,
    "push.referrer": EffectClass.PUBLISH,
    "upload.cancel": EffectClass.DELETE,
    "delete.manifest": EffectClass.DELETE,
    "delete.tag": EffectClass.DELETE,
    "delete.blob": EffectClass.DELETE,
    "unknown": EffectClass.UNKNOWN,
}
"""What each action does; the push of a manifest to a tag is a publish."""

_GITLAB: Final = ("gitlab.com", "/jwt/auth")
"""GitLab hands out its registry's tokens on another host, which is not a registry."""
_WHOLE: Final = {"/v2": "ping", "/v2/": "ping", "/v2/_catalog": "catalog"}
_PULLS: Final = {"manifests": "pull.manifest", "blobs": "pull.blob", "referrers": "referrers"}
_PARAMETERS: Final = frozenset({"digest", "mount", "from", "tag", "ns"})
_FORMS: Final = ("application/x-www-form", "multipart/")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HOST: Final = re.compile(r"[a-z0-9.-]{1,253}(?::[0-9]{1,5})?")
# cosign: `sha256-HEX.sig`; the specification's referrers tag: `sha256-HEX`.
_ATTACHED: Final = re.compile(r"sha256-([0-9a-f]{64})(?:\.[A-Za-z0-9._-]+)?")
# Artifact Registry sends uploads and downloads of a repository of its own, PROJECT/REPOSITORY, through these.
_GOOGLE: Final = re.compile(
    r"/artifacts-(?P<way>uploads|downloads)/namespaces/(?P<project>[a-z0-9.-]+)/repositories/(?P<name>[a-z0-9.-]+)"
    r"/(?P=way)/(?P<id>[A-Za-z0-9._=~-]+)"
)
_GOOGLE_HOSTS: Final = (".pkg.dev", "gcr.io")


def claims(host: str, spoken: frozenset[str]) -> bool:
    """Whether a request to this host may be ours."""
    return knows(host) or host == _GITLAB[0] or WORD in spoken


def decode(view: RequestView, spoken: frozenset[str]) -> Intent | BodyWanted | None:
    """Read a request to a registry or its token endpoint; None when it is none. Raises IntentError."""
    host, path = view.authority.host, view.path
    if not claims(host, spoken):
        return None
    if not knows(host):
        if WORD in spoken:
            if path[:3] not in {"/v2", "/V2"} and not is_token_path(path):
                return None
        elif path != _GITLAB[1]:
            return None
    refuse_override(view)
    return _read(view, read_site(view))


def _read(view: RequestView, site: str) -> Intent | BodyWanted:
    if is_token_path(view.path):
        answer = read_token(view, site)
    elif view.path.startswith("/artifacts-") and view.authority.host.endswith(_GOOGLE_HOSTS):
        answer = _read_google(view, site)
    else:
        answer = _read_routes(view, site)
    return _intent("unknown", f"{site}{view.path}", kind="registry") if answer is None else answer


def _read_routes(view: RequestView, site: str) -> Intent | BodyWanted | None:
    """Read what stands below `/v2/`; None for what the specification does not know."""
    if view.path in _WHOLE:
        return _intent(_WHOLE[view.path], site, kind="registry") if view.method in READS else None
    place = read_place(view.path) if view.path.startswith("/v2/") else None
    if place is None:
        return None
    if view.method in READS:
        return _read_get(view, site, place)
    if place.route == "manifests":
        return _read_manifest(view, f"{site}/{place.name}", place.end)
    if place.route in {"uploads", "upload"}:
        return _read_upload(view, f"{site}/{place.name}", place)
    return _read_delete(view, f"{site}/{place.name}", place.end) if place.route == "blobs" else None


def _read_get(view: RequestView, site: str, place: Place) -> Intent | None:
    """Read GET and HEAD."""
    where = f"{site}/{place.name}"
    # A mirror is told by `ns` whose image is meant (containerd).
    namespace = _read_parameters(view).get("ns") if view.query else None
    facts = {"namespace": _check_host(namespace)} if namespace else {}
    if place.route in _PULLS:
        where, stated = _refer(where, place.end)
        return _intent(_PULLS[place.route], where, facts | stated, kind="reference")
    if place.route == "tags":
        return _intent("tags", where, facts)
    if place.route == "upload":
        return _intent("upload.status", where, {"upload": _name_upload(place.end)})
    return None


def _refer(where: str, end: str) -> tuple[str, dict[str, str]]:
    """Return the id of a tag or of what has a digest, and the fact that says it."""
    return (f"{where}@{end}", {"digest": end}) if ":" in end else (f"{where}:{end}", {"tag": end})


def _read_upload(view: RequestView, where: str, place: Place) -> Intent | None:
    """Read what begins, fills, ends or cancels an upload."""
    if view.body_length != 0 and media_type(view).startswith(_FORMS):
        # Distribution takes `mount`, `from` and `digest` out of such a body, before those of the query.
        raise IntentError("a blob is not sent as a form")
    parameters = _read_parameters(view)
    if "mount" in parameters or "from" in parameters:
        return _read_mount(view, where, place, parameters)
    facts = {} if place.route == "uploads" else {"upload": _name_upload(place.end)}
    if "digest" in parameters:
        facts["digest"] = check_digest(parameters["digest"])
    if place.route == "uploads":
        step = {"POST": "monolithic" if "digest" in facts else "start"}.get(view.method)
    else:
        step = {"PATCH": "chunk", "PUT": "finish"}.get(view.method)
        if view.method == "DELETE":
            return _intent("upload.cancel", where, facts)
        if step == "finish" and "digest" not in facts:
            raise IntentError("the end of an upload states no digest")
    return None if step is None else _intent("push.blob", where, facts | {"step": step})


def _read_mount(view: RequestView, where: str, place: Place, parameters: Mapping[str, str]) -> Intent:
    """Read a mount: it shows the source's blob to whoever can pull from the target.

    Without `from` the registry looks wherever the credential can pull: a read of what cannot be told.
    """
    if view.method != "POST" or place.route != "uploads" or "mount" not in parameters or "digest" in parameters:
        raise IntentError("a blob is mounted with `mount` and `from`, in a POST that begins an upload")
    digest = check_digest(parameters["mount"])
    site = where.removesuffix(f"/{place.name}")
    if "from" not in parameters:
        source = replace(
            _intent("pull.blob", f"{site}/*", {"digest": digest}, kind="repository"),
            effect=EffectClass.UNKNOWN,
            exact=False,
        )
        return _intent("mount", where, {"digest": digest}, also=(source,))
    origin = check_name(parameters["from"])
    source = _intent("pull.blob", f"{site}/{origin}@{digest}", {"digest": digest}, kind="reference")
    return _intent("mount", where, {"digest": digest, "from": origin}, also=(source,))


def _read_delete(view: RequestView, where: str, digest: str) -> Intent | None:
    if view.method != "DELETE":
        return None
    return _intent("delete.blob", f"{where}@{digest}", {"digest": digest}, kind="reference")


def _read_manifest(view: RequestView, where: str, end: str) -> Intent | BodyWanted | None:
    """Read what puts or deletes a manifest or a tag."""
    target, stated = _refer(where, end)
    if view.method == "DELETE":
        return _intent("delete.manifest" if "digest" in stated else "delete.tag", target, stated, kind="reference")
    if view.method != "PUT":
        return None
    pairs = _pairs(view)
    # 1.2: `tag` may be sent many times, to set as many.
    parameters = _once([pair for pair in pairs if pair[0] != "tag"])
    tags = [text for text in (stated.get("tag"), *(text for name, text in pairs if name == "tag")) if text is not None]
    digests = [text for text in (stated.get("digest"), parameters.get("digest")) if text is not None]
    manifest = read_manifest(view, [check_digest(text) for text in digests])
    if isinstance(manifest, BodyWanted):
        return manifest
    return _push(where, manifest, [check_tag(tag) for tag in dict.fromkeys(tags)])


def _push(where: str, manifest: Manifest, tags: list[str]) -> Intent:
    """Return the push of a manifest to tags, or by its digest alone, with what it is attached to."""
    subjects = [manifest.subject] if manifest.subject else []
    for tag in tags:
        found = _ATTACHED.fullmatch(tag)
        subjects += [f"sha256:{found[1]}"] if found is not None else []
    parts = []
    for tag in tags or [""]:
        facts = {"digest": manifest.digest, **manifest.facts}
        target = f"{where}@{manifest.digest}"
        if tag:
            target, facts["tag"] = f"{where}:{tag}", tag
        part = _intent("push.manifest", target, facts, kind="reference", exact=manifest.is_known)
        parts.append(replace(part, effect=EffectClass.PUBLISH) if tag else part)
    for subject in dict.fromkeys(subjects):
        facts = {"digest": manifest.digest, "subject": subject}
        parts.append(_intent("push.referrer", f"{where}@{subject}", facts, kind="reference"))
    return replace(parts[0], also=tuple(parts[1:]))


def _read_google(view: RequestView, site: str) -> Intent | None:
    """Read Artifact Registry's transfers, which name a repository of its own but no image in it."""
    found = _GOOGLE.fullmatch(view.path)
    if found is None:
        return None
    where = f"{site}/{found['project']}/{found['name']}/*"
    if found["way"] == "downloads":
        return _intent("pull.blob", where) if view.method in READS else None
    place = Place(route="upload", name=f"{found['project']}/{found['name']}/*", end=found["id"])
    if view.method in READS:
        return _read_get(view, site, place)
    return _read_upload(view, where, place)


def _pairs(view: RequestView) -> list[tuple[str, str]]:
    """Return the query's parameters. Raises IntentError for a spelling that another reader takes differently."""
    query = view.query or ""
    if ";" in query:
        raise IntentError("some readers end a parameter at the `;` of the query")
    pairs = parse_pairs(query)
    if any(name not in _PARAMETERS and name.lower() in _PARAMETERS for name, _ in pairs):
        raise IntentError("a parameter of the query is not in lower case")
    return pairs


def _read_parameters(view: RequestView) -> dict[str, str]:
    return _once(_pairs(view))


def _once(pairs: list[tuple[str, str]]) -> dict[str, str]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise IntentError("a parameter of the query was sent twice")
    return found


def _check_host(text: str) -> str:
    if _HOST.fullmatch(text) is None:
        raise IntentError("`ns` of the query is not a host")
    return text


def _name_upload(text: str) -> str:
    """Return an upload's id for the record: a UUID as it is; whatever else might let its bearer in is hashed."""
    return text if _UUID.fullmatch(text) is not None else f"sha256:{sha256(text.encode()).hexdigest()[:16]}"


def _intent(
    action: str,
    where: str,
    facts: Mapping[str, str] | None = None,
    *,
    kind: str = "repository",
    exact: bool = True,
    also: tuple[Intent, ...] = (),
) -> Intent:
    return Intent(
        protocol=WORD,
        action=action,
        resource=Resource(type=f"oci-{kind}", id=where),
        effect=EFFECTS[action],
        exact=exact and action != "unknown",
        facts={} if facts is None else facts,
        also=also,
    )
