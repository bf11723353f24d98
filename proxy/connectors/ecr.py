"""Amazon ECR: a role's keys buy the password that Docker clients send, which can do what the keys' session policy says.

Source: Amazon ECR API Reference, GetAuthorizationToken; Service Authorization Reference, Amazon ECR.
"""

import json
import re
from base64 import b64decode
from datetime import UTC, datetime
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from proxy.connectors.answers import expect_object, read_line
from proxy.connectors.aws_own import AwsCall, call_with
from proxy.connectors.aws_policy import write_policy
from proxy.connectors.aws_roles import RoleWish, assume_role
from proxy.connectors.parts import ConnectorParts, ScopeModel
from proxy.connectors.sigv4 import Keys
from proxy.model.errors import CredentialError
from proxy.model.grant import MintRequest, Need, Secret
from proxy.model.reason import Reason
from proxy.outbound import OutboundError

_HOST: Final = re.compile(
    r"(?P<account>[0-9]{12})\.dkr(?:-ecr|\.ecr)(?:-fips)?\.(?P<region>[a-z]{2}(?:-[a-z]+)+-[0-9]{1,2})"
    r"\.(?:amazonaws\.com(?P<china>\.cn)?|on\.aws)"
)
_WHO: Final = "ECR"
_TARGET: Final = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
_PULL: Final = (
    "BatchCheckLayerAvailability",
    "BatchGetImage",
    "GetDownloadUrlForLayer",
    "ListImages",
)
_PUSH: Final = ("CompleteLayerUpload", "InitiateLayerUpload", "PutImage", "UploadLayerPart")
_ACTIONS: Final = {"pull": _PULL, "push": _PUSH, "delete": ("BatchDeleteImage",)}


class EcrRole(ScopeModel):
    """The role that may use the registry, and who assumes it."""

    role: str = Field(
        pattern=r"^arn:(aws|aws-us-gov|aws-cn):iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+$",
        max_length=600,
        description="ARN of the role to assume.",
        examples=["arn:aws:iam::123456789012:role/acme-images"],
    )
    source: Literal["web-identity", "sidecar"] = Field(
        "web-identity", description="Whose identity assumes the role, as for `aws`."
    )
    audience: str = Field("sts.amazonaws.com", description="Audience of the job's token that is handed to STS.")
    external_id: str | None = Field(
        None,
        min_length=2,
        max_length=1224,
        pattern=r"^[A-Za-z0-9_+=,.@:/-]+$",
        description="External id, for `source: sidecar`.",
    )

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.external_id is not None and self.source != "sidecar":
            raise ValueError("`external_id` goes with `source: sidecar`")
        return self


def read_host(host: str) -> re.Match[str]:
    """Return account and region of a registry of ECR's. Raises ValueError for any other host."""
    found = _HOST.fullmatch(host)
    if found is None:
        raise ValueError("`ecr` needs a registry such as 123456789012.dkr.ecr.eu-west-1.amazonaws.com")
    return found


async def ask_ecr(
    host: str, role: EcrRole, request: MintRequest, parts: ConnectorParts
) -> tuple[Secret, datetime, str]:
    """Return the password for user `AWS`, when it ends, and the role. Raises CredentialError."""
    place = read_host(host)
    region, partition = place["region"], role.role.split(":")[1]
    wish = RoleWish(
        role=role.role,
        region=region,
        source=role.source,
        audience=role.audience,
        external_id=role.external_id,
        policy=write_policy(_policy(request.need, f"arn:{partition}:ecr:{region}:{place['account']}:repository")),
    )
    issued, offset = await assume_role(wish, request, parts)
    call = AwsCall(
        service="ecr",
        region=region,
        host=f"api.ecr.{region}.amazonaws.com{place['china'] or ''}",
        headers={"content-type": "application/x-amz-json-1.1", "x-amz-target": _TARGET},
        body=json.dumps({"registryIds": [place["account"]]}).encode(),
    )
    keys = Keys(issued.access_key, issued.secret_key, issued.session_token)
    try:
        answer = await call_with(parts, call, keys, offset)
    except OutboundError as error:
        raise CredentialError(f"{_WHO}: {error}") from None
    if answer.status >= 500 or answer.status == 429:
        raise CredentialError(f"{_WHO}: status {answer.status}")
    password, ends_at = _read(expect_object(answer, _WHO))
    return password, min(ends_at, issued.expires_at), role.role


def _policy(need: Need, repositories: str) -> tuple[tuple[str, str], ...]:
    """Return actions and resources: the password's own, and what the request needs of each repository."""
    found = [("ecr:GetAuthorizationToken", "*")]
    for name, rights in need:
        if name == "catalog":
            raise CredentialError("oci: ECR lists no repositories here", Reason.CREDENTIAL_SCOPE)
        found += [
            (f"ecr:{action}", f"{repositories}/{name}") for right in rights.split(",") for action in _ACTIONS[right]
        ]
    return tuple(found)


def _read(found: dict[str, object]) -> tuple[Secret, datetime]:
    data = found.get("authorizationData")
    first = data[0] if isinstance(data, list) and len(data) == 1 else None
    if not isinstance(first, dict):
        raise CredentialError(f"{_WHO}: the answer holds no credential")
    text, ends = first.get("authorizationToken"), first.get("expiresAt")
    try:
        user, _, password = (
            b64decode(text if isinstance(text, str) else "", validate=True).decode("ascii").partition(":")
        )
    except ValueError:
        user, password = "", ""
    is_time = isinstance(ends, int | float) and not isinstance(ends, bool) and 0 < ends < 1 << 34
    if user != "AWS" or not password or not isinstance(ends, int | float) or not is_time:
        raise CredentialError(f"{_WHO}: the answer holds no usable credential")
    return read_line(password, f"{_WHO}: the password"), datetime.fromtimestamp(ends, UTC)
