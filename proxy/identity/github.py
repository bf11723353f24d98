"""GitHub Actions' claims. Source: docs.github.com, "OpenID Connect reference".

`sub` is never parsed: its shape is configurable and changed in 2026. Any pull-request event leaves `branch` empty:
`pull_request_target` runs on the base branch's ref, with a fork's words in it.
"""

from collections.abc import Mapping
from typing import Any, Final

from proxy.identity.claims import Claim, Fields, Profile, boolean_text, digits, text, text_or_integer


def _settle_ref(fields: Fields, claims: Mapping[str, Any]) -> Fields:
    ref, kind, event = str(claims["ref"]), claims["ref_type"], str(fields["source"])
    if event.startswith("pull_request") or claims.get("head_ref"):
        return {**fields, "protected": False}
    if kind == "branch" and ref.startswith("refs/heads/"):
        return {**fields, "branch": ref.removeprefix("refs/heads/") or None}
    if kind == "tag" and ref.startswith("refs/tags/"):
        return {**fields, "tag": ref.removeprefix("refs/tags/") or None}
    return {**fields, "protected": False}


PROFILE: Final = Profile(
    provider="github",
    issuer="https://token.actions.githubusercontent.com",
    shared=frozenset({"https://token.actions.githubusercontent.com"}),
    anchors=("repository_owner_id", "repository_id", "enterprise_id"),
    required={
        "repository": Claim(read=text, field="repository"),
        "repository_id": Claim(read=text_or_integer),
        "repository_owner": Claim(read=text, field="organization"),
        "repository_owner_id": Claim(read=text_or_integer),
        "workflow": Claim(read=text, field="pipeline"),
        "ref": Claim(read=text),
        "ref_type": Claim(read=text),
        "sha": Claim(read=text, field="commit"),
        "event_name": Claim(read=text, field="source"),
        "run_id": Claim(read=text_or_integer, field="build_id"),
        "run_number": Claim(read=digits, field="build_number"),
    },
    optional={
        "actor": Claim(read=text, field="actor"),
        "actor_id": Claim(read=text_or_integer),
        "base_ref": Claim(read=text),
        "head_ref": Claim(read=text),
        "check_run_id": Claim(read=text_or_integer, field="job_id"),
        "enterprise": Claim(read=text),
        "enterprise_id": Claim(read=text_or_integer),
        "environment": Claim(read=text, field="environment"),
        "job_workflow_ref": Claim(read=text),
        "job_workflow_sha": Claim(read=text),
        "ref_protected": Claim(read=boolean_text, field="protected"),
        "repository_visibility": Claim(read=text),
        "run_attempt": Claim(read=digits),
        "runner_environment": Claim(read=text, field="runner"),
        "workflow_ref": Claim(read=text),
        "workflow_sha": Claim(read=text),
    },
    ignored=frozenset({"environment_node_id", "issuer_scope"}),
    ignored_prefixes=("repo_property_",),
    finish=_settle_ref,
)
