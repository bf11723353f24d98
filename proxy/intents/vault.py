"""Vault and OpenBao: which capability on which path. Source: Vault's HTTP API, "Policies" (capabilities), "Namespaces".

A resource's id is `HOST/NAMESPACE/PATH` as an ACL policy would name the path: `vault.example/team/secret/data/db`.
What is mounted where nobody tells: an engine is known by the words of its paths, and those could be a secret's name in
the first key-value engine. So every GET of an engine counts as class `credential`, whatever it is called.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from proxy.intents.packages import read_site
from proxy.intents.reading import decode_component, read_query
from proxy.model.errors import IntentError
from proxy.model.intent import EffectClass, Intent, RequestView, Resource

_ENDINGS: Final = (".vault.hashicorp.cloud", ".aws.hashicorp.cloud", ".azure.hashicorp.cloud")
_METHODS: Final = {"GET": "get", "HEAD": "get", "POST": "update", "PUT": "update", "PATCH": "patch", "DELETE": "remove"}
"""POST and PUT create what is not there and update what is: the harsher cannot be told, and neither is milder."""
_OVERRIDES: Final = frozenset({"x-http-method-override", "x-http-method", "x-method-override"})
_SEGMENT: Final = re.compile(r"[^\x00-\x20\x7f/#*\\%]+")
_OPEN: Final = frozenset(
    {
        "sys/health",
        "sys/seal-status",
        "sys/leader",
        "sys/ha-status",
        "sys/init",
        "sys/internal/ui/mounts",
        "sys/internal/ui/namespaces",
        "sys/capabilities-self",
        "sys/wrapping/lookup",
        "sys/leases/lookup",
    }
)
"""Paths of `sys` that tell and change nothing, though some are asked with a POST."""
_KV: Final = {
    ("data", "get"): ("kv.get", EffectClass.CREDENTIAL),
    ("data", "update"): ("kv.put", EffectClass.WRITE),
    ("data", "patch"): ("kv.patch", EffectClass.WRITE),
    ("data", "remove"): ("kv.remove", EffectClass.DELETE),
    ("metadata", "get"): ("kv.metadata.get", EffectClass.CREDENTIAL),
    ("metadata", "enumerate"): ("kv.enumerate", EffectClass.LIST),
    ("metadata", "update"): ("kv.metadata.put", EffectClass.WRITE),
    ("metadata", "patch"): ("kv.metadata.put", EffectClass.WRITE),
    ("metadata", "remove"): ("kv.metadata.remove", EffectClass.DELETE),
    ("subkeys", "get"): ("kv.subkeys", EffectClass.CREDENTIAL),
    ("delete", "update"): ("kv.remove", EffectClass.DELETE),
    ("undelete", "update"): ("kv.undelete", EffectClass.WRITE),
    ("destroy", "update"): ("kv.destroy", EffectClass.DELETE),
}
"""The second version of the key-value engine, known by the word after its mount."""
_ENGINES: Final = {
    "creds": ("creds", EffectClass.CREDENTIAL),
    "static-creds": ("creds", EffectClass.CREDENTIAL),
    "static-cred": ("creds", EffectClass.CREDENTIAL),
    "sts": ("creds", EffectClass.CREDENTIAL),
    "token": ("creds", EffectClass.CREDENTIAL),
    "issue": ("pki.issue", EffectClass.CREDENTIAL),
    "sign": ("sign", EffectClass.CREDENTIAL),
    "sign-verbatim": ("sign", EffectClass.CREDENTIAL),
    "sign-intermediate": ("sign", EffectClass.CREDENTIAL),
    "code": ("totp.code", EffectClass.CREDENTIAL),
    "export": ("transit.export", EffectClass.CREDENTIAL),
    "backup": ("transit.export", EffectClass.CREDENTIAL),
    "datakey": ("transit.datakey", EffectClass.CREDENTIAL),
    "encrypt": ("transit.encrypt", EffectClass.EXECUTE),
    "decrypt": ("transit.decrypt", EffectClass.EXECUTE),
    "rewrap": ("transit.rewrap", EffectClass.EXECUTE),
    "hmac": ("transit.hmac", EffectClass.EXECUTE),
    "verify": ("transit.verify", EffectClass.EXECUTE),
    "hash": ("transit.hash", EffectClass.EXECUTE),
    "random": ("transit.random", EffectClass.EXECUTE),
    "rotate-root": ("rotate", EffectClass.ADMIN),
    "rotate-role": ("rotate", EffectClass.ADMIN),
    "root": ("root", EffectClass.ADMIN),
    "config": ("config", EffectClass.ADMIN),
    "roles": ("roles", EffectClass.ADMIN),
    "role": ("roles", EffectClass.ADMIN),
    "keys": ("keys", EffectClass.ADMIN),
}
"""Words after a mount that the engines of Vault's own give their paths, and the worst that they mean there."""


