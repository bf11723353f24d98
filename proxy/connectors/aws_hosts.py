"""Which AWS service and region a host name stands for. A name that could be two things is none.

Forms: `SERVICE.REGION.amazonaws.com`, its dual-stack, FIPS, China and VPC-endpoint variants, global endpoints, and S3's
virtual-host, accelerate and access-point names. Sources: AWS General Reference, service endpoints; S3 User Guide.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_SUFFIXES: Final = ("amazonaws.com.cn", "amazonaws.com", "api.aws", "api.amazonwebservices.com.cn")
_REGION: Final = re.compile(r"(?:us|eu|ap|sa|ca|me|af|il|mx|cn|us-gov|us-iso|us-isob)-[a-z]+-[0-9]{1,2}")
# Global endpoints sign for one region (botocore's `credentialScope`).
_GLOBAL: Final = {
    "iam": "us-east-1",
    "sts": "us-east-1",
    "route53": "us-east-1",
    "cloudfront": "us-east-1",
    "organizations": "us-east-1",
    "budgets": "us-east-1",
    "ce": "us-east-1",
    "s3": "us-east-1",
    "globalaccelerator": "us-west-2",
    "waf": "us-east-1",
    "shield": "us-east-1",
}
# Endpoint prefix -> the name a signature uses, where they differ (botocore's `signingName`).
_SIGNING: Final = {
    "api.ecr": "ecr",
    "api.ecr-public": "ecr-public",
    "api.sagemaker": "sagemaker",
    "bedrock-runtime": "bedrock",
    "bedrock-agent-runtime": "bedrock",
    "monitoring": "monitoring",
    "email": "ses",
    "runtime.sagemaker": "sagemaker",
    "data.iot": "iotdata",
    "s3-control": "s3",
    "s3-outposts": "s3-outposts",
    "streams.dynamodb": "dynamodb",
    "models.lex": "lex",
    "runtime.lex": "lex",
    "entitlement.marketplace": "aws-marketplace",
    "metering.marketplace": "aws-marketplace",
    "git-codecommit": "codecommit",
}


_S3_GLOBAL: Final = frozenset({"s3", "s3-accelerate"})
_S3_REGIONAL: Final = frozenset(
    {"s3", "s3-fips", "s3-accesspoint", "s3-accesspoint-fips", "s3-control", "s3-control-fips", "s3-website"}
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a signature for a host must name. A region of None: the host does not say; the signature may."""

    service: str
    region: str | None


@lru_cache(maxsize=1024)
def find_endpoint(host: str) -> Endpoint | None:
    """Return the endpoint of a canonical host name, None when it is not AWS's or not unambiguous."""
    stem = next((host.removesuffix(f".{suffix}") for suffix in _SUFFIXES if host.endswith(f".{suffix}")), None)
    if stem is None:
        return None
    labels = stem.split(".")
    if labels[-1] == "vpce":  # vpce-1a2b-3c.SERVICE.REGION.vpce.amazonaws.com; S3 puts bucket. or accesspoint. first
        labels = labels[:-1]
        labels = [label for label in labels if not label.startswith("vpce-")]
        if labels and labels[0] in {"bucket", "accesspoint", "control"}:
            labels = labels[1:]
    return _find_s3(labels) or _find_service(labels)


def _find_s3(labels: list[str]) -> Endpoint | None:
    """Read S3's forms: anything may stand before `s3`, for buckets are host names. The last such label decides."""
    for at in range(len(labels) - 1, -1, -1):
        label, after = labels[at], [each for each in labels[at + 1 :] if each != "dualstack"]
        if label in _S3_GLOBAL and not after:
            return Endpoint("s3", None)  # serves every region
        old = label.removeprefix("s3-")  # s3-eu-west-1.amazonaws.com
        if old != label and not after and _REGION.fullmatch(old):
            return Endpoint("s3", old)
        service = "s3express" if label.startswith("s3express-") else "s3" if label in _S3_REGIONAL else None
        if service is not None:
            return Endpoint(service, after[0]) if len(after) == 1 and _REGION.fullmatch(after[0]) else None
    return None


def _find_service(labels: list[str]) -> Endpoint | None:
    region: str | None = None
    # Most names end in the region; a few old ones begin with it (us-east-1.queue).
    if len(labels) > 1 and _REGION.fullmatch(labels[-1]):
        *labels, region = labels
    elif len(labels) > 1 and _REGION.fullmatch(labels[0]):
        region, *labels = labels
    if len(labels) > 1 and labels[-1] == "dkr":
        return None
    prefix = ".".join(labels[-2:]) if ".".join(labels[-2:]) in _SIGNING else labels[-1] if labels else ""
    prefix = prefix.removesuffix("-fips")
    if region is None:
        region = _GLOBAL.get(prefix)
        return None if region is None or len(labels) > 1 else Endpoint(prefix, region)
    service = "sqs" if prefix == "queue" else _SIGNING.get(prefix, prefix)
    return Endpoint(service, region) if re.fullmatch(r"[a-z0-9-]+", service) else None
