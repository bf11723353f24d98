"""AWS: any service. Which operation a request is, which IAM actions it asks for, on which ARNs, and how harmful it is.

AWS's own endpoints are known by name, any other host when a rule says that it speaks `aws`. The signature's scope names
the service and the region, and the host must agree; an unsigned request is read by its host alone. An operation that no
model knows has an unknown effect; a request that could be two operations is denied. The table is compiled from botocore
(aws_table.py); what stands in it, and why, is in .ci/aws_effects.toml.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from proxy.intents.aws_dynamodb import MANY, read_steps
from proxy.intents.aws_endpoints import decode_endpoint
from proxy.intents.aws_extras import effect_of, find_extras, needs_body
from proxy.intents.aws_hosts import SUFFIXES, AwsHost, S3Place, partition_of, read_host
from proxy.intents.aws_members import Members, read_tree
from proxy.intents.aws_protocols import Call, read_call
from proxy.intents.aws_resources import Place, find_added, find_resources
from proxy.intents.aws_s3 import Bucket, decode_s3
from proxy.intents.aws_signature import Scope, read_scope
from proxy.intents.aws_table import Operation, load_table
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, EffectClass, Intent, RequestView, Resource
from proxy.model.reason import Reason

_S3_SCOPES: Final = {
    "bucket": "s3",
    "point": "s3",
    "mrap": "s3",
    "control": "s3",
    "express": "s3express",
    "outpost": "s3-outposts",
    "object-lambda": "s3-object-lambda",
}
"""Kind of place -> the service that its signatures name."""
_PLACES: Final = {
    scope: S3Place(kind=kind) for kind, scope in _S3_SCOPES.items() if kind not in {"point", "mrap", "control"}
}
_OVERRIDES: Final = frozenset({"x-http-method-override", "x-http-method", "x-method-override"})
_ADDED: Final = {"kms:PutKeyPolicy": EffectClass.ADMIN}
"""Effects of what an operation adds, where that is neither its own nor a tag's."""


def claims(host: str, spoken: frozenset[str]) -> bool:
    """Whether a request to this host may be ours."""
    return host.endswith(SUFFIXES) or "aws" in spoken


def decode(view: RequestView, spoken: frozenset[str]) -> Intent | BodyWanted | None:
    """Say what a request to AWS does. Raises IntentError when it is AWS's, and broken or doubtful."""
    name = view.authority.host
    if not claims(name, spoken):
        return None
    is_aws = name.endswith(SUFFIXES)
    scope = read_scope(view)
    host = read_host(name) if is_aws else None
    if host is None and scope is None:
        return _decode_unsigned(view, spoken, is_aws=is_aws)
    if any(field in _OVERRIDES for field, _ in view.headers):
        raise IntentError("a field asks for another method than the request's")
    if host is None and scope is not None and (plane := decode_endpoint(view, scope)) is not None:
        return plane
    if host is None and is_aws:
        raise IntentError("the signature is for a service that this host is not known to be", Reason.SIGNING_SCOPE)
    place = _place(host, scope)
    s3 = host.s3 if host is not None else _PLACES.get(scope.service if scope is not None else "")
    if s3 is None:
        return _decode_call(view, _services(host, scope), place)
    control = _control_service(s3, view.path)
    if control is not None:
        return _decode_call(view, [control], place, "" if s3.kind == "control" else _S3_SCOPES[s3.kind])
    return decode_s3(view, Bucket(place=s3, partition=place.partition, region=place.region))


def _decode_unsigned(view: RequestView, spoken: frozenset[str], *, is_aws: bool) -> Intent | BodyWanted | None:
    """Read an unsigned request to a host of the operator's own by the one thing that names a service: X-Amz-Target."""
    target = view.header("x-amz-target")
    if is_aws or target is None or "aws" not in spoken:
        return None
    services = load_table().targets.get(target.rpartition(".")[0])
    if services is None:
        raise IntentError("X-Amz-Target names no service that is known")
    return _decode_call(view, services, Place(partition="aws", region=""))


def _place(host: AwsHost | None, scope: Scope | None) -> Place:
    """Return region and partition. Raises IntentError when the signature's scope is not what the host is."""
    told = host.region if host is not None else None
    signed = scope.region if scope is not None else None
    if told is not None and signed is not None and told != signed:
        raise IntentError("the signature is for another region than the host's", Reason.SIGNING_SCOPE)
    if host is not None and scope is not None and host.s3 is not None and scope.service != _S3_SCOPES[host.s3.kind]:
        raise IntentError("the signature is for another service than the host's", Reason.SIGNING_SCOPE)
    region = told or signed or ""
    partition = host.partition if host is not None and host.partition != "aws" else partition_of(region)
    return Place(partition=partition, region=region)


