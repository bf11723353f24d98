"""Calls to AWS with the sidecar's own role: botocore's provider chain finds the keys, everything else is ours.

The calls are signed here and made by `outbound`, with its limits. AWS refuses what is signed minutes off its own
clock; its answers carry a Date, so one refused call is enough to sign by AWS's time.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

from proxy.connectors.parts import ConnectorParts
from proxy.connectors.sigv4 import Keys, Scope, sign
from proxy.model.authority import Authority, parse_authority
from proxy.model.errors import CredentialError
from proxy.model.grant import Secret
from proxy.model.intent import RequestView
from proxy.outbound import Answer, Call

_NOTICED: Final = timedelta(seconds=30)
_BELIEVED: Final = timedelta(days=1)
_SKEWED: Final = (b"RequestTimeTooSkewed", b"RequestExpired", b"SignatureDoesNotMatch", b"InvalidSignatureException")
_PARTITIONS: Final = {"aws": "amazonaws.com", "aws-us-gov": "amazonaws.com", "aws-cn": "amazonaws.com.cn"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsCall:
    """One POST to a service's regional endpoint."""

    service: str
    region: str
    host: str
    headers: Mapping[str, str]
    body: bytes


def aws_host(service: str, region: str, partition: str | None = None) -> str:
    """Return the host of a service's regional endpoint; the partition is the region's unless it is given."""
    return f"{service}.{region}.{_PARTITIONS[partition or ('aws-cn' if region.startswith('cn-') else 'aws')]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCaller:
    """Makes any call to one service as the sidecar, signed for its region."""

    parts: ConnectorParts
    service: str
    region: str

    async def call(self, call: Call) -> Answer:
        """Return AWS's answer, whatever its status.

        Raises CredentialError when the sidecar has no keys, OutboundError when there is no answer.
        """
        keys = await asyncio.to_thread(_own_keys)
        now = self.parts.clock.now()
        answer = await self.parts.caller.call(self._signed(call, keys, now))
        offset = clock_offset(answer, now)
        if answer.status >= 400 and offset and any(code in answer.body for code in _SKEWED):
            answer = await self.parts.caller.call(self._signed(call, keys, now + offset))
        return answer

    def _signed(self, call: Call, keys: Keys, at: datetime) -> Call:
        parts = urlsplit(call.url)
        view = RequestView(
            method=call.method,
            scheme="https",
            authority=parse_authority(parts.netloc, 443),
            path=parts.path or "/",
            query=parts.query or None,
            headers=tuple((name, str(value)) for name, value in call.headers.items()),
            body_length=len(call.body),
        )
        what = Scope(region=self.region, service=self.service, payload=sha256(call.body).hexdigest(), at=at)
        return replace(call, headers={**call.headers, **dict(sign(view, view.query, keys, what))})


async def call_as_sidecar(parts: ConnectorParts, call: AwsCall) -> Answer:
    """Return AWS's answer, whatever its status.

    Raises CredentialError when the sidecar has no keys, OutboundError when there is no answer.
    """
    posted = Call(method="POST", url=f"https://{call.host}/", headers=call.headers, body=call.body)
    return await SignedCaller(parts=parts, service=call.service, region=call.region).call(posted)


async def call_with(parts: ConnectorParts, call: AwsCall, keys: Keys, offset: timedelta) -> Answer:
    """Return AWS's answer to a call with a role's keys; `offset` is AWS's clock ahead of ours. Raises OutboundError."""
    return await parts.caller.call(_signed(call, keys, parts.clock.now() + offset))


def clock_offset(answer: Answer, now: datetime) -> timedelta:
    """Return how far AWS's clock is ahead of ours, by an answer's Date (RFC 9110 6.6.1); nothing below half a minute.

    What is more than a day off is not believed.
    """
    try:
        at = parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return timedelta()
    offset = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)) - now
    return offset if _NOTICED < abs(offset) < _BELIEVED else timedelta()


def _signed(call: AwsCall, keys: Keys, at: datetime) -> Call:
    view = RequestView(
        method="POST",
        scheme="https",
        authority=Authority(call.host, 443),
        path="/",
        query=None,
        headers=tuple(call.headers.items()),
        body_length=len(call.body),
    )
    what = Scope(region=call.region, service=call.service, payload=sha256(call.body).hexdigest(), at=at)
    headers = {**call.headers, **dict(sign(view, None, keys, what))}
    return Call(method="POST", url=f"https://{call.host}/", headers=headers, body=call.body)


def _own_keys() -> Keys:
    """Return the sidecar's own credentials, from wherever botocore's provider chain finds them. Blocks."""
    try:
        import botocore.session  # noqa: PLC0415 - heavy, optional, and needed by this one source
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415
    except ImportError:
        raise CredentialError("the sidecar's own AWS role needs the extra: pip install 'jobgate[aws]'") from None
    try:
        session: Any = botocore.session.Session  # untyped
        found = session().get_credentials()
        frozen = None if found is None else found.get_frozen_credentials()
    except BotoCoreError as error:
        raise CredentialError(f"the sidecar's own AWS credentials cannot be had: {type(error).__name__}") from None
    if frozen is None:
        raise CredentialError("the sidecar has no AWS credentials of its own")
    token = None if frozen.token is None else Secret(frozen.token)
    return Keys(frozen.access_key, Secret(frozen.secret_key), token)
