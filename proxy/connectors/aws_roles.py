"""STS: a role's short-lived keys, by the job's own token or by the sidecar's role. Source: AWS STS API Reference.

`AssumeRoleWithWebIdentity` hands the job's token to STS, which verifies it; `AssumeRole` uses the sidecar's own role
with the job's labels as session tags.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from typing import Final, Literal
from urllib.parse import urlencode

from proxy.connectors import sts_answers
from proxy.connectors.aws_own import AwsCall, aws_host, call_as_sidecar, clock_offset
from proxy.connectors.parts import ConnectorParts
from proxy.connectors.sts_answers import Issued
from proxy.connectors.subjects import take_token
from proxy.model.errors import CredentialError
from proxy.model.grant import MintRequest
from proxy.outbound import Call, OutboundError

_VERSION: Final = "2011-06-15"
_SHORTEST: Final = timedelta(minutes=15)
_TAGS: Final = ("organization", "pipeline", "step", "branch", "build_number", "job_id", "source")
_DIGEST: Final = "sha256:"
_NAME: Final = ("pipeline", "build_number", "job_id")
_FORM: Final = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleWish:
    """Which role, and how much of it. `audience` is that of the job's token, for `web-identity`."""

    role: str
    region: str | None
    source: Literal["web-identity", "sidecar"]
    audience: str
    external_id: str | None
    policy: str | None


async def assume_role(wish: RoleWish, request: MintRequest, parts: ConnectorParts) -> tuple[Issued, timedelta]:
    """Return the role's keys, which end by our clock, and how far AWS's is ahead of it. Raises CredentialError."""
    form = {
        "Version": _VERSION,
        "RoleArn": wish.role,
        "RoleSessionName": session_name(request.labels),
        "DurationSeconds": str(int(max(request.grant.lifetime, _SHORTEST).total_seconds())),
    }
    if wish.policy is not None:
        form["Policy"] = wish.policy
    by_token = wish.source == "web-identity"
    call = await _by_token(wish, request, form, parts) if by_token else _by_sidecar(wish, request, form)
    issued, offset = await _ask(call, parts)
    issued = replace(issued, expires_at=issued.expires_at - offset)
    if issued.expires_at <= parts.clock.now():
        raise CredentialError("STS gave a credential that has already expired")
    return issued, offset


def sts_host(role: str, region: str | None) -> str:
    """Return the host of the STS that is asked: the region's, else that of the role's partition."""
    partition = role.split(":")[1]
    return aws_host(
        "sts", region or {"aws": "us-east-1", "aws-us-gov": "us-gov-west-1"}.get(partition, "cn-north-1"), partition
    )


def session_name(labels: Mapping[str, str]) -> str:
    """Return the role session name that CloudTrail will show: pipeline, build and job. A long pipeline is cut."""
    found = [re.sub(r"[^\w+=,.@-]", "-", labels[name], flags=re.ASCII) for name in _NAME if name in labels]
    first, *rest = found or ["job"]
    tail = "".join(f"-{each}" for each in rest)
    return (first[: max(0, 64 - len(tail))] + tail)[-64:].ljust(2, "-")


def tag_value(value: str) -> str:
    """Return a label as a session tag (STS API Reference, Tag).

    What a tag cannot hold becomes its digest, not something similar: IAM conditions decide on tags, and no other label
    may look like the one they name.
    """
    if len(value) <= 256 and not value.startswith(_DIGEST) and re.fullmatch(r"[\w .:/=+@-]*", value):
        return value
    return _DIGEST + sha256(value.encode("utf-8", "surrogateescape")).hexdigest()


async def _by_token(wish: RoleWish, request: MintRequest, form: Mapping[str, str], parts: ConnectorParts) -> Call:
    held = await take_token(request, wish.audience, parts)
    body = urlencode({"Action": "AssumeRoleWithWebIdentity", **form, "WebIdentityToken": held.token.reveal()}).encode()
    return Call(method="POST", url=f"https://{sts_host(wish.role, wish.region)}/", headers=_FORM, body=body)


def _by_sidecar(wish: RoleWish, request: MintRequest, form: Mapping[str, str]) -> AwsCall:
    fields = {"Action": "AssumeRole", **form}
    if wish.external_id is not None:
        fields["ExternalId"] = wish.external_id
    labels = [(name, request.labels[name]) for name in _TAGS if name in request.labels]
    for number, (name, value) in enumerate(labels, 1):
        fields[f"Tags.member.{number}.Key"] = name
        fields[f"Tags.member.{number}.Value"] = tag_value(value)
    host = sts_host(wish.role, wish.region)
    return AwsCall(service="sts", region=host.split(".")[1], host=host, headers=_FORM, body=urlencode(fields).encode())


async def _ask(call: Call | AwsCall, parts: ConnectorParts) -> tuple[Issued, timedelta]:
    """Call STS, once more when it says that it could not reach the issuer or is overloaded."""
    for attempt in (1, 2):
        asked_at = parts.clock.now()
        try:
            answer = await (parts.caller.call(call) if isinstance(call, Call) else call_as_sidecar(parts, call))
        except OutboundError as error:
            raise CredentialError(f"STS: {error}") from None
        fault = sts_answers.find_fault(answer)
        if fault is None:
            return sts_answers.read_credentials(answer), clock_offset(answer, asked_at)
        if attempt == 2 or not fault.is_temporary:
            raise CredentialError(f"STS: {fault.code}", fault.reason)
        await asyncio.sleep(0.2)
    raise CredentialError("STS did not answer")  # pragma: no cover - the loop returns or raises
