"""Publishing packages: the registry's token for the job's own and for one package, or a secret that is held here.

Where a registry trusts the job's issuer (trusted publishing) nothing is stored anywhere. Where it does not, a secret
is put on requests for the rule's packages alone. Sources: PyPI, "Trusted Publishers"; npm, "Trusted publishing";
crates.io, RFC 3691; RubyGems, "Trusted Publishing" and "API key roles".
"""

import json
import re
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Final, Literal, Self
from urllib.parse import quote

from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from proxy.connectors.answers import ask, expect_object, read_object, read_time, read_token, refused
from proxy.connectors.fields import FieldModel, place
from proxy.connectors.named import is_named, parts_of
from proxy.connectors.parts import ConnectorParts, fingerprint, recordable
from proxy.connectors.secret_sources import SecretSource, read_secret
from proxy.connectors.subjects import SubjectModel, take_token
from proxy.model.errors import CredentialError
from proxy.model.grant import Credential, Edits, MintRequest, Plan, Secret
from proxy.model.intent import EffectClass, Intent, RequestView
from proxy.model.reason import Reason
from proxy.outbound import Answer, Call

_LIFE: Final = timedelta(minutes=15)
"""How long a publishing token is used: PyPI's lives so long, the others' at least."""
_READS: Final = frozenset({EffectClass.READ, EffectClass.LIST})
_MEANT: Final = frozenset({"publish", "stage.publish"})


class PublishingScope(SubjectModel):
    """Which packages, and what buys the registry's token."""

    packages: tuple[str, ...] = Field(
        strict=False, min_length=1, description="Names of the packages; nothing else is published with the credential."
    )
    trusted: Literal[True] | None = Field(
        None, description="`true`: the registry trusts the job's issuer, and gives a token for the job's own; or"
    )
    secret: SecretSource | None = Field(None, description="A token or key of the registry's that is held here.")
    audience: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        pattern=r"^[!-~]+$",
        description="Audience of the job's token that is handed over. Default: what the registry wants.",
    )
    registry: str | None = Field(
        None,
        max_length=255,
        pattern=r"^[a-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._-]+)*$",
        description="Another registry that takes a held secret: its host, and the path that it stands below.",
        examples=["nexus.example.com/repository/internal"],
    )
    read: bool = Field(False, description="Whether the held secret is also for reading what a private registry has.")
    intents: SkipJsonSchema[tuple[str, ...]] = Field(
        (), strict=False, description="The rule's own `intent` lines. Put here when the rule is read, never written."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.trusted is None) == (self.secret is None):
            raise ValueError("give exactly one of `trusted` and `secret`")
        if self.secret is None and (self.registry is not None or self.read):
            raise ValueError("`registry` and `read` go with `secret`")
        if self.trusted is None and self.audience is not None:
            raise ValueError("`audience` goes with `trusted`")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """What differs between registries. `sites`: the hosts that publish, as ids begin with them."""

    protocol: str
    sites: tuple[str, ...]
    audience: str
    field: FieldModel
    spell: Callable[[str], str] = str


