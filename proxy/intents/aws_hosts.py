"""Which services a host name under AWS's domains stands for, and where an S3 name's bucket is in it. Pure.

A name that could be two things, or a customer's own machine, is no endpoint. Sources: AWS General Reference, "service
endpoints"; S3 User Guide, "virtual hosting" and "access points"; the names in botocore's endpoint rules (the table).
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from proxy.intents.aws_table import load_table

_DOMAINS: Final = {
    ".amazonaws.com": "aws",
    ".api.aws": "aws",
    ".on.aws": "aws",
    ".amazonaws.com.cn": "aws-cn",
    ".api.amazonwebservices.com.cn": "aws-cn",
    ".amazonaws.eu": "aws-eusc",
    ".api.amazonwebservices.eu": "aws-eusc",
    ".c2s.ic.gov": "aws-iso",
    ".api.aws.ic.gov": "aws-iso",
    ".sc2s.sgov.gov": "aws-iso-b",
    ".api.aws.scloud": "aws-iso-b",
    ".cloud.adc-e.uk": "aws-iso-e",
    ".api.cloud-aws.adc-e.uk": "aws-iso-e",
    ".csp.hci.ic.gov": "aws-iso-f",
    ".api.aws.hci.ic.gov": "aws-iso-f",
}
SUFFIXES: Final = tuple(_DOMAINS)
"""What the names of AWS's endpoints end in: every partition botocore knows, and `on.aws`."""
_REGION: Final = re.compile(r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2}")
_ACCOUNT: Final = re.compile(r"[0-9]{12}")
_POINT: Final = re.compile(r"(?P<name>[a-z0-9][a-z0-9-]*)-(?P<account>[0-9]{12})")
_PARTITIONS: Final = (
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("eusc-", "aws-eusc"),
    ("us-isob-", "aws-iso-b"),
    ("us-isof-", "aws-iso-f"),
    ("us-iso-", "aws-iso"),
    ("eu-isoe-", "aws-iso-e"),
)
_CUSTOMERS: Final = frozenset({"dkr", "elb", "compute", "compute-1", "d", "server", "cache"})
"""Labels under which customers' machines, registries and package indexes answer, not the service's API."""
_PREFIXED: Final = frozenset(
    {
        "eventsv2",
        "ddb",
        "streams-ddb",
        "search-ddb",
        "data-kinesis",
        "control-kinesis",
        "cloudfront-kvs",
        "endpoint.events",
    }
    | {"data-kinesis-queues", "control-kinesis-queues", "data.mediastore", "mediaconvert", "kinesisvideo", "iot", "osm"}
    | {"endpoints.email"}
)
"""Stems before which botocore's endpoint rules, or the service itself, put a label of the customer's."""
_S3_ANYWHERE: Final = {"s3": "bucket", "s3-external-1": "bucket", "s3-accelerate": "bucket", "s3-global": "mrap"}
_S3_REGIONAL: Final = {
    "s3-control": "control",
    "s3-outposts": "outpost",
    "s3-accesspoint": "point",
    "s3-object-lambda": "object-lambda",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Place:
    """What an S3 host name says: `kind` is how to read the path, `name` the bucket or access point in the host."""

    kind: str
    """`bucket` (host or path), `point`, `object-lambda`, `outpost`, `mrap`, `express`, `control`."""
    name: str | None = None
    account: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsHost:
    """An endpoint: botocore's services that answer there, or a place of S3's."""

    services: tuple[str, ...] = ()
    region: str | None = None
    partition: str = "aws"
    s3: S3Place | None = None


def partition_of(region: str | None) -> str:
    """Return the partition of a region; `aws` where none is told."""
    return next((name for start, name in _PARTITIONS if region is not None and region.startswith(start)), "aws")


@lru_cache(maxsize=1024)
def read_host(host: str) -> AwsHost | None:
    """Return what a canonical host name stands for; None for another's, a customer's, or one not understood."""
    suffix = max((each for each in SUFFIXES if host.endswith(each)), key=len, default=None)
    if suffix is None:
        return None
    labels = host.removesuffix(suffix).split(".")
    labels = [each for each in labels if each != "dualstack"]
    is_private = labels[-1] == "vpce"
    if is_private:
        labels.pop()
    found = _read_s3(labels, is_private=is_private) or _read_service(labels, is_private=is_private)
    if found is None or found.partition != "aws":
        return found
    partition = "aws-us-gov" if labels[-1] == "us-gov" else _DOMAINS[suffix]
    return replace(found, partition=partition)


def _read_s3(labels: list[str], *, is_private: bool) -> AwsHost | None:
    """Read S3's forms: anything may stand before `s3`, for buckets are host names. The last such label decides."""
    for at in range(len(labels) - 1, -1, -1):
        label, before, after = labels[at], labels[:at], labels[at + 1 :]
        old = label.removeprefix("s3-").removeprefix("fips-")
        if old != label and not after and _REGION.fullmatch(old):  # s3-eu-west-1.amazonaws.com
            label, after = "s3", [old]
        region = after[0] if len(after) == 1 and _REGION.fullmatch(after[0]) else None
        if after and region is None:
            continue
        place = _private_place(before) if is_private else _s3_place(label, before, region)
        if place is not None:
            return AwsHost(region=region, partition=partition_of(region), s3=place) if label.startswith("s3") else None
    return None


def _s3_place(label: str, before: list[str], region: str | None) -> S3Place | None:
    name = ".".join(before) or None
    plain = label.removesuffix("-fips")
    kind = _S3_ANYWHERE.get(plain)
    if kind is None and region is not None:
        kind = _S3_REGIONAL.get(plain) or ("express" if plain.startswith("s3express-") else None)
    if kind == "mrap" and before[1:] == ["accesspoint"]:
        return S3Place(kind=kind, name=before[0])
    point = _POINT.fullmatch(name or "")
    if kind == "control":
        return S3Place(kind=kind, account=name)
    if kind in {"point", "object-lambda"} and (point is not None or kind == "object-lambda"):
        return S3Place(kind=kind, name=point and point["name"], account=point and point["account"])
    return S3Place(kind=kind, name=name) if kind in {"bucket", "express", "outpost"} else None


def _private_place(before: list[str]) -> S3Place | None:
    """Read what stands before `vpce-ID.s3.REGION.vpce`: `bucket`, `control`, `NAME-ACCOUNT.accesspoint`."""
    rest = [each for each in before if not each.startswith("vpce-")]
    if len(rest) == len(before) or not rest:
        return None
    name = ".".join(rest[:-1]) or None
    if rest[-1] == "bucket":
        return S3Place(kind="bucket", name=name)
    if rest[-1] == "control":
        return S3Place(kind="control", account=name)
    point = _POINT.fullmatch(name or "")
    if rest[-1] == "accesspoint" and point is not None:
        return S3Place(kind="point", name=point["name"], account=point["account"])
    return None


def _read_service(labels: list[str], *, is_private: bool) -> AwsHost | None:
    region: str | None = None
    if labels[-1] == "us-gov" and _REGION.fullmatch(labels[-2] if len(labels) > 2 else ""):  # routes.geo.REGION.us-gov
        labels = labels[:-1]
    if len(labels) > 1 and _REGION.fullmatch(labels[-1]):
        *labels, region = labels
    elif len(labels) == 2 and _REGION.fullmatch(labels[0]):  # us-east-1.queue: the first form there was
        region, *labels = labels
    elif (
        len(labels) == 3 and labels[2] == "neptune-graph" and _REGION.fullmatch(labels[1])
    ):  # GRAPH.REGION.neptune-graph
        region, labels = labels[1], labels[2:]
    elif len(labels) > 1 and labels[-1] in {"global", "us-gov"}:
        labels = labels[:-1]
    if is_private:
        labels = [each for each in labels if not each.startswith("vpce-")]
    plain = [each.removesuffix("-fips") for each in labels if each != "fips"]
    if not _CUSTOMERS.isdisjoint(plain):
        return None
    hosts = load_table().hosts
    for size in range(len(plain), 0, -1):
        stem, before = ".".join(plain[-size:]), plain[:-size]
        services = hosts.get(stem)
        if services is None:
            continue
        has_account = all(_ACCOUNT.fullmatch(each) for each in before)
        is_ours = not before or (region is not None and (stem in _PREFIXED or has_account))
        return AwsHost(services=tuple(services), region=region, partition=partition_of(region)) if is_ours else None
    return None
