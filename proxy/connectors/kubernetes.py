"""Kubernetes: a service account's token from the cluster itself, or an EKS token from an AWS role. For one cluster.

`token` asks the cluster's TokenRequest API with the sidecar's own service account; `eks` signs a question to STS with
keys of a role, as `aws` gets them. Either goes to the rule's API server as a bearer token, and nowhere else.
"""

from datetime import timedelta
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic.json_schema import SkipJsonSchema

from proxy.connectors.answers import bearer
from proxy.connectors.aws_policy import write_policy
from proxy.connectors.aws_roles import RoleWish, assume_role, sts_host
from proxy.connectors.eks_token import make_token
from proxy.connectors.kubernetes_calls import Account, ApiServer, Binding
from proxy.connectors.named import is_named, parts_of
from proxy.connectors.parts import ConnectorParts, ScopeModel, fingerprint, recordable
from proxy.connectors.secret_sources import SecretSource, read_secret
from proxy.connectors.sigv4 import Keys
from proxy.connectors.subjects import SubjectModel
from proxy.model.authority import Authority, parse_authority
from proxy.model.errors import CredentialError, ProtocolError
from proxy.model.grant import PLAIN, Credential, Edits, MintRequest, Plan, Secret
from proxy.model.intent import EffectClass, Intent, RequestView
from proxy.model.reason import Reason

_PROTOCOL: Final = "k8s"
_LABEL: Final = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"  # RFC 1123, as Kubernetes names namespaces
_NAME: Final = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"
_POLICY: Final = write_policy((("sts:GetCallerIdentity", "*"),))
"""The role's keys can do nothing else, should they ever get away: what it may do in the cluster is RBAC's matter."""

_Audience = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[!-~]+$")]


class ServiceAccountToken(ScopeModel):
    """Whose token is asked for, and with what."""

    namespace: str = Field(pattern=_LABEL, description="The service account's namespace.", examples=["shop"])
    service_account: str = Field(pattern=_NAME, description="The service account's name.", examples=["deployer"])
    audiences: tuple[_Audience, ...] = Field(
        (), strict=False, description="Audiences of the token. Default: the API server's own."
    )
    own_token: SecretSource = Field(
        description="Where the sidecar's own service account token is read from, each time anew.",
        examples=[{"file": "/run/secrets/tokens/cluster"}],
    )
    revocable: bool = Field(
        False,
        description="Bind each token to a Secret made for it, and delete that at the session's end.",
    )


class EksToken(ScopeModel):
    """Which EKS cluster, and the role that its access entries know."""

    cluster: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$", description="The cluster's name.")
    role: str = Field(
        pattern=r"^arn:(aws|aws-us-gov|aws-cn):iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+$",
        max_length=600,
        description="ARN of the role to assume. Its trust policy must accept the job's token.",
    )
    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$", description="The region whose STS is asked.")
    source: Literal["web-identity", "sidecar"] = Field(
        "web-identity", description="Whose identity assumes the role, as for `aws`."
    )
    audience: str = Field("sts.amazonaws.com", description="Audience of the job's token that is handed to STS.")
    external_id: str | None = Field(
        None,
        min_length=2,
        max_length=1224,
        pattern=r"^[A-Za-z0-9_+=,.@:/-]+$",
        description="External id, for `source: sidecar`.",
    )

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.external_id is not None and self.source != "sidecar":
            raise ValueError("`external_id` goes with `source: sidecar`")
        return self


