"""RFC 8693: the job's own token for a token of another issuer (Okta, Keycloak, Auth0, Buildkite, an own one)."""

import re
from typing import ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from proxy.connectors.answers import bearer, expect_object
from proxy.connectors.oauth_calls import ClientAuth, check_urls, post_form, read_bearer, revoke_token
from proxy.connectors.parts import ConnectorParts, fingerprint, recordable
from proxy.connectors.subjects import SubjectModel, take_token
from proxy.model.errors import CredentialError
from proxy.model.grant import PLAIN, Credential, Edits, MintRequest, Plan
from proxy.model.intent import Intent, RequestView
from proxy.outbound import Answer

_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_TYPES: Final = "urn:ietf:params:oauth:token-type:"
_WHO: Final = "token endpoint"
_ISSUED: Final = re.compile(r"urn:[a-z0-9:_-]{1,100}")


class TokenExchangeScope(SubjectModel):
    """Which endpoint, and what to ask it for."""

    endpoint: str = Field(
        pattern=r"^https://[^\s?#@]+$",
        description="The token endpoint.",
        examples=["https://login.example.com/oauth2/token"],
    )
    audience: tuple[str, ...] = Field((), strict=False, description="Logical names of the target service.")
    resource: tuple[str, ...] = Field((), strict=False, description="URIs of the target service.")
    scope: tuple[str, ...] = Field((), strict=False, description="OAuth scopes to ask for.", examples=[["read"]])
    subject_token_audience: str = Field(description="Audience of the job's token that is exchanged.")
    subject_token_type: Literal["jwt", "id_token", "access_token"] = Field("jwt", description="Its type.")
    requested_token_type: Literal["access_token", "jwt", "id_token"] | None = Field(
        None, description="The type of token to ask for."
    )
    revocation: str | None = Field(
        None,
        pattern=r"^https://[^\s?#@]+$",
        description="The revocation endpoint (RFC 7009), called when the session ends. Default: tokens expire.",
        examples=["https://login.example.com/oauth2/revoke"],
    )
    client: ClientAuth | None = Field(None, description="jobgate's own identity at the endpoint, where it wants one.")

    @model_validator(mode="after")
    def _check_endpoints(self) -> Self:
        check_urls(endpoint=self.endpoint, revocation=self.revocation)
        return self


class TokenExchangeConnector:
    """Exchanges, and sends what it got as a bearer token."""

    name: ClassVar[str] = "token-exchange"
    Scope: ClassVar[type[TokenExchangeScope]] = TokenExchangeScope

    def __init__(self, parts: ConnectorParts) -> None:
        self._parts = parts

    def plan(self, view: RequestView, intent: Intent, scope: TokenExchangeScope) -> Plan:  # noqa: ARG002 - the interface
        """Return the plain plan: a bearer token needs no body."""
        return PLAIN

    async def mint(self, request: MintRequest, scope: TokenExchangeScope) -> Credential:
        """Ask the endpoint. Raises CredentialError."""
        held = await take_token(request, scope.subject_token_audience, self._parts)
        form: list[tuple[str, str]] = [
            ("grant_type", _GRANT),
            ("subject_token", held.token.reveal()),
            ("subject_token_type", _TYPES + scope.subject_token_type),
            *(("audience", each) for each in scope.audience),
            *(("resource", each) for each in scope.resource),
        ]
        if scope.scope:
            form.append(("scope", " ".join(scope.scope)))
        if scope.requested_token_type is not None:
            form.append(("requested_token_type", _TYPES + scope.requested_token_type))
        return self._read(await post_form(self._parts, scope.endpoint, form, scope.client, _WHO), request, scope)

    async def revoke(self, credential: Credential, scope: TokenExchangeScope) -> bool:
        """Make the token void (RFC 7009 2.1); False where no endpoint is named. Raises CredentialError."""
        if scope.revocation is None:
            return False
        await revoke_token(self._parts, scope.revocation, credential.secrets["token"], scope.client)
        return True

    def apply(
        self,
        view: RequestView,  # noqa: ARG002 - the interface
        scope: TokenExchangeScope,  # noqa: ARG002 - the interface
        credential: Credential,
        body_digest: str | None,  # noqa: ARG002 - the interface
    ) -> Edits:
        """Return the bearer token as Authorization (RFC 6750 2.1)."""
        return bearer(credential.secrets["token"])

    def _read(self, answer: Answer, request: MintRequest, scope: TokenExchangeScope) -> Credential:
        found = expect_object(answer, _WHO)
        token, lifetime = read_bearer(found, _WHO)
        issued = found.get("issued_token_type")
        if scope.requested_token_type is not None and issued != _TYPES + scope.requested_token_type:
            raise CredentialError("token endpoint: another type of token than was asked for")
        seconds = min(lifetime, request.grant.lifetime)
        return Credential(
            connector=self.name,
            secrets={"token": token},
            facts=recordable({"endpoint": scope.endpoint, "issued_token_type": _recorded_type(issued)}),
            fingerprint=fingerprint(token.reveal()),
            expires_at=self._parts.clock.now() + seconds,
        )


def _recorded_type(issued: object) -> str | None:
    """Return the type as records may show it: a plain URN, never whatever else an endpoint puts there."""
    return issued if isinstance(issued, str) and _ISSUED.fullmatch(issued) else None
