"""AWS: a role's short-lived keys, by the job's own token or the sidecar's role, and every request signed again.

What a rule names, as intents or as actions, becomes the session policy, so that AWS enforces the rule too.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import product
from typing import Any, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from proxy.connectors.aws_chunks import ChunkResigner
from proxy.connectors.aws_hosts import Endpoint, find_endpoint
from proxy.connectors.aws_policy import POLICY_LIMIT, check_action, read_lines, write_policy
from proxy.connectors.aws_roles import RoleWish, assume_role
from proxy.connectors.body_check import DigestCheck
from proxy.connectors.parts import ConnectorParts, fingerprint, recordable
from proxy.connectors.sigv4 import (
    CHUNKED,
    Keys,
    Scope,
    Verified,
    payload_mode,
    seal_of,
    sign,
    strip_presigned,
)
from proxy.connectors.sigv4_inbound import Inbound, read_inbound, verify
from proxy.connectors.subjects import SubjectModel
from proxy.model.errors import CredentialError
from proxy.model.grant import BodyRewriter, Credential, Edits, MintRequest, Plan
from proxy.model.intent import Intent, RequestView
from proxy.model.reason import Reason

_HEX: Final = re.compile("[0-9a-f]{64}")
# Services that hand out or widen credentials: never reachable unless the rule names their actions (B07).
_PRIVILEGED: Final = frozenset(
    {"sts", "iam", "organizations", "sso", "sso-oauth", "awsssoportal", "identitystore", "signin"}
)


class AwsScope(SubjectModel):
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
        """Return whether the body's digest must be computed before signing. What a client signed is verified first."""
        inbound = read_inbound(view)
        target = _find_target(view, scope, inbound)
        payload = payload_mode(view, target.service)
        if payload in CHUNKED:
            if inbound is None or inbound.presigned:
                raise CredentialError("what signs its chunks must sign its head too", Reason.SIGNING_UNSUPPORTED)
            _decoded_length(view)
        if payload is not None:
            self._verify(view, inbound, payload)
        return Plan(needs_digest=payload is None)

    async def mint(self, request: MintRequest, scope: AwsScope) -> Credential:
        """Ask STS. Raises CredentialError."""
        policy = session_policy(scope)
        if policy is not None and len(policy) > POLICY_LIMIT:
            raise CredentialError("the session policy is too long and is never dropped", Reason.CREDENTIAL_REFUSED)
        wish = RoleWish(
            role=scope.role,
            region=scope.region,
            source=scope.source,
            audience=scope.audience,
            external_id=scope.external_id,
            policy=policy,
        )
        issued, offset = await assume_role(wish, request, self._parts)
        facts = {"access_key": issued.access_key, "role": scope.role, "source": scope.source}
        ahead = f"{offset.total_seconds():.0f}" if offset else None
        return Credential(
            connector=self.name,
            secrets={"secret_key": issued.secret_key, "session_token": issued.session_token},
            facts=recordable({**facts, "clock_offset": ahead}),
            fingerprint=fingerprint(issued.secret_key.reveal()),
            expires_at=issued.expires_at,
        )

    def apply(self, view: RequestView, scope: AwsScope, credential: Credential, body_digest: str | None) -> Edits:
        """Sign `view` again. Pre-signed URLs become header-signed requests."""
        inbound = read_inbound(view)
        target = _find_target(view, scope, inbound)
        payload = payload_mode(view, target.service) or body_digest
        if payload is None:
            raise CredentialError("the body was not read before signing", Reason.INTERNAL)
        verified = self._verify(view, inbound, payload)
        token = credential.secrets.get("session_token")
        keys = Keys(credential.facts["access_key"], credential.secrets["secret_key"], token)
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
            rewriter=_rewriter(view, payload, verified, seal_of(put, keys, what)),
        )

    def _verify(self, view: RequestView, inbound: Inbound | None, payload: str) -> Verified | None:
        """Return the client's signature, verified; None for a request that is not signed. Raises CredentialError."""
        if inbound is None:
            return None
        secret = self._parts.find_secret(inbound.key_id)
        if secret is None:
            raise CredentialError("signed with a key that is not this job's placeholder", Reason.CREDENTIAL_MISUSE)
        return verify(view, inbound, secret, payload, self._parts.clock.now())


def _find_target(view: RequestView, scope: AwsScope, inbound: Inbound | None) -> _Target:
    """Return what to sign for. The host, the client's signature and the rule must agree (B06)."""
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


def _rewriter(
    view: RequestView, payload: str, theirs: Verified | None, ours: Verified
) -> Callable[[], BodyRewriter] | None:
    """Return what makes the chunks' signatures ours, or holds the body to the digest that its head names."""
    if payload in CHUNKED and theirs is not None:
        length, has_trailer = _decoded_length(view), payload.endswith("-TRAILER")
        return partial(ChunkResigner, theirs, ours, decoded_length=length, has_trailer=has_trailer)
    if view.body_length != 0 and view.header("x-amz-content-sha256") == payload and _HEX.fullmatch(payload):
        return partial(DigestCheck, payload)
    return None


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
