"""GitHub App: a token for the one repository of a request, with the permissions that its operation needs.

git gets it as Basic `x-access-token`, the API as Bearer; downloads on other hosts never get it. At the session's end
it is taken back. How long a token is, and what it looks like, is not assumed (they grew in 2026).
"""

from base64 import b64encode
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from proxy.connectors.answers import bearer
from proxy.connectors.github_calls import GitHubApp, revoke_token
from proxy.connectors.github_needs import (
    OWN,
    PUBLIC_SITE,
    Surface,
    api_url,
    check_site,
    find_need,
    find_surface,
    is_within,
    read_permissions,
    write_permissions,
)
from proxy.connectors.parts import ConnectorParts, ScopeModel, fingerprint, recordable
from proxy.connectors.secret_sources import SecretSource, read_pem
from proxy.model.errors import CredentialError
from proxy.model.grant import Credential, Edits, MintRequest, Plan, Secret
from proxy.model.intent import Intent, RequestView
from proxy.model.reason import Reason

_USER: Final = "x-access-token"
_ACTIONS: Final = "https://token.actions.githubusercontent.com"

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{0,63}$")]
_Permissions = Mapping[_Name, Literal["read", "write", "admin"]]
_Repository = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*/([A-Za-z0-9._-]+|\*)$", max_length=140)
]


class GitHubAppScope(ScopeModel):
    """Which app, and the most that it may hand out."""

    app: Annotated[int, Field(gt=0)] | Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.]{1,64}$")] = Field(
        description="The app's client id or application id, from its settings page.", examples=["Iv23liAbCdEfGhIjKlMn"]
    )
    key: SecretSource = Field(
        description="Where the app's private key, in PEM, is read from.",
        examples=[{"file": "/run/secrets/github-app.pem"}],
    )
    permissions: _Permissions = Field(
        min_length=1,
        description="The most that a token gets: permission and level (`read`, `write`, `admin`). Each token gets "
        "what its request needs of it.",
        examples=[{"contents": "write", "pull_requests": "write"}],
    )
    repositories: tuple[_Repository, ...] = Field(
        (),
        strict=False,
        description="Repositories that tokens may be for, `OWNER/NAME` or `OWNER/*`. Each token is for one. "
        "Default: the repository of the job, as GitHub Actions states it.",
        examples=[["acme/storefront"]],
    )
    otherwise: _Permissions = Field(
        default_factory=dict,
        description="What requests need whose permission nobody states, such as GraphQL. Default: they are refused.",
        examples=[{"contents": "read"}],
    )
    installation: int | None = Field(
        None, gt=0, description="The installation's number. Default: looked up by the repository.", examples=[12345678]
    )
    host: str = Field(
        PUBLIC_SITE,
        description="The site: github.com, SUBDOMAIN.ghe.com, or the host of a GitHub Enterprise Server.",
        examples=["github.example.com"],
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_site(self.host)
        for name, level in self.otherwise.items():
            if not is_within(name, level, self.permissions):
                raise ValueError(f"`otherwise` asks for {name}={level}, more than `permissions` gives")
        return self


class GitHubAppConnector:
    """Signs as the app, makes tokens, puts them on requests, takes them back."""

    name: ClassVar[str] = "github-app"
    Scope: ClassVar[type[GitHubAppScope]] = GitHubAppScope

    def __init__(self, parts: ConnectorParts) -> None:
        self._parts = parts

    def plan(self, view: RequestView, intent: Intent, scope: GitHubAppScope) -> Plan:
        """Return the repository and the permissions that the request needs. Raises CredentialError."""
        surface = find_surface(view, scope.host)
        need = find_need(intent, surface, scope.host, scope.repositories, scope.permissions, scope.otherwise)
        return Plan(need=need)

    async def mint(self, request: MintRequest, scope: GitHubAppScope) -> Credential:
        """Make a token. Raises CredentialError."""
        need = dict(request.need)
        repository, permissions = _settle(need["repository"], request, scope), read_permissions(need["permissions"])
        key = await read_pem(scope.key, self._parts)
        app = GitHubApp(caller=self._parts.caller, api=api_url(scope.host), app=str(scope.app), key=key)
        made = await app.make_token(repository, permissions, scope.installation, self._parts.clock.now())
        return Credential(
            connector=self.name,
            secrets={"token": made.token},
            facts=recordable(
                {
                    "app": scope.app,
                    "installation": made.installation,
                    "repository": f"{scope.host}/{repository}",
                    "permissions": write_permissions(made.permissions),
                }
            ),
            fingerprint=fingerprint(made.token.reveal()),
            expires_at=min(made.expires_at, self._parts.clock.now() + request.grant.lifetime),
            ends_at=made.expires_at,
        )

    def apply(
        self,
        view: RequestView,
        scope: GitHubAppScope,
        credential: Credential,
        body_digest: str | None,  # noqa: ARG002 - the interface
    ) -> Edits:
        """Return the field that carries the token."""
        token = credential.secrets["token"]
        if find_surface(view, scope.host) is Surface.API:
            return bearer(token)
        pair = Secret(b64encode(f"{_USER}:{token.reveal()}".encode()).decode())
        return Edits(
            remove=frozenset({"authorization"}),
            put=(("authorization", Secret(f"Basic {pair.reveal()}")),),
            watch=(token, pair),
        )

    async def revoke(self, credential: Credential, scope: GitHubAppScope) -> bool:
        """Make the token void; GitHub confirms it. Raises CredentialError."""
        await revoke_token(self._parts.caller, api_url(scope.host), credential.secrets["token"])
        return True


def _settle(needed: str, request: MintRequest, scope: GitHubAppScope) -> str:
    """Return the repository as the rule or the job's issuer spells it. Raises CredentialError for another's."""
    if scope.repositories:
        return next((each for each in scope.repositories if each.lower() == needed), needed)
    own = request.labels.get("repository", "")
    if not own or not _is_actions(request.labels.get("issuer", ""), scope.host):
        raise CredentialError(
            f"github-app: {scope.host} does not state this job's repository; name `repositories` in the rule",
            Reason.CREDENTIAL_SCOPE,
        )
    if needed not in {OWN, own.lower()}:
        raise CredentialError(f"github-app: {needed} is not the job's own repository", Reason.CREDENTIAL_SCOPE)
    return own


def _is_actions(issuer: str, site: str) -> bool:
    """Whether GitHub Actions of that very site states what the job is: `acme/app` elsewhere is another repository."""
    if site.endswith(".ghe.com"):
        return issuer == f"https://token.actions.{site}"
    known = _ACTIONS if site == PUBLIC_SITE else f"https://{site}/_services/token"
    return issuer == known or issuer.startswith(f"{known}/")
