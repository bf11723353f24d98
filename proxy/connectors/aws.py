"""AWS: a role's short-lived keys, by the job's own token or the sidecar's role, and every request signed again.

`AssumeRoleWithWebIdentity` hands the job's token for `sts.amazonaws.com` to STS, which verifies it; `AssumeRole` uses
the sidecar's own role with the job's labels as session tags. What a rule names, as intents or as
actions, becomes the session policy, so that AWS enforces the rule too. Source: AWS STS API Reference.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from hashlib import sha256
from itertools import product
from typing import Any, ClassVar, Final, Literal, Self
from urllib.parse import urlencode

from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from proxy.connectors import sts_answers
from proxy.connectors.aws_chunks import ChunkResigner
from proxy.connectors.aws_hosts import Endpoint, find_endpoint
from proxy.connectors.aws_own import AwsCall, aws_host, call_as_sidecar, clock_offset
from proxy.connectors.aws_policy import POLICY_LIMIT, check_action, read_lines, write_policy
from proxy.connectors.parts import ConnectorParts, ScopeModel, fingerprint, recordable
from proxy.connectors.placeholders import AWS_KEY, AWS_SECRET
from proxy.connectors.sigv4 import (
    CHUNKED,
    Keys,
    Scope,
    Verified,
    payload_mode,
    read_inbound,
    seal_of,
    sign,
    strip_presigned,
    verify,
)
from proxy.connectors.subjects import take_token
from proxy.model.errors import CredentialError
from proxy.model.grant import Credential, Edits, MintRequest, Plan
from proxy.model.intent import Intent, RequestView
from proxy.model.reason import Reason
from proxy.outbound import Call, OutboundError

_PLACEHOLDER: Final = Keys(AWS_KEY, AWS_SECRET, None)
_VERSION: Final = "2011-06-15"
_SHORTEST: Final = timedelta(minutes=15)
_TAGS: Final = ("organization", "pipeline", "step", "branch", "build_number", "job_id", "source")
_DIGEST: Final = "sha256:"
_NAME: Final = ("pipeline", "build_number", "job_id")
# Services that hand out or widen credentials: never reachable unless the rule names their actions (B07).
_PRIVILEGED: Final = frozenset(
    {"sts", "iam", "organizations", "sso", "sso-oauth", "awsssoportal", "identitystore", "signin"}
)


class AwsScope(ScopeModel):
    """Which role, and how much of it."""

    role: str = Field(
        pattern=r"^arn:(aws|aws-us-gov|aws-cn):iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+$",
        max_length=600,
        description="ARN of the role to assume. Its trust policy must accept the job's token.",
        examples=["arn:aws:iam::123456789012:role/release"],
    )
    region: str | None = Field(
        None,
        pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$",
        description="The only region requests may be signed for; also where STS is asked. Default: the request's own.",
        examples=["eu-west-1"],
    )
    service: str | None = Field(
        None,
        pattern=r"^[a-z0-9-]+$",
        description="The only service requests may be signed for. Needed, with `region`, for hosts that are not AWS's.",
    )
    actions: tuple[str, ...] = Field(
        (),
        strict=False,
        description="IAM actions for the session policy. AWS grants no more than these, whatever the role may do.",
        examples=[["s3:PutObject"]],
    )
    resources: tuple[str, ...] = Field(
        (),
        strict=False,
        description="ARNs for the session policy; only beside `actions`. Default: every resource of the role.",
    )
    intents: SkipJsonSchema[tuple[str, ...]] = Field(
        (), strict=False, description="The rule's own `intent` lines. Put here when the rule is read, never written."
    )
    source: Literal["web-identity", "sidecar"] = Field(
        "web-identity",
        description="`web-identity`: the job's own token assumes the role. `sidecar`: the sidecar's role does, with "
        "the job's labels as session tags.",
    )
    audience: str = Field("sts.amazonaws.com", description="Audience of the job's token that is handed to STS.")
    external_id: str | None = Field(
        None,
        min_length=2,
        max_length=1224,
        pattern=r"^[A-Za-z0-9_+=,.@:/-]+$",
        description="External id, for `source: sidecar`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _prefer_actions(cls, given: Any) -> Any:
        """Drop the intents beside actions, so that rules whose policies are equal share their credentials."""
        if isinstance(given, dict) and given.get("actions"):
            return {key: value for key, value in given.items() if key != "intents"}
        return given

    @model_validator(mode="after")
    def _check_policy(self) -> Self:
        for action in self.actions:
            check_action(action)
        if self.resources and not self.actions:
            raise ValueError("`resources` needs `actions` beside it")
        if len(session_policy(self) or "") > POLICY_LIMIT:
            raise ValueError(f"the session policy is longer than {POLICY_LIMIT} characters: split the rule")
        if self.external_id is not None and self.source != "sidecar":
            raise ValueError("`external_id` goes with `source: sidecar`")
        return self


def session_policy(scope: AwsScope) -> str | None:
    """Return the inline session policy: of the actions the scope lists, else of the rule's intents, else None.

    Raises ValueError for an intent that no policy can say.
    """
    return write_policy(_wanted(scope))


def _wanted(scope: AwsScope) -> tuple[tuple[str, str], ...]:
    if scope.actions:
        return tuple(product(scope.actions, scope.resources or ("*",)))
    return read_lines(scope.intents)


@dataclass(frozen=True, slots=True)
class _Target:
    service: str
    region: str


class AwsConnector:
    """Role credentials and SigV4."""

    name: ClassVar[str] = "aws"
    Scope: ClassVar[type[AwsScope]] = AwsScope

    def __init__(self, parts: ConnectorParts) -> None:
        self._parts = parts

    def plan(self, view: RequestView, intent: Intent, scope: AwsScope) -> Plan:  # noqa: ARG002 - the interface
        """Return whether the body's digest must be computed before signing."""
        target = _find_target(view, scope)
        payload = payload_mode(view, target.service)
        if payload in CHUNKED:
            verify(view, _PLACEHOLDER, payload)
            _decoded_length(view)
        return Plan(needs_digest=payload is None)

    async def mint(self, request: MintRequest, scope: AwsScope) -> Credential:
        """Ask STS. Raises CredentialError."""
        form = {
            "Version": _VERSION,
            "RoleArn": scope.role,
            "RoleSessionName": session_name(request.labels),
            "DurationSeconds": str(int(max(request.grant.lifetime, _SHORTEST).total_seconds())),
        }
        policy = session_policy(scope)
        if policy is not None:
            if len(policy) > POLICY_LIMIT:
                raise CredentialError("the session policy is too long and is never dropped", Reason.CREDENTIAL_REFUSED)
            form["Policy"] = policy
        make = self._by_token if scope.source == "web-identity" else self._by_sidecar
        return await self._ask(make(request, scope, form), scope)

    def apply(self, view: RequestView, scope: AwsScope, credential: Credential, body_digest: str | None) -> Edits:
        """Sign `view` again. Pre-signed URLs become header-signed requests."""
        target = _find_target(view, scope)
        payload = payload_mode(view, target.service) or body_digest
        if payload is None:
            raise CredentialError("the body was not read before signing", Reason.INTERNAL)
        token = credential.secrets.get("session_token")
        keys = Keys(credential.facts["access_key"], credential.secrets["secret_key"], token)
        inbound = read_inbound(view)
        presigned = inbound is not None and inbound.presigned
        query = strip_presigned(view.query) if presigned else view.query
        at = self._parts.clock.now() + timedelta(seconds=int(credential.facts.get("clock_offset", "0")))
        what = Scope(region=target.region, service=target.service, payload=payload, at=at)
        watch = (credential.secrets["secret_key"],) if token is None else (credential.secrets["secret_key"], token)
        put = sign(view, query, keys, what)
        return Edits(
            remove=frozenset({"authorization", "date", "x-amz-date", "x-amz-security-token"}),
            put=put,
            query=(query or "") if presigned else None,
            watch=watch,
            rewriter=_resigner(view, payload, seal_of(put, keys, what)) if payload in CHUNKED else None,
        )

    def _by_token(self, request: MintRequest, scope: AwsScope, form: Mapping[str, str]) -> Call:
        held = take_token(request, scope.audience, self._parts)
        body = urlencode(
            {"Action": "AssumeRoleWithWebIdentity", **form, "WebIdentityToken": held.token.reveal()}
        ).encode()
        return Call(method="POST", url=f"https://{_sts_host(scope)}/", headers=_FORM, body=body)

    def _by_sidecar(self, request: MintRequest, scope: AwsScope, form: Mapping[str, str]) -> AwsCall:
        fields = {"Action": "AssumeRole", **form}
        if scope.external_id is not None:
            fields["ExternalId"] = scope.external_id
        labels = [(name, request.labels[name]) for name in _TAGS if name in request.labels]
        for number, (name, value) in enumerate(labels, 1):
            fields[f"Tags.member.{number}.Key"] = name
            fields[f"Tags.member.{number}.Value"] = tag_value(value)
        host = _sts_host(scope)
        return AwsCall(
            service="sts", region=host.split(".")[1], host=host, headers=_FORM, body=urlencode(fields).encode()
        )

    async def _ask(self, call: Call | AwsCall, scope: AwsScope) -> Credential:
        """Call STS, once more when it says that it could not reach the issuer or is overloaded."""
        for attempt in (1, 2):
            asked_at = self._parts.clock.now()
            try:
                if isinstance(call, Call):
                    answer = await self._parts.caller.call(call)
                else:
                    answer = await call_as_sidecar(self._parts, call)
            except OutboundError as error:
                raise CredentialError(f"STS: {error}") from None
            fault = sts_answers.find_fault(answer)
            if fault is None:
                return self._read(sts_answers.read_credentials(answer), clock_offset(answer, asked_at), scope)
            if attempt == 2 or not fault.is_temporary:
                raise CredentialError(f"STS: {fault.code}", fault.reason)
            await asyncio.sleep(0.2)
        raise CredentialError("STS did not answer")  # pragma: no cover - the loop returns or raises

    def _read(self, issued: sts_answers.Issued, offset: timedelta, scope: AwsScope) -> Credential:
        expires_at = issued.expires_at - offset  # by our clock, as everything here is
        if expires_at <= self._parts.clock.now():
            raise CredentialError("STS gave a credential that has already expired")
        facts = {"access_key": issued.access_key, "role": scope.role, "source": scope.source}
        ahead = f"{offset.total_seconds():.0f}" if offset else None
        return Credential(
            connector=self.name,
            secrets={"secret_key": issued.secret_key, "session_token": issued.session_token},
            facts=recordable({**facts, "clock_offset": ahead}),
            fingerprint=fingerprint(issued.secret_key.reveal()),
            expires_at=expires_at,
        )


