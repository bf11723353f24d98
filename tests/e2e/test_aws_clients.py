"""boto3 and the AWS CLI through a real sidecar, against a moto that checks every signature and IAM policy."""

import hashlib
from collections.abc import Iterator
from xml.etree import ElementTree as ET

import pytest

from proxy.demo.aws import AUDIENCE, HOSTS, REGION, ROLE, S3, SERVICES, AwsServer
from tests.fakes.origin import made_bytes
from tests.fakes.sidecar import Job, World, rule
from tests.fakes.tools import RequireTool

pytestmark = pytest.mark.real
BUCKET = "demo-releases"
LARGE = 10 * 1024 * 1024


def element(said: str, name: str) -> str:
    """What an S3 error says under a name."""
    return ET.fromstring(said).findtext(name) or ""


@pytest.fixture(scope="module")
def aws() -> Iterator[tuple[World, AwsServer]]:
    world = World()
    server = AwsServer(world.root, world.issuer)
    world.issuer.start()
    server.start()
    try:
        world.places = {f"{host}:443": server.place for host in HOSTS}
        services = [f"{name}.{REGION}.amazonaws.com" for name in SERVICES]
        paths = ["/", "/storefront/**", f"/{BUCKET}", f"/{BUCKET}/**"]
        world.rules = [
            rule("s3", [S3, f"{BUCKET}.{S3}"], path=paths, credential=CREDENTIAL),
            rule("services", services, credential=CREDENTIAL),
        ]
        world.start()
        yield world, server
    finally:
        world.stop()
        server.stop()


CREDENTIAL = {"aws": {"role": ROLE, "region": REGION, "duration": "15m"}}


@pytest.fixture
def job(aws: tuple[World, AwsServer]) -> Job:
    """A job that handed over a token for AWS; its environment holds placeholders."""
    job = aws[0].open(AUDIENCE)
    job.environment |= {"AWS_DEFAULT_REGION": REGION, "AWS_MAX_ATTEMPTS": "1"}
    return job


def boto(job: Job, script: str, **options: object) -> list[str]:
    """Run lines of boto3 in the job."""
    prelude = (
        "import boto3, hashlib, json, sys\n"
        "from botocore.config import Config\n"
        "from botocore.exceptions import ClientError\n"
        "def digest(content): return hashlib.sha256(content).hexdigest()\n"
    )
    return job.python(prelude + script, **options).splitlines()  # type: ignore[arg-type]


@pytest.mark.parametrize("style", ["virtual", "path"])
def test_boto3_puts_lists_gets_and_deletes(job: Job, style: str) -> None:
    """Both addressing styles work for every basic operation, odd key characters included."""
    said = boto(
        job,
        f"""
s3 = boto3.client("s3", config=Config(s3={{"addressing_style": "{style}"}}))
key = "storefront/{style}/a file+with=odd&chars.txt"
s3.put_object(Bucket="{BUCKET}", Key=key, Body=b"content", Metadata={{"commit": "c0ffee"}}, ContentType="text/x-odd")
found = s3.get_object(Bucket="{BUCKET}", Key=key)
print(found["Body"].read().decode(), found["Metadata"]["commit"], found["ContentType"])
listed = s3.list_objects_v2(Bucket="{BUCKET}", Prefix="storefront/{style}/")
print([entry["Key"] == key for entry in listed["Contents"]])
s3.delete_object(Bucket="{BUCKET}", Key=key)
print(s3.list_objects_v2(Bucket="{BUCKET}", Prefix="storefront/{style}/")["KeyCount"])
""",
    )
    assert said == ["content c0ffee text/x-odd", "[True]", "0"]


def test_the_default_checksum_trailer(job: Job) -> None:
    """The SDK's default upload, aws-chunked with a checksum trailer, is signed again and arrives unchanged."""
    (job.folder / "body").write_bytes(made_bytes(300_000))
    said = boto(
        job,
        f"""
s3 = boto3.client("s3")
seen = []
s3.meta.events.register("before-send.s3.PutObject", lambda request, **_: seen.append(dict(request.headers)))
s3.put_object(Bucket="{BUCKET}", Key="storefront/trailer", Body=open("body", "rb"))
mode = seen[0]["X-Amz-Content-SHA256"]
print(mode.decode() if isinstance(mode, bytes) else mode)
print(digest(s3.get_object(Bucket="{BUCKET}", Key="storefront/trailer")["Body"].read()))
""",
    )
    assert said == ["STREAMING-UNSIGNED-PAYLOAD-TRAILER", hashlib.sha256(made_bytes(300_000)).hexdigest()]


def test_multipart(job: Job) -> None:
    """An upload in parts (over 8 MiB) arrives whole."""
    (job.folder / "body").write_bytes(made_bytes(LARGE))
    said = boto(
        job,
        f"""
s3 = boto3.client("s3")
s3.upload_file("body", "{BUCKET}", "storefront/large")
s3.download_file("{BUCKET}", "storefront/large", "back")
print(digest(open("back", "rb").read()), s3.head_object(Bucket="{BUCKET}", Key="storefront/large")["ContentLength"])
""",
    )
    assert said == [f"{hashlib.sha256(made_bytes(LARGE)).hexdigest()} {LARGE}"]


def test_a_presigned_get(job: Job) -> None:
    """A URL the job signed with its placeholder is signed again with the real key."""
    said = boto(
        job,
        f"""
s3 = boto3.client("s3", endpoint_url="https://{S3}", config=Config(s3={{"addressing_style": "virtual"}},
    signature_version="s3v4"))
s3.put_object(Bucket="{BUCKET}", Key="storefront/shared", Body=b"shared")
print(s3.generate_presigned_url("get_object", Params={{"Bucket": "{BUCKET}", "Key": "storefront/shared"}}))
""",
    )
    assert job.environment["AWS_ACCESS_KEY_ID"] in said[0]
    assert job.curl("--fail", said[0]) == "shared"


