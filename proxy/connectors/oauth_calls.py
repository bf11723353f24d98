"""Calls to OAuth 2.0 endpoints: who asks, a form, and what comes back (RFC 6749, RFC 7009, RFC 7523)."""

import asyncio
import uuid
from base64 import b64encode
from datetime import timedelta
from typing import Any, Final, Literal, Self
from urllib.parse import quote, urlencode

from pydantic import Field, model_validator

from proxy.connectors.answers import ask, read_object, read_seconds, read_token, refused
from proxy.connectors.app_key import sign_jwt
from proxy.connectors.parts import ConnectorParts, ScopeModel
from proxy.connectors.secret_sources import SecretSource, read_pem, read_secret
from proxy.model.authority import parse_authority
from proxy.model.errors import CredentialError, ProtocolError
from proxy.model.grant import Secret
from proxy.outbound import Answer, Call

type Form = list[tuple[str, str]]
ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_UNSAID: Final = 60
"""Without expires_in nothing is known: believe the token for a minute, then ask again."""
_ASSERTED: Final = 120
"""Seconds that an assertion of our own is good for."""


class ClientAuth(ScopeModel):
    """How jobgate identifies itself to the token endpoint (RFC 6749 2.3.1)."""

    id: str = Field(min_length=1, description="The client id.")
    method: Literal["basic", "post"] = Field("basic", description="Where id and secret are sent.")
    secret: SecretSource | None = Field(None, description="Where the client secret is read from; or")
    key: SecretSource | None = Field(
        None, description="Where an RSA private key in PEM is read from: jobgate signs an assertion (RFC 7523)."
    )

    @model_validator(mode="after")
    def _check_proof(self) -> Self:
        if (self.secret is None) == (self.key is None):
            raise ValueError("give exactly one of `secret` and `key`")
        return self


def check_urls(**urls: str | None) -> None:
    """Raise ValueError for a URL whose host is none; `None` is no URL."""
    for name, url in urls.items():
        try:
            if url is not None:
                parse_authority(url.removeprefix("https://").partition("/")[0], 443)
        except ProtocolError as error:
            raise ValueError(f"`{name}`: {error}") from None


async def post_form(parts: ConnectorParts, url: str, form: Form, client: ClientAuth | None, who: str) -> Answer:
    """Return the endpoint's answer to a form. Raises CredentialError."""
    headers: dict[str, str | Secret] = {
        "content-type": "application/x-www-form-urlencoded",
        "accept": "application/json",
    }
    sent = [*form]
    if client is not None:
        await _identify(client, url, sent, headers, parts)
    return await ask(parts.caller, Call(method="POST", url=url, headers=headers, body=urlencode(sent).encode()), who)


def read_bearer(found: dict[str, Any], who: str) -> tuple[Secret, timedelta]:
    """Return the bearer token of an answer, and how long it lives (RFC 6749 5.1). Raises CredentialError."""
    token = read_token(found, "access_token", who)
    if str(found.get("token_type")).lower() != "bearer":
        raise CredentialError(f"{who}: the token is not a bearer token")
    return token, read_seconds(found, "expires_in", who, _UNSAID)


async def revoke_token(parts: ConnectorParts, url: str, token: Secret, client: ClientAuth | None) -> None:
    """Make an access token void (RFC 7009 2.1). Raises CredentialError unless the endpoint says that it is."""
    form = [("token", token.reveal()), ("token_type_hint", "access_token")]
    answer = await post_form(parts, url, form, client, "revocation endpoint")
    if answer.status != 200:
        raise refused(answer, read_object(answer.body), "revocation endpoint")


async def _identify(
    client: ClientAuth, url: str, form: Form, headers: dict[str, str | Secret], parts: ConnectorParts
) -> None:
    if client.key is not None:
        form += await _assert(client, client.key, url, parts)
        return
    assert client.secret is not None  # noqa: S101 - the schema wants exactly one
    secret = await read_secret(client.secret, parts)
    if client.method == "post":
        form += [("client_id", client.id), ("client_secret", secret.reveal())]
        return
    pair = f"{quote(client.id, safe='')}:{quote(secret.reveal(), safe='')}"
    headers["authorization"] = Secret(f"Basic {b64encode(pair.encode()).decode()}")


async def _assert(client: ClientAuth, source: SecretSource, url: str, parts: ConnectorParts) -> Form:
    """Return an assertion that this client signs for this endpoint (RFC 7523 2.2, 3)."""
    now = int(parts.clock.now().timestamp())
    claims = {
        "iss": client.id,
        "sub": client.id,
        "aud": url,
        "iat": now,
        "exp": now + _ASSERTED,
        "jti": uuid.uuid4().hex,
    }
    signed = await asyncio.to_thread(sign_jwt, await read_pem(source, parts), claims)
    return [
        ("client_id", client.id),
        ("client_assertion_type", ASSERTION),
        ("client_assertion", signed.reveal()),
    ]
