"""boto3 and the AWS CLI over many services, through a real sidecar whose rule names IAM's actions and nothing else."""

import json
from collections.abc import Iterator

import pytest

from proxy.demo.aws import ACCOUNT, AUDIENCE, HOSTS, REGION, ROLE, S3, SERVICES, AwsServer
from tests.fakes.sidecar import Job, World, rule

pytestmark = pytest.mark.real
BUCKET = "demo-releases"
HERE = f"{REGION}:{ACCOUNT}"
ANY = f"{REGION}:*"
QUEUE = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/jobs"

SECRET = f"arn:aws:secretsmanager:{ANY}:secret:ci/a"
PARAMETER = f"arn:aws:ssm:{ANY}:parameter/ci/a"

# client, operation, what it is given (JSON), the IAM action and the resource it must be told as, its class
CALLS = [
    (
        "s3",
        "put_object",
        {"Bucket": BUCKET, "Key": "k/a", "Body": "x"},
        "s3:PutObject",
        f"arn:aws:s3:::{BUCKET}/k/a",
        "write",
    ),
    ("s3", "get_object", {"Bucket": BUCKET, "Key": "k/a"}, "s3:GetObject", f"arn:aws:s3:::{BUCKET}/k/a", "read"),
    ("s3", "head_object", {"Bucket": BUCKET, "Key": "k/a"}, "s3:GetObject", f"arn:aws:s3:::{BUCKET}/k/a", "read"),
    ("s3", "list_objects_v2", {"Bucket": BUCKET}, "s3:ListBucket", f"arn:aws:s3:::{BUCKET}", "list"),
    ("sqs", "create_queue", {"QueueName": "jobs"}, "sqs:CreateQueue", f"arn:aws:sqs:{ANY}:jobs", "write"),
    (
        "sqs",
        "send_message",
        {"QueueUrl": QUEUE, "MessageBody": "x"},
        "sqs:SendMessage",
        f"arn:aws:sqs:{HERE}:jobs",
        "write",
    ),
    ("sns", "create_topic", {"Name": "news"}, "sns:CreateTopic", f"arn:aws:sns:{ANY}:news", "write"),
    ("sns", "list_topics", {}, "sns:ListTopics", "*", "list"),
    ("ssm", "put_parameter", {"Name": "/ci/a", "Value": "x", "Type": "String"}, "ssm:PutParameter", PARAMETER, "write"),
    ("ssm", "get_parameter", {"Name": "/ci/a", "WithDecryption": True}, "ssm:GetParameter", PARAMETER, "credential"),
    ("kms", "create_key", {}, "kms:CreateKey", "*", ""),
    ("kms", "list_keys", {}, "kms:ListKeys", "*", "list"),
    ("logs", "create_log_group", {"logGroupName": "/ci/a"}, "logs:CreateLogGroup", "", "write"),
    ("events", "put_rule", {"Name": "nightly", "ScheduleExpression": "rate(1 day)"}, "events:PutRule", "*", "write"),
    (
        "kinesis",
        "create_stream",
        {"StreamName": "s", "ShardCount": 1},
        "kinesis:CreateStream",
        "*",
        "write",
    ),
    (
        "ecr",
        "create_repository",
        {"repositoryName": "app"},
        "ecr:CreateRepository",
        f"arn:aws:ecr:{ANY}:repository/app",
        "write",
    ),
    ("ecr", "get_authorization_token", {}, "ecr:GetAuthorizationToken", "*", "credential"),
    ("cloudformation", "list_stacks", {}, "cloudformation:ListStacks", "*", "list"),
    ("stepfunctions", "list_state_machines", {}, "states:ListStateMachines", "*", "list"),
    ("ec2", "describe_instances", {}, "ec2:DescribeInstances", "*", "read"),
    (
        "secretsmanager",
        "create_secret",
        {"Name": "ci/a", "SecretString": "x"},
        "secretsmanager:CreateSecret",
        SECRET,
        "write",
    ),
    ("secretsmanager", "get_secret_value", {"SecretId": "ci/a"}, "secretsmanager:GetSecretValue", SECRET, "credential"),
    ("dynamodb", "list_tables", {}, "dynamodb:ListTables", "*", "list"),
]


@pytest.fixture(scope="module")
def aws() -> Iterator[World]:
    world = World()
    server = AwsServer(world.root, world.issuer)
    world.issuer.start()
    server.start()
    try:
        world.places = {f"{host}:443": server.place for host in HOSTS}
        hosts = [S3, f"{BUCKET}.{S3}", *(f"{name}.{REGION}.amazonaws.com" for name in SERVICES)]
        actions = sorted({row[3] for row in CALLS} | {"s3:AbortMultipartUpload"})
        lines = [f"aws {action} *" for action in actions]
        scope = {"role": ROLE, "region": REGION, "duration": "15m"}
        world.rules = [rule("aws", hosts, method="any", intent=lines, credential={"aws": scope})]
        world.start()
        yield world
    finally:
        world.stop()
        server.stop()