def claims(host: str, spoken: frozenset[str]) -> bool:
    """Whether a request to this host may be ours."""
    return host.endswith(_ENDINGS) or "vault" in spoken


def decode(view: RequestView, spoken: frozenset[str]) -> Intent | None:
    """Read a request to Vault; None when it is none. Raises IntentError."""
    if not claims(view.authority.host, spoken):
        return None
    if not view.path.startswith("/v1/"):
        return None if "vault" in spoken else _intent(view, "unknown", EffectClass.UNKNOWN, read_site(view))
    if any(name in _OVERRIDES for name, _ in view.headers):
        raise IntentError("a header asks for another method than the request line")
    path = _read_path(view)
    namespace = _read_namespace(view)
    capability = _capability(view)
    action, effect = _read_action(path, capability)
    if view.header("x-vault-policy-override") is not None:
        effect = EffectClass.ADMIN
    where = "/".join((read_site(view), *namespace, *path))
    facts = {"capability": capability}
    if (wrapped := view.header("x-vault-wrap-ttl")) is not None:
        facts["wrap_ttl"] = wrapped[:32]
    return _intent(view, action, effect, where, facts)


def _intent(
    view: RequestView, action: str, effect: EffectClass, where: str, facts: Mapping[str, str] | None = None
) -> Intent:
    known = not action.startswith(("logical.", "unknown"))
    return Intent(
        protocol="vault",
        action=action,
        resource=Resource(type="vault-path", id=where),
        effect=effect,
        exact=known and view.path.startswith("/v1/"),
        facts=facts or {},
    )


def _read_path(view: RequestView) -> list[str]:
    """Return the path's segments without the closing slash that a list may have."""
    parts = [decode_component(part) for part in view.path.removeprefix("/v1/").rstrip("/").split("/")]
    return [_plain(part) for part in parts]


def _plain(part: str) -> str:
    if _SEGMENT.fullmatch(part) is None or part in {".", "..", "+"}:
        raise IntentError("the path is not one that a policy could name")
    return part


def _read_namespace(view: RequestView) -> list[str]:
    """Return the namespace of the header; one in the path stands in the path already."""
    values = [value for name, value in view.headers if name == "x-vault-namespace"]
    if len(values) > 1:
        raise IntentError("the namespace was sent twice")
    text = values[0].strip("/") if values else ""
    return [_plain(part) for part in text.split("/")] if text and text != "root" else []


def _capability(view: RequestView) -> str:
    """Return what the method asks for, in no word that rules use for a class."""
    query = read_query(view)
    if view.method == "LIST" or (view.method == "GET" and query.get("list", "").lower() in {"true", "1"}):
        return "enumerate"
    if "list" in query and query["list"].lower() not in {"true", "1", "false", "0"}:
        raise IntentError("`list` of the query is neither true nor false")
    return _METHODS.get(view.method, "unknown")


def _read_action(path: list[str], capability: str) -> tuple[str, EffectClass]:
    if capability == "unknown":
        return "unknown", EffectClass.UNKNOWN
    if path[0] in _OWN:
        return _OWN[path[0]](path, capability)
    for word in ("sys", "auth"):  # below a namespace in the path; or in a secret's name, which must not look harmless
        if word in path:
            action, effect = _OWN[word](path[path.index(word) :], capability)
            return action, effect if effect in {EffectClass.CREDENTIAL, EffectClass.LIST} else EffectClass.ADMIN
    return _read_engine(path, capability)


