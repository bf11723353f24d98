"""GitHub's claims become a job."""

from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.identity.claims import read_fields
from proxy.identity.github import PROFILE
from proxy.model.errors import TokenError
from proxy.model.reason import Reason
from tests.fakes import claims as shapes

NOW = datetime(2026, 3, 4, tzinfo=UTC)


def job(**changes: Any) -> dict[str, Any]:
    return dict(read_fields(PROFILE, shapes.github(NOW, **changes)))


def test_every_documented_claim_has_its_field() -> None:
    """The whole table, once; numbers that arrive as text become numbers where JobContext has numbers."""
    assert job(environment="production") == {
        "repository": "acme/web",
        "organization": "acme",
        "pipeline": "release",
        "commit": "c0ffee0000000000000000000000000000000000",
        "source": "push",
        "build_id": "900",
        "build_number": 42,
        "actor": "octo",
        "job_id": "555",
        "environment": "production",
        "protected": True,
        "runner": "github-hosted",
        "branch": "main",
    }


@pytest.mark.parametrize(
    "changes,branch,tag,protected",
    [
        ({}, "main", None, True),
        ({"ref_protected": "false"}, "main", None, False),
        ({"ref": "refs/heads/release/1"}, "release/1", None, True),
        ({"ref": "refs/tags/v1", "ref_type": "tag"}, None, "v1", True),
        ({"ref": "refs/pull/5/merge", "event_name": "pull_request"}, None, None, False),
        ({"event_name": "pull_request_target"}, None, None, False),
        ({"event_name": "pull_request_review"}, None, None, False),
        ({"head_ref": "main"}, None, None, False),
        ({"ref": "refs/pull/5/merge"}, None, None, False),
        ({"ref": "main"}, None, None, False),
        ({"ref": "refs/heads/"}, None, None, True),
        ({"ref": "refs/tags/", "ref_type": "tag"}, None, None, True),
        ({"ref": "refs/tags/main"}, None, None, False),
        ({"ref_type": "tag"}, None, None, False),
        ({"ref_type": "Branch"}, None, None, False),
    ],
)
def test_a_fork_never_looks_like_a_branch(
    changes: dict[str, Any], branch: str | None, tag: str | None, *, protected: bool
) -> None:
    """No pull-request event has a branch or a protected ref, not even one that runs on the base branch."""
    found = job(**changes)

    assert (found.get("branch"), found.get("tag"), found["protected"]) == (branch, tag, protected)


@pytest.mark.parametrize("name", [name for name, claim in PROFILE.required.items() if not claim.nullable])
@pytest.mark.parametrize("value", [..., None, "", [], {}, True, 1.5])
def test_required_claims_are_required(name: str, value: object) -> None:
    """A missing or mistyped claim refuses the token."""
    with pytest.raises(TokenError, match=name) as caught:
        job(**{name: value})
    assert caught.value.reason is Reason.IDENTITY_CLAIMS


def test_custom_properties_are_known() -> None:
    """`repo_property_*` are the operator's own and no drift."""
    assert PROFILE.knows("repo_property_team")
