"""What requests to Azure mean: Resource Manager's operations, tokens, vaults."""

import pytest

from proxy.intents import azure
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import EffectClass, Headers, Intent, RequestView

READ, LIST, WRITE, DELETE, ADMIN, EXECUTE, CREDENTIAL, UNKNOWN = (
    EffectClass.READ,
    EffectClass.LIST,
    EffectClass.WRITE,
    EffectClass.DELETE,
    EffectClass.ADMIN,
    EffectClass.EXECUTE,
    EffectClass.CREDENTIAL,
    EffectClass.UNKNOWN,
)
GROUP = "/subscriptions/S-1/resourceGroups/Shop"


def ask(line: str, host: str = "management.azure.com", headers: Headers = ()) -> Intent | None:
    method, _, target = line.partition(" ")
    path, mark, query = target.partition("?")
    view = RequestView(
        method=method,
        scheme="https",
        authority=Authority(host, 443),
        path=path,
        query=query if mark else None,
        headers=headers,
    )
    return azure.decode(view, frozenset())


def read(line: str, host: str = "management.azure.com") -> Intent:
    found = ask(line, host)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "line, action, effect",
    [
        ("GET /subscriptions", "microsoft.resources/subscriptions/read", READ),
        (f"GET {GROUP}?api-version=2021-04-01", "microsoft.resources/subscriptions/resourcegroups/read", READ),
        (f"DELETE {GROUP}", "microsoft.resources/subscriptions/resourcegroups/delete", DELETE),
        (f"GET {GROUP}/providers/Microsoft.Compute/virtualMachines", "microsoft.compute/virtualmachines/read", READ),
        (
            f"PUT {GROUP}/providers/Microsoft.Compute/virtualMachines/vm",
            "microsoft.compute/virtualmachines/write",
            WRITE,
        ),
        (f"PATCH {GROUP}/providers/Microsoft.Web/sites/s", "microsoft.web/sites/write", WRITE),
        (
            f"POST {GROUP}/providers/Microsoft.Compute/virtualMachines/vm/start",
            "microsoft.compute/virtualmachines/start/action",
            EXECUTE,
        ),
        (
            f"POST {GROUP}/providers/Microsoft.Compute/virtualMachines/vm/runCommand",
            "microsoft.compute/virtualmachines/runcommand/action",
            EXECUTE,
        ),
        (
            f"PUT {GROUP}/providers/Microsoft.Compute/virtualMachines/vm/extensions/e",
            "microsoft.compute/virtualmachines/extensions/write",
            EXECUTE,
        ),
        (
            f"POST {GROUP}/providers/Microsoft.Compute/virtualMachines/vm/deallocate",
            "microsoft.compute/virtualmachines/deallocate/action",
            WRITE,
        ),
        (
            f"POST {GROUP}/providers/Microsoft.Storage/storageAccounts/a/listKeys",
            "microsoft.storage/storageaccounts/listkeys/action",
            CREDENTIAL,
        ),
        (
            f"POST {GROUP}/providers/Microsoft.Storage/storageAccounts/a/invent",
            "microsoft.storage/storageaccounts/invent/action",
            UNKNOWN,
        ),
        (
            f"PUT {GROUP}/providers/Microsoft.Web/sites/s/providers/Microsoft.Authorization/roleAssignments/r",
            "microsoft.authorization/roleassignments/write",
            ADMIN,
        ),
        (
            f"POST {GROUP}/providers/Microsoft.Authorization/roleAssignments/r/validate",
            "microsoft.authorization/roleassignments/validate/action",
            ADMIN,
        ),
        (f"PUT {GROUP}/providers/Microsoft.Resources/deployments/d", "microsoft.resources/deployments/write", ADMIN),
        (f"GET {GROUP}/providers/Microsoft.Resources/deployments/d", "microsoft.resources/deployments/read", READ),
        (
            f"POST {GROUP}/providers/Microsoft.Resources/deploymentScripts/d/x",
            "microsoft.resources/deploymentscripts/x/action",
            EXECUTE,
        ),
        (f"PUT {GROUP}/providers/Microsoft.KeyVault/vaults/v", "microsoft.keyvault/vaults/write", ADMIN),
        ("GET /providers", "microsoft.resources/providers/read", READ),
        (f"OPTIONS {GROUP}", "microsoft.resources/subscriptions/resourcegroups/unknown", UNKNOWN),
    ],
)
def test_resource_manager(line: str, action: str, effect: EffectClass) -> None:
    """The last provider of a path is the one that acts; keys, rights, scripts and deployments are what they are."""
    found = read(line)
    assert (found.name, found.effect) == (f"azure {action}", effect)
    assert found.resource.id == line.split(" ")[1].partition("?")[0][1:].lower()
    assert found.exact is (effect is not UNKNOWN)


