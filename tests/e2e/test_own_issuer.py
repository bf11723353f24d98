"""jobgate as an issuer, whole: an STS that trusts its documents alone gives keys for what jobgate says of a job."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.fakes.aws_stage import S3, STS, AwsStage, aws_rule, s3_request
from tests.fakes.canary import find_leaks, places_of
from tests.fakes.sts import Role

URL = "https://jobgate.test"
ROLES = {name: f"arn:aws:iam::123456789012:role/{name}" for name in ("release", "other-rule", "theirs")}


@pytest.fixture(scope="module")
def stage() -> Iterator[AwsStage]:
    made = AwsStage((S3, STS))
    key = rsa.generate_private_key(65537, 2048)
    place = made.world.folder / "issuer.pem"
    place.touch(mode=0o600)
    place.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    made.world.settings = {"issuer": {"url": URL, "key": str(place)}}
    made.world.rules = [
        aws_rule("release", role=ROLES["release"], subject="jobgate"),
        aws_rule("other-rule", role=ROLES["other-rule"], subject="jobgate"),
        aws_rule("theirs", role=ROLES["theirs"]),
    ]
    claims = {"pipeline": "storefront", "rule": "release"}
    made.sts.roles[ROLES["release"]] = Role(issuer=URL, claims=claims)
    made.sts.roles[ROLES["other-rule"]] = Role(issuer=URL, claims=claims)
    made.sts.roles[ROLES["theirs"]] = Role(issuer=URL)
    made.start()
    (published,) = json.loads(made.world.sidecar.api.call("GET", "/.well-known/jwks.json").body)["keys"]
    made.sts.issuers[URL] = jwt.PyJWK(published).key
    yield made
    made.stop()


def test_a_cloud_trusts_what_jobgate_says(stage: AwsStage) -> None:
    """A job that holds no token for STS gets keys by what jobgate states of it; its own token goes nowhere."""
    session = stage.open(audience="https://other.test")
    assert stage.ask(session, S3, s3_request("/release/by-issuer")).status == 200
    shown = stage.sts.asked[-1]["WebIdentityToken"]
    stated = jwt.decode(shown, options={"verify_signature": False})
    assert (stated["iss"], stated["rule"], stated["pipeline"]) == (URL, "release", "storefront")
    assert stated["https://aws.amazonaws.com/tags"]["principal_tags"]["rule"] == ["release"]
    assert find_leaks(places_of(stage.world), [shown, shown.rpartition(".")[2]]) == []
    assert stage.leaks() == []


@pytest.mark.parametrize("pipeline, folder", [("payments", "release"), ("storefront", "other-rule")])
def test_another_job_or_rule_is_not_what_the_cloud_trusts(stage: AwsStage, pipeline: str, folder: str) -> None:
    """The token says truly which, and the role's trust policy refuses it."""
    session = stage.open(job=stage.world.issuer.add_job(pipeline_slug=pipeline))
    answer = stage.ask(session, S3, s3_request(f"/{folder}/{pipeline}"))
    flow = stage.refused(answer, f"/{folder}/{pipeline}", "credential-refused")
    assert stage.detail_of(flow) == "STS: AccessDenied"


def test_a_rule_that_does_not_ask_shows_the_jobs_own(stage: AwsStage) -> None:
    """Where a role trusts jobgate alone the job's own token buys nothing."""
    answer = stage.ask(stage.open(), S3, s3_request("/theirs/x"))
    assert stage.detail_of(stage.refused(answer, "/theirs/x", "credential-refused")) == "STS: InvalidIdentityToken"


def test_the_documents_are_written_for_whatever_serves_them(stage: AwsStage, tmp_path: Path) -> None:
    """The command and the control API give the same, and nothing of the private key."""
    words = [sys.executable, "-m", "proxy", "issuer", "--config", str(stage.world.sidecar.config)]
    done = subprocess.run([*words, "--to", str(tmp_path)], capture_output=True, check=False, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for path in ("/.well-known/openid-configuration", "/.well-known/jwks.json"):
        served = json.loads(stage.world.sidecar.api.call("GET", path).body)
        assert json.loads((tmp_path / path[1:]).read_text()) == served
        assert not {"d", "p", "q"} & set(str(served).replace("'", " ").split())
    printed = subprocess.run(words, capture_output=True, check=True, text=True, timeout=60).stdout
    assert json.loads(printed)["/.well-known/openid-configuration"]["issuer"] == URL


def test_after_all_of_it(stage: AwsStage) -> None:
    """The trail is whole."""
    stage.check_trail()
