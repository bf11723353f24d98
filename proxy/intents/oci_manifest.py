"""A manifest on its way to a registry: its digest, its type, what it lists and what it is attached to.

OCI Image Specification 1.1 (manifest, index, artifact), Docker image manifest version 2 schema 2. What clients and
registries have taken for two different things (a body that is an index and an image at once, CVE-2021-41190; a
`Content-Type` other than `mediaType`; a name in another case, which readers in Go take too) is refused.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from proxy.intents.oci_names import check_digest
from proxy.intents.plain_names import plain_object, text_of
from proxy.intents.reading import media_type, member, read_body, read_object, single_header
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, RequestView

LIMIT: Final = 4 * 1024 * 1024
"""What the specification asks registries to take at least, and most take at most."""
MAX_LISTED: Final = 64
"""So many of an index's children are stated; all are counted."""

_DESCRIPTOR: Final = "a descriptor of the manifest"
_IMAGES: Final = frozenset(
    {"application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"}
)
_INDEXES: Final = frozenset(
    {"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"}
)
_VERSIONED: Final = _IMAGES | _INDEXES
_KNOWN: Final = _VERSIONED | {"application/vnd.oci.artifact.manifest.v1+json"}
_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
# Distribution takes these, and no type at all, for schema 1, whose digest is not that of its bytes. Out of a form, Go
# reads parameters.
_OLD: Final = re.compile(
    r"application/vnd\.docker\.distribution\.manifest\.v1(?:\+.*)?|application/(?:json|x-www-form.*)|(?:text|multipart)/.*|"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a body says. `facts` hold no text but digests, media types and counts."""

    digest: str
    facts: Mapping[str, str]
    subject: str
    """The digest of the manifest that this one is attached to; empty for none."""
    is_known: bool
    """Whether its type is one of the specifications'."""


def read_manifest(view: RequestView, digests: Sequence[str]) -> Manifest | BodyWanted:
    """Read the body of a manifest's PUT, which must have each of `digests`.

    Raises IntentError for one that two readers could take differently.
    """
    if single_header(view, "content-encoding", "identity").lower() != "identity":
        raise IntentError("a manifest's digest is that of its bytes: send it without a content coding")
    body = read_body(view, LIMIT)
    if isinstance(body, BodyWanted):
        return body
    for digest in digests:
        if digest != _sum(body, digest.partition(":")[0]):
            raise IntentError("the manifest's digest is not the one it is sent under")
    document = plain_object(read_object(body), "the manifest")
    kind = _read_type(view, document)
    version = member(document, "schemaVersion")
    if (version is not None or kind in _VERSIONED) and (type(version) is not int or version != 2):
        raise IntentError("only manifests of schema version 2 are read")
    facts = {"media_type": kind}
    _read_lists(document, kind, facts)
    artifact = member(document, "artifactType")
    if artifact is not None:
        facts["artifact_type"] = _check_type(artifact)
    subject = member(document, "subject")
    attached = "" if subject is None else _read_digest(subject)
    return Manifest(
        digest=digests[0] if digests else _sum(body, "sha256"),
        facts=facts | ({"subject": attached} if attached else {}),
        subject=attached,
        is_known=kind in _KNOWN,
    )


def _sum(body: bytes, algorithm: str) -> str:
    return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"


def _read_type(view: RequestView, document: Mapping[str, Any]) -> str:
    """Return the one type that body and head state."""
    sent, stated = media_type(view), member(document, "mediaType")
    kind = sent if stated is None else _check_type(stated)
    if sent and sent != kind:
        raise IntentError("the manifest's mediaType is not its Content-Type")
    if _OLD.fullmatch(kind) is not None:
        raise IntentError("a manifest without a type of its own, or of schema version 1, is not read")
    return _check_type(kind)


def _read_lists(document: Mapping[str, Any], kind: str, facts: dict[str, str]) -> None:
    """Read what a manifest is made of into `facts`. Raises IntentError for an index that is an image too."""
    children, layers, config = (member(document, name) for name in ("manifests", "layers", "config"))
    inner = [name for name in ("blobs", "fsLayers", "history") if member(document, name) is not None]
    pieces = (layers, config, *inner)
    if children is not None and any(piece is not None for piece in pieces):
        raise IntentError("the manifest is an index and an image at once")
    if (kind in _IMAGES and children is not None) or (kind in _INDEXES and children is None):
        raise IntentError("the manifest is not what its type says")
    if children is not None:
        digests = _read_digests(children)
        facts["children"] = " ".join(digests[:MAX_LISTED])
        facts["children_count"] = str(len(digests))
    if layers is not None:
        facts["layers_count"] = str(len(_read_digests(layers)))
    if config is not None:
        facts["config"] = _read_digest(config)
        facts["config_type"] = _check_type(member(plain_object(config, _DESCRIPTOR), "mediaType"))


def _read_digests(value: object) -> list[str]:
    if not isinstance(value, list):
        raise IntentError("a manifest's lists are lists of descriptors")
    return [_read_digest(entry) for entry in value]


def _read_digest(value: object) -> str:
    """Return a descriptor's digest."""
    return check_digest(text_of(plain_object(value, _DESCRIPTOR), "digest"))


def _check_type(value: object) -> str:
    if not isinstance(value, str) or _MEDIA_TYPE.fullmatch(value) is None:
        raise IntentError("a type of the manifest is no media type")
    return value
