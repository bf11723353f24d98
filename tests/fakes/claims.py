"""Claims as each provider's tokens carry them, from their documentation; every name and id is made up."""

from datetime import datetime
from typing import Any

AUDIENCE = "https://jobgate.test/acme"


def _registered(issuer: str, subject: str, now: datetime) -> dict[str, Any]:
    second = int(now.timestamp())
    return {"iss": issuer, "sub": subject, "aud": AUDIENCE, "iat": second, "nbf": second, "exp": second + 300}


def _changed(claims: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Apply changes; `...` removes a claim."""
    return {name: value for name, value in (claims | changes).items() if value is not ...}


def buildkite(now: datetime, issuer: str = "https://agent.buildkite.com", **changes: Any) -> dict[str, Any]:
    claims = _registered(issuer, "organization:acme:pipeline:web:ref:refs/heads/main:commit:c0ffee:step:upload", now)
    claims |= {
        "organization_slug": "acme",
        "pipeline_slug": "web",
        "build_number": 42,
        "build_branch": "main",
        "build_commit": "c0ffee0000000000000000000000000000000000",
        "step_key": "upload",
        "job_id": "0190b2a4-0000-4000-8000-000000000001",
        "agent_id": "0190b2a4-0000-4000-8000-000000000002",
        "build_source": "webhook",
        "runner_environment": "self-hosted",
    }
    return _changed(claims, changes)


def github(
    now: datetime, issuer: str = "https://token.actions.githubusercontent.com", **changes: Any
) -> dict[str, Any]:
    claims = _registered(issuer, "repo:acme@7/web@8:ref:refs/heads/main", now)
    claims |= {
        "jti": "a0b1c2d3-0000-4000-8000-000000000003",
        "actor": "octo",
        "actor_id": "1001",
        "base_ref": "",
        "head_ref": "",
        "check_run_id": "555",
        "event_name": "push",
        "job_workflow_ref": "acme/web/.github/workflows/release.yml@refs/heads/main",
        "job_workflow_sha": "c0ffee0000000000000000000000000000000000",
        "ref": "refs/heads/main",
        "ref_protected": "true",
        "ref_type": "branch",
        "repository": "acme/web",
        "repository_id": "8",
        "repository_owner": "acme",
        "repository_owner_id": "7",
        "repository_visibility": "private",
        "run_attempt": "1",
        "run_id": "900",
        "run_number": "42",
        "runner_environment": "github-hosted",
        "sha": "c0ffee0000000000000000000000000000000000",
        "workflow": "release",
        "workflow_ref": "acme/web/.github/workflows/release.yml@refs/heads/main",
        "workflow_sha": "c0ffee0000000000000000000000000000000000",
    }
    return _changed(claims, changes)


def gitlab(now: datetime, issuer: str = "https://gitlab.com", **changes: Any) -> dict[str, Any]:
    claims = _registered(issuer, "project_path:acme/web:ref_type:branch:ref:main", now)
    claims |= {
        "jti": "e4f5a6b7-0000-4000-8000-000000000004",
        "namespace_id": "70",
        "namespace_path": "acme",
        "project_id": "80",
        "project_path": "acme/web",
        "project_visibility": "private",
        "user_id": "1001",
        "user_login": "octo",
        "user_email": "octo@acme.test",
        "user_access_level": "maintainer",
        "pipeline_id": "900",
        "pipeline_source": "push",
        "job_id": "901",
        "job_source": "push",
        "ref": "main",
        "ref_type": "branch",
        "ref_path": "refs/heads/main",
        "ref_protected": "true",
        "runner_id": 5,
        "runner_environment": "gitlab-hosted",
        "sha": "c0ffee0000000000000000000000000000000000",
        "ci_config_ref_uri": "gitlab.com/acme/web//.gitlab-ci.yml@refs/heads/main",
        "ci_config_sha": "c0ffee0000000000000000000000000000000000",
    }
    return _changed(claims, changes)


def google(now: datetime, issuer: str = "https://accounts.google.com", **changes: Any) -> dict[str, Any]:
    claims = _registered(issuer, "104000000000000000001", now)
    claims |= {
        "azp": "104000000000000000001",
        "email": "builder@acme-ci.iam.gserviceaccount.com",
        "email_verified": True,
        "google": {
            "compute_engine": {
                "instance_id": "5550001",
                "instance_name": "builder-1",
                "project_id": "acme-ci",
                "project_number": 77,
                "zone": "europe-west1-b",
            }
        },
    }
    del claims["nbf"]
    return _changed(claims, changes)
