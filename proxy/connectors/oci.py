"""OCI registries: the token dance is done here, with exactly the scopes that a request needs.

Clients find a registry that wants nothing of them. ECR takes Basic credentials of a role; others hand out bearer tokens
per repository. Sources: Distribution, "Token Authentication Specification" and "OAuth2"; Amazon ECR API Reference,
GetAuthorizationToken; Azure/acr, "AAD-OAuth"; Artifact Registry, "Configure authentication for Docker".
"""

import re
from datetime import timedelta
from typing import ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from proxy.connectors.answers import bearer
from proxy.connectors.ecr import EcrRole, ask_ecr, read_host
from proxy.connectors.entra import EntraApplication, ask_entra
from proxy.connectors.fields import FieldModel, place
from proxy.connectors.gcp_calls import CLOUD_PLATFORM, Google, GoogleIdentity
from proxy.connectors.named import parts_of
from proxy.connectors.oci_realms import Realm, RealmAsk, ask_realm, exchange_token, find_realm
from proxy.connectors.parts import ConnectorParts, ScopeModel, fingerprint, recordable
from proxy.connectors.secret_sources import SecretSource, read_secret
from proxy.connectors.subjects import SubjectModel
from proxy.model.authority import Authority, parse_authority
from proxy.model.errors import CredentialError, ProtocolError
from proxy.model.grant import Credential, Edits, MintRequest, Need, Plan
from proxy.model.intent import EffectClass, Intent, RequestView
from proxy.model.reason import Reason

_PROTOCOL: Final = "oci"
_BASIC: Final = FieldModel(scheme="basic", username="AWS")
_AZURE: Final = (".azurecr.io", ".azurecr.us", ".azurecr.cn")
_GOOGLE: Final = ("-docker.pkg.dev", "gcr.io")
_REGISTRIES: Final = "https://containerregistry.azure.net/"
"""What Entra's tokens for Azure's registries are for."""
_PULLS: Final = frozenset({"pull.manifest", "pull.blob", "tags", "referrers"})
_PUSHES: Final = frozenset({"push.manifest", "push.blob", "push.referrer", "mount", "upload.status", "upload.cancel"})
_DELETES: Final = frozenset({"delete.manifest", "delete.tag", "delete.blob"})
_ORDER: Final = ("pull", "push", "delete", "*")
_TAG: Final = r":[A-Za-z0-9_][A-Za-z0-9._-]*"
_DIGEST: Final = r"@[a-z0-9+._-]+:[0-9a-fA-F]+"
_REPOSITORY: Final = re.compile(rf"[^/]+/(?P<name>[a-z0-9][a-z0-9._/-]*)(?:{_TAG}|{_DIGEST})?")


class Login(ScopeModel):
    """A name and a password, an access token or a robot's key: what the realm gives tokens for."""

    username: str = Field(max_length=255, pattern=r"^[!-9;-~]+$", description="The name.", examples=["acme-ci"])
    password: SecretSource = Field(
        description="Where the password is read from, each time anew.", examples=[{"file": "/run/secrets/registry"}]
    )


