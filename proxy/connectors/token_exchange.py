"""RFC 8693: the job's own token for a token of another issuer (Okta, Keycloak, Auth0, Buildkite, an own one)."""

import json
import re
from base64 import b64encode
from datetime import timedelta
from typing import Any, ClassVar, Final, Literal, Self
from urllib.parse import quote, urlencode

from pydantic import Field, model_validator

from proxy.connectors.parts import ConnectorParts, ScopeModel, fingerprint, recordable
from proxy.connectors.secret_sources import SecretSource, read_secret
from proxy.model.authority import parse_authority
from proxy.model.errors import CredentialError, ProtocolError
from proxy.model.grant import PLAIN, Credential, Edits, HeldToken, MintRequest, Plan, Secret
from proxy.model.intent import Intent, RequestView
from proxy.model.reason import Reason
from proxy.outbound import Answer, Call, OutboundError

_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_TYPES: Final = "urn:ietf:params:oauth:token-type:"
_ERROR: Final = re.compile(r"[a-z_]{1,64}")
_LONGEST: Final = 86_400
_UNSAID: Final = 60
"""Without expires_in nothing is known: believe the token for a minute, then ask again."""
_ISSUED: Final = re.compile(r"urn:[a-z0-9:_-]{1,100}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]{1,16384}")  # RFC 6750 2.1, b64token


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
    client: ClientAuth | None = Field(None, description="jobgate's own identity at the endpoint, where it wants one.")

    @model_validator(mode="after")
    def _check_endpoint(self) -> Self:
        try:
            parse_authority(self.endpoint.removeprefix("https://").partition("/")[0], 443)
        except ProtocolError as error:
            raise ValueError(f"`endpoint`: {error}") from None
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
        held = self._subject(request, scope)
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
        headers: dict[str, str | Secret] = {
            "content-type": "application/x-www-form-urlencoded",
            "accept": "application/json",
        }
        if scope.client is not None:
            await _identify(scope.client, form, headers)
        call = Call(method="POST", url=scope.endpoint, headers=headers, body=urlencode(form).encode())
        try:
            answer = await self._parts.caller.call(call)
        except OutboundError as error:
            raise CredentialError(f"token endpoint: {error}") from None
        return self._read(answer, request, scope)

    def apply(
        self,
        view: RequestView,  # noqa: ARG002 - the interface
        scope: TokenExchangeScope,  # noqa: ARG002 - the interface
        credential: Credential,
        body_digest: str | None,  # noqa: ARG002 - the interface
    ) -> Edits:
        """Return the bearer token as Authorization (RFC 6750 2.1)."""
        token = credential.secrets["token"]
        return Edits(
            remove=frozenset({"authorization"}),
            put=(("authorization", Secret(f"Bearer {token.reveal()}")),),
            watch=(token,),
        )

    def _subject(self, request: MintRequest, scope: TokenExchangeScope) -> HeldToken:
        held = request.tokens.get(scope.subject_token_audience)
        if held is None:
            raise CredentialError(
                f"the session holds no token for the audience {scope.subject_token_audience}; hand one over when "
                "opening it",
                Reason.CREDENTIAL_REFUSED,
            )
        if held.expires_at <= self._parts.clock.now():
            raise CredentialError(
                "the session's token to exchange has expired; open a new session", Reason.CREDENTIAL_REFUSED
            )
        return held

    def _read(self, answer: Answer, request: MintRequest, scope: TokenExchangeScope) -> Credential:
        if answer.status >= 500 or answer.status == 429:
            raise CredentialError(f"token endpoint: status {answer.status}")
        found = _parse(answer.body)
        if answer.status != 200:
            code = None if found is None else found.get("error")
            named = code if isinstance(code, str) and _ERROR.fullmatch(code) else f"status {answer.status}"
            raise CredentialError(f"token endpoint: {named}", Reason.CREDENTIAL_REFUSED)
        if found is None:
            raise CredentialError("token endpoint: the answer is no JSON object")
        token, lifetime = found.get("access_token"), found.get("expires_in")
        if not isinstance(token, str) or _TOKEN.fullmatch(token) is None:
            raise CredentialError("token endpoint: the answer holds no usable access_token")
        if str(found.get("token_type")).lower() != "bearer":
            raise CredentialError("token endpoint: the token is not a bearer token")
        if lifetime is None:
            lifetime = _UNSAID
        if isinstance(lifetime, bool) or not isinstance(lifetime, int) or not 0 < lifetime <= _LONGEST:
            raise CredentialError("token endpoint: expires_in is not a number of seconds within a day")
        issued = found.get("issued_token_type")
        if scope.requested_token_type is not None and issued != _TYPES + scope.requested_token_type:
            raise CredentialError("token endpoint: another type of token than was asked for")
        seconds = min(timedelta(seconds=lifetime), request.grant.lifetime)
        return Credential(
            connector=self.name,
            secrets={"token": Secret(token)},
            facts=recordable({"endpoint": scope.endpoint, "issued_token_type": _recorded_type(issued)}),
            fingerprint=fingerprint(token),
            expires_at=self._parts.clock.now() + seconds,
        )


async def _identify(client: ClientAuth, form: list[tuple[str, str]], headers: dict[str, str | Secret]) -> None:
    secret = await read_secret(client.secret)
    if client.method == "post":
        form += [("client_id", client.id), ("client_secret", secret.reveal())]
        return
    pair = f"{quote(client.id, safe='')}:{quote(secret.reveal(), safe='')}"
    headers["authorization"] = Secret(f"Basic {b64encode(pair.encode()).decode()}")


def _recorded_type(issued: object) -> str | None:
    """Return the type as records may show it: a plain URN, never whatever else an endpoint puts there."""
    return issued if isinstance(issued, str) and _ISSUED.fullmatch(issued) else None


def _parse(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
