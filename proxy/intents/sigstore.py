"""Sigstore: certificates (Fulcio), transparency logs (Rekor 1 and 2), timestamps (RFC 3161), roots of trust (TUF).

A certificate is a credential, an entry is published for ever, a timestamp is a signature by somebody else's key. Ids
are the service's host, with the path it stands below on a host of one's own; what is signed stands in the facts.
"""

import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final

from proxy.intents.packages import READS, join_site, read_site, refuse_override
from proxy.intents.plain_names import plain_object, text_of
from proxy.intents.reading import media_type, read_body, read_object, read_query
from proxy.intents.sigstore_der import name_digest, read_base64, read_imprint, read_key
from proxy.intents.sigstore_entry import LIMIT, either, read_entry, read_request
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, EffectClass, Intent, RequestView, Resource

WORD: Final = "sigstore"
EFFECTS: Final[Mapping[str, EffectClass]] = {
    "trust.get": EffectClass.READ,
    "log.get": EffectClass.READ,
    "entry.get": EffectClass.READ,
    "entry.search": EffectClass.LIST,
    "index.search": EffectClass.LIST,
    "entry.create": EffectClass.PUBLISH,
    "timestamp.sign": EffectClass.EXECUTE,
    "certificate.sign": EffectClass.CREDENTIAL,
    "identity.mint": EffectClass.CREDENTIAL,
    "unknown": EffectClass.UNKNOWN,
}

_SUFFIXES: Final = (".sigstore.dev", ".sigstage.dev", ".githubapp.com")
_HOSTS: Final = re.compile(
    r"(?:fulcio|rekor|[a-z0-9-]+\.rekor|timestamp|tuf-repo-cdn|oauth2)\.sig(?:store|stage)\.dev"
    r"|(?:fulcio|timestamp)\.githubapp\.com"
)
_MIRROR: Final = "tuf-repo-cdn."
_LOGIN: Final = "oauth2."

_ROUTES: Final = {
    "POST /api/v1/signingCert": "certificate.sign",
    "POST /api/v2/signingCert": "certificate.sign",
    "GET /api/v1/rootCert": "trust.get",
    "GET /api/v2/trustBundle": "trust.get",
    "GET /api/v2/configuration": "trust.get",
    "GET /api/v1/log": "log.get",
    "GET /api/v1/log/publicKey": "trust.get",
    "GET /api/v1/log/proof": "log.get",
    "GET /api/v1/log/entries": "entry.get",
    "POST /api/v1/log/entries": "entry.create",
    "POST /api/v1/log/entries/retrieve": "entry.search",
    "POST /api/v1/index/retrieve": "index.search",
    "POST /api/v2/log/entries": "entry.create",
    "GET /api/v2/checkpoint": "log.get",
    "POST /api/v1/timestamp": "timestamp.sign",
    "GET /api/v1/timestamp/certchain": "trust.get",
}
_LOGIN_ROUTES: Final = {
    "GET /auth/.well-known/openid-configuration": "trust.get",
    "GET /auth/keys": "trust.get",
    "POST /auth/token": "identity.mint",
    "POST /auth/device/code": "identity.mint",
    "POST /auth/device/token": "identity.mint",
}
_ENTRY: Final = re.compile(r"/api/v1/log/entries/(?P<entry>[0-9a-f]{64}|[0-9a-f]{80})(?:/proof)?")
_TILE: Final = re.compile(r"/api/v2/tile/(?:entries|[0-9]{1,2})/(?:x[0-9]{3}/){0,6}[0-9]{3}(?:\.p/[0-9]{1,3})?")
_OURS: Final = re.compile(
    r"/api/v[0-9]+/(?:signingCert|rootCert|trustBundle|configuration|log|index|checkpoint|tile|timestamp)(?:/.*)?"
)
_INDEX: Final = re.compile(r"[0-9]{1,20}")
_QUERY_TYPE: Final = "application/timestamp-query"
_JSON: Final = "application/json"
CERTIFICATE_LIMIT: Final = 256 * 1024
TIMESTAMP_LIMIT: Final = 64 * 1024


def claims(host: str, spoken: frozenset[str]) -> bool:
    """Whether a request to this host may be ours."""
    return _knows(host) or WORD in spoken


def _knows(host: str) -> bool:
    return host.endswith(_SUFFIXES) and _HOSTS.fullmatch(host) is not None


