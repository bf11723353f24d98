"""What an upstream says it refused for want of a permission: 401 and 403 answers to requests with our credential.

What is returned was written by the upstream: short printable texts by fixed patterns, never a sentence of its own.

Sources: "Troubleshoot access denied error messages" (IAM User Guide); "Permissions required for GitHub Apps" (the
`X-Accepted-GitHub-Permissions` field); Google's `google.rpc.ErrorInfo`; "Common error codes" of Azure Resource Manager;
the distribution project's token authentication; Kubernetes' `metav1.Status`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from proxy.model.intent import Headers

ANSWER_LIMIT: Final = 16 * 1024
"""So much of an answer is read; what it lacks stands at its beginning."""
STATUSES: Final = frozenset({401, 403})
_LONGEST: Final = 256
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._:/*-]{0,127}"
_PLACE: Final = r"[A-Za-z0-9][A-Za-z0-9._:/*@+=,~-]{0,255}"

# Each pattern names what it found by its groups: code, permission, resource, because.
_PATTERNS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        # AWS, any protocol
        rf"is not authorized to perform: (?P<permission>{_NAME})",
        rf"is not authorized to perform: {_NAME} on resource: (?:\\?[\"'])?(?P<resource>{_PLACE})",
        r"because no (?P<because>[a-z-]{3,40}) policy allows",
        r"with an explicit deny in an? (?P<because>[a-z -]{3,40}?)(?: policy|[.:,<\"]|$)",
        r"<Code>(?P<code>[A-Za-z]{3,64})</Code>",
        r'"(?:__type|code|Code)"\s*:\s*"(?:[a-z0-9.]{1,64}#)?(?P<code>[A-Za-z]{3,64})"',
        # Google
        rf"does not have (?P<permission>{_NAME}) (?:access|permission)",
        rf"Permission (?:\\?[\"'])(?P<permission>{_NAME})\\?[\"'] denied",
        rf"denied on resource (?:\\?[\"'])(?://)?(?P<resource>{_PLACE})",
        r'"reason"\s*:\s*"(?P<code>[A-Za-z_]{3,64})"',
        # Azure
        rf"does not have authorization to perform action '(?P<permission>{_NAME})'",
        rf"to perform action '{_NAME}' over scope '(?P<resource>/{_PLACE})'",
        # Kubernetes
        r"cannot (?P<permission>[a-z]{3,32} resource \\?\"[a-z0-9./-]{1,64})\\?\"",
        r"in the namespace \\?\"(?P<resource>[a-z0-9.-]{1,64})\\?\"",
        # Vault, OpenBao
        r"\* (?P<code>permission denied)",
    )
)
_ACCEPTED: Final = re.compile(r"[a-z_]{2,64}=[a-z]{2,16}(?:[;,] ?[a-z_]{2,64}=[a-z]{2,16}){0,15}")
_SCOPE: Final = re.compile(r'scope="([A-Za-z0-9._:/,* -]{1,256})"')
_ERROR_TYPE: Final = re.compile(r"([A-Za-z]{3,64})(?::.*)?")


def read_shortfall(fields: Headers, body: bytes) -> Mapping[str, str]:
    """Return what was missing, as far as the answer says: `code`, `permission`, `resource`, `because`."""
    found = dict(_in_fields(fields))
    text = body[:ANSWER_LIMIT].decode("utf-8", "replace")
    for pattern in _PATTERNS:
        match = pattern.search(text)
        if match is not None:
            for name, value in match.groupdict().items():
                found.setdefault(name, value.rstrip(".").replace("\\", "").replace('"', ""))
    return {name: found[name][:_LONGEST] for name in ("code", "permission", "resource", "because") if name in found}


def _in_fields(fields: Headers) -> Iterator[tuple[str, str]]:
    for name, value in fields:
        if name == "x-accepted-github-permissions" and _ACCEPTED.fullmatch(value):
            yield "permission", value
        elif name == "www-authenticate" and "insufficient_scope" in value:
            yield "code", "insufficient_scope"
            scope = _SCOPE.search(value)
            if scope is not None:
                yield "permission", scope[1]
        elif name == "x-amzn-errortype" and (kind := _ERROR_TYPE.fullmatch(value)) is not None:
            yield "code", kind[1]
