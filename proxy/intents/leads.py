"""Where an allowed answer leads: URLs that an upstream hands to the client, and what the client does there.

A Git LFS batch is asked for at the repository; the objects themselves travel to and from the URLs in its answer, at
whatever host keeps them. Read here, each such URL means what the batch meant, for this repository and this object.
Source: git-lfs, docs/api/batch.md.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

from proxy.intents.git_lfs import BATCHES, OID, describe
from proxy.model.authority import Authority, parse_authority
from proxy.model.errors import ProtocolError
from proxy.model.intent import EffectClass, Headers, Intent

ANSWER_LIMIT: Final = 1 << 20
"""Bytes of an answer that are read for leads; a longer one leads nowhere."""
_MAX_LEADS: Final = 3_000
_PORTS: Final = {"https": 443, "http": 80}
# What the client does with each kind of URL: upload with PUT, verify with POST.
_STEPS: Final = {"download": ("GET", "HEAD"), "upload": ("PUT",), "verify": ("POST",)}
_OFFERED: Final = {"lfs.download": ("download",), "lfs.upload": ("upload", "verify")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """One request that an answer told the client to make, and what it means.

    `fields` are digests of the header fields the client was told to send with it: credentials of that URL's, not the
    job's. `seconds` is how long the upstream says that the URL works, None when it does not say.
    """

    method: str
    scheme: str
    authority: Authority
    target: str
    intent: Intent
    fields: frozenset[str]
    seconds: int | None


def may_lead(intent: Intent) -> bool:
    """Return whether an answer to this may hold leads."""
    return intent.protocol == "git" and intent.action in _OFFERED and "object_count" in intent.facts


def read_leads(intent: Intent, body: bytes) -> tuple[Lead, ...]:
    """Return the leads in the answer to `intent`; none in an answer that is not exactly of the documented form."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return ()
    objects = told.get("objects") if isinstance(told, dict) else None
    if not isinstance(objects, list) or told.get("transfer", "basic") != "basic":
        return ()
    found: list[Lead] = []
    for each in objects[:_MAX_LEADS]:
        if isinstance(each, dict):
            found += _read_entry(intent, each)
    return tuple(found[:_MAX_LEADS])


def field_digest(name: str, value: str) -> str:
    """Return what a lead keeps of a header field: enough to know it again, nothing to send it with."""
    return sha256(f"{name.lower()}\n{value}".encode("utf-8", "surrogateescape")).hexdigest()


def told_fields(lead: Lead, headers: Headers) -> frozenset[str]:
    """Return the names of those fields that the client was told to send, with exactly these values."""
    sent: dict[str, bool] = {}
    for name, value in headers:
        sent[name] = sent.get(name, True) and field_digest(name, value) in lead.fields
    return frozenset(name for name, is_told in sent.items() if is_told)


def _read_entry(intent: Intent, entry: Mapping[str, Any]) -> list[Lead]:
    oid, actions = entry.get("oid"), entry.get("actions")
    if not isinstance(oid, str) or OID.fullmatch(oid) is None or not isinstance(actions, dict):
        return []
    found: list[Lead] = []
    for name in _OFFERED[intent.action]:
        step = actions.get(name)
        if isinstance(step, dict):
            found += _read_step(intent, name, oid, step)
    return found


def _read_step(intent: Intent, name: str, oid: str, step: Mapping[str, Any]) -> list[Lead]:
    place = _read_url(step.get("href"))
    fields = step.get("header") or {}
    if place is None or not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        return []
    scheme, authority, target = place
    action, effect = ("lfs.verify", EffectClass.READ) if name == "verify" else BATCHES[name]
    seconds = step.get("expires_in")
    return [
        Lead(
            method=method,
            scheme=scheme,
            authority=authority,
            target=target,
            intent=describe(action, intent.resource.id, effect, {"objects": oid}),
            fields=frozenset(field_digest(key, value) for key, value in fields.items()),
            seconds=seconds if type(seconds) is int and 0 < seconds < 2**31 else None,
        )
        for method in _STEPS[name]
    ]


def _read_url(href: object) -> tuple[str, Authority, str] | None:
    """Return a URL's scheme, authority and target as a request would show them."""
    if not isinstance(href, str) or not href.isascii() or not href.isprintable():
        return None
    try:
        parts = urlsplit(href)
        authority = parse_authority(parts.netloc, _PORTS[parts.scheme])
    except (ValueError, KeyError, ProtocolError):
        return None
    path = parts.path or "/"
    return parts.scheme, authority, f"{path}?{parts.query}" if parts.query else path
