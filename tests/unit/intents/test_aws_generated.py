"""Every operation of the 20 most used services, as botocore itself would send it, decodes to its own name.

Clients are real: their serializers, endpoint rules and signers make the request, which is caught before it is sent. The
table under test has no part in it.
"""

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore import config, session

from proxy.intents.aws import decode
from proxy.model.authority import Authority
from proxy.model.intent import BodyPrefix, BodyWanted, Intent, RequestView

USED_MOST = (
    "s3", "sts", "ecr", "ssm", "secretsmanager", "lambda", "ecs", "cloudformation", "dynamodb", "ec2", "iam", "sqs",
    "sns", "logs", "cloudwatch", "kms", "rds", "elbv2", "eks", "route53", "cloudfront", "codebuild", "events",
    "stepfunctions", "apigateway", "s3control", "codeartifact",
)  # fmt: skip
SAME_REQUEST = {
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
    "GetBucketNotification": "GetBucketNotificationConfiguration",
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
    "PutBucketNotification": "PutBucketNotificationConfiguration",
}
"""S3's deprecated operations are the same bytes on the wire as the ones that replaced them."""
VALUES: Mapping[str, Any] = {
    "AccountId": "123456789012",
    "Bucket": "bucket",
    "CopySource": "source/key",
    "RenameSource": "/old",
    "RequestRoute": "route",
    "Statement": 'SELECT * FROM "table"',
    "RequestItems": {"table": [{"PutRequest": {"Item": {}}}]},
    "QueueUrl": "https://sqs.us-east-1.amazonaws.com/123456789012/queue",
    "Delete": {"Objects": [{"Key": "key"}]},
}
"""Members that the endpoint rules, or the request's meaning, ask more of than a shape says."""
ITEMS: Mapping[str, Any] = {
    "BatchGetItem": {"RequestItems": {"table": {"Keys": [{}]}}},
    "TransactGetItems": {"TransactItems": [{"Get": {"TableName": "table", "Key": {}}}]},
    "TransactWriteItems": {"TransactItems": [{"Delete": {"TableName": "table", "Key": {}}}]},
    "ListBucketAnalyticsConfigurations": {"Bucket": "bucket"},
}


class CaughtError(Exception):
    """Carries the request that would have been sent."""

    def __init__(self, request: Any) -> None:
        super().__init__()
        self.request = request


def smallest(shape: Any, name: str = "", above: tuple[str, ...] = ()) -> Any:
    """The smallest value that botocore lets pass for a shape."""
    if name in VALUES and shape.type_name != "blob":
        return VALUES[name]
    if shape.type_name == "structure":
        members = {each: shape.members[each] for each in shape.required_members}
        if getattr(shape, "is_tagged_union", False) and not members:
            members = dict([next(iter(shape.members.items()))])
        below = (*above, shape.name)
        return {each: smallest(member, each, below) for each, member in members.items() if shape.name not in above}
    least = max(1, shape.metadata.get("min", 1))
    if shape.type_name in {"list", "map"}:
        return smallest_many(shape, above)
    if shape.type_name == "string" and shape.enum:
        return shape.enum[0]
    scalars = {"string": "a" * int(least), "blob": b"a" * int(least), "boolean": True, "timestamp": 0}
    return scalars.get(shape.type_name, float(least) if shape.type_name in {"float", "double"} else least)


def smallest_many(shape: Any, above: tuple[str, ...]) -> Any:
    count = shape.metadata.get("min", 0)
    if shape.type_name == "list":
        return [smallest(shape.member, "", above) for _ in range(count)]
    return {"a" * 8: smallest(shape.value, "", above)} if count else {}


LIBRARY: Any = session
SETTINGS: Any = config


def client(name: str, region: str = "us-east-1") -> Any:
    made = LIBRARY.Session().create_client(
        name,
        region_name=region,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="example",
        config=SETTINGS.Config(retries={"total_max_attempts": 1}, account_id_endpoint_mode="disabled"),
    )
    made.meta.events.register_first("before-send", catch)
    return made


def catch(request: Any, **_: Any) -> None:
    raise CaughtError(request)


