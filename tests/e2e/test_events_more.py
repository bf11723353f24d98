"""Events of other CIs, and by a queue: at a running sidecar, signed as documented, wrong ones, replayed ones."""

import hmac
import http.client
import json
import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest

from tests.fakes.open_aws import KEYS, REGION, OpenAws
from tests.fakes.sidecar import Job, World, wait_until

SECRET = "the-secret-of-a-webhook-0123"
QUEUE = f"sqs.{REGION}.amazonaws.com"


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[World, OpenAws]]:
    """A sidecar with all of them, and the queue's AWS."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    made = World()
    token = made.folder / "webhook"
    token.write_text(SECRET)
    aws = OpenAws(made.root, (QUEUE,))
    aws.start()
    url = aws.client("sqs").create_queue(QueueName="buildkite")["QueueUrl"]
    made.places = aws.places
    made.settings = {
        "events": {
            "listen": "127.0.0.1:0",
            "github": {"organization": "acme", "token": str(token)},
            "gitlab": {"organization": "acme", "token": str(token)},
            "sqs": {"organization": "acme", "queue": url.replace("http://", "https://"), "region": REGION},
        }
    }
    try:
        made.start()
        yield made, aws
    finally:
        made.stop()
        aws.stop()


@pytest.fixture
def world(stage: tuple[World, OpenAws]) -> World:
    return stage[0]


@pytest.fixture
def aws(stage: tuple[World, OpenAws]) -> OpenAws:
    return stage[1]


def deliver(world: World, path: str, body: bytes, headers: dict[str, str]) -> int:
    said = wait_until(lambda: re.search(rb"events +http://127.0.0.1:([0-9]+)/", world.sidecar.errors.read_bytes()))
    connection = http.client.HTTPConnection("127.0.0.1", int(said[1]), timeout=10)
    connection.request("POST", path, body, {"Host": "hooks.example.com", **headers})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def github(world: World, kind: str, told: Any, secret: str = SECRET) -> int:
    body = json.dumps(told).encode()
    signature = hmac.new(secret.encode(), body, sha256).hexdigest()
    headers = {"X-GitHub-Event": kind, "X-GitHub-Delivery": "d-1", "X-Hub-Signature-256": f"sha256={signature}"}
    return deliver(world, "/v1/events/github", body, headers)


def works(job: Job) -> bool:
    return job.curl("-o", "/dev/null", "-w", "%{http_code}", "http://plain.test/hello", code=None) == "200"


RUN = {
    "action": "completed",
    "repository": {"full_name": "acme/shop", "owner": {"login": "acme"}},
    "workflow_run": {"id": 11, "run_number": 7, "run_attempt": 1, "name": "release", "status": "completed"},
}


def test_github_and_gitlab_deliveries_are_taken_signed_and_not_otherwise(world: World) -> None:
    """204 once on record, a repetition does nothing; 401 for whatever is not authentic, 400 for what says nothing."""
    assert github(world, "workflow_run", RUN) == 204
    assert github(world, "workflow_run", RUN) == 204
    assert len(world.records("event.received")) == 1
    assert github(world, "workflow_run", RUN, secret="wrong") == 401
    assert github(world, "push", RUN) == 400
    job = {
        "object_kind": "build",
        "build_id": 1,
        "build_status": "success",
        "pipeline_id": 2,
        "project": {"path_with_namespace": "acme/shop"},
    }
    body = json.dumps(job).encode()
    assert deliver(world, "/v1/events/gitlab", body, {"X-Gitlab-Token": SECRET}) == 204
    assert deliver(world, "/v1/events/gitlab", body, {"X-Gitlab-Token": "wrong"}) == 401
    assert deliver(world, "/v1/events/gitlab", body, {}) == 401
    assert deliver(world, "/v1/events/buildkite", body, {"X-Gitlab-Token": SECRET}) == 404
    received = wait_until(lambda: world.records("event.received")[1:])
    assert (received[0]["source"], received[0]["event"]) == ("gitlab", "build.success")
    assert len(wait_until(lambda: world.records("event.refused")[3:])) == 1


def test_one_cis_events_end_no_job_of_anothers(world: World) -> None:
    """The same ids in another CI's words: the job goes on."""
    job = world.open()
    assert works(job)
    assert github(world, "workflow_run", RUN) == 204
    assert works(job)


def test_a_queue_ends_what_has_ended(aws: OpenAws, world: World) -> None:
    """By EventBridge's message the session is closed and the message is gone; what is no event is on record."""
    known = world.issuer.add_job()
    job = world.job(world.sidecar.open_session(world.token(known)))
    assert works(job)
    queue = aws.client("sqs")
    url = queue.get_queue_url(QueueName="buildkite")["QueueUrl"]
    told = {
        "version": "0",
        "id": "e-1",
        "detail-type": "Job Finished",
        "source": "aws.partner/buildkite.com/acme/1",
        "detail": {
            "job": {"uuid": known.job_id},
            "build": {"number": known.build_number},
            "pipeline": {"slug": known.pipeline_slug},
            "organization": {"slug": "acme"},
        },
    }
    queue.send_message(QueueUrl=url, MessageBody=json.dumps(told))
    closed = wait_until(lambda: [each for each in world.records("session.closed") if each["why"] == "event"], 40)
    assert closed[0]["job"]["job_id"] == known.job_id
    assert not works(job)
    wait_until(lambda: _left(queue, url) == 0)
    queue.send_message(QueueUrl=url, MessageBody="nonsense")
    refused = wait_until(lambda: world.records("event.refused"), 40)
    assert "the message is no event" in refused[0]["detail"]


def _left(queue: Any, url: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = queue.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(found[name]) for name in names)