class PublishingConnector:
    """What all of them do; a subclass knows its registry's exchange."""

    name: ClassVar[str]
    registry: ClassVar[Registry]
    Scope: ClassVar[type[PublishingScope]] = PublishingScope

    def __init__(self, parts: ConnectorParts) -> None:
        self._parts = parts

    def plan(self, view: RequestView, intent: Intent, scope: PublishingScope) -> Plan:
        """Return for which package. Raises CredentialError for a request that no package's credential is for."""
        sites = self.registry.sites if scope.registry is None else (scope.registry,)
        names = {f"{site}/{self.registry.spell(name)}": name for site in sites for name in scope.packages}
        found: set[str] = set()
        for part in parts_of(intent):
            if part.protocol != self.registry.protocol or part.effect is EffectClass.UNKNOWN:
                raise self._outside(f"the request is none of a registry's; name `{self.registry.protocol}` in `intent`")
            if part.effect in _READS and scope.read:
                continue
            package = names.get(_without_version(part.resource.id))
            if package is None or view.scheme != "https":
                raise self._outside("the credential is for the rule's `packages` and goes nowhere else")
            if part.action not in _MEANT and not is_named(scope.intents, part, part.action):
                raise self._outside(f"{part.action} needs an `intent` line of the rule that names it")
            found.add(package)
        if len(found) > 1:
            raise self._outside("the request is for more than one package")
        return Plan(need=tuple(("package", each) for each in found) if scope.secret is None else ())

    async def mint(self, request: MintRequest, scope: PublishingScope) -> Credential:
        """Read the secret, or ask the registry. Raises CredentialError."""
        now = self._parts.clock.now()
        life = max(min(request.grant.lifetime, _LIFE), timedelta(seconds=1))
        package = dict(request.need).get("package")
        if scope.secret is not None:
            token, ends_at = await read_secret(scope.secret, self._parts), None
        else:
            held = await take_token(request, scope.audience or self.registry.audience, self._parts)
            token, ends_at = await self._exchange(held.token, package or "", scope)
        return Credential(
            connector=self.name,
            secrets={"token": token},
            facts=recordable({"package": package, "source": "held" if scope.secret is not None else "trusted"}),
            fingerprint=fingerprint(token.reveal()),
            expires_at=now + life,
            ends_at=ends_at,
        )

    def apply(
        self,
        view: RequestView,  # noqa: ARG002 - the interface
        scope: PublishingScope,  # noqa: ARG002 - the interface
        credential: Credential,
        body_digest: str | None,  # noqa: ARG002 - the interface
    ) -> Edits:
        """Return the field in which this registry wants its token."""
        return place(self.registry.field, self.registry.field.username, credential.secrets["token"])

    async def revoke(self, credential: Credential, scope: PublishingScope) -> bool:  # noqa: ARG002 - the interface
        """Return False: most registries take nothing back."""
        return False

    @abstractmethod
    async def _exchange(self, subject: Secret, package: str, scope: Any) -> tuple[Secret, Any]:
        """Return the registry's token for the job's, and when it ends. Raises CredentialError."""

    async def _post(self, url: str, told: dict[str, str] | None, bearer: Secret | None = None) -> Answer:
        headers: dict[str, str | Secret] = {"accept": "application/json", "content-type": "application/json"}
        if bearer is not None:
            headers["authorization"] = Secret(f"Bearer {bearer.reveal()}")
        body = b"" if told is None else json.dumps(told).encode()
        return await ask(self._parts.caller, Call(method="POST", url=url, headers=headers, body=body), self.name)

    def _outside(self, why: str) -> CredentialError:
        return CredentialError(f"{self.name}: {why}", Reason.CREDENTIAL_SCOPE)


class PypiConnector(PublishingConnector):
    """PyPI and TestPyPI: an API token for the project that the job's identity is a publisher of, for 15 minutes."""

    name: ClassVar[str] = "pypi"
    registry: ClassVar[Registry] = Registry(
        protocol="pypi",
        sites=("upload.pypi.org", "test.pypi.org"),
        audience="pypi",
        field=FieldModel(scheme="basic", username="__token__"),
        spell=lambda name: re.sub(r"[-_.]+", "-", name).lower(),
    )

    async def _exchange(self, subject: Secret, package: str, scope: Any) -> tuple[Secret, Any]:  # noqa: ARG002 - the interface
        host = "test.pypi.org" if scope.audience == "testpypi" else "pypi.org"
        answer = await self._post(f"https://{host}/_/oidc/mint-token", {"token": subject.reveal()})
        return read_token(expect_object(answer, self.name), "token", self.name), self._parts.clock.now() + _LIFE


class NpmConnector(PublishingConnector):
    """The npm registry: a token for one package."""

    name: ClassVar[str] = "npm"
    registry: ClassVar[Registry] = Registry(
        protocol="npm",
        sites=("registry.npmjs.org",),
        audience="npm:registry.npmjs.org",
        field=FieldModel(),
    )

    async def _exchange(self, subject: Secret, package: str, scope: Any) -> tuple[Secret, Any]:  # noqa: ARG002 - the interface
        url = f"https://registry.npmjs.org/-/npm/v1/oidc/token/exchange/package/{quote(package, safe='@')}"
        answer = await self._post(url, None, subject)
        return read_token(expect_object(answer, self.name, 200, 201), "token", self.name), None