def _read_sys(path: list[str], capability: str) -> tuple[str, EffectClass]:
    where = "/".join(path)
    is_mount = where.startswith("sys/internal/ui/mounts/") and capability == "get"  # what the CLI asks before `kv`
    if is_mount or (where in _OPEN and (where != "sys/init" or capability == "get")):
        return "sys.status", EffectClass.READ
    if where.startswith("sys/wrapping/"):
        return "unwrap" if where.endswith("unwrap") else "wrap", EffectClass.CREDENTIAL
    if where.startswith(("sys/leases/renew", "sys/renew")):
        return "lease.renew", EffectClass.CREDENTIAL
    if where.startswith(("sys/leases/revoke", "sys/revoke")):
        is_one = where in {"sys/leases/revoke", "sys/revoke"}
        return "lease.revoke", EffectClass.DELETE if is_one else EffectClass.ADMIN
    if capability == "enumerate":
        return "sys.enumerate", EffectClass.LIST
    return f"sys.{capability}", EffectClass.ADMIN


def _read_auth(path: list[str], capability: str) -> tuple[str, EffectClass]:
    """Read `auth/MOUNT/...`: logins and tokens are credentials, the rest is how others get in."""
    words = path[2:]
    if path[1:2] == ["token"] and words:
        found = next((known for start, known in _TOKENS.items() if words[0].startswith(start)), None)
        if found is not None:
            return found
    if {"login", "auth_url", "callback"} & set(words):
        return "login", EffectClass.CREDENTIAL
    if "secret-id" in words and capability == "update":
        return "approle.secret", EffectClass.CREDENTIAL
    if capability == "enumerate":
        return "auth.enumerate", EffectClass.LIST
    return f"auth.{capability}", EffectClass.ADMIN


def _read_identity(path: list[str], capability: str) -> tuple[str, EffectClass]:
    if path[1:3] == ["oidc", "token"]:
        return "identity.token", EffectClass.CREDENTIAL
    if capability in {"get", "enumerate"}:
        return f"identity.{capability}", EffectClass.READ if capability == "get" else EffectClass.LIST
    return f"identity.{capability}", EffectClass.ADMIN


def _read_cubbyhole(path: list[str], capability: str) -> tuple[str, EffectClass]:
    """Read a token's own drawer, where wrapped secrets lie."""
    return f"cubbyhole.{capability}" if len(path) > 1 else "cubbyhole", EffectClass.CREDENTIAL


def _read_engine(path: list[str], capability: str) -> tuple[str, EffectClass]:
    """Read a secrets engine's path by the first word after its mount that is known, the key-value engine's first."""
    found = next((_KV[word, capability] for word in path[1:] if (word, capability) in _KV), None)
    if found is None:
        found = next((_ENGINES[word] for word in path[1:] if word in _ENGINES), None)
    if found is None:
        return f"logical.{capability}", _PLAIN.get(capability, EffectClass.UNKNOWN)
    action, effect = found
    if (action, effect) in _KV.values():
        return action, effect
    return (action, effect) if capability in {"update", "patch"} else (f"{action}.{capability}", _PLAIN[capability])


_PLAIN: Final = {"get": EffectClass.CREDENTIAL, "enumerate": EffectClass.LIST, "remove": EffectClass.DELETE}
_TOKENS: Final = {
    "lookup": ("token.lookup", EffectClass.READ),
    "revoke-self": ("token.revoke", EffectClass.DELETE),
    "revoke": ("token.revoke", EffectClass.ADMIN),
    "create": ("token.create", EffectClass.CREDENTIAL),
    "renew": ("token.renew", EffectClass.CREDENTIAL),
}
"""What a word below `auth/token` begins with."""
_OWN: Final[Mapping[str, Callable[[list[str], str], tuple[str, EffectClass]]]] = {
    "sys": _read_sys,
    "auth": _read_auth,
    "identity": _read_identity,
    "cubbyhole": _read_cubbyhole,
}
"""What is mounted in every Vault, where it is always."""
