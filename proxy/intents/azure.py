"""Azure: Resource Manager by the operations of its RBAC, Blob storage, Key Vault, and where tokens come from.

Sources: Azure RBAC, "resource provider operations"; REST references of Blob storage and Key Vault. Names mean the same
in any case: actions and ids are in lower case, `microsoft.compute/virtualmachines/start/action` on
`subscriptions/ID/resourcegroups/NAME/...`. Services that are not read here in full have an effect that nobody knows.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from proxy.intents.azure_blob import read_blob
from proxy.intents.reading import decode_component, read_query
from proxy.intents.routes import cut_path
from proxy.model.errors import IntentError
from proxy.model.intent import EffectClass, Intent, RequestView, Resource

_MANAGEMENT: Final = frozenset({"management.azure.com", "management.usgovcloudapi.net", "management.chinacloudapi.cn"})
_LOGINS: Final = frozenset(
    {"login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn", "login.windows.net"}
)
_GRAPHS: Final = frozenset({"graph.microsoft.com", "graph.microsoft.us", "microsoftgraph.chinacloudapi.cn"})
_STORES: Final = tuple(
    f".{kind}.core.{cloud}"
    for kind in ("blob", "dfs", "queue", "table", "file")
    for cloud in ("windows.net", "usgovcloudapi.net", "chinacloudapi.cn")
)
_VAULTS: Final = (".vault.azure.net", ".vault.usgovcloudapi.net", ".vault.azure.cn", ".managedhsm.azure.net")
_OTHERS: Final = (".scm.azurewebsites.net", ".servicebus.windows.net", ".azconfig.io")
_ENDINGS: Final = (*_STORES, *_VAULTS, *_OTHERS)
_OVERRIDES: Final = frozenset({"x-http-method-override", "x-http-method", "x-method-override", "x-ms-http-method"})
_READS: Final = frozenset({"GET", "HEAD"})
_SEGMENT: Final = re.compile(r"[^\x00-\x20\x7f/#%\\*:]{1,260}")
_METHODS: Final = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
_EFFECTS: Final = {"read": EffectClass.READ, "write": EffectClass.WRITE, "delete": EffectClass.DELETE}
_ADMIN: Final = (
    "microsoft.authorization/",
    "microsoft.managedidentity/",
    "microsoft.policyinsights/",
    "microsoft.management/",
    "microsoft.keyvault/",
    "microsoft.resources/deployments/",
    "microsoft.resources/deploymentscripts/",
)
"""Operations that say who may do what; a deployment may do all of it."""
_SECRET_WORDS: Final = ("list", "regenerate", "generate", "rotate", "get")
"""What a POST begins with that hands out keys: `listKeys`, `regenerateKey`, `generateCredentials`."""
_PLAIN_LISTS: Final = frozenset({"listoperations", "listusages"})
_RUNS: Final = frozenset({"runcommand", "runcommands", "extensions", "start", "restart", "execute", "run", "runs"})
_STOPS: Final = frozenset({"poweroff", "deallocate", "stop", "redeploy", "cancel", "validate", "whatif"})
_VAULT_SECRETS: Final = frozenset({"secrets", "deletedsecrets"})
_VAULT_USES: Final = frozenset({"sign", "verify", "encrypt", "decrypt", "wrapkey", "unwrapkey", "release"})


def claims(host: str, _: frozenset[str]) -> bool:
    """Whether a request to this host may be ours."""
    return host in _READERS or host.endswith(_ENDINGS)


def decode(view: RequestView, spoken: frozenset[str]) -> Intent | None:
    """Read a request to Azure; None when it is none. Raises IntentError."""
    host = view.authority.host
    if not claims(host, spoken):
        return None
    reader = _READERS.get(host)
    if any(name in _OVERRIDES for name, _ in view.headers):
        raise IntentError("a header asks for another method than the request line")
    if "$batch" in view.path or view.path.rstrip("/").endswith("/batch"):
        return _intent("unknown", EffectClass.UNKNOWN, f"{host}{view.path}".rstrip("/"))  # may hold any request
    if reader is not None:
        return reader(view)
    if host.endswith(_VAULTS):
        return _read_vault(view)
    if host.endswith(_STORES[:6]):
        return read_blob(view)
    effect = EffectClass.READ if view.method in _READS and host.endswith(_STORES) else EffectClass.UNKNOWN
    return _intent("get" if effect is EffectClass.READ else "unknown", effect, f"{host}{view.path}".rstrip("/"))


def _intent(action: str, effect: EffectClass, where: str, facts: Mapping[str, str] | None = None) -> Intent:
    return Intent(
        protocol="azure",
        action=action,
        resource=Resource(type="azure-resource", id=where.lower()),
        effect=effect,
        exact=effect is not EffectClass.UNKNOWN,
        facts=facts or {},
    )


def _segments(view: RequestView) -> list[str]:
    parts = [decode_component(part) for part in cut_path(view.path)]
    if any(_SEGMENT.fullmatch(part) is None or part in {".", ".."} for part in parts):
        raise IntentError("the path names what nothing of Azure's is called")
    return [part.lower() for part in parts]


def _read_management(view: RequestView) -> Intent:
    """Read Resource Manager: the last provider of the path says whose operation it is."""
    read_query(view)
    parts = _segments(view)
    operation, action = _operation(parts), ""
    if view.method == "POST":
        operation, action = operation.rpartition("/")[0], operation.rpartition("/")[2]
        verb = f"{action}/action"
    else:
        verb = _METHODS.get(view.method, "unknown")
    where = "/".join(parts)
    return _intent(f"{operation}/{verb}", _weigh(operation, verb, action), where)


def _operation(parts: list[str]) -> str:
    """Return `NAMESPACE/TYPE[/SUBTYPE]...`; what stands outside of a provider is `microsoft.resources`'s."""
    if "providers" not in parts[:-1]:
        return "/".join(["microsoft.resources", *parts[::2]])
    at = len(parts) - 1 - parts[-2::-1].index("providers")
    rest = parts[at:]
    return "/".join([rest[0], *rest[1::2]])