class OciScope(SubjectModel):
    """Which registry, and what buys its tokens."""

    registry: str = Field(
        pattern=r"^[A-Za-z0-9.:\[\]-]+$",
        max_length=255,
        description="Host of the registry, with its port if that is not 443: where credentials go, and nowhere else.",
        examples=["ghcr.io"],
    )
    login: Login | None = Field(None, description="Name and password for the registry's realm.")
    refresh_token: SecretSource | None = Field(
        None, description="A refresh token for the registry's realm (OAuth2), as Azure's and Docker's have."
    )
    ecr: EcrRole | None = Field(None, description="A role, for Amazon ECR.")
    azure: EntraApplication | None = Field(None, description="An application of Entra's, for Azure's registries.")
    gcp: GoogleIdentity | None = Field(None, description="An identity of Google's, for Artifact Registry.")
    anonymous: Literal[True] | None = Field(None, description="`true`: tokens that the realm gives to anybody.")
    realm: str | None = Field(
        None,
        pattern=r"^https://[^\s?#@]+$",
        description="URL of the token endpoint. Default: the vendor's, else what the registry says, on its own host.",
        examples=["https://auth.example.com/token"],
    )
    service: str | None = Field(
        None, max_length=255, pattern=r"^[!-~]+$", description="What the realm calls the registry. Default: as above."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        ways = (self.login, self.refresh_token, self.ecr, self.azure, self.gcp, self.anonymous)
        if sum(each is not None for each in ways) != 1:
            raise ValueError("give exactly one of `login`, `refresh_token`, `ecr`, `azure`, `gcp` and `anonymous`")
        if self.service is not None and self.realm is None:
            raise ValueError("`service` goes with `realm`")
        if self.realm is not None and (self.ecr is not None or self.azure is not None or self.gcp is not None):
            raise ValueError("`ecr`, `azure` and `gcp` know their realm")
        try:
            host = authority_of(self).host
            if self.realm is not None:
                parse_authority(self.realm.removeprefix("https://").partition("/")[0], 443)
        except ProtocolError as error:
            raise ValueError(str(error)) from None
        if self.ecr is not None:
            read_host(host)
        for way, endings in (("azure", _AZURE), ("gcp", _GOOGLE)):
            if getattr(self, way) is not None and not host.endswith(endings):
                raise ValueError(f"`{way}` needs a registry that ends in {' or '.join(endings)}")
        return self


def authority_of(scope: OciScope) -> Authority:
    """Return the registry's host and port. Raises ProtocolError."""
    return parse_authority(scope.registry, 443)


class OciConnector:
    """Buys tokens at the realm, each for what one request needs."""

    name: ClassVar[str] = "oci"
    Scope: ClassVar[type[OciScope]] = OciScope

    def __init__(self, parts: ConnectorParts) -> None:
        self._parts = parts

    def plan(self, view: RequestView, intent: Intent, scope: OciScope) -> Plan:
        """Return which repositories are needed, and for what. Raises CredentialError for a request that is for none."""
        address = authority_of(scope)
        if view.scheme != "https" or view.authority != address:
            raise _outside(f"the credential is for {address} and goes nowhere else")
        wanted: dict[str, set[str]] = {}
        for part in parts_of(intent):
            for name, action in _needs(part):
                wanted.setdefault(name, set()).add(action)
        return Plan(need=tuple((name, ",".join(sorted(wanted[name], key=_ORDER.index))) for name in sorted(wanted)))

    async def mint(self, request: MintRequest, scope: OciScope) -> Credential:
        """Ask the realm for a token, or ECR for a password. Raises CredentialError."""
        if scope.ecr is not None:
            return await self._mint_password(request, scope, scope.ecr)
        ask = await self._ask(scope, request, scopes_of(request.need))
        token, life = await ask_realm(self._parts.caller, ask)
        now = self._parts.clock.now()
        return Credential(
            connector=self.name,
            secrets={"token": token},
            facts=recordable(
                {"registry": scope.registry, "realm": ask.realm.url, "scope": " ".join(ask.scopes) or None}
            ),
            fingerprint=fingerprint(token.reveal()),
            expires_at=now + min(life, request.grant.lifetime),
            ends_at=now + life,
        )

    def apply(
        self,
        view: RequestView,  # noqa: ARG002 - the interface
        scope: OciScope,
        credential: Credential,
        body_digest: str | None,  # noqa: ARG002 - the interface
    ) -> Edits:
        """Return the token, or ECR's password, as Authorization."""
        if scope.ecr is None:
            return bearer(credential.secrets["token"])
        return place(_BASIC, "AWS", credential.secrets["password"])

    def _stated_realm(self, scope: OciScope) -> Realm | None:
        return None if scope.realm is None else Realm(url=scope.realm, service=scope.service)

    async def _ask(self, scope: OciScope, request: MintRequest, scopes: tuple[str, ...]) -> RealmAsk:
        registry, caller = authority_of(scope), self._parts.caller
        if scope.azure is not None:
            bought, _ = await ask_entra(self._parts, request, scope.azure, _REGISTRIES)
            realm, fresh = await exchange_token(caller, registry, scope.azure.tenant, bought)
            return RealmAsk(realm=realm, scopes=scopes, refresh_token=fresh)
        realm = await find_realm(caller, registry, self._stated_realm(scope))
        if scope.gcp is not None:
            google = Google(caller=caller, now=self._parts.clock.now())
            made = await google.identify(self._parts, request, scope.gcp, (CLOUD_PLATFORM,))
            return RealmAsk(realm=realm, scopes=scopes, login=("oauth2accesstoken", made.token))
        if scope.login is not None:
            password = await read_secret(scope.login.password, self._parts)
            return RealmAsk(realm=realm, scopes=scopes, login=(scope.login.username, password))
        if scope.refresh_token is not None:
            token = await read_secret(scope.refresh_token, self._parts)
            return RealmAsk(realm=realm, scopes=scopes, refresh_token=token)
        return RealmAsk(realm=realm, scopes=scopes)

    async def _mint_password(self, request: MintRequest, scope: OciScope, role: EcrRole) -> Credential:
        password, ends_at, arn = await ask_ecr(authority_of(scope).host, role, request, self._parts)
        now = self._parts.clock.now()
        return Credential(
            connector=self.name,
            secrets={"password": password},
            facts=recordable({"registry": scope.registry, "role": arn, "source": role.source}),
            fingerprint=fingerprint(password.reveal()),
            expires_at=min(ends_at, now + max(request.grant.lifetime, timedelta(seconds=1))),
            ends_at=ends_at,
        )


def scopes_of(need: Need) -> tuple[str, ...]:
    """Return the scopes to ask for, as the token specification writes them."""
    return tuple(f"{'registry' if name == 'catalog' else 'repository'}:{name}:{actions}" for name, actions in need)


def _needs(part: Intent) -> list[tuple[str, str]]:
    """Return the repository and the rights that one thing takes. Raises CredentialError for what no token is for."""
    if part.protocol != _PROTOCOL or part.effect is EffectClass.UNKNOWN:
        raise _outside("the request is none that registries are known for; name `oci` in the rule's `intent`")
    if part.action == "ping":
        return []
    if part.action == "catalog":
        return [("catalog", "*")]
    if part.action not in _PULLS | _PUSHES | _DELETES:
        raise _outside("registries' own tokens are not for jobs: ask the registry, the token is jobgate's to get")
    found = _REPOSITORY.fullmatch(part.resource.id)
    if found is None:
        raise _outside("the request names no repository of its own")
    name = found["name"]
    if part.action in _DELETES:
        return [(name, "delete")]
    return [(name, "pull")] if part.action in _PULLS else [(name, "pull"), (name, "push")]


def _outside(why: str) -> CredentialError:
    return CredentialError(f"oci: {why}", Reason.CREDENTIAL_SCOPE)