def written(made: Any, operation: str) -> Any:
    model = made.meta.service_model.operation_model(operation)
    parameters = ITEMS.get(operation) or (smallest(model.input_shape) if model.input_shape is not None else {})
    with pytest.raises(CaughtError) as caught:
        made._make_api_call(operation, parameters)
    return caught.value.request


def plain(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def seen(request: Any, body: bytes) -> RequestView:
    parts = urlsplit(request.url)
    assert parts.hostname is not None
    return RequestView(
        method=request.method,
        scheme="https",
        authority=Authority(parts.hostname, 443),
        path=parts.path or "/",
        query=parts.query or None,
        headers=tuple((name.lower(), plain(value)) for name, value in request.headers.items()),
        body_length=len(body),
    )


def read(request: Any) -> Intent | None:
    """Decode as a lane does: ask, read the body if it is wanted, ask again."""
    body = request.body
    if hasattr(body, "read"):
        body = body.read()
    body = body.encode() if isinstance(body, str) else bytes(body or b"")
    view = seen(request, body)
    answer = decode(view, frozenset())
    if isinstance(answer, BodyWanted):
        limited = BodyPrefix(data=body[: answer.limit + 1], is_whole=len(body) <= answer.limit)
        view = RequestView(
            method=view.method,
            scheme=view.scheme,
            authority=view.authority,
            path=view.path,
            query=view.query,
            headers=view.headers,
            body_length=view.body_length,
            body=limited,
        )
        answer = decode(view, frozenset())
    assert not isinstance(answer, BodyWanted)
    return answer


def failures(name: str) -> Iterator[str]:
    made = client(name)
    for operation in made.meta.service_model.operation_names:
        found = read(written(made, operation))
        expected = SAME_REQUEST.get(operation, operation) if name == "s3" else operation
        told = found.facts.get("operation") if found is not None else None
        if told != expected:
            yield f"{operation} was read as {told}"


@pytest.mark.parametrize("name", USED_MOST)
def test_every_operation_decodes_to_its_own_name(name: str) -> None:
    """Whatever botocore sends for an operation is read as that operation, and no other."""
    assert list(failures(name)) == []


@pytest.mark.parametrize(
    "name,call,parameters,method,actions",
    [
        ("sts", "get_caller_identity", {}, "GET", ["sts:GetCallerIdentity"]),
        ("s3", "get_object", {"Bucket": "b", "Key": "a/b c"}, "GET", ["s3:GetObject"]),
        (
            "s3",
            "put_object",
            {"Bucket": "b", "Key": "k", "Tagging": "a=b"},
            "PUT",
            ["s3:PutObject", "s3:PutObjectTagging"],
        ),
        ("s3", "upload_part", {"Bucket": "b", "Key": "k", "UploadId": "u", "PartNumber": 1}, "PUT", ["s3:PutObject"]),
        ("rds", "delete_db_instance", {"DBInstanceIdentifier": "d"}, "GET", ["rds:DeleteDBInstance"]),
    ],
)
def test_a_signed_url_is_read_as_its_request(
    name: str, call: str, parameters: dict[str, Any], method: str, actions: list[str]
) -> None:
    """A URL signed beforehand means what its request means, fields that were moved into its query among it."""
    url = client(name).generate_presigned_url(call, Params=parameters, HttpMethod=method)

    found = decode(seen(SimpleNamespace(method=method, url=url, headers={}), b""), frozenset())

    assert isinstance(found, Intent)
    assert [each.action for each in (found, *found.also)] == actions


@pytest.mark.parametrize("region,partition", [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")])
def test_other_partitions_have_their_own_arns(region: str, partition: str) -> None:
    """In China and in GovCloud the same calls are asked for on that partition's ARNs."""
    table = read(written(client("dynamodb", region), "DescribeTable"))
    key = read(written(client("s3", region), "GetObject"))

    assert table is not None
    assert key is not None
    assert table.resource.id == f"arn:{partition}:dynamodb:{region}:*:table/a"
    assert key.resource.id == f"arn:{partition}:s3:::bucket/a"
