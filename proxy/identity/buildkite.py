"""Buildkite's claims. Source: buildkite/docs pages/agent/cli/reference/oidc.md.

`sub` is never parsed: `--subject-claim` replaces it. Nothing in the token says pull request or fork; a branch is what
the build was created with. Keep fork builds off, or let Buildkite prefix their branches, before a rule trusts `branch`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from proxy.identity.claims import Claim, Fields, Profile, anything, integer, text

# How people build a pull request's merge commit by hand: not a branch of the repository, whatever it is called.
_MERGE_REF: Final = re.compile(r"refs/.*|(?:pull|merge-requests?)/.*")


def _settle_ref(fields: Fields, claims: Mapping[str, Any]) -> Fields:  # noqa: ARG001 - every profile's signature
    branch = fields["branch"]
    if fields["tag"] is not None or (isinstance(branch, str) and _MERGE_REF.fullmatch(branch)):
        return {**fields, "branch": None}
    return fields


PROFILE: Final = Profile(
    provider="buildkite",
    issuer="https://agent.buildkite.com",
    shared=frozenset({"https://agent.buildkite.com"}),
    anchors=("organization_slug", "organization_id", "pipeline_id", "cluster_id"),
    required={
        "organization_slug": Claim(read=text, field="organization"),
        "pipeline_slug": Claim(read=text, field="pipeline"),
        "build_number": Claim(read=integer, field="build_number"),
        "build_branch": Claim(read=text, field="branch"),
        "build_commit": Claim(read=text, field="commit"),
        "step_key": Claim(read=text, field="step", nullable=True),
        "job_id": Claim(read=text, field="job_id"),
        "agent_id": Claim(read=text, field="agent_id"),
    },
    optional={
        "build_tag": Claim(read=text, field="tag"),
        "build_source": Claim(read=text, field="source"),
        "build_id": Claim(read=text, field="build_id"),
        "cluster_name": Claim(read=text, field="cluster"),
        "queue_key": Claim(read=text, field="queue"),
        "runner_environment": Claim(read=text, field="runner"),
        "organization_id": Claim(read=text),
        "pipeline_id": Claim(read=text),
        "cluster_id": Claim(read=text),
        "queue_id": Claim(read=text),
        "https://aws.amazon.com/tags": Claim(read=anything),
    },
    ignored_prefixes=("agent_tag:",),
    finish=_settle_ref,
)