def decode(view: RequestView, spoken: frozenset[str]) -> Intent | BodyWanted | None:
    """Read a request to one of Sigstore's services; None when it is none. Raises IntentError."""
    host = view.authority.host
    if not claims(host, spoken):
        return None
    known = _knows(host)
    prefix, tail = ("", view.path) if known else _split(view.path)
    action, facts = _find(view, host if known else "", tail)
    if action == "unknown" and not known:
        if view.method == "POST" and media_type(view) == _QUERY_TYPE:
            prefix, action = "", "timestamp.sign"  # a timestamp authority of another make, at any path
        elif _OURS.fullmatch(tail) is None:
            return None
    refuse_override(view)
    site = join_site(read_site(view), prefix.split("/")[1:])
    reader = _READERS.get(action)
    if action == "unknown":
        return _intent("unknown", f"{read_site(view)}{view.path}", facts, exact=False)
    if reader is None:
        return _intent(action, site, facts)
    answer = reader(view, tail)
    if isinstance(answer, BodyWanted):
        return answer
    return _intent(action, site, answer[0], exact=answer[1])


def _split(path: str) -> tuple[str, str]:
    """Cut the path a service of one's own stands below from the service's own path."""
    at = max(path.rfind("/api/v1/"), path.rfind("/api/v2/"))
    return ("", path) if at < 0 else (path[:at], path[at:])


def _find(view: RequestView, host: str, tail: str) -> tuple[str, dict[str, str]]:
    """Return the action of a path, and what the path and query say. `host` is empty on a host of one's own."""
    method = "GET" if view.method in READS else view.method
    if host.startswith(_MIRROR):
        return ("trust.get" if method == "GET" else "unknown"), {}
    routes = _LOGIN_ROUTES if host.startswith(_LOGIN) else _ROUTES
    action = routes.get(f"{method} {tail}")
    if action == "entry.get":
        index = read_query(view).get("logIndex", "")
        return action, ({"index": index} if _INDEX.fullmatch(index) is not None else {})
    if action is not None:
        return action, {}
    if method == "GET" and routes is _ROUTES:
        found = _ENTRY.fullmatch(tail)
        if found is not None:
            return "entry.get", {"entry": found["entry"]}
        if _TILE.fullmatch(tail) is not None:
            return "log.get", {}
    return "unknown", {}


type _Facts = tuple[dict[str, str], bool]


def _read_create(view: RequestView, tail: str) -> _Facts | BodyWanted:
    """Read an entry. YAML, which Rekor takes too, can be read in more ways than JSON: it is refused."""
    if media_type(view) != _JSON:
        raise IntentError("an entry is sent as JSON")
    body = read_body(view, LIMIT)
    if isinstance(body, BodyWanted):
        return body
    return read_entry(body) if tail.startswith("/api/v1/") else (read_request(body), True)


def _read_timestamp(view: RequestView, _tail: str) -> _Facts | BodyWanted:
    """Read what is to be stamped, as DER or as the JSON that Sigstore's authority takes."""
    kind = media_type(view)
    if kind not in {_QUERY_TYPE, _JSON}:
        raise IntentError("a timestamp is asked for with a timestamp query or JSON")
    body = read_body(view, TIMESTAMP_LIMIT)
    if isinstance(body, BodyWanted):
        return body
    if kind == _QUERY_TYPE:
        return {"digest": read_imprint(body)}, True
    document = plain_object(read_object(body), "the request")
    name = text_of(document, "hashAlgorithm").lower().replace("-", "")
    return {"digest": name_digest(name, read_base64(text_of(document, "artifactHash")))}, True


def _read_certificate(view: RequestView, tail: str) -> _Facts | BodyWanted:
    """Read for which key a certificate is asked; for whom stands in a token, which is not looked at."""
    body = read_body(view, CERTIFICATE_LIMIT)
    if isinstance(body, BodyWanted):
        return body
    document = plain_object(read_object(body), "the request")
    request = either(document, "certificateSigningRequest", "certificate_signing_request")
    if tail.startswith("/api/v1/"):
        key = either(document, "publicKey", "public_key")
    else:
        key = either(document, "publicKeyRequest", "public_key_request")
        if key is not None:
            key = either(plain_object(key, "the key's request"), "publicKey", "public_key")
    if (key is None) is (request is None):
        raise IntentError("the request names not one key")
    if request is not None:
        text = read_base64(text_of({"request": request}, "request"))
    else:
        content = text_of(plain_object(key, "the key"), "content")
        text = read_base64(content) if tail.startswith("/api/v1/") else content.encode("utf-8", "replace")
    algorithm, raw = read_key(text)
    return {"algorithm": algorithm, "public_key": f"sha256:{sha256(raw).hexdigest()}"}, True


_READERS: Final[Mapping[str, Callable[[RequestView, str], _Facts | BodyWanted]]] = {
    "entry.create": _read_create,
    "timestamp.sign": _read_timestamp,
    "certificate.sign": _read_certificate,
}


def _intent(action: str, where: str, facts: Mapping[str, str], *, exact: bool = True) -> Intent:
    return Intent(
        protocol=WORD,
        action=action,
        resource=Resource(type="sigstore-service", id=where),
        effect=EFFECTS[action],
        exact=exact,
        facts=facts,
    )
