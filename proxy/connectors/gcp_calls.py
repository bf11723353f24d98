"""The calls to Google: exchange, impersonate, bound. Each answer must be no wider and no longer than was asked.

Sources: Security Token Service API, `token`; IAM Service Account Credentials API, `generateAccessToken`; Cloud IAM,
"Downscope with Credential Access Boundaries".
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote, urlencode

from pydantic import Field

from proxy.connectors.answers import ask, expect_object, read_seconds, read_time, read_token
from proxy.connectors.parts import Caller, ConnectorParts, ScopeModel
from proxy.connectors.subjects import take_token
from proxy.model.errors import CredentialError
from proxy.model.grant import MintRequest, Need, Secret
from proxy.model.reason import Reason
from proxy.outbound import Call

_STS: Final = "https://sts.googleapis.com/v1/token"
_CREDENTIALS: Final = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_TYPES: Final = "urn:ietf:params:oauth:token-type:"
CLOUD_PLATFORM: Final = "https://www.googleapis.com/auth/cloud-platform"
_LONGEST: Final = timedelta(hours=1)
_SHORTEST: Final = timedelta(minutes=1)
_SLACK: Final = timedelta(seconds=60)
_MOST: Final = 10
"""Rules of one access boundary."""
_TIME: Final = 1.4
"""Seconds: three calls are within the minter's time."""


class GoogleIdentity(ScopeModel):
    """Which provider takes the job's token, and whose token is wanted."""

    provider: str = Field(
        pattern=r"^projects/[0-9]{1,19}/locations/global/workloadIdentityPools/[a-z0-9-]{4,32}/providers/[a-z0-9-]{4,32}$",
        description="The workload identity provider that trusts the job's issuer.",
        examples=["projects/123456789/locations/global/workloadIdentityPools/jobs/providers/buildkite"],
    )
    service_account: str | None = Field(
        None,
        pattern=r"^[a-z0-9-]{6,63}@[a-z0-9.-]{3,128}\.iam\.gserviceaccount\.com$",
        description="The service account to impersonate. Default: the federated identity itself.",
        examples=["deployer@acme.iam.gserviceaccount.com"],
    )
    audience: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        pattern=r"^[!-~]+$",
        description="Audience of the job's token that is handed over. Default: the provider's URL.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GoogleToken:
    """An access token, and when it ends."""

    token: Secret
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Google:
    """Google's token endpoints, asked at one moment."""

    caller: Caller = field(repr=False)
    now: datetime

    async def identify(
        self, parts: ConnectorParts, request: MintRequest, identity: GoogleIdentity, scopes: Sequence[str]
    ) -> GoogleToken:
        """Return a token of the federated identity, or of the service account. Raises CredentialError."""
        held = await take_token(request, identity.audience or f"https://iam.googleapis.com/{identity.provider}", parts)
        made = await self.exchange(identity.provider, held.token, scopes)
        if identity.service_account is None:
            return made
        lifetime = max(_SHORTEST, min(request.grant.lifetime, _LONGEST))
        return await self.impersonate(made, identity.service_account, scopes, lifetime)

    async def exchange(self, provider: str, subject: Secret, scopes: Sequence[str]) -> GoogleToken:
        """Return the federated identity's token. Raises CredentialError."""
        form = {
            "audience": f"//iam.googleapis.com/{provider}",
            "grant_type": _GRANT,
            "requested_token_type": f"{_TYPES}access_token",
            "scope": " ".join(scopes),
            "subject_token_type": f"{_TYPES}jwt",
            "subject_token": subject.reveal(),
        }
        return await self._exchange(form, None)

    async def impersonate(
        self, token: GoogleToken, account: str, scopes: Sequence[str], lifetime: timedelta
    ) -> GoogleToken:
        """Return a service account's token that lives no longer than `lifetime`. Raises CredentialError."""
        seconds = int(lifetime.total_seconds())
        call = Call(
            method="POST",
            url=f"{_CREDENTIALS}{quote(account, safe='@')}:generateAccessToken",
            headers={
                "content-type": "application/json",
                "accept": "application/json",
                "authorization": Secret(f"Bearer {token.token.reveal()}"),
            },
            body=json.dumps({"scope": list(scopes), "lifetime": f"{seconds}s"}).encode(),
            timeout=_TIME,
        )
        who = "service account"
        found = expect_object(await ask(self.caller, call, who), who)
        made = GoogleToken(token=read_token(found, "accessToken", who), expires_at=read_time(found, "expireTime", who))
        if made.expires_at > self.now + timedelta(seconds=seconds) + _SLACK:
            raise CredentialError(f"{who}: the token lives longer than was asked for", Reason.CREDENTIAL_REFUSED)
        if made.expires_at <= self.now:
            raise CredentialError(f"{who}: the token has already expired")
        return made

    async def bound(self, token: GoogleToken, need: Need) -> GoogleToken:
        """Return a token that can do in these buckets what their roles can, and nothing elsewhere."""
        if len(need) > _MOST:
            raise CredentialError("gcp: the request needs more buckets than one token can be bounded to")
        options = {"accessBoundary": {"accessBoundaryRules": rules_of(need)}}
        form = {
            "grant_type": _GRANT,
            "requested_token_type": f"{_TYPES}access_token",
            "subject_token_type": f"{_TYPES}access_token",
            "subject_token": token.token.reveal(),
            "options": json.dumps(options, separators=(",", ":")),
        }
        return await self._exchange(form, token.expires_at)

    async def _exchange(self, form: dict[str, str], ends_at: datetime | None) -> GoogleToken:
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        who = "Google STS"
        call = Call(method="POST", url=_STS, headers=headers, body=urlencode(form).encode(), timeout=_TIME)
        found = expect_object(await ask(self.caller, call, who), who)
        if str(found.get("token_type")).lower() != "bearer":
            raise CredentialError(f"{who}: the token is not a bearer token")
        if found.get("issued_token_type") != f"{_TYPES}access_token":
            raise CredentialError(f"{who}: another type of token than was asked for")
        token = read_token(found, "access_token", who)
        if ends_at is not None and "expires_in" not in found:  # a bounded token of a service account's says nothing
            return GoogleToken(token=token, expires_at=ends_at)
        expires_at = self.now + read_seconds(found, "expires_in", who)
        return GoogleToken(token=token, expires_at=expires_at if ends_at is None else min(expires_at, ends_at))


def rules_of(need: Need) -> list[dict[str, object]]:
    """Return an access boundary's rules: on each bucket, one role."""
    return [
        {
            "availableResource": f"//storage.googleapis.com/projects/_/buckets/{bucket}",
            "availablePermissions": [f"inRole:roles/storage.{right}"],
        }
        for bucket, right in need
    ]
