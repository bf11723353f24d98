"""Which AWS service and region a host name stands for. A name that could be two things is none.

Forms: `SERVICE.REGION.amazonaws.com`, its dual-stack, FIPS, China and VPC-endpoint variants, global endpoints, and S3's
virtual-host, accelerate and access-point names. Sources: AWS General Reference, service endpoints; S3 User Guide.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from proxy.connectors.aws_names import GLOBAL, NOT_SIGNED, SIGNING

_SUFFIXES: Final = ("amazonaws.com.cn", "amazonaws.com", "api.aws", "api.amazonwebservices.com.cn")
_REGION: Final = re.compile(r"(?:us|eu|ap|sa|ca|me|af|il|mx|cn|us-gov|us-iso|us-isob)-[a-z]+-[0-9]{1,2}")
_SERVICE: Final = re.compile(r"[A-Za-z0-9-]+")
_LONGEST: Final = max(name.count(".") + 1 for name in SIGNING)
_S3_GLOBAL: Final = frozenset({"s3", "s3-accelerate"})
_S3_REGIONAL: Final = frozenset(
    {"s3", "s3-fips", "s3-accesspoint", "s3-accesspoint-fips", "s3-control", "s3-control-fips"}
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a signature for a host must name. A region of None: the host does not say; the signature may."""

    service: str
    region: str | None


GLOBAL_ENDPOINTS: Final = {name: Endpoint(service, region) for name, (service, region) in GLOBAL.items()}


@lru_cache(maxsize=1024)
def find_endpoint(host: str) -> Endpoint | None:
    """Return the endpoint of a canonical host name, None when it is not AWS's or not unambiguous."""
    suffix = next((each for each in _SUFFIXES if host.endswith(f".{each}")), None)
    if suffix is None:
        return None
    stem = host.removesuffix(f".{suffix}")
    if suffix == "amazonaws.com" and stem in GLOBAL_ENDPOINTS:
        return GLOBAL_ENDPOINTS[stem]
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
    if region is None or not NOT_SIGNED.isdisjoint(labels):
        return None
    service = _signing_name([*labels[:-1], labels[-1].removesuffix("-fips")])
    return Endpoint(service, region) if _SERVICE.fullmatch(service) else None


def _signing_name(labels: list[str]) -> str:
    """Return the name of the longest known ending, else the last label: what stands before it is a customer's own."""
    for size in range(min(_LONGEST, len(labels)), 0, -1):
        name = SIGNING.get(".".join(labels[-size:]))
        if name is not None:
            return name
    return labels[-1]
