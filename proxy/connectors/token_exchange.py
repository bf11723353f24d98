"""RFC 8693: the job's own token for a token of another issuer (Okta, Keycloak, Auth0, Buildkite, an own one)."""

import re
from base64 import b64encode
from typing import ClassVar, Final, Literal, Self
from urllib.parse import quote, urlencode

from pydantic import Field, model_validator

from proxy.connectors.answers import ask, bearer, expect_object, read_object, read_seconds, read_token, refused
from proxy.connectors.parts import ConnectorParts, ScopeModel, fingerprint, recordable
from proxy.connectors.secret_sources import SecretSource, read_secret
from proxy.connectors.subjects import take_token
from proxy.model.authority import parse_authority
from proxy.model.errors import CredentialError, ProtocolError
from proxy.model.grant import PLAIN, Credential, Edits, MintRequest, Plan, Secret
from proxy.model.intent import Intent, RequestView
from proxy.outbound import Answer, Call

_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_TYPES: Final = "urn:ietf:params:oauth:token-type:"
_WHO: Final = "token endpoint"
_UNSAID: Final = 60
"""Without expires_in nothing is known: believe the token for a minute, then ask again."""
_ISSUED: Final = re.compile(r"urn:[a-z0-9:_-]{1,100}")


class ClientAuth(ScopeModel):
    """How jobgate identifies itself to the token endpoint (RFC 6749 2.3.1)."""

    id: str = Field(min_length=1, description="The client id.")
    method: Literal["basic", "post"] = Field("basic", description="Where id and secret are sent.")
    secret: SecretSource = Field(description="Where the client secret is read from.")


class TokenExchangeScope(ScopeModel):
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
        for name, url in (("endpoint", self.endpoint), ("revocation", self.revocation)):
            try:
                if url is not None:
                    parse_authority(url.removeprefix("https://").partition("/")[0], 443)
            except ProtocolError as error:
                raise ValueError(f"`{name}`: {error}") from None
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
        held = take_token(request, scope.subject_token_audience, self._parts)
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
        return self._read(await self._post(scope.endpoint, form, scope.client, _WHO), request, scope)

    async def revoke(self, credential: Credential, scope: TokenExchangeScope) -> bool:
        """Make the token void (RFC 7009 2.1); False where no endpoint is named. Raises CredentialError."""
        if scope.revocation is None:
            return False
        form = [("token", credential.secrets["token"].reveal()), ("token_type_hint", "access_token")]
        answer = await self._post(scope.revocation, form, scope.client, "revocation endpoint")
        if answer.status != 200:
            raise refused(answer, read_object(answer.body), "revocation endpoint")
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

    async def _post(self, url: str, form: list[tuple[str, str]], client: ClientAuth | None, who: str) -> Answer:
        headers: dict[str, str | Secret] = {
            "content-type": "application/x-www-form-urlencoded",
            "accept": "application/json",
        }
        if client is not None:
            await _identify(client, form, headers, self._parts)
        call = Call(method="POST", url=url, headers=headers, body=urlencode(form).encode())
        return await ask(self._parts.caller, call, who)

    def _read(self, answer: Answer, request: MintRequest, scope: TokenExchangeScope) -> Credential:
        found = expect_object(answer, _WHO)
        token = read_token(found, "access_token", _WHO)
        if str(found.get("token_type")).lower() != "bearer":
            raise CredentialError("token endpoint: the token is not a bearer token")
        lifetime = read_seconds(found, "expires_in", _WHO, _UNSAID)
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


async def _identify(
    client: ClientAuth, form: list[tuple[str, str]], headers: dict[str, str | Secret], parts: ConnectorParts
) -> None:
    secret = await read_secret(client.secret, parts)
    if client.method == "post":
        form += [("client_id", client.id), ("client_secret", secret.reveal())]
        return
    pair = f"{quote(client.id, safe='')}:{quote(secret.reveal(), safe='')}"
    headers["authorization"] = Secret(f"Basic {b64encode(pair.encode()).decode()}")


def _recorded_type(issued: object) -> str | None:
    """Return the type as records may show it: a plain URN, never whatever else an endpoint puts there."""
    return issued if isinstance(issued, str) and _ISSUED.fullmatch(issued) else None