def _weigh(operation: str, verb: str, action: str) -> EffectClass:  # noqa: PLR0911 - one for each kind of harm
    """Say how harmful an operation is; of two answers the harsher."""
    full = f"{operation}/"
    if verb == "unknown":
        return EffectClass.UNKNOWN
    if action:
        if action in _RUNS or full.startswith("microsoft.resources/deploymentscripts/"):
            return EffectClass.EXECUTE
        if full.startswith(_ADMIN):
            return EffectClass.ADMIN
        if action.startswith(_SECRET_WORDS) and action not in _PLAIN_LISTS:
            return EffectClass.CREDENTIAL
        return EffectClass.WRITE if action in _STOPS else EffectClass.UNKNOWN
    if verb != "read" and full.startswith(_ADMIN):
        return EffectClass.ADMIN
    if verb == "write" and {"runcommands", "extensions"} & set(operation.split("/")):
        return EffectClass.EXECUTE
    return _EFFECTS[verb]


def _read_login(view: RequestView) -> Intent:
    """Read Entra's endpoints: keys and discovery are public, all else is about tokens."""
    is_public = view.method in _READS and view.path.endswith(("/.well-known/openid-configuration", "/keys"))
    tenant = view.path[1:].partition("/")[0]
    effect = EffectClass.READ if is_public else EffectClass.CREDENTIAL
    return _intent("login.discover" if is_public else "login.token", effect, f"{view.authority.host}/{tenant}")


def _read_graph(view: RequestView) -> Intent:
    """Read Microsoft Graph: whoever writes there changes who may do what."""
    where = f"{view.authority.host}{view.path}".rstrip("/")
    if view.method in _READS:
        return _intent("graph.get", EffectClass.READ, where)
    return _intent("graph.change", EffectClass.ADMIN, where)


def _read_vault(view: RequestView) -> Intent:
    """Read Key Vault: `/secrets/NAME[/VERSION[/VERB]]` and the same of keys and certificates."""
    parts = _segments(view)
    where = "/".join((view.authority.host, *parts[:2]))
    kind, verb = (parts[0] if parts else ""), parts[-1] if parts else ""
    facts = {"version": parts[2]} if len(parts) > 2 and verb not in _VAULT_USES and view.method in _READS else {}
    if kind not in {"secrets", "keys", "certificates", "deletedsecrets", "deletedkeys", "deletedcertificates"}:
        return _intent("keyvault.unknown", EffectClass.UNKNOWN, "/".join((view.authority.host, *parts)))
    name = f"keyvault.{kind}"
    if view.method in _READS:
        if len(parts) == 1 or verb == "versions":
            return _intent(f"{name}.enumerate", EffectClass.LIST, where)
        effect = EffectClass.CREDENTIAL if kind in _VAULT_SECRETS else EffectClass.READ
        return _intent(f"{name}.get", effect, where, facts)
    if view.method == "DELETE":
        return _intent(f"{name}.remove", EffectClass.DELETE, where)
    if view.method == "POST":
        effect = EffectClass.EXECUTE if verb in _VAULT_USES and kind == "keys" else EffectClass.WRITE
        if verb in {"backup", "release"}:
            effect = EffectClass.CREDENTIAL
        return _intent(f"{name}.{verb if len(parts) > 1 else 'restore'}", effect, where)
    return _intent(f"{name}.put", EffectClass.WRITE if view.method in {"PUT", "PATCH"} else EffectClass.UNKNOWN, where)


_READERS: Final[Mapping[str, Callable[[RequestView], Intent]]] = {
    **dict.fromkeys(_MANAGEMENT, _read_management),
    **dict.fromkeys(_LOGINS, _read_login),
    **dict.fromkeys(_GRAPHS, _read_graph),
}
