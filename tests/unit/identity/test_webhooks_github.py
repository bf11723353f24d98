"""GitHub's deliveries: signed by the secret, about the organization, in the names that a job's token has."""

import hmac
import json
from hashlib import sha256
from typing import Any

import pytest

from proxy.identity.webhooks import Delivery
from proxy.identity.webhooks_github import check_github, read_github
from proxy.model.errors import TokenError
from proxy.model.grant import Secret
from proxy.model.reason import Reason

TOKEN = Secret("the-webhooks-secret")
REPOSITORY = {"full_name": "Acme/shop", "owner": {"login": "Acme"}}
RUN = {
    "id": 11,
    "run_number": 7,
    "run_attempt": 2,
    "name": "release",
    "status": "completed",
    "conclusion": "success",
    "head_branch": "main",
    "head_sha": "a" * 40,
    "head_repository": {"full_name": "acme/shop"},
}
JOB = {
    "id": 22,
    "run_id": 11,
    "run_attempt": 2,
    "name": "build",
    "workflow_name": "release",
    "status": "in_progress",
    "head_sha": "a" * 40,
    "check_run_url": "https://api.github.com/repos/acme/shop/check-runs/33",
}


def deliver(kind: str, told: Any, token: str = "the-webhooks-secret") -> Delivery:
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    signature = hmac.new(token.encode(), body, sha256).hexdigest()
    return Delivery(fields={"x-hub-signature-256": f"sha256={signature}", "x-github-event": kind}, body=body)


def run(**changes: Any) -> dict[str, Any]:
    return {"action": "completed", "repository": REPOSITORY, "workflow_run": {**RUN, **changes}}


def job(**changes: Any) -> dict[str, Any]:
    return {"action": "in_progress", "repository": REPOSITORY, "workflow_job": {**JOB, **changes}}


def test_a_signature_of_the_body_is_taken() -> None:
    """It names the delivery, so that the same body again is known."""
    assert len(check_github(deliver("ping", {}), TOKEN)) == 64


@pytest.mark.parametrize(
    "delivery, reason",
    [
        (Delivery(fields={}, body=b"{}"), Reason.IDENTITY_MALFORMED),
        (Delivery(fields={"x-hub-signature-256": "sha1=00"}, body=b"{}"), Reason.IDENTITY_MALFORMED),
        (Delivery(fields={"x-hub-signature": "sha1=00"}, body=b"{}"), Reason.IDENTITY_MALFORMED),
        (deliver("ping", {}, token="wrong"), Reason.IDENTITY_SIGNATURE),
        (Delivery(fields=deliver("ping", {}).fields, body=b"{} "), Reason.IDENTITY_SIGNATURE),
    ],
)
def test_anything_else_is_nobodys(delivery: Delivery, reason: Reason) -> None:
    """No signature, the weak old one, another secret's, another body's."""
    with pytest.raises(TokenError) as error:
        check_github(delivery, TOKEN)
    assert error.value.reason is reason


def test_a_run() -> None:
    """Its id, number, attempt, workflow, state, branch and commit; a fork by where its head is."""
    event = read_github(deliver("workflow_run", run()), "acme")
    assert (event.source, event.name, event.organization) == ("github", "workflow_run.completed", "Acme")
    assert (event.build_id, event.build_number, event.attempt, event.pipeline) == ("11", 7, 2, "release")
    assert (event.state, event.build_state, event.branch, event.commit) == ("success", "success", "main", "a" * 40)
    assert (event.repository, event.is_fork, event.job_id) == ("Acme/shop", False, None)


@pytest.mark.parametrize(
    "head, is_fork", [({"full_name": "mallory/shop"}, True), (None, None), ({"full_name": "ACME/Shop"}, False)]
)
def test_a_fork_is_a_head_of_another_repository(head: Any, is_fork: bool | None) -> None:  # noqa: FBT001 - parametrized
    """Where it cannot be told nothing is said."""
    assert read_github(deliver("workflow_run", run(head_repository=head)), "acme").is_fork is is_fork


def test_a_job() -> None:
    """By the id of its check run, which is what a token has; without that by its own."""
    event = read_github(deliver("workflow_job", job()), "acme")
    assert (event.name, event.job_id, event.build_id, event.build_number) == (
        "workflow_job.in_progress",
        "33",
        "11",
        None,
    )
    assert (event.step, event.state, event.pipeline) == ("build", "in_progress", "release")
    assert read_github(deliver("workflow_job", job(check_run_url=None)), "acme").job_id == "22"
    assert read_github(deliver("workflow_job", job(check_run_url=None, id=None)), "acme").job_id is None


def test_a_ping_is_an_event_that_says_nothing() -> None:
    """GitHub sends one when a webhook is made."""
    assert read_github(deliver("ping", {"zen": "x"}), "acme").name == "ping"


@pytest.mark.parametrize(
    "kind, told",
    [
        ("workflow_run", b"no JSON"),
        ("push", run()),
        ("workflow_run", {**run(), "repository": {**REPOSITORY, "owner": {"login": "mallory"}}}),
        ("workflow_run", {**run(), "repository": None}),
        ("workflow_run", {**run(), "action": None}),
        ("workflow_run", {**run(), "action": 7}),
        ("workflow_job", run()),
        ("workflow_run", run(id="11")),
        ("workflow_run", run(id=True)),
        ("workflow_run", run(run_number=-1)),
        ("workflow_run", run(head_sha="x")),
        ("workflow_run", run(head_branch="a\nb")),
        ("workflow_run", {**run(), "workflow_run": []}),
    ],
)
def test_what_is_no_event_of_the_organization_is_refused(kind: str, told: Any) -> None:
    """Another kind, another owner, another shape: nothing of it is used."""
    with pytest.raises(TokenError) as error:
        read_github(deliver(kind, told), "acme")
    assert error.value.reason is Reason.IDENTITY_MALFORMED


def test_a_run_of_nowhere_is_no_fork() -> None:
    """Without the repository's own name nothing can be compared."""
    told = {**run(), "repository": {"owner": {"login": "acme"}}}
    assert read_github(deliver("workflow_run", told), "acme").is_fork is None
