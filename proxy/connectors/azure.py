"""Azure: an access token of Entra's for the job's own, by federated credentials; for the one service that is asked.

Source: Microsoft identity platform, "Workload identity federation", "Access token request with a federated credential".
"""

from typing import ClassVar, Final

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from proxy.connectors.answers import bearer
from proxy.connectors.entra import EntraApplication, ask_entra
from proxy.connectors.named import is_named, parts_of
from proxy.connectors.parts import ConnectorParts, fingerprint, recordable
from proxy.connectors.sigv4 import query_names
from proxy.connectors.subjects import SubjectModel
from proxy.model.errors import CredentialError
from proxy.model.grant import Credential, Edits, MintRequest, Plan
from proxy.model.intent import EffectClass, Intent, RequestView
from proxy.model.reason import Reason

_PROTOCOL: Final = "azure"
_SERVICES: Final = {
    "public": {
        "management.azure.com": "https://management.azure.com/",
        "graph.microsoft.com": "https://graph.microsoft.com/",
        ".vault.azure.net": "https://vault.azure.net/",
        ".managedhsm.azure.net": "https://managedhsm.azure.net/",
        ".blob.core.windows.net": "https://storage.azure.com/",
        ".dfs.core.windows.net": "https://storage.azure.com/",
        ".queue.core.windows.net": "https://storage.azure.com/",
        ".table.core.windows.net": "https://storage.azure.com/",
        ".file.core.windows.net": "https://storage.azure.com/",
        ".servicebus.windows.net": "https://servicebus.azure.net/",
        ".azconfig.io": "https://azconfig.io/",
    },
    "us-government": {
        "management.usgovcloudapi.net": "https://management.usgovcloudapi.net/",
        "graph.microsoft.us": "https://graph.microsoft.us/",
        ".vault.usgovcloudapi.net": "https://vault.usgovcloudapi.net/",
        ".blob.core.usgovcloudapi.net": "https://storage.azure.com/",
        ".dfs.core.usgovcloudapi.net": "https://storage.azure.com/",
    },
    "china": {
        "management.chinacloudapi.cn": "https://management.chinacloudapi.cn/",
        "microsoftgraph.chinacloudapi.cn": "https://microsoftgraph.chinacloudapi.cn/",
        ".vault.azure.cn": "https://vault.azure.cn/",
        ".blob.core.chinacloudapi.cn": "https://storage.azure.com/",
        ".dfs.core.chinacloudapi.cn": "https://storage.azure.com/",
    },
}
"""Of each cloud: which service's token a host takes."""
_OWN_KEYS: Final = frozenset({"sig", "access_token"})


class AzureScope(SubjectModel, EntraApplication):
    """Which application takes the job's token, for the services that the rule names."""

    intents: SkipJsonSchema[tuple[str, ...]] = Field(
        (), strict=False, description="The rule's own `intent` lines. Put here when the rule is read, never written."
    )


class AzureConnector:
    """Asks Entra, and sends what it got as a bearer token to the service that it is for."""

    name: ClassVar[str] = "azure"
    Scope: ClassVar[type[AzureScope]] = AzureScope

    def __init__(self, parts: ConnectorParts) -> None:
        self._parts = parts

    def plan(self, view: RequestView, intent: Intent, scope: AzureScope) -> Plan:
        """Return which service's token is needed. Raises CredentialError for a request that none is for."""
        service = _service_of(view.authority.host, scope)
        if service is None or view.scheme != "https" or view.authority.port != 443:
            raise _outside("the token is for Azure's own services and goes nowhere else")
        if query_names(view.query) & _OWN_KEYS:
            raise _outside("the query holds a signature or token of the job's own")
        for part in parts_of(intent):
            if part.protocol != _PROTOCOL or part.effect is EffectClass.UNKNOWN:
                raise _outside("the request is none that Azure's APIs are known for; name `azure` in `intent`")
            if _must_be_named(part) and not is_named(scope.intents, part, part.action):
                raise _outside(f"{part.action} needs an `intent` line of the rule that names it")
        return Plan(need=(("resource", service),))

    async def mint(self, request: MintRequest, scope: AzureScope) -> Credential:
        """Ask Entra. Raises CredentialError."""
        resource = dict(request.need)["resource"]
        token, lifetime = await ask_entra(self._parts, request, scope, resource)
        now = self._parts.clock.now()
        return Credential(
            connector=self.name,
            secrets={"token": token},
            facts=recordable({"tenant": scope.tenant, "client_id": scope.client_id, "resource": resource}),
            fingerprint=fingerprint(token.reveal()),
            expires_at=now + min(lifetime, request.grant.lifetime),
            ends_at=now + lifetime,
        )

    def apply(
        self,
        view: RequestView,  # noqa: ARG002 - the interface
        scope: AzureScope,  # noqa: ARG002 - the interface
        credential: Credential,
        body_digest: str | None,  # noqa: ARG002 - the interface
    ) -> Edits:
        """Return the bearer token as Authorization."""
        return bearer(credential.secrets["token"])


def _service_of(host: str, scope: AzureScope) -> str | None:
    services = _SERVICES[scope.cloud]
    ending = next((name for name in services if host == name or (name.startswith(".") and host.endswith(name))), None)
    return None if ending is None else services[ending]


def _must_be_named(part: Intent) -> bool:
    """Whether it hands out keys, which no wildcard means. Reading a secret's value from a vault is not that."""
    return part.effect is EffectClass.CREDENTIAL and part.action != "keyvault.secrets.get"


def _outside(why: str) -> CredentialError:
    return CredentialError(f"azure: {why}", Reason.CREDENTIAL_SCOPE)