class CratesConnector(PublishingConnector):
    """crates.io: a token for the crates that trust the job, for 30 minutes; taken back when the session ends."""

    name: ClassVar[str] = "crates"
    registry: ClassVar[Registry] = Registry(
        protocol="cargo",
        sites=("crates.io",),
        audience="crates.io",
        field=FieldModel(scheme="raw"),
        spell=lambda name: name.lower().replace("_", "-"),
    )
    _TOKENS: ClassVar[str] = "https://crates.io/api/v1/trusted_publishing/tokens"

    async def _exchange(self, subject: Secret, package: str, scope: Any) -> tuple[Secret, Any]:  # noqa: ARG002 - the interface
        answer = await self._post(self._TOKENS, {"jwt": subject.reveal()})
        ends_at = self._parts.clock.now() + timedelta(minutes=30)
        return read_token(expect_object(answer, self.name), "token", self.name), ends_at

    async def revoke(self, credential: Credential, scope: PublishingScope) -> bool:
        """Make a trusted token void; a held one is not ours to end. Raises CredentialError."""
        if scope.secret is not None:
            return False
        headers: dict[str, str | Secret] = {
            "authorization": Secret(f"Bearer {credential.secrets['token'].reveal()}"),
            "accept": "application/json",
        }
        answer = await ask(self._parts.caller, Call(method="DELETE", url=self._TOKENS, headers=headers), self.name)
        if answer.status not in {200, 204}:
            raise refused(answer, read_object(answer.body), self.name)
        return True


class RubyGemsScope(PublishingScope):
    """As the others, and an API key role for issuers that are no trusted publishers."""

    role: str | None = Field(
        None,
        pattern=r"^rg_oidc_akr_[a-z0-9]{1,64}$",
        description="The token of an API key role, for issuers that are no trusted publishers. Beside `trusted`.",
        examples=["rg_oidc_akr_4k8zqzq1xj2y3w5v"],
    )

    @model_validator(mode="after")
    def _check_role(self) -> Self:
        if self.role is not None and self.trusted is None:
            raise ValueError("`role` goes with `trusted`")
        return self


class RubyGemsConnector(PublishingConnector):
    """RubyGems.org: an API key that pushes, as trusted publisher or through an API key role."""

    name: ClassVar[str] = "rubygems"
    Scope: ClassVar[type[RubyGemsScope]] = RubyGemsScope
    registry: ClassVar[Registry] = Registry(
        protocol="gem", sites=("rubygems.org",), audience="rubygems.org", field=FieldModel(scheme="raw")
    )

    async def _exchange(self, subject: Secret, package: str, scope: Any) -> tuple[Secret, Any]:
        way = "trusted_publisher/exchange_token"
        if scope.role is not None:
            way = f"api_key_roles/{scope.role}/assume_role"
        answer = await self._post(f"https://rubygems.org/api/v1/oidc/{way}", {"jwt": subject.reveal()})
        found = expect_object(answer, self.name, 200, 201)
        _check_key(found, package, self.name)
        return read_token(found, "rubygems_api_key", self.name), read_time(found, "expires_at", self.name)


def _check_key(found: dict[str, Any], package: str, who: str) -> None:
    """Raise CredentialError for a key that can do more than push this gem."""
    scopes, gem = found.get("scopes"), found.get("gem")
    name = gem.get("name") if isinstance(gem, dict) else gem
    if scopes is not None and set(scopes if isinstance(scopes, list) else [scopes]) - {"push_rubygem"}:
        raise CredentialError(f"{who}: the key can do more than push", Reason.CREDENTIAL_REFUSED)
    if name is not None and name != package:
        raise CredentialError(f"{who}: the key is for another gem", Reason.CREDENTIAL_REFUSED)


def _without_version(resource: str) -> str:
    """Return a package's id without the version behind it; a scope's `@` stands first in its name."""
    head, slash, last = resource.rpartition("/")
    return f"{head}{slash}{last[0]}{last[1:].partition('@')[0]}" if last else resource
