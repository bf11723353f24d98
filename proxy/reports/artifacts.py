"""Which artifacts a flow moved: digests that were read from the request, and those of the bodies themselves. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

_DIGEST: Final = re.compile(r"sha(?:256:[0-9a-f]{64}|384:[0-9a-f]{96}|512:[0-9a-f]{128})")
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_READS: Final = frozenset({"read", "list"})
_UPLOADS: Final = frozenset({"PUT", "POST", "PATCH"})
_EMPTY: Final = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class Way(StrEnum):
    """Which way an artifact went."""

    PUBLISHED = "published"
    FETCHED = "fetched"


class Proof(StrEnum):
    """What says that it was this artifact."""

    BODY = "body"
    """The digest of the bytes that passed."""
    REQUEST = "request"
    """What the request says, as its protocol's decoder read it; the upstream took it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One artifact that one flow moved. `digest` is `sha256:` or another algorithm, and hex."""

    digest: str
    name: str
    way: Way
    proof: Proof
    flow: str
    at: str


def read_digest(text: str) -> str | None:
    """Return a digest in its one form, None when the text is none. 64 hex digits alone are SHA-256."""
    lowered = text.strip().lower()
    if _DIGEST.fullmatch(lowered):
        return lowered
    return f"sha256:{lowered}" if _HEX.fullmatch(lowered) else None


def moved_by(decision: Mapping[str, Any], outcome: Mapping[str, Any]) -> Iterator[Artifact]:
    """Give out the artifacts of an allowed flow that its upstream took, or gave. Nothing else proves that one moved."""
    status = outcome.get("status")
    if outcome.get("reason") != "allowed" or not isinstance(status, int) or not 200 <= status < 300:
        return
    way = _way(decision)
    protocol = str(decision.get("protocol") or "http")
    name = str(decision.get("resource") or f"{decision.get('host', '')}{decision.get('path', '')}")
    seen: set[str] = set()

    def artifact(digest: str, proof: Proof) -> Iterator[Artifact]:
        if digest not in seen and digest != _EMPTY:
            seen.add(digest)
            flow, at = str(decision.get("flow")), str(decision.get("at"))
            yield Artifact(digest=digest, name=name, way=way, proof=proof, flow=flow, at=at)

    for stated in _stated(decision):
        yield from artifact(stated, Proof.REQUEST)
    is_named = protocol != "http" or (way is Way.PUBLISHED and decision.get("method") == "PUT")
    body = outcome.get("sent_sha256" if way is Way.PUBLISHED else "received_sha256")
    if is_named and isinstance(body, str) and (digest := read_digest(body)) is not None:
        yield from artifact(digest, Proof.BODY)


def bodies_of(outcome: Mapping[str, Any]) -> set[str]:
    """Return the digests of both bodies, whatever they were."""
    found = (outcome.get("sent_sha256"), outcome.get("received_sha256"))
    return {digest for text in found if isinstance(text, str) and (digest := read_digest(text)) is not None}


def _way(decision: Mapping[str, Any]) -> Way:
    effect = decision.get("class")
    if effect in _READS:
        return Way.FETCHED
    return Way.PUBLISHED if effect is not None or decision.get("method") in _UPLOADS else Way.FETCHED


def _stated(decision: Mapping[str, Any]) -> Iterator[str]:
    """Give out the digests among what a decoder read of the request."""
    parts = [decision.get("facts"), *(_facts_of(part) for part in _list(decision.get("also")))]
    for facts in parts:
        for value in facts.values() if isinstance(facts, dict) else ():
            if isinstance(value, str) and (digest := read_digest(value)) is not None:
                yield digest


def _facts_of(part: object) -> object:
    return part.get("facts") if isinstance(part, dict) else None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
