"""OAuth 2.0 for whatever has an authorization server: jobgate is the client, and its job gets the access token's use.

By client credentials, or by a refresh token that does not change. Sources: RFC 6749 4.4 and 6; RFC 7009; RFC 8707.
"""

from typing import ClassVar, Final, Self

from pydantic import Field, model_validator

from proxy.connectors.answers import bearer, expect_object
from proxy.connectors.oauth_calls import ClientAuth, Form, check_urls, post_form, read_bearer, revoke_token
from proxy.connectors.parts import ConnectorParts, ScopeModel, fingerprint, recordable
from proxy.connectors.secret_sources import SecretSource, read_secret
from proxy.model.authority import parse_authority
from proxy.model.errors import CredentialError, ProtocolError
from proxy.model.grant import PLAIN, Credential, Edits, MintRequest, Plan
from proxy.model.intent import Intent, RequestView
from proxy.model.reason import Reason

_WHO: Final = "authorization server"


class OAuthClientScope(ScopeModel):
    """Which authorization server, who asks, and for what."""

    endpoint: str = Field(
        pattern=r"^https://[^\s?#@]+$",
        description="The token endpoint.",
        examples=["https://login.example.com/oauth2/token"],
    )
    hosts: tuple[str, ...] = Field(
        strict=False,
        min_length=1,
        description="Hosts, with their port if that is not 443, that the token is for: it goes nowhere else.",
        examples=[["api.example.com"]],
    )
    client: ClientAuth = Field(description="Who jobgate is at the authorization server.")
    refresh_token: SecretSource | None = Field(
        None, description="A refresh token, for access in a user's name. Default: the client's own credentials."
    )
    scope: tuple[str, ...] = Field((), strict=False, description="OAuth scopes to ask for.", examples=[["read"]])
    audience: str | None = Field(None, min_length=1, max_length=512, description="For servers that want an `audience`.")
    resource: tuple[str, ...] = Field((), strict=False, description="URIs of the target service (RFC 8707).")
    revocation: str | None = Field(
        None,
        pattern=r"^https://[^\s?#@]+$",
        description="The revocation endpoint (RFC 7009), called when the session ends. Default: tokens expire.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_urls(endpoint=self.endpoint, revocation=self.revocation)
        for host in self.hosts:
            try:
                parse_authority(host, 443)
            except ProtocolError as error:
                raise ValueError(f"`hosts`: {error}") from None
        return self


class OAuthClientConnector:
    """Asks as a client, and sends what it got as a bearer token."""

    name: ClassVar[str] = "oauth-client"
    Scope: ClassVar[type[OAuthClientScope]] = OAuthClientScope

    def __init__(self, parts: ConnectorParts) -> None:
        self._parts = parts

    def plan(self, view: RequestView, intent: Intent, scope: OAuthClientScope) -> Plan:  # noqa: ARG002 - the interface
        """Return the plain plan. Raises CredentialError for a host that the token is not for."""
        if view.scheme != "https" or view.authority not in {parse_authority(host, 443) for host in scope.hosts}:
            raise CredentialError(
                "oauth-client: the token is for the rule's `hosts` and goes nowhere else", Reason.CREDENTIAL_SCOPE
            )
        return PLAIN

    async def mint(self, request: MintRequest, scope: OAuthClientScope) -> Credential:
        """Ask the server. Raises CredentialError, also for one that replaces the refresh token."""
        form: Form = [("grant_type", "client_credentials")]
        if scope.refresh_token is not None:
            secret = await read_secret(scope.refresh_token, self._parts)
            form = [("grant_type", "refresh_token"), ("refresh_token", secret.reveal())]
        form += [("scope", " ".join(scope.scope))] if scope.scope else []
        form += [("audience", scope.audience)] if scope.audience is not None else []
        form += [("resource", each) for each in scope.resource]
        answer = await post_form(self._parts, scope.endpoint, form, scope.client, _WHO)
        found = expect_object(answer, _WHO)
        token, lifetime = read_bearer(found, _WHO)
        self._check(found, form, scope)
        now = self._parts.clock.now()
        return Credential(
            connector=self.name,
            secrets={"token": token},
            facts=recordable({"endpoint": scope.endpoint, "client": scope.client.id}),
            fingerprint=fingerprint(token.reveal()),
            expires_at=now + min(lifetime, request.grant.lifetime),
            ends_at=now + lifetime,
        )

    def apply(
        self,
        view: RequestView,  # noqa: ARG002 - the interface
        scope: OAuthClientScope,  # noqa: ARG002 - the interface
        credential: Credential,
        body_digest: str | None,  # noqa: ARG002 - the interface
    ) -> Edits:
        """Return the bearer token as Authorization (RFC 6750 2.1)."""
        return bearer(credential.secrets["token"])

    async def revoke(self, credential: Credential, scope: OAuthClientScope) -> bool:
        """Make the token void; False where no endpoint is named. Raises CredentialError."""
        if scope.revocation is None:
            return False
        await revoke_token(self._parts, scope.revocation, credential.secrets["token"], scope.client)
        return True

    def _check(self, found: dict[str, object], form: Form, scope: OAuthClientScope) -> None:
        """Raise CredentialError for what is wider than was asked, and for a refresh token in the old one's place.

        The new one would be known to this process alone: the next start would hold one that is void.
        """
        stated = found.get("scope")
        if scope.scope and isinstance(stated, str) and set(stated.split()) - set(scope.scope):
            raise CredentialError(f"{_WHO}: the token has more scopes than were asked for", Reason.CREDENTIAL_REFUSED)
        renewed = found.get("refresh_token")
        if scope.refresh_token is not None and renewed is not None and ("refresh_token", renewed) not in form:
            raise CredentialError(
                f"{_WHO}: it replaces refresh tokens as they are used; give jobgate a client of its own",
                Reason.CREDENTIAL_REFUSED,
            )
