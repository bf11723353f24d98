"""The job's own credentials never pass. Fields that carry one are stripped; a query that carries one is refused.

A pre-signed URL is not the job's credential but a capability some upstream handed out (package downloads redirect to
them), so signature parameters stay in the query; connectors that sign replace them.
"""

import re
from typing import Final
from urllib.parse import unquote_plus

from proxy.model.intent import Headers, RequestView

_EXACT: Final = frozenset(
    {
        "authorization",
        "cookie",
        "cookie2",
        "dd-api-key",
        "dd-application-key",
        "npm-otp",
        "private-token",
        "job-token",
        "deploy-token",
        "x-amz-security-token",
        "x-amz-s3session-token",
        "x-jfrog-art-api",
        "x-aws-ec2-metadata-token",
        "x-vault-token",
        "x-consul-token",
        "x-goog-iam-authorization-token",
        "x-goog-iam-authority-selector",
        "x-ms-authorization-auxiliary",
        "x-registry-auth",
    }
)
# What reads like a credential is treated as one: a stripped field is a 401 with a reason, a leaked one is a breach.
# AWS's own x-amz-* fields that merely end this way (object-lock tokens) are not credentials.
_LIKELY: Final = re.compile(
    r"(?!x-amz-)(?:.*[-_])?(?:token|secret|password|passwd|api-?key|access-?key|credentials?|auth|authorization|cookie)"
)
_QUERY_NAMES: Final = frozenset(
    {
        "access_token",
        "api_key",
        "apikey",
        "api-key",
        "auth_token",
        "client_secret",
        "job_token",
        "oauth_token",
        "password",
        "private_token",
        "x-api-key",
    }
)
_SEPARATORS: Final = re.compile(r"[&;]")


def find_credential_fields(headers: Headers) -> frozenset[str]:
    """Return the names of the fields that carry, or read as if they carried, a credential."""
    return frozenset(name for name, _ in headers if is_credential_field(name))


_known: dict[str, bool] = {}


def is_credential_field(name: str) -> bool:
    """Whether a lower-case field name is stripped from every request."""
    verdict = _known.get(name)
    if verdict is None:
        verdict = name in _EXACT or _LIKELY.fullmatch(name) is not None
        if len(_known) < 4096:  # names are the job's to choose: remember the common ones, not a flood
            _known[name] = verdict
    return verdict


def find_query_credential(view: RequestView) -> str | None:
    """Return the name of a query parameter that carries a credential, whatever its encoding or separator (B04)."""
    if not view.query:
        return None
    for pair in _SEPARATORS.split(view.query):
        name = unquote_plus(pair.partition("=")[0]).lower()
        if name in _QUERY_NAMES:
            return name
    return None
