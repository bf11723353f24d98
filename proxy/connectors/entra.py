"""The call to Entra: an application's token for one service, bought with a token about the job.

Source: Microsoft identity platform, "Access token request with a federated credential".
"""

import json
from base64 import urlsafe_b64decode
from datetime import timedelta
from typing import Final, Literal
from urllib.parse import urlencode

from pydantic import Field

from proxy.connectors.answers import ask, expect_object
from proxy.connectors.oauth_calls import ASSERTION, read_bearer
from proxy.connectors.parts import ConnectorParts, ScopeModel
from proxy.connectors.subjects import take_token
from proxy.model.errors import CredentialError
from proxy.model.grant import MintRequest, Secret
from proxy.model.reason import Reason
from proxy.outbound import Call

_WHO: Final = "Entra"
_UUID: Final = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
_LOGINS: Final = {
    "public": ("login.microsoftonline.com", "api://AzureADTokenExchange"),
    "us-government": ("login.microsoftonline.us", "api://AzureADTokenExchangeUSGov"),
    "china": ("login.partner.microsoftonline.cn", "api://AzureADTokenExchangeChina"),
}
"""Of each cloud: where tokens come from, and the audience of the job's own."""


class EntraApplication(ScopeModel):
    """Which application takes the job's token."""

    tenant: str = Field(
        pattern=_UUID, description="The tenant's id.", examples=["11111111-2222-3333-4444-555555555555"]
    )
    client_id: str = Field(
        pattern=_UUID,
        description="The client id of the application, or managed identity, that trusts the job's issuer.",
        examples=["66666666-7777-8888-9999-000000000000"],
    )
    cloud: Literal["public", "us-government", "china"] = Field("public", description="Which of Azure's clouds.")
    audience: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        pattern=r"^[!-~]+$",
        description="Audience of the job's token that is handed over. Default: the cloud's, `api://AzureADTokenExchange`.",
    )


async def ask_entra(
    parts: ConnectorParts, request: MintRequest, application: EntraApplication, resource: str
) -> tuple[Secret, timedelta]:
    """Return the application's token for the service that `resource` names, and its life. Raises CredentialError."""
    login, usual = _LOGINS[application.cloud]
    held = await take_token(request, application.audience or usual, parts)
    form = {
        "client_id": application.client_id,
        "scope": f"{resource}.default",
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION,
        "client_assertion": held.token.reveal(),
    }
    call = Call(
        method="POST",
        url=f"https://{login}/{application.tenant}/oauth2/v2.0/token",
        headers={"content-type": "application/x-www-form-urlencoded", "accept": "application/json"},
        body=urlencode(form).encode(),
    )
    token, lifetime = read_bearer(expect_object(await ask(parts.caller, call, _WHO), _WHO), _WHO)
    _check_audience(token.reveal(), resource)
    return token, lifetime


def _check_audience(token: str, resource: str) -> None:
    """Raise CredentialError for a token that says it is for another service; some name a service by a number."""
    parts = token.split(".")
    try:
        found = json.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))) if len(parts) == 3 else {}
    except (ValueError, RecursionError):
        found = {}
    audience = found.get("aud") if isinstance(found, dict) else None
    is_url = isinstance(audience, str) and "://" in audience
    if is_url and str(audience).rstrip("/") != resource.rstrip("/"):
        raise CredentialError(f"{_WHO}: the token is for another service than was asked", Reason.CREDENTIAL_REFUSED)
