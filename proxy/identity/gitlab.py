"""GitLab CI's claims. Source: docs.gitlab.com, "OpenID Connect (OIDC) Authentication Using ID Tokens".

The fork trap (gitlab work item 563038): in a merge request's pipeline from a fork the project claims describe the fork.
Bind `namespace_id` or `project_id`, which a fork cannot have, and trust `branch` only where `ref_path` is a branch.
"""

from collections.abc import Mapping
from typing import Any, Final

from proxy.identity.claims import Claim, Fields, Profile, Value, anything, boolean_text, text, text_or_integer

_MERGE_SOURCES: Final = frozenset({"merge_request_event", "external_pull_request_event"})


def _settle_ref(fields: Fields, claims: Mapping[str, Any]) -> Fields:
    # `ref` alone is the *source* branch in a merge request's pipeline, and in the child pipelines it starts: a fork's
    # `main` reads `main`. Only `ref_path` tells; without it nothing is called a branch.
    ref, kind, path = claims["ref"], claims["ref_type"], claims.get("ref_path")
    fields = {**fields, "pipeline": _without_ref(fields["pipeline"])}
    if fields["source"] in _MERGE_SOURCES:
        return {**fields, "protected": False}
    if kind == "branch" and path == f"refs/heads/{ref}":
        return {**fields, "branch": ref}
    if kind == "tag" and path in (None, f"refs/tags/{ref}"):
        return {**fields, "tag": ref}
    return {**fields, "protected": False}


def _without_ref(definition: Value) -> str | None:
    """Name a pipeline by where its definition stands, `gitlab.com/acme/app//.gitlab-ci.yml`, whatever the ref."""
    return definition.partition("@refs/")[0] or None if isinstance(definition, str) else None


PROFILE: Final = Profile(
    provider="gitlab",
    issuer="https://gitlab.com",
    shared=frozenset({"https://gitlab.com"}),
    anchors=("namespace_id", "project_id"),
    required={
        "namespace_id": Claim(read=text_or_integer),
        "namespace_path": Claim(read=text, field="organization"),
        "project_id": Claim(read=text_or_integer),
        "project_path": Claim(read=text, field="repository"),
        "pipeline_id": Claim(read=text_or_integer, field="build_id"),
        "pipeline_source": Claim(read=text, field="source"),
        "job_id": Claim(read=text_or_integer, field="job_id"),
        "ref": Claim(read=text),
        "ref_type": Claim(read=text),
        "ref_protected": Claim(read=boolean_text, field="protected"),
        "sha": Claim(read=text, field="commit"),
    },
    optional={
        "ref_path": Claim(read=text),
        "ci_config_ref_uri": Claim(read=text, field="pipeline"),
        "ci_config_sha": Claim(read=text),
        "environment": Claim(read=text, field="environment"),
        "environment_protected": Claim(read=boolean_text),
        "runner_id": Claim(read=text_or_integer, field="agent_id"),
        "runner_environment": Claim(read=text, field="runner"),
        "user_login": Claim(read=text, field="actor"),
        "user_id": Claim(read=text_or_integer),
        "user_identities": Claim(read=anything),
        "groups_direct": Claim(read=anything),
    },
    ignored=frozenset(
        {
            "project_visibility",
            "user_email",
            "user_access_level",
            "job_source",
            "job_policy_ref_uri",
            "job_policy_ref_sha",
            "deployment_tier",
            "deployment_action",
            "environment_action",
        }
    ),
    ignored_prefixes=("job_project_",),
    finish=_settle_ref,
)
