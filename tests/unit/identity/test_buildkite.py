"""Buildkite's claims become a job."""

from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.identity.buildkite import PROFILE
from proxy.identity.claims import read_fields
from proxy.model.errors import TokenError
from proxy.model.reason import Reason
from tests.fakes import claims as shapes

NOW = datetime(2026, 3, 4, tzinfo=UTC)
FULL = {"build_id": "b-1", "cluster_name": "linux", "queue_key": "fast", "organization_id": "o-1"}


def job(**changes: Any) -> dict[str, Any]:
    return dict(read_fields(PROFILE, shapes.buildkite(NOW, **changes)))


def test_every_documented_claim_has_its_field() -> None:
    """The whole table, once."""
    assert job(**FULL) == {
        "organization": "acme",
        "pipeline": "web",
        "build_number": 42,
        "branch": "main",
        "commit": "c0ffee0000000000000000000000000000000000",
        "step": "upload",
        "job_id": "0190b2a4-0000-4000-8000-000000000001",
        "agent_id": "0190b2a4-0000-4000-8000-000000000002",
        "tag": None,
        "source": "webhook",
        "build_id": "b-1",
        "cluster": "linux",
        "queue": "fast",
        "runner": "self-hosted",
    }


@pytest.mark.parametrize(
    "changes,branch,tag",
    [
        ({}, "main", None),
        ({"build_branch": "release/1"}, "release/1", None),
        ({"build_branch": "octo:main"}, "octo:main", None),
        ({"build_tag": "v1"}, None, "v1"),
        ({"build_tag": ""}, "main", None),
        ({"build_tag": None}, "main", None),
        ({"build_branch": "refs/pull/5/merge"}, None, None),
        ({"build_branch": "refs/heads/main"}, None, None),
        ({"build_branch": "pull/5/head"}, None, None),
        ({"build_branch": "merge-requests/5/head"}, None, None),
    ],
)
def test_tags_and_merge_refs_are_no_branch(changes: dict[str, Any], branch: str | None, tag: str | None) -> None:
    """Only a branch is called one: neither a tag's build nor a pull request's merge ref."""
    found = job(**changes)

    assert (found["branch"], found["tag"]) == (branch, tag)


def test_a_step_may_have_no_key() -> None:
    """`step_key` of null is stated and empty; absent, it is missing."""
    assert job(step_key=None)["step"] is None
    with pytest.raises(TokenError, match="`step_key` is missing"):
        job(step_key=...)


@pytest.mark.parametrize("name", [name for name, claim in PROFILE.required.items() if not claim.nullable])
@pytest.mark.parametrize("value", [..., None, "", [], {}, True, 1.5])
def test_required_claims_are_required(name: str, value: object) -> None:
    """A missing or mistyped claim refuses the token."""
    with pytest.raises(TokenError, match=name) as caught:
        job(**{name: value})
    assert caught.value.reason is Reason.IDENTITY_CLAIMS


def test_the_subject_is_never_read() -> None:
    """A replaced subject changes nothing."""
    assert job(sub="0190b2a4") == job()
