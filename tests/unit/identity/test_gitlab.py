"""GitLab's claims become a job."""

from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.identity.claims import read_fields
from proxy.identity.gitlab import PROFILE
from proxy.model.errors import TokenError
from proxy.model.reason import Reason
from tests.fakes import claims as shapes

NOW = datetime(2026, 3, 4, tzinfo=UTC)


def job(**changes: Any) -> dict[str, Any]:
    return dict(read_fields(PROFILE, shapes.gitlab(NOW, **changes)))


def test_every_documented_claim_has_its_field() -> None:
    """The whole table, once; a pipeline is named by where its definition stands, not by the ref it ran on."""
    assert job(environment="production", environment_protected="true") == {
        "organization": "acme",
        "repository": "acme/web",
        "build_id": "900",
        "source": "push",
        "job_id": "901",
        "protected": True,
        "commit": "c0ffee0000000000000000000000000000000000",
        "pipeline": "gitlab.com/acme/web//.gitlab-ci.yml",
        "environment": "production",
        "agent_id": "5",
        "runner": "gitlab-hosted",
        "actor": "octo",
        "branch": "main",
    }
    assert job(ci_config_ref_uri=...)["pipeline"] is None
    assert job(ci_config_ref_uri="@refs/x")["pipeline"] is None


@pytest.mark.parametrize(
    "changes,branch,tag,protected",
    [
        ({}, "main", None, True),
        ({"ref_protected": "false"}, "main", None, False),
        ({"ref": "v1", "ref_type": "tag", "ref_path": "refs/tags/v1"}, None, "v1", True),
        ({"ref": "v1", "ref_type": "tag", "ref_path": ...}, None, "v1", True),
        ({"ref": "v1", "ref_type": "tag", "ref_path": "refs/heads/v1"}, None, None, False),
        ({"pipeline_source": "merge_request_event"}, None, None, False),
        ({"pipeline_source": "external_pull_request_event"}, None, None, False),
        ({"ref_path": "refs/merge-requests/5/head"}, None, None, False),
        ({"ref_path": "refs/merge-requests/5/head", "pipeline_source": "parent_pipeline"}, None, None, False),
        ({"ref_path": ...}, None, None, False),
        ({"ref_path": "refs/heads/other"}, None, None, False),
        ({"ref_type": "tag", "ref_path": "refs/heads/main"}, None, None, False),
        ({"ref_type": "merge_request"}, None, None, False),
    ],
)
def test_a_fork_never_looks_like_a_branch(
    changes: dict[str, Any], branch: str | None, tag: str | None, *, protected: bool
) -> None:
    """A merge request's pipeline has no branch, nor have its child pipelines, whose `ref` reads like one."""
    found = job(**changes)

    assert (found.get("branch"), found.get("tag"), found["protected"]) == (branch, tag, protected)


@pytest.mark.parametrize("name", PROFILE.required)
@pytest.mark.parametrize("value", [..., None, "", [], {}, 1.5])
def test_required_claims_are_required(name: str, value: object) -> None:
    """A missing or mistyped claim refuses the token."""
    with pytest.raises(TokenError, match=name) as caught:
        job(**{name: value})
    assert caught.value.reason is Reason.IDENTITY_CLAIMS
