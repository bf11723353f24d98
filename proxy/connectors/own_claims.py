"""What jobgate itself states of a job, where its token and not the job's goes to a cloud. Pure.

Facts come from the verified token and from the decision, never from the job's own words. Every fact is a claim of its
own, and an AWS session tag. Sources: RFC 7519; IAM User Guide, "Pass session tags using AssumeRoleWithWebIdentity".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from proxy.connectors.aws_roles import tag_value

_TAGS: Final = "https://aws.amazonaws.com/tags"
_SUBJECT: Final = ("organization", "pipeline", "step", "ref")
_FACTS: Final = (
    "organization",
    "pipeline",
    "repository",
    "step",
    "branch",
    "tag",
    "commit",
    "build_number",
    "build_id",
    "job_id",
    "source",
    "environment",
    "queue",
)
_MOST_TAGS: Final = 50
CLAIMS: Final = (*_FACTS, "rule", "origin_issuer")
"""Facts that a token may state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnToken:
    """What a token is beside what it says of a job: whose, for whom, by which rule, from when and for how long."""

    url: str
    audience: str
    rule: str
    now: datetime
    lifetime: timedelta
    token_id: str


def own_claims(labels: Mapping[str, str], token: OwnToken) -> dict[str, Any]:
    """Return the claims of a token about the job of `labels`."""
    facts = {name: labels[name] for name in _FACTS if name in labels} | {"rule": token.rule}
    if "issuer" in labels:
        facts["origin_issuer"] = labels["issuer"]
    at = int(token.now.timestamp())
    tags = dict(sorted(facts.items())[:_MOST_TAGS])
    return {
        "iss": token.url,
        "sub": own_subject(labels),
        "aud": token.audience,
        "iat": at,
        "nbf": at,
        "exp": at + int(token.lifetime.total_seconds()),
        "jti": token.token_id,
        **facts,
        _TAGS: {
            "principal_tags": {name: [tag_value(value)] for name, value in tags.items()},
            "transitive_tag_keys": ["pipeline", "rule"] if "pipeline" in facts else ["rule"],
        },
    }


def own_subject(labels: Mapping[str, str]) -> str:
    """Return the subject: `organization:acme:pipeline:shop:step:deploy:ref:refs/heads/main`.

    What a value could end or begin by itself is percent-encoded, so that no name of a step or branch can say that it is
    another; a fact that is not there is left out with its name.
    """
    facts = dict(labels)
    if "tag" in labels:
        facts["ref"] = f"refs/tags/{labels['tag']}"
    elif "branch" in labels:
        facts["ref"] = f"refs/heads/{labels['branch']}"
    return ":".join(f"{name}:{quote(facts[name], safe='/')}" for name in _SUBJECT if name in facts)
