"""GitLab's deliveries: by the secret token, about the namespace, in the names that a job's token has."""

import json
from typing import Any

import pytest

from proxy.identity.webhooks import Delivery
from proxy.identity.webhooks_gitlab import check_gitlab, read_gitlab
from proxy.model.errors import TokenError
from proxy.model.grant import Secret
from proxy.model.reason import Reason

TOKEN = Secret("the-webhooks-secret")
PROJECT = {"path_with_namespace": "acme/web/shop"}
JOB = {
    "object_kind": "build",
    "build_id": 22,
    "build_name": "release",
    "build_status": "success",
    "pipeline_id": 11,
    "sha": "a" * 40,
    "runner": {"id": 5},
    "project": PROJECT,
}
ATTRIBUTES = {"id": 11, "ref": "main", "tag": False, "sha": "a" * 40, "status": "failed"}
PIPELINE = {"object_kind": "pipeline", "object_attributes": ATTRIBUTES, "project": PROJECT}


def deliver(told: Any, **fields: str) -> Delivery:
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    return Delivery(fields=fields, body=body)


def test_the_token_is_taken_and_nothing_else() -> None:
    """What names a delivery is its body."""
    assert len(check_gitlab(deliver({}, **{"x-gitlab-token": "the-webhooks-secret"}), TOKEN)) == 64
    for fields, reason in (
        ({}, Reason.IDENTITY_MALFORMED),
        ({"x-gitlab-token": ""}, Reason.IDENTITY_MALFORMED),
        ({"x-gitlab-token": "the-webhooks-secre"}, Reason.IDENTITY_SIGNATURE),
        ({"x-gitlab-token": "\udcff"}, Reason.IDENTITY_SIGNATURE),
    ):
        with pytest.raises(TokenError) as error:
            check_gitlab(deliver({}, **fields), TOKEN)
        assert error.value.reason is reason


def test_a_job() -> None:
    """Its id, its pipeline's, its runner's; the namespace is the project's own."""
    event = read_gitlab(deliver(JOB), "acme")
    assert (event.source, event.name, event.organization) == ("gitlab", "build.success", "acme/web")
    assert (event.job_id, event.build_id, event.agent_id, event.step) == ("22", "11", "5", "release")
    assert (event.state, event.commit, event.repository) == ("success", "a" * 40, "acme/web/shop")


def test_a_pipeline() -> None:
    """Its id and state; a branch unless it is a tag; a fork by the projects of the merge request."""
    event = read_gitlab(deliver(PIPELINE), "Acme/web")
    assert (event.name, event.build_id, event.branch, event.is_fork) == ("pipeline.failed", "11", "main", None)
    tagged = {**PIPELINE, "object_attributes": {**ATTRIBUTES, "tag": True}}
    assert read_gitlab(deliver(tagged), "acme").branch is None
    for source, is_fork in ((9, True), (1, False), (None, None)):
        request = {"source_project_id": source, "target_project_id": 1}
        assert read_gitlab(deliver({**PIPELINE, "merge_request": request}), "acme").is_fork is is_fork


@pytest.mark.parametrize(
    "told",
    [
        b"no JSON",
        {**JOB, "project": {"path_with_namespace": "acmeevil/shop"}},
        {**JOB, "project": {"path_with_namespace": "acme"}},
        {**JOB, "project": None},
        {**JOB, "object_kind": "push"},
        {**JOB, "build_status": None},
        {**JOB, "build_id": "22"},
        {**JOB, "build_id": False},
        {**JOB, "runner": []},
        {**PIPELINE, "object_attributes": None},
    ],
)
def test_what_is_no_event_of_the_namespace_is_refused(told: Any) -> None:
    """Another namespace, one that only begins alike, another kind, another shape."""
    with pytest.raises(TokenError) as error:
        read_gitlab(deliver(told), "acme")
    assert error.value.reason is Reason.IDENTITY_MALFORMED