@pytest.mark.parametrize(
    "line, action, effect, where",
    [
        ("GET /secrets", "secrets.enumerate", LIST, "secrets"),
        ("GET /secrets/Db", "secrets.get", CREDENTIAL, "secrets/db"),
        ("GET /secrets/db/v1", "secrets.get", CREDENTIAL, "secrets/db"),
        ("GET /secrets/db/versions", "secrets.enumerate", LIST, "secrets/db"),
        ("GET /deletedsecrets/db", "deletedsecrets.get", CREDENTIAL, "deletedsecrets/db"),
        ("PUT /secrets/db", "secrets.put", WRITE, "secrets/db"),
        ("DELETE /secrets/db", "secrets.remove", DELETE, "secrets/db"),
        ("POST /secrets/db/backup", "secrets.backup", CREDENTIAL, "secrets/db"),
        ("POST /secrets/restore", "secrets.restore", WRITE, "secrets/restore"),
        ("POST /secrets", "secrets.restore", WRITE, "secrets"),
        ("GET /keys/k", "keys.get", READ, "keys/k"),
        ("POST /keys/k/v1/sign", "keys.sign", EXECUTE, "keys/k"),
        ("POST /keys/k/v1/release", "keys.release", CREDENTIAL, "keys/k"),
        ("POST /keys/k/create", "keys.create", WRITE, "keys/k"),
        ("OPTIONS /keys/k", "keys.put", UNKNOWN, "keys/k"),
        ("GET /security/x", "unknown", UNKNOWN, "security/x"),
        ("GET /", "unknown", UNKNOWN, ""),
    ],
)
def test_key_vault(line: str, action: str, effect: EffectClass, where: str) -> None:
    """A secret's value is a credential, a key's use an execution."""
    host = "acme.vault.azure.net"
    found = read(line, host)
    assert (found.name, found.effect) == (f"azure keyvault.{action}", effect)
    assert found.resource.id == f"{host}/{where}".rstrip("/")
    assert found.facts == ({"version": "v1"} if line == "GET /secrets/db/v1" else {})


@pytest.mark.parametrize(
    "line, host, action, effect",
    [
        ("POST /t/oauth2/v2.0/token", "login.microsoftonline.com", "login.token", CREDENTIAL),
        ("GET /t/v2.0/.well-known/openid-configuration", "login.microsoftonline.com", "login.discover", READ),
        ("GET /t/discovery/v2.0/keys", "login.microsoftonline.com", "login.discover", READ),
        ("GET /t/oauth2/v2.0/authorize", "login.microsoftonline.com", "login.token", CREDENTIAL),
        ("GET /v1.0/me/drive/root:/a:/content", "graph.microsoft.com", "graph.get", READ),
        ("GET /v1.0/users", "graph.microsoft.com", "graph.get", READ),
        ("POST /v1.0/applications/x/addPassword", "graph.microsoft.com", "graph.change", ADMIN),
        ("GET /messages", "acme.queue.core.windows.net", "get", READ),
        ("POST /messages", "acme.queue.core.windows.net", "unknown", UNKNOWN),
        ("POST /batch?api-version=2020-06-01", "management.azure.com", "unknown", UNKNOWN),
        ("POST /v1.0/$batch", "graph.microsoft.com", "unknown", UNKNOWN),
        ("GET /q", "acme.servicebus.windows.net", "unknown", UNKNOWN),
        ("POST /api/zipdeploy", "acme.scm.azurewebsites.net", "unknown", UNKNOWN),
        ("GET /c/b", "acme.blob.core.windows.net", "blob.get", READ),
        ("GET /c/b", "acme.dfs.core.chinacloudapi.cn", "blob.get", READ),
    ],
)
def test_the_other_hosts(line: str, host: str, action: str, effect: EffectClass) -> None:
    """Tokens are credentials, the directory an administrator's to change; what is not read is not called mild."""
    found = read(line, host)
    assert (found.action, found.effect) == (action, effect)


@pytest.mark.parametrize(
    "line, host, headers",
    [
        ("GET /subscriptions/a%2Fb", "management.azure.com", ()),
        ("GET /subscriptions/..", "management.azure.com", ()),
        ("GET /subscriptions//x", "management.azure.com", ()),
        ("GET /subscriptions?a=1&a=2", "management.azure.com", ()),
        ("POST /subscriptions", "management.azure.com", (("x-http-method", "DELETE"),)),
    ],
)
def test_two_readings_are_refused(line: str, host: str, headers: Headers) -> None:
    """Hidden segments, doubled parameters and other methods are denied."""
    with pytest.raises(IntentError):
        ask(line, host, headers)


def test_other_hosts_are_left_alone() -> None:
    """Names that only end like Azure's are nobody's here."""
    assert ask("GET /", "management.azure.com.example") is None