def test_the_command_line(job: Job, require_tool: RequireTool) -> None:
    """`aws s3 cp`, `ls` and `rm` work for small files and for those sent in parts."""
    aws = require_tool("aws")
    (job.folder / "small").write_bytes(b"small")
    (job.folder / "large").write_bytes(made_bytes(LARGE))
    for name in ("small", "large"):
        job.run(aws, "s3", "cp", name, f"s3://{BUCKET}/storefront/cli/{name}")
    listed = job.run(aws, "s3", "ls", f"s3://{BUCKET}/storefront/cli/").stdout.decode()
    assert [line.split()[2:] for line in listed.splitlines()] == [[str(LARGE), "large"], ["5", "small"]]
    job.run(aws, "s3", "cp", f"s3://{BUCKET}/storefront/cli/large", "back")
    assert (job.folder / "back").read_bytes() == made_bytes(LARGE)
    job.run(aws, "s3", "rm", "--recursive", f"s3://{BUCKET}/storefront/cli/")
    job.run(aws, "s3", "ls", f"s3://{BUCKET}/storefront/cli/", code=1)


def test_other_services(job: Job) -> None:
    """DynamoDB (JSON), SQS and Secrets Manager: bodies are hashed, signed and accepted."""
    said = boto(
        job,
        """
table = boto3.client("dynamodb")
table.create_table(TableName="t", KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
    AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}], BillingMode="PAY_PER_REQUEST")
table.put_item(TableName="t", Item={"k": {"S": "key"}, "v": {"S": "value"}})
print(table.get_item(TableName="t", Key={"k": {"S": "key"}})["Item"]["v"]["S"])
queue = boto3.client("sqs")
url = queue.create_queue(QueueName="q")["QueueUrl"]
queue.send_message(QueueUrl=url, MessageBody="hello")
print(queue.receive_message(QueueUrl=url)["Messages"][0]["Body"])
vault = boto3.client("secretsmanager")
vault.create_secret(Name="n", SecretString="kept")
print(vault.get_secret_value(SecretId="n")["SecretString"])
""",
    )
    assert said == ["value", "hello", "kept"]


def test_every_call_was_signed_by_a_minted_key(aws: tuple[World, AwsServer], job: Job) -> None:
    """AWS never sees the placeholder; each session has one key of its own, minted once."""
    world, server = aws
    boto(job, f'boto3.client("s3").put_object(Bucket="{BUCKET}", Key="storefront/mine", Body=b"1")\n' * 3)
    keys = {call.access_key for call in server.calls() if call.access_key}
    assert all(key.startswith("ASIA") for key in keys)
    assert job.session is not None
    minted = [entry for entry in world.records("credential.minted") if entry["session"] == job.session.id]
    assert len(minted) == 1
    assert minted[0]["connector"] == "aws"


def test_the_wrong_bucket_is_denied(aws: tuple[World, AwsServer], job: Job) -> None:
    """A bucket, or a key, that no rule names is denied, though the role may write there; AWS sees nothing of it."""
    world, server = aws
    before = len(server.calls())
    said = boto(
        job,
        """
s3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}))
for bucket, key in (("demo-payroll", "salaries"), ("demo-payroll", "storefront/x")):
    try:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
        print("allowed")
    except ClientError as error:
        print(error.response["ResponseMetadata"]["HTTPStatusCode"])
""",
    )
    assert said == ["403", "403"]
    assert len(server.calls()) == before
    assert world.flows(effect="deny")[-1].reason == "no-rule"


@pytest.mark.parametrize("region, service", [("us-east-1", "s3"), (REGION, "dynamodb")])
def test_a_signature_for_another_region_or_service_is_refused(job: Job, region: str, service: str) -> None:
    """A signature whose scope disagrees with the host is refused before anything leaves (B06)."""
    said = boto(
        job,
        f"""
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
request = AWSRequest("PUT", "https://{S3}/{BUCKET}/storefront/scope", data=b"x")
SigV4Auth(boto3.Session().get_credentials(), "{service}", "{region}").add_auth(request)
answer = requests.put(request.url, data=b"x", headers=dict(request.headers))
print(answer.status_code, answer.json()["reason"])
""",
    )
    assert said == ["403 signing-scope"]


def test_without_a_token_for_aws_there_is_no_key(aws: tuple[World, AwsServer]) -> None:
    """A session that handed over no token for AWS gets no credential, and AWS no request."""
    world, server = aws
    job = world.open()
    job.environment |= {"AWS_DEFAULT_REGION": REGION, "AWS_MAX_ATTEMPTS": "1"}
    before = len(server.calls())
    said = job.curl("-T", "-", "-w", "%{http_code}", f"https://{BUCKET}.{S3}/storefront/x", stdin=b"x")
    assert said.endswith(("403", "503"))
    assert element(said[:-3], "Reason").startswith("credential-")
    assert len(server.calls()) == before


def test_a_token_that_sts_refuses(aws: tuple[World, AwsServer]) -> None:
    """STS refuses a token it cannot verify: the job is told, in words that hold nothing of STS's answer."""
    world, server = aws
    known = world.issuer.add_job()
    forged = world.token(known, AUDIENCE).rpartition(".")[0] + ".AAAA"
    job = world.job(world.sidecar.open_session(world.token(known), [forged]))
    said = job.curl("-T", "-", f"https://{BUCKET}.{S3}/storefront/x", stdin=b"x")
    assert element(said, "Reason") == "credential-refused"
    assert "Signature" not in element(said, "Message")
    assert [call.status for call in server.calls() if call.path == "/storefront/x"] == []
