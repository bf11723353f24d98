"""What the OCI Distribution Specification 1.1 calls things: hosts, repositories, tags, digests, and where they stand.

A repository's name may hold slashes and any of the routes' own words (`acme/manifests/shop` is one), so a path is read
from its end. Nothing is folded or repaired: what is not the specification's grammar is refused.
"""

import re
from dataclasses import dataclass
from typing import Final

from proxy.intents.reading import decode_component
from proxy.model.errors import IntentError

REGISTRIES: Final = frozenset(
    {
        "registry-1.docker.io",
        "index.docker.io",
        "auth.docker.io",
        "ghcr.io",
        "docker.pkg.github.com",
        "quay.io",
        "gcr.io",
        "public.ecr.aws",
        "registry.gitlab.com",
        "mcr.microsoft.com",
        "registry.k8s.io",
    }
)
_SUFFIXES: Final = (
    ".gcr.io",
    "-docker.pkg.dev",
    ".azurecr.io",
    ".azurecr.cn",
    ".azurecr.us",
    ".amazonaws.com",
    ".amazonaws.com.cn",
    ".on.aws",
    ".on.amazonwebservices.com.cn",
)
_FAMILIES: Final = re.compile(
    r"(?:[a-z0-9-]+\.gcr\.io"
    r"|[a-z0-9]+(?:-[a-z0-9]+)*-docker\.pkg\.dev"
    # A dedicated data endpoint, REGISTRY.REGION.data.azurecr.io, is storage behind signed addresses: no registry.
    r"|(?:[a-z0-9-]+\.)+(?<!\.data\.)azurecr\.(?:io|cn|us)"
    r"|[0-9]{12}\.dkr\.ecr(?:-fips)?\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?"
    r"|[0-9]{12}\.dkr-ecr(?:-fips)?\.[a-z0-9-]+\.on\.(?:aws|amazonwebservices\.com\.cn))"
)

MAX_NAME: Final = 255
_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
NAME: Final = re.compile(rf"{_PART}(?:/{_PART})*")
TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
"""The registered algorithms (and sha384, which clients in Go know too): of no other could a body be checked."""
_UPLOAD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=~-]{0,1023}")
_REFERENCES: Final = frozenset({"manifests", "blobs", "referrers"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a path below `/v2/` points: `route` is a word of the specification, `name` a repository.

    `end` is what the route ends in: a tag or digest, an upload's id, or nothing.
    """

    route: str
    name: str
    end: str = ""


def knows(host: str) -> bool:
    """Whether a host is one of the well-known registries, or one of a vendor's family of them."""
    return host in REGISTRIES or (host.endswith(_SUFFIXES) and _FAMILIES.fullmatch(host) is not None)


def read_place(path: str) -> Place | None:
    """Read a path below `/v2/` from its end; None when it is no route of the specification. Raises IntentError."""
    parts = path.split("/")[2:]
    # GHCR calls its sessions `blobs/upload/ID`.
    if parts[-3:-1] == ["blobs", "uploads"] or (parts[-3:-1] == ["blobs", "upload"] and parts[-1]):
        route, cut = ("upload" if parts[-1] else "uploads"), 3
    elif parts[-2:] == ["blobs", "uploads"]:
        route, cut = "uploads", 2
    elif parts[-2:] == ["tags", "list"]:
        route, cut = "tags", 2
    elif parts[-2:-1] and parts[-2] in _REFERENCES and parts[-1]:
        route, cut = parts[-2], 2
    else:
        return None
    if len(parts) == cut:
        return None
    return Place(route=route, name=check_name("/".join(parts[:-cut])), end=_read_end(route, parts[-1]))


def _read_end(route: str, text: str) -> str:
    if route in {"uploads", "tags"}:
        return ""
    end = decode_component(text)
    if route == "upload":
        return _check(end, _UPLOAD, "an upload's id")
    if route != "manifests" or ":" in end:
        return check_digest(end)
    return check_tag(end)


def check_name(text: str) -> str:
    """Return a repository's name. Raises IntentError."""
    if len(text) > MAX_NAME:
        raise IntentError(f"a repository's name is longer than {MAX_NAME} characters")
    return _check(text, NAME, "a repository's name")


def check_tag(text: str) -> str:
    """Return a tag. Raises IntentError."""
    return _check(text, TAG, "a tag")


def check_digest(text: str) -> str:
    """Return a digest. Raises IntentError."""
    return _check(text, DIGEST, "a digest by sha256, sha384 or sha512")


def _check(text: str, grammar: re.Pattern[str], what: str) -> str:
    if grammar.fullmatch(text) is None:
        raise IntentError(f"{text[:64]!r} is not {what}")
    return text