class KubernetesScope(SubjectModel):
    """Which cluster, and where its token comes from."""

    server: str = Field(
        pattern=r"^https://[^\s/?#@]+$",
        description="URL of the cluster's API server, without a path: where requests go, and nowhere else.",
        examples=["https://kubernetes.example.com:6443"],
    )
    token: ServiceAccountToken | None = Field(None, description="A service account's token, from the cluster itself.")
    eks: EksToken | None = Field(None, description="An EKS token, from an AWS role.")
    intents: SkipJsonSchema[tuple[str, ...]] = Field(
        (), strict=False, description="The rule's own `intent` lines. Put here when the rule is read, never written."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            authority_of(self)
        except ProtocolError as error:
            raise ValueError(f"`server`: {error}") from None
        if (self.token is None) == (self.eks is None):
            raise ValueError("give exactly one of `token` and `eks`")
        return self


def authority_of(scope: KubernetesScope) -> Authority:
    """Return the API server's host and port. Raises ProtocolError."""
    return parse_authority(scope.server.removeprefix("https://"), 443)


class KubernetesConnector:
    """Asks the cluster or STS, and sends what it got as a bearer token."""

    name: ClassVar[str] = "kubernetes"
    Scope: ClassVar[type[KubernetesScope]] = KubernetesScope

    def __init__(self, parts: ConnectorParts) -> None:
        self._parts = parts

    def plan(self, view: RequestView, intent: Intent, scope: KubernetesScope) -> Plan:
        """Return the plain plan. Raises CredentialError for a request that the token is not for."""
        address = authority_of(scope)
        if view.scheme != "https" or view.authority != address:
            raise _outside(f"the token is for {address} and goes nowhere else")
        for part in parts_of(intent):
            if part.protocol != _PROTOCOL or part.effect is EffectClass.UNKNOWN:
                raise _outside("the request is none that the API is known for; name `k8s` in the rule's `intent`")
            if _must_be_named(part) and not is_named(scope.intents, part, part.action):
                raise _outside(f"{part.action} needs an `intent` line of the rule that names it")
        return PLAIN

    async def mint(self, request: MintRequest, scope: KubernetesScope) -> Credential:
        """Ask the cluster for a token, or STS for keys. Raises CredentialError."""
        if scope.eks is not None:
            return await self._mint_keys(request, scope, scope.eks)
        assert scope.token is not None  # noqa: S101 - the schema wants exactly one
        return await self._mint_token(request, scope, scope.token)

    def apply(
        self,
        view: RequestView,  # noqa: ARG002 - the interface
        scope: KubernetesScope,
        credential: Credential,
        body_digest: str | None,  # noqa: ARG002 - the interface
    ) -> Edits:
        """Return the bearer token as Authorization."""
        if scope.eks is None:
            return bearer(credential.secrets["token"])
        keys = Keys(
            credential.facts["access_key"], credential.secrets["secret_key"], credential.secrets["session_token"]
        )
        now = self._parts.clock.now() + timedelta(seconds=int(credential.facts.get("clock_offset", "0")))
        host = sts_host(scope.eks.role, scope.eks.region)
        return bearer(make_token(scope.eks.cluster, scope.eks.region, host, keys, now))

    async def revoke(self, credential: Credential, scope: KubernetesScope) -> bool:
        """Delete what the token is bound to; False where it is bound to nothing. Raises CredentialError."""
        name, uid = credential.facts.get("secret"), credential.facts.get("secret_uid")
        if scope.token is None or name is None or uid is None:
            return False
        server = await self._server(scope, scope.token)
        await server.unbind(scope.token.namespace, Binding(name=name, uid=uid))
        return True

    async def _server(self, scope: KubernetesScope, wanted: ServiceAccountToken) -> ApiServer:
        own = await read_secret(wanted.own_token, self._parts)
        return ApiServer(caller=self._parts.caller, url=scope.server, own=own)

    async def _mint_token(
        self, request: MintRequest, scope: KubernetesScope, wanted: ServiceAccountToken
    ) -> Credential:
        server = await self._server(scope, wanted)
        account = Account(namespace=wanted.namespace, name=wanted.service_account, audiences=wanted.audiences)
        binding = await server.bind(wanted.namespace) if wanted.revocable else None
        now = self._parts.clock.now()
        try:
            made = await server.make_token(account, request.grant.lifetime, binding, now)
        except CredentialError:
            if binding is not None:
                await server.drop(wanted.namespace, binding)
            raise
        facts = {
            "server": scope.server,
            "service_account": f"{wanted.namespace}/{wanted.service_account}",
            "secret": binding and binding.name,
            "secret_uid": binding and binding.uid,
        }
        return Credential(
            connector=self.name,
            secrets={"token": made.token},
            facts=recordable(facts),
            fingerprint=fingerprint(made.token.reveal()),
            expires_at=min(made.expires_at, now + request.grant.lifetime),
            ends_at=made.expires_at,
        )

    async def _mint_keys(self, request: MintRequest, scope: KubernetesScope, wanted: EksToken) -> Credential:
        wish = RoleWish(
            role=wanted.role,
            region=wanted.region,
            source=wanted.source,
            audience=wanted.audience,
            external_id=wanted.external_id,
            policy=_POLICY,
        )
        issued, offset = await assume_role(wish, request, self._parts)
        facts = {
            "server": scope.server,
            "cluster": wanted.cluster,
            "role": wanted.role,
            "source": wanted.source,
            "access_key": issued.access_key,
            "clock_offset": f"{offset.total_seconds():.0f}" if offset else None,
        }
        secrets: dict[str, Secret] = {"secret_key": issued.secret_key, "session_token": issued.session_token}
        return Credential(
            connector=self.name,
            secrets=secrets,
            facts=recordable(facts),
            fingerprint=fingerprint(issued.secret_key.reveal()),
            expires_at=min(issued.expires_at, self._parts.clock.now() + request.grant.lifetime),
            ends_at=issued.expires_at,
        )


def _must_be_named(part: Intent) -> bool:
    """Whether it makes a credential or acts as somebody else, which no wildcard means. Reading Secrets is neither."""
    is_made = part.effect is EffectClass.CREDENTIAL and not part.action.endswith(":core/secrets")
    return is_made or part.action.startswith("impersonate:")


def _outside(why: str) -> CredentialError:
    return CredentialError(f"kubernetes: {why}", Reason.CREDENTIAL_SCOPE)