def _services(host: AwsHost | None, scope: Scope | None) -> list[str]:
    """Return the services that host and scope agree on. Raises IntentError when there is none."""
    signed = load_table().signing.get(scope.service, []) if scope is not None else None
    found = signed or []
    if host is not None:
        found = [each for each in host.services if signed is None or each in signed]
    if not found:
        raise IntentError(
            "the signature is for no service that is known, or for another than the host's", Reason.SIGNING_SCOPE
        )
    return found


def _control_service(place: S3Place, path: str) -> str | None:
    """Return the service that manages access points, jobs and outposts, where a request is to it and not to S3."""
    if place.kind == "control":
        return "s3control"
    if place.name is None and place.kind in {"express", "outpost"}:
        if path.startswith("/v20180820/"):
            return "s3control"
        if path.startswith("/S3Outposts/"):
            return "s3outposts"
    return None


def _decode_call(view: RequestView, services: list[str], place: Place, prefix: str = "") -> Intent | BodyWanted:
    """Read a call of a service. A `prefix` is IAM's for it on this host, where that is not its own."""
    call = read_call(view, services)
    if isinstance(call, BodyWanted):
        return call
    members = _read_members(view, call)
    if isinstance(members, BodyWanted):
        return members
    operation = call.operation
    if prefix:
        operation = replace(operation, action=f"{prefix}:{operation.name}")
    facts = {"operation": operation.name, "service": operation.service, "region": place.region}
    if operation.service == "dynamodb" and operation.name in MANY:
        found = list(_steps(operation, members, place))
    else:
        found = list(_everything(operation, members, place))
        if not operation.is_known:
            facts["iam"] = "assumed"
        if operation.service == "iam" and (policy := members.aside("PolicyArn")):
            facts["policy"] = policy
    first, *rest = {(each.action, each.resource, each.effect): replace(each, facts=facts) for each in found}.values()
    return replace(first, also=tuple(rest))


def _read_members(view: RequestView, call: Call) -> Members | BodyWanted:
    """Return what the operation was given; the body only where it can say more."""
    operation = call.operation
    is_rest = call.kind.startswith("rest-")
    members = Members(labels=call.labels, query=call.query, body=call.tree, is_rest=is_rest)
    if call.kind != "form" and (needs_body(operation) or (operation.service == "dynamodb" and operation.name in MANY)):
        tree = read_tree(view, call.kind.removeprefix("rest-"))
        if isinstance(tree, BodyWanted):
            return tree
        members = replace(members, body=tree or {}, is_whole=tree is not None)
    if operation.service == "sqs" and view.path != "/":
        return _with_queue(view.path, members)
    return members


def _with_queue(path: str, members: Members) -> Members:
    """Take the path as the queue, as SQS's older protocol does. Raises IntentError when a member names another."""
    named = members.body.get("QueueUrl", path)
    if not isinstance(named, str) or not named.endswith(path):
        raise IntentError("the path is another queue than QueueUrl")
    return replace(members, body={**members.body, "QueueUrl": named})


def _steps(operation: Operation, members: Members, place: Place) -> Iterator[Intent]:
    for action, table, effect in read_steps(operation.name, members):
        arn = (
            table
            if table.startswith("arn:")
            else f"arn:{place.partition}:dynamodb:{place.region or '*'}:*:table/{table}"
        )
        yield _intent(f"dynamodb:{action}", Resource(type="arn", id=arn), effect)


def _everything(operation: Operation, members: Members, place: Place) -> Iterator[Intent]:
    """Yield the operation on each of its resources, then what else the request does."""
    effect = effect_of(operation, members)
    for resource in find_resources(operation, members, place):
        yield _intent(operation.action, resource, effect, exact=operation.is_known)
    for action, resource in find_added(operation, members, place):
        is_own = action in {operation.action, "kms:ReEncryptTo"}
        yield _intent(action, resource, effect if is_own else _ADDED.get(action, EffectClass.WRITE))
    yield from find_extras(operation, members, place.partition)


def _intent(action: str, resource: Resource, effect: EffectClass, *, exact: bool = True) -> Intent:
    return Intent(protocol="aws", action=action, resource=resource, effect=effect, exact=exact)