_FORM: Final = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}


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


def _sts_host(scope: AwsScope) -> str:
    partition = scope.role.split(":")[1]
    region = scope.region or {"aws": "us-east-1", "aws-us-gov": "us-gov-west-1"}.get(partition, "cn-north-1")
    return aws_host("sts", region, partition)


def _find_target(view: RequestView, scope: AwsScope) -> _Target:
    """Return what to sign for. The host, the client's signature and the rule must agree (B06)."""
    inbound = read_inbound(view)
    endpoint = find_endpoint(view.authority.host) or _declared_endpoint(scope)
    service, region = endpoint.service, endpoint.region
    if service == "s3express":
        raise CredentialError("S3 Express directory buckets are not supported yet", Reason.SIGNING_UNSUPPORTED)
    if inbound is not None:
        if inbound.service != service:
            raise _disagree(f"the request is signed for {inbound.service}, its host is {service}'s")
        if region is not None and inbound.region != region:
            raise _disagree(f"the request is signed for {inbound.region}, its host is in {region}")
        region = inbound.region
    region = region or scope.region
    if region is None:
        raise _disagree("neither host, signature nor rule names a region")
    if scope.region is not None and region != scope.region:
        raise _disagree(f"the rule allows {scope.region}, the request goes to {region}")
    if scope.service is not None and service != scope.service:
        raise _disagree(f"the rule allows {scope.service}, the request goes to {service}")
    if service in _PRIVILEGED and not any(action.startswith(f"{service}:") for action, _ in _wanted(scope)):
        raise _disagree(f"{service} hands out credentials: the rule must name its actions")
    return _Target(service, region)


def _resigner(view: RequestView, payload: str, ours: Verified) -> Callable[[], ChunkResigner]:
    """Return what makes the chunks' signatures ours, from the client's verified first one on."""
    return partial(
        ChunkResigner,
        verify(view, _PLACEHOLDER, payload),
        ours,
        decoded_length=_decoded_length(view),
        has_trailer=payload.endswith("-TRAILER"),
    )


def _decoded_length(view: RequestView) -> int:
    values = [value for name, value in view.headers if name == "x-amz-decoded-content-length"]
    if len(values) != 1 or re.fullmatch("[0-9]{1,15}", values[0]) is None:
        raise CredentialError("x-amz-decoded-content-length is not one number", Reason.SIGNING_BROKEN)
    return int(values[0])


def _declared_endpoint(scope: AwsScope) -> Endpoint:
    if scope.service is None or scope.region is None:
        raise _disagree("the host is not AWS's; a rule for it must name `service` and `region`")
    return Endpoint(scope.service, scope.region)


def _disagree(why: str) -> CredentialError:
    return CredentialError(why, Reason.SIGNING_SCOPE)
