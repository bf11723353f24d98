"""What an AWS call does besides its own action, where only its members tell: roles passed, objects read, sessions.

Sources: IAM User Guide, "pass a role"; the API references of Lambda, CloudFormation, EC2 and Systems Manager.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from proxy.intents.aws_hosts import read_host
from proxy.intents.aws_members import Members
from proxy.intents.aws_resources import ANY
from proxy.intents.aws_roles import pass_roles
from proxy.intents.aws_table import Operation
from proxy.intents.reading import decode_component
from proxy.model.intent import EffectClass, Intent, Resource

_TEMPLATES: Final = frozenset({"templateurl", "stackpolicyurl", "stackpolicyduringupdateurl"})
_LAUNCHES: Final = frozenset(
    {"ec2:RunInstances", "ec2:CreateFleet", "ec2:ModifyFleet", "ec2:RequestSpotFleet", "eks:CreateNodegroup"}
    | {"eks:UpdateNodegroupVersion", "autoscaling:CreateAutoScalingGroup", "autoscaling:UpdateAutoScalingGroup"}
)
"""Calls that start machines from a launch template, in which there may be a role."""
_LAUNCH_TEMPLATES: Final = frozenset({"launchtemplatename", "launchtemplateid", "launchtemplate"})
_CODE: Final = {
    "lambda:CreateFunction": "Code",
    "lambda:UpdateFunctionCode": "",
    "lambda:PublishLayerVersion": "Content",
}
_PARAMETERS: Final = frozenset({"ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath"})


def needs_body(operation: Operation) -> bool:
    """Whether only the body can say all that an operation does, or to what."""
    lines = (*operation.bound, *operation.added)
    named = operation.action in _CODE or operation.action in _LAUNCHES or operation.service == "cloudformation"
    return bool(operation.roles) or named or any(line.place == "body" for line in lines)


def effect_of(operation: Operation, members: Members) -> EffectClass:
    """Return an operation's effect: a parameter read without decrypting it is only read."""
    if operation.action in _PARAMETERS and members.is_whole and members.at("body", "WithDecryption") in {None, False}:
        return EffectClass.READ
    return operation.effect


def find_extras(operation: Operation, members: Members, partition: str) -> Iterator[Intent]:
    """Yield everything else: each role that is passed, and each object that the service reads for the caller."""
    if operation.roles:
        yield from pass_roles(members.named(operation.roles) if members.is_whole else [("", "*")], partition)
    if operation.action in _LAUNCHES and (not members.is_whole or any(members.named(_LAUNCH_TEMPLATES))):
        yield from pass_roles([("", "*")], partition)
    if operation.action in _CODE:
        yield from _code(_CODE[operation.action], members, partition)
    if operation.service == "cloudformation":
        texts = {text for _, text in members.named(_TEMPLATES)} if members.is_whole else {""}
        yield from (_reads(_object_of(text)) for text in sorted(texts))


def _code(member: str, members: Members, partition: str) -> Iterator[Intent]:
    """Yield the object that a function's or a layer's code is read from."""
    if not members.is_whole:
        yield _reads(ANY)
        return
    place: Any = members.at("body", member) if member else members.body
    if not isinstance(place, Mapping):
        return
    bucket, key = place.get("S3Bucket"), place.get("S3Key")
    if isinstance(bucket, str) and isinstance(key, str):
        yield _reads(Resource(type="arn", id=f"arn:{partition}:s3:::{bucket}/{key}"))
    elif bucket is not None or key is not None:
        yield _reads(ANY)


def _object_of(url: str) -> Resource:
    """Return the object of S3 that a URL names, in the host or in the path; any object when that cannot be told."""
    try:
        parts = urlsplit(url)
        host = read_host((parts.hostname or "").lower())
        path = decode_component(parts.path[1:])
    except ValueError:
        return ANY
    if parts.scheme != "https" or host is None or host.s3 is None or host.s3.kind != "bucket" or "+" in parts.path:
        return ANY
    bucket, _, key = path.partition("/") if host.s3.name is None else (host.s3.name, "", path)
    return Resource(type="arn", id=f"arn:{host.partition}:s3:::{bucket}/{key}") if bucket and key else ANY


def _reads(resource: Resource) -> Intent:
    return Intent(protocol="aws", action="s3:GetObject", resource=resource, effect=EffectClass.READ, exact=True)