@pytest.fixture
def job(aws: World) -> Job:
    job = aws.open(AUDIENCE)
    job.environment |= {"AWS_DEFAULT_REGION": REGION, "AWS_MAX_ATTEMPTS": "1"}
    return job


def decisions(world: World) -> list[dict[str, str]]:
    return [record for record in world.records("flow.decision") if record.get("protocol") == "aws"]


def test_every_service_is_told_by_iams_own_names(aws: World, job: Job) -> None:
    """One call after another is allowed by the one line that names its action, and is on record as that on its ARN."""
    before = len(decisions(aws))
    said = job.python(
        "import boto3, json, sys\n"
        f"for client, operation, given in json.loads({json.dumps(json.dumps([row[:3] for row in CALLS]))}):\n"
        "    getattr(boto3.client(client), operation)(**given)\n"
        "    print('done')\n"
    ).split()
    assert said == ["done"] * len(CALLS)
    found = decisions(aws)[before:]
    assert {record["effect"] for record in found} == {"allow"}
    told = [(record["action"], record["resource"], record["class"]) for record in found]
    for (action, resource, kind), row in zip(told, CALLS, strict=True):
        assert action == row[3]
        assert resource == row[4] or (not row[4] and resource.startswith("arn:aws:")), (action, resource)
        assert kind == row[5] or not row[5], (action, kind)
    assert len({row[0] for row in CALLS}) >= 12


DENIED = [
    ("s3", "delete_object", {"Bucket": BUCKET, "Key": "k/a"}, "s3:DeleteObject"),
    ("s3", "put_object_acl", {"Bucket": BUCKET, "Key": "k/a", "ACL": "public-read"}, "s3:PutObjectAcl"),
    ("s3", "put_object", {"Bucket": BUCKET, "Key": "k/b", "Body": "x", "ACL": "public-read"}, "s3:PutObject"),
    ("sqs", "delete_queue", {"QueueUrl": QUEUE}, "sqs:DeleteQueue"),
    ("ssm", "delete_parameter", {"Name": "/ci/a"}, "ssm:DeleteParameter"),
    ("secretsmanager", "delete_secret", {"SecretId": "ci/a"}, "secretsmanager:DeleteSecret"),
    ("kms", "schedule_key_deletion", {"KeyId": "1234abcd-12ab-34cd-56ef-1234567890ab"}, "kms:ScheduleKeyDeletion"),
    ("ecr", "delete_repository", {"repositoryName": "app", "force": True}, "ecr:DeleteRepository"),
    ("ec2", "terminate_instances", {"InstanceIds": ["i-0123456789abcdef0"]}, "ec2:TerminateInstances"),
    ("dynamodb", "delete_table", {"TableName": "locks"}, "dynamodb:DeleteTable"),
    ("lambda", "delete_function", {"FunctionName": "f"}, "lambda:DeleteFunction"),
    ("cloudformation", "delete_stack", {"StackName": "prod"}, "cloudformation:DeleteStack"),
]


def test_what_no_line_names_is_denied(aws: World, job: Job) -> None:
    """Deletions, and an ACL beside an allowed object, are denied one by one; boto3 raises an error that says why."""
    before = len(decisions(aws))
    said = job.python(
        "import boto3, json\n"
        f"for client, operation, given in json.loads({json.dumps(json.dumps([row[:3] for row in DENIED]))}):\n"
        "    try:\n"
        "        getattr(boto3.client(client), operation)(**given)\n"
        "        print('allowed')\n"
        "    except Exception as error:\n"
        "        said = error.response['Error']\n"
        "        print(said['Code'] if 'jobgate: no-rule' in said['Message'] else repr(error).replace(' ', '_'))\n"
    ).split()
    assert said == ["AccessDenied"] * len(DENIED)
    found = decisions(aws)[before:]
    assert [(record["action"], record["reason"]) for record in found] == [(row[3], "no-rule") for row in DENIED]


def test_a_multipart_upload_and_the_command_line(aws: World, job: Job) -> None:
    """`aws s3 cp` of a large file: every part is a write of the one object, and so is putting them together."""
    (job.folder / "large").write_bytes(bytes(9 << 20))
    before = len(decisions(aws))
    job.run("aws", "s3", "cp", "--quiet", "large", f"s3://{BUCKET}/k/large")
    told = {(record["action"], record["resource"], record["effect"]) for record in decisions(aws)[before:]}
    assert told == {("s3:PutObject", f"arn:aws:s3:::{BUCKET}/k/large", "allow")}
    assert len(decisions(aws)[before:]) >= 4
