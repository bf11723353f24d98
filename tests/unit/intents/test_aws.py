"""AWS, any service: whose request it is, which operation, which ARNs, and everything it does besides."""

from typing import Any

import pytest

from proxy.intents.aws import decode
from proxy.intents.aws_cbor import read_cbor
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Intent, RequestView

JSON = ("content-type", "application/x-amz-json-1.0")
FORM = ("content-type", "application/x-www-form-urlencoded")
NONE: frozenset[str] = frozenset()
READ, LIST, WRITE = EffectClass.READ, EffectClass.LIST, EffectClass.WRITE
DELETE, ADMIN, EXECUTE = EffectClass.DELETE, EffectClass.ADMIN, EffectClass.EXECUTE
CREDENTIAL, PUBLISH, UNKNOWN = EffectClass.CREDENTIAL, EffectClass.PUBLISH, EffectClass.UNKNOWN
PRESIGNED = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20250101%2Fus-east-1%2Fsts%2Faws4_request"
ROLE = "arn:aws:iam::123456789012:role/r"


def signed(service: str, region: str = "us-east-1") -> tuple[str, str]:
    scope = f"AKID/20250101/{region}/{service}/aws4_request"
    return ("authorization", f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00")


def target(name: str) -> tuple[str, str]:
    return ("x-amz-target", name)


def view(
    host: str, line: str, *headers: tuple[str, str], body: bytes | None = b"", length: int | None = 1
) -> RequestView:
    method, _, rest = line.partition(" ")
    path, mark, query = rest.partition("?")
    return RequestView(
        method=method,
        scheme="https",
        authority=Authority(host, 443),
        path=path,
        query=query if mark else None,
        headers=headers,
        body_length=length if body is None else len(body),
        body=None if body is None else BodyPrefix(data=body, is_whole=True),
    )


def ask(host: str, line: str, *headers: tuple[str, str], body: bytes = b"", spoken: frozenset[str] = NONE) -> Intent:
    found = decode(view(host, line, *headers, body=body), spoken)
    assert isinstance(found, Intent)
    return found


def spoken_at(host: str) -> frozenset[str]:
    """A host of one's own is AWS's where rules say so."""
    return frozenset({"aws"}) if host.endswith(".internal") else NONE


def meant(found: Intent) -> list[tuple[str, str, EffectClass]]:
    return [(each.action, each.resource.id, each.effect) for each in (found, *found.also)]


@pytest.mark.parametrize(
    "host,line,headers,body,expected",
    [
        (
            "dynamodb.us-east-1.amazonaws.com",
            "POST /",
            [JSON, signed("dynamodb"), target("DynamoDB_20120810.PutItem")],
            b'{"TableName": "locks", "Item": {}}',
            [("dynamodb:PutItem", "arn:aws:dynamodb:us-east-1:*:table/locks", WRITE)],
        ),
        (
            "dynamodb.us-east-1.amazonaws.com",
            "POST /",
            [JSON, signed("dynamodb"), target("DynamoDB_20120810.TransactWriteItems")],
            b'{"TransactItems": [{"Put": {"TableName": "a"}}, {"Delete": {"TableName": "b"}}]}',
            [
                ("dynamodb:PutItem", "arn:aws:dynamodb:us-east-1:*:table/a", WRITE),
                ("dynamodb:DeleteItem", "arn:aws:dynamodb:us-east-1:*:table/b", DELETE),
            ],
        ),
        (
            "dynamodb.us-east-1.amazonaws.com",
            "POST /",
            [JSON, signed("dynamodb"), target("DynamoDB_20120810.ExecuteStatement")],
            b'{"Statement": "DELETE FROM \\"arn:aws:dynamodb:us-east-1:123456789012:table/t\\""}',
            [("dynamodb:PartiQLDelete", "arn:aws:dynamodb:us-east-1:123456789012:table/t", DELETE)],
        ),
        (
            "sts.amazonaws.com",
            "POST /",
            [FORM],
            f"Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={ROLE}&WebIdentityToken=t".encode(),
            [("sts:AssumeRoleWithWebIdentity", ROLE, CREDENTIAL)],
        ),
        (
            "sts.us-east-1.amazonaws.com",
            f"GET /?Action=GetCallerIdentity&Version=2011-06-15&{PRESIGNED}",
            [],
            b"",
            [("sts:GetCallerIdentity", "*", READ)],
        ),
        (
            "api.ecr.us-east-1.amazonaws.com",
            "POST /",
            [JSON, signed("ecr"), target("AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken")],
            b"{}",
            [("ecr:GetAuthorizationToken", "*", CREDENTIAL)],
        ),
        (
            "api.ecr.us-east-1.amazonaws.com",
            "POST /",
            [JSON, signed("ecr"), target("AmazonEC2ContainerRegistry_V20150921.PutImage")],
            b'{"repositoryName": "app", "imageManifest": "{}"}',
            [("ecr:PutImage", "arn:aws:ecr:us-east-1:*:repository/app", PUBLISH)],
        ),
        (
            "lambda.us-east-1.amazonaws.com",
            "POST /2015-03-31/functions/f/invocations?Qualifier=live",
            [signed("lambda")],
            b"anything",
            [("lambda:InvokeFunction", "arn:aws:lambda:us-east-1:*:function:f:live", EXECUTE)],
        ),
        (
            "lambda.us-east-1.amazonaws.com",
            "POST /2015-03-31/functions",
            [signed("lambda")],
            b'{"FunctionName": "f", "Role": "%s", "Code": {"S3Bucket": "b", "S3Key": "k"}, "Tags": {"a": "b"}}'
            % ROLE.encode(),
            [
                ("lambda:CreateFunction", "arn:aws:lambda:us-east-1:*:function:f", WRITE),
                ("lambda:TagResource", "arn:aws:lambda:us-east-1:*:function:f", WRITE),
                ("iam:PassRole", ROLE, ADMIN),
                ("s3:GetObject", "arn:aws:s3:::b/k", READ),
            ],
        ),
        (
            "ssm.us-east-1.amazonaws.com",
            "POST /",
            [JSON, signed("ssm"), target("AmazonSSM.GetParameters")],
            b'{"Names": ["/a", "b"], "WithDecryption": true}',
            [
                ("ssm:GetParameters", "arn:aws:ssm:us-east-1:*:parameter/a", CREDENTIAL),
                ("ssm:GetParameters", "arn:aws:ssm:us-east-1:*:parameter/b", CREDENTIAL),
            ],
        ),
        (
            "kms.us-east-1.amazonaws.com",
            "POST /",
            [JSON, signed("kms"), target("TrentService.ReEncrypt")],
            b'{"SourceKeyId": "alias/a", "DestinationKeyId": "alias/b", "CiphertextBlob": ""}',
            [
                ("kms:ReEncryptFrom", "arn:aws:kms:us-east-1:*:alias/a", WRITE),
                ("kms:ReEncryptTo", "arn:aws:kms:us-east-1:*:alias/b", WRITE),
            ],
        ),
        (
            "kms.us-east-1.amazonaws.com",
            "POST /",
            [JSON, signed("kms"), target("TrentService.CreateKey")],
            b'{"Policy": "{}", "Tags": [{"TagKey": "a", "TagValue": "b"}]}',
            [("kms:CreateKey", "*", WRITE), ("kms:TagResource", "*", WRITE), ("kms:PutKeyPolicy", "*", ADMIN)],
        ),
        (
            "ec2.us-east-1.amazonaws.com",
            "POST /",
            [FORM, signed("ec2")],
            b"Action=RunInstances&ImageId=ami-1&IamInstanceProfile.Name=p&TagSpecification.1.ResourceType=instance",
            [
                ("ec2:RunInstances", "*", EXECUTE),
                ("ec2:CreateTags", "*", WRITE),
                ("iam:PassRole", "arn:aws:iam::*:instance-profile/p", ADMIN),
            ],
        ),
        (
            "iam.amazonaws.com",
            "POST /",
            [FORM, signed("iam")],
            b"Action=AttachRolePolicy&RoleName=r&PolicyArn=arn%3Aaws%3Aiam%3A%3Aaws%3Apolicy%2FAdministratorAccess",
            [("iam:AttachRolePolicy", "arn:aws:iam::*:role/r", ADMIN)],
        ),
        (
            "sqs.us-east-1.amazonaws.com",
            "POST /123456789012/q",
            [FORM, signed("sqs")],
            b"Action=SendMessage&MessageBody=a",
            [("sqs:SendMessage", "arn:aws:sqs:us-east-1:123456789012:q", WRITE)],
        ),
        (
            "sqs.us-east-1.amazonaws.com",
            "POST /123456789012/q",
            [FORM, signed("sqs")],
            b"Action=DeleteMessageBatch&QueueUrl=https%3A%2F%2Fsqs.us-east-1.amazonaws.com%2F123456789012%2Fq",
            [("sqs:DeleteMessage", "arn:aws:sqs:us-east-1:123456789012:q", DELETE)],
        ),
        (
            "codebuild.us-east-1.amazonaws.com",
            "POST /service/CodeBuild_20161006/operation/CreateProject",
            [("content-type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor"), signed("codebuild")],
            b"\xa1\x6bserviceRole\x78\x20" + b"arn:aws:iam::123456789012:role/r",
            [("codebuild:CreateProject", "*", WRITE), ("iam:PassRole", ROLE, ADMIN)],
        ),
        (
            "123456789012.s3-control.us-east-1.amazonaws.com",
            "POST /v20180820/jobs",
            [signed("s3")],
            b"<CreateJobRequest><RoleArn>arn:aws:iam::123456789012:role/r</RoleArn></CreateJobRequest>",
            [("s3:CreateJob", "*", WRITE), ("iam:PassRole", ROLE, ADMIN)],
        ),
        (
            "s3express-control.us-east-1.amazonaws.com",
            "GET /v20180820/accesspointfordirectory",
            [signed("s3express")],
            b"",
            [("s3express:ListAccessPointsForDirectoryBuckets", "*", LIST)],
        ),
        (
            "s3-outposts.us-east-1.amazonaws.com",
            "GET /S3Outposts/ListEndpoints",
            [signed("s3-outposts")],
            b"",
            [("s3-outposts:ListEndpoints", "*", LIST)],
        ),
        (
            "s3-outposts.us-east-1.amazonaws.com",
            "GET /other/key",
            [signed("s3-outposts")],
            b"",
            [("s3-outposts:GetObject", "arn:aws:s3-outposts:us-east-1:*:other/key", READ)],
        ),
        (
            "b.s3.us-east-1.amazonaws.com",
            "PUT /a/k",
            [signed("s3"), ("x-amz-acl", "public-read")],
            b"",
            [("s3:PutObject", "arn:aws:s3:::b/a/k", WRITE), ("s3:PutObjectAcl", "arn:aws:s3:::b/a/k", ADMIN)],
        ),
        ("b.s3.amazonaws.com", "GET /k", [], b"", [("s3:GetObject", "arn:aws:s3:::b/k", READ)]),
        (
            "s3.amazonaws.com",
            "GET /b/k",
            [signed("s3", "cn-north-1")],
            b"",
            [("s3:GetObject", "arn:aws-cn:s3:::b/k", READ)],
        ),
        ("minio.internal", "GET /b/k", [signed("s3")], b"", [("s3:GetObject", "arn:aws:s3:::b/k", READ)]),
        (
            "stack.internal",
            "POST /",
            [JSON, signed("secretsmanager", "eu-west-1"), target("secretsmanager.GetSecretValue")],
            b'{"SecretId": "ci/token"}',
            [("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:eu-west-1:*:secret:ci/token", CREDENTIAL)],
        ),
        (
            "a1.execute-api.us-east-1.amazonaws.com",
            "GET /prod/x",
            [signed("execute-api")],
            b"",
            [("execute-api:Invoke", "arn:aws:execute-api:us-east-1:*:a1/prod/GET/x", UNKNOWN)],
        ),
        (
            "oidc.us-east-1.amazonaws.com",
            "POST /token",
            [("content-type", "application/json")],
            b"{}",
            [("sso-oauth:CreateToken", "*", CREDENTIAL)],
        ),
        (
            "cognito-identity.us-east-1.amazonaws.com",
            "POST /",
            [JSON, target("AWSCognitoIdentityService.GetCredentialsForIdentity")],
            b'{"IdentityId": "i"}',
            [("cognito-identity:GetCredentialsForIdentity", "*", CREDENTIAL)],
        ),
    ],
)
def test_a_request_asks_for_actions_on_arns(
    host: str, line: str, headers: list[tuple[str, str]], body: bytes, expected: list[tuple[str, str, EffectClass]]
) -> None:
    """Every action that a request asks for is told, with its ARN and its harm: its own first, then the rest."""
    assert meant(ask(host, line, *headers, body=body, spoken=spoken_at(host))) == expected


def test_facts_say_operation_service_and_region() -> None:
    """What is recorded names the operation as AWS does, and an assumed IAM action as assumed."""
    known = ask(
        "sqs.us-east-1.amazonaws.com", "POST /", JSON, signed("sqs"), target("AmazonSQS.ListQueues"), body=b"{}"
    )
    new = ask("sqs.us-east-1.amazonaws.com", "POST /", JSON, signed("sqs"), target("AmazonSQS.Teleport"), body=b"{}")
    policy = ask(
        "iam.amazonaws.com", "POST /", FORM, signed("iam"), body=b"Action=AttachRolePolicy&RoleName=r&PolicyArn=arn:p"
    )

    assert known.facts == {"operation": "ListQueues", "service": "sqs", "region": "us-east-1"}
    assert (known.protocol, known.exact) == ("aws", True)
    assert new.facts == {"operation": "Teleport", "service": "sqs", "region": "us-east-1", "iam": "assumed"}
    assert (new.action, new.effect, new.exact) == ("sqs:Teleport", UNKNOWN, False)
    assert policy.facts["policy"] == "arn:p"


@pytest.mark.parametrize(
    "host,line,headers,spoken",
    [
        ("example.com", "GET /", [], NONE),
        ("example.com", "GET /", [("authorization", "Bearer t")], NONE),
        ("example.com", "POST /", [target("AmazonSQS.SendMessage")], NONE),
        ("example.com", "GET /", [], frozenset({"aws"})),
        ("minio.internal", "GET /b/k", [signed("s3")], NONE),
        (
            "123456789012.dkr.ecr.us-east-1.amazonaws.com",
            "GET /v2/",
            [("authorization", "Basic t")],
            frozenset({"aws", "oci"}),
        ),
        ("mine.elb.us-east-1.amazonaws.com", "GET /", [], NONE),
        ("mine.elb.us-east-1.amazonaws.com", "POST /", [target("AmazonSQS.SendMessage")], frozenset({"aws"})),
        ("u1.lambda-url.us-east-1.on.aws", "GET /", [], NONE),
    ],
)
def test_what_is_not_awss_is_left_alone(
    host: str, line: str, headers: list[tuple[str, str]], spoken: frozenset[str]
) -> None:
    """Other hosts, customers' machines and registries are for other decoders, signed or not."""
    assert decode(view(host, line, *headers), spoken) is None


def test_a_spoken_host_is_read_by_its_target() -> None:
    """Where rules speak of AWS on a host of one's own, X-Amz-Target names the service of an unsigned request."""
    spoken = frozenset({"aws"})
    headers = (JSON, target("AmazonSQS.SendMessage"))
    body = b'{"QueueUrl": "http://stack.internal/000000000000/q"}'

    found = ask("stack.internal", "POST /", *headers, body=body, spoken=spoken)

    assert meant(found) == [("sqs:SendMessage", "arn:aws:sqs:*:000000000000:q", WRITE)]
    with pytest.raises(IntentError):
        decode(view("stack.internal", "POST /", JSON, target("Unknown.Operation")), spoken)


@pytest.mark.parametrize(
    "host,line,headers,body",
    [
        ("sqs.us-east-1.amazonaws.com", "POST /", [FORM, signed("sns")], b"Action=Publish"),
        ("sqs.us-east-1.amazonaws.com", "POST /", [FORM, signed("sqs", "eu-west-1")], b"Action=SendMessage"),
        ("sqs.us-east-1.amazonaws.com", "POST /", [FORM, signed("nonsense")], b"Action=SendMessage"),
        ("stack.internal", "POST /", [FORM, signed("nonsense")], b"Action=SendMessage"),
        ("b.s3.us-east-1.amazonaws.com", "GET /k", [signed("s3express")], b""),
        ("b.s3.us-east-1.amazonaws.com", "GET /k", [signed("s3"), ("x-http-method-override", "DELETE")], b""),
        (
            "lambda.us-east-1.amazonaws.com",
            "GET /2015-03-31/functions",
            [signed("lambda"), ("x-http-method", "POST")],
            b"",
        ),
        ("b.s3.us-east-1.amazonaws.com", "GET /k", [signed("s3", "eu-west-1")], b""),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com", "GET /v2/", [signed("ecr")], b""),
        ("evil.sqs.us-east-1.amazonaws.com", "POST /", [FORM, signed("sqs")], b"Action=SendMessage"),
        ("a1.execute-api.us-east-1.amazonaws.com", "GET /", [signed("execute-api", "eu-west-1")], b""),
        (
            "sqs.us-east-1.amazonaws.com",
            "POST /123456789012/q",
            [FORM, signed("sqs")],
            b"Action=SendMessage&QueueUrl=https://x/123456789012/r",
        ),
        (
            "sqs.us-east-1.amazonaws.com",
            "POST /123456789012/q",
            [FORM, signed("sqs")],
            b"Action=SendMessage&QueueUrl.a=b",
        ),
        (
            "sqs.us-east-1.amazonaws.com",
            "POST /",
            [JSON, signed("sqs"), target("AmazonSQS.SendMessage")],
            b'{"QueueUrl": 1}',
        ),
        (
            "sqs.us-east-1.amazonaws.com",
            "POST /",
            [JSON, signed("sqs"), target("AmazonSQS.SendMessage")],
            b'{"a": 1, "a": 2}',
        ),
        ("sqs.us-east-1.amazonaws.com", "POST /", [JSON, signed("sqs"), target("AmazonSQS.SendMessage")], b"[]"),
        (
            "dynamodb.us-east-1.amazonaws.com",
            "POST /",
            [JSON, signed("dynamodb"), target("DynamoDB_20120810.ExecuteStatement")],
            b"{}",
        ),
        (
            "codebuild.us-east-1.amazonaws.com",
            "POST /service/CodeBuild_20161006/operation/CreateProject",
            [("content-type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor"), signed("codebuild")],
            b"\x80",
        ),
        (
            "123456789012.s3-control.us-east-1.amazonaws.com",
            "POST /v20180820/jobs",
            [signed("s3")],
            b"<!DOCTYPE a><a/>",
        ),
        (
            "s3.us-east-1.amazonaws.com",
            "GET /b/k?X-Amz-Credential=AKID%2F20250101%2Fus-east-1%2Fs3%2Faws4_request",
            [signed("s3")],
            b"",
        ),
    ],
)
def test_a_doubtful_request_is_refused(host: str, line: str, headers: list[tuple[str, str]], body: bytes) -> None:
    """A signature for another service or region, contradictions and broken bodies are denied, never softened."""
    with pytest.raises(IntentError):
        ask(host, line, *headers, body=body, spoken=spoken_at(host))


@pytest.mark.parametrize(
    "host,line,headers",
    [
        ("dynamodb.us-east-1.amazonaws.com", "POST /", [JSON, signed("dynamodb"), target("DynamoDB_20120810.PutItem")]),
        (
            "dynamodb.us-east-1.amazonaws.com",
            "POST /",
            [JSON, signed("dynamodb"), target("DynamoDB_20120810.BatchGetItem")],
        ),
        ("sts.amazonaws.com", "POST /", [FORM]),
        ("lambda.us-east-1.amazonaws.com", "POST /2015-03-31/functions", [signed("lambda")]),
        ("b.s3.amazonaws.com", "POST /?delete", [signed("s3")]),
    ],
)
def test_a_body_is_asked_for_where_the_head_cannot_say(host: str, line: str, headers: list[tuple[str, str]]) -> None:
    """A table, an action, a role and deleted keys stand in bodies: they are read first."""
    assert isinstance(decode(view(host, line, *headers, body=None), NONE), BodyWanted)


@pytest.mark.parametrize(
    "host,line,headers",
    [
        ("lambda.us-east-1.amazonaws.com", "POST /2015-03-31/functions/f/invocations", [signed("lambda")]),
        ("b.s3.amazonaws.com", "PUT /k", [signed("s3")]),
        (
            "api.ecr.us-east-1.amazonaws.com",
            "POST /",
            [JSON, signed("ecr"), target("AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken")],
        ),
    ],
)
def test_a_body_is_left_alone_where_the_head_says_all(host: str, line: str, headers: list[tuple[str, str]]) -> None:
    """An object's bytes and a function's input are streamed, not read."""
    assert isinstance(decode(view(host, line, *headers, body=None), NONE), Intent)


def test_a_body_too_long_to_read_may_say_anything() -> None:
    """A function with its code inside is decided without reading it: any role, any object, any function's name."""
    long = view(
        "lambda.us-east-1.amazonaws.com", "POST /2015-03-31/functions", signed("lambda"), body=None, length=9_000_000
    )

    found = decode(long, NONE)

    assert isinstance(found, Intent)
    assert meant(found) == [
        ("lambda:CreateFunction", "*", WRITE),
        ("lambda:TagResource", "*", WRITE),
        ("iam:PassRole", "*", ADMIN),
        ("s3:GetObject", "*", READ),
    ]


def test_the_cbor_row_is_cbor() -> None:
    """The hand-written body above is what it says."""
    body: dict[str, Any] = read_cbor(b"\xa1\x6bserviceRole\x78\x20" + ROLE.encode())

    assert body == {"serviceRole": ROLE}
