"""SDKs that renew credentials ask a running sidecar: they get placeholders, of their own session alone."""

import json
from collections.abc import Iterator

import pytest

from proxy.model.placeholder import derive_placeholders
from tests.fakes.aws_stage import S3, STS, AwsStage, aws_rule
from tests.fakes.sidecar import Job, rule

BOTO = """
import boto3
from botocore.config import Config
s3 = boto3.client("s3", region_name="eu-west-1", config=Config(s3={"addressing_style": "virtual"}))
print(s3.put_object(Bucket="releases", Key="plain/container", Body=b"made")["ResponseMetadata"]["HTTPStatusCode"])
found = s3._request_signer._credentials
print(found.method, found.access_key)
"""
GOOGLE = """
import google.auth, google.auth.transport.requests as transport
credentials, project = google.auth.default()
session = transport.AuthorizedSession(credentials)
print(session.get("https://secret.test/echo").status_code)
print(credentials.token)
"""


@pytest.fixture(scope="module")
def stage() -> Iterator[AwsStage]:
    made = AwsStage((S3, STS))
    made.world.rules = [aws_rule("plain"), rule("google", "secret.test", credential=made.world.bearer())]
    made.start()
    yield made
    made.stop()


def without_keys(job: Job) -> dict[str, str]:
    """The environment of a process that was told nothing but where to ask."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    for name in names:
        job.environment.pop(name)
    return job.environment


def test_an_aws_sdk_asks_for_its_keys(stage: AwsStage) -> None:
    """The real SDK finds the container endpoint, signs with what it got, and is signed again for the job."""
    session = stage.open()
    job = stage.world.job(session)
    without_keys(job)
    first, second = job.python(BOTO).splitlines()
    assert first == "200"
    assert second == f"container-role {derive_placeholders(session.secret).aws_key}"
    assert stage.world.ended(path="/plain/container").credential is not None
    assert stage.leaks() == []


def test_a_google_sdk_asks_for_its_token(stage: AwsStage) -> None:
    """google-auth takes the proxy for a metadata server; what it sends is swapped for the real token."""
    session = stage.open()
    job = stage.world.job(session)
    job.environment["GOOGLE_CLOUD_PROJECT"] = "acme"
    status, token = job.python(GOOGLE).splitlines()
    assert (status, token) == ("200", derive_placeholders(session.secret).token("ya29."))
    assert stage.world.origin.seen[-1].headers["authorization"] == f"Bearer {stage.world.secret}"


def test_keys_are_told_to_their_own_session_alone(stage: AwsStage) -> None:
    """No password, a wrong one, one of a session that has ended, or by a name: no keys; with the right one, those."""
    session = stage.open()
    job = stage.world.job(session)
    url = job.environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    asked, own = ("--noproxy", "*", url), ("-H", f"Authorization: {session.secret}")
    assert "identity-missing" in job.curl(*asked)
    assert "session-unknown" in job.curl("-H", "Authorization: wrong", *asked)
    assert "authority-mismatch" in job.curl("-H", "Host: rebound.test", *own, *asked)
    told = json.loads(job.curl(*own, *asked))
    assert told["SecretAccessKey"] == derive_placeholders(session.secret).aws_secret.reveal()
    stage.world.sidecar.close_session(session)
    assert "SecretAccessKey" not in job.curl(*own, *asked)


def test_another_sessions_token_is_refused(stage: AwsStage) -> None:
    """A mark is no secret: whoever asks with another's gets a placeholder that is a finding wherever it is sent."""
    job, other = stage.world.job(stage.open()), stage.open()
    mark = derive_placeholders(other.secret).mark
    job.environment["GCE_METADATA_HOST"] = job.environment["GCE_METADATA_IP"] + f"/jobgate/gcp/{mark}"
    job.environment["GOOGLE_CLOUD_PROJECT"] = "acme"
    assert job.python(GOOGLE).splitlines()[0] == "403"
    denied = [each for each in stage.world.records("flow.decision") if each["reason"] == "credential-misuse"]
    assert denied[-1]["detail"] == "a placeholder of another job"


def test_a_metadata_question_without_a_session_is_refused(stage: AwsStage) -> None:
    """Where jobs have passwords nobody is told a placeholder without saying whose."""
    job: Job = stage.world.job(stage.open())
    place = job.environment["GCE_METADATA_IP"]
    path = "computeMetadata/v1/instance/service-accounts/default/token"
    said = job.curl("--noproxy", "*", "-H", "Metadata-Flavor: Google", f"http://{place}/{path}")
    assert "identity-missing" in said
    assert "names its target in full" in job.curl("--noproxy", "*", f"http://{place}/other")
