"""GitHub's webhooks about workflow runs and their jobs: is it theirs, what does it say. Pure.

Nothing in a delivery says when it was sent, and its id is not signed: a repetition is known by its body, and an old one
can only end what has ended, as ids of runs, attempts and jobs are never used again. Source: docs.github.com, "Webhook
events and payloads" (`workflow_job`, `workflow_run`), "Validating webhook deliveries".
"""

import hmac
import re
from hashlib import sha256
from typing import Any, Final

from proxy.identity.strict import load_object
from proxy.identity.webhooks import Delivery, part_of, text_of
from proxy.model.errors import TokenError
from proxy.model.event import CiEvent
from proxy.model.grant import Secret
from proxy.model.reason import Reason

EVENTS: Final = frozenset({"workflow_job", "workflow_run"})

_SIGNATURE: Final = re.compile(r"sha256=([0-9a-f]{64})")
_LOGIN: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,98})")
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9-]{1,100}/[A-Za-z0-9._-]{1,100}")
_WORD: Final = re.compile(r"[a-z_]{1,40}")
_LINE: Final = re.compile(r"[^\x00-\x1f\x7f]{1,1000}")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_CHECK: Final = re.compile(r"https://[^\s]{1,500}/check-runs/([0-9]{1,20})")


def check_github(delivery: Delivery, token: Secret) -> str:
    """Return what names this delivery, once it is known to be GitHub's. Raises TokenError."""
    match = _SIGNATURE.fullmatch(delivery.fields.get("x-hub-signature-256", ""))
    if match is None:
        raise TokenError("there is no X-Hub-Signature-256", Reason.IDENTITY_MALFORMED)
    expected = hmac.new(token.reveal().encode(), delivery.body, sha256).hexdigest()
    if not hmac.compare_digest(expected, match[1]):
        raise TokenError("the signature is not one of this webhook", Reason.IDENTITY_SIGNATURE)
    return expected


def read_github(delivery: Delivery, organization: str) -> CiEvent:
    """Return what a delivery says, under the names that a job's token has. Raises TokenError for what is no event."""
    kind = delivery.fields.get("x-github-event", "")
    try:
        told = load_object(delivery.body)
    except ValueError as error:
        raise TokenError(f"the body is no event: {error}", Reason.IDENTITY_MALFORMED) from None
    if kind == "ping":
        return CiEvent(source="github", name="ping", organization=organization)
    if kind not in EVENTS:
        raise TokenError("X-GitHub-Event is not workflow_job or workflow_run", Reason.IDENTITY_MALFORMED)
    repository = part_of(told, "repository")
    owner = text_of(part_of(repository, "owner"), "login", _LOGIN)
    if owner is None or owner.lower() != organization.lower():
        raise TokenError("the repository is not the organization's", Reason.IDENTITY_MALFORMED)
    about = part_of(told, kind)
    action = text_of(told, "action", _WORD)
    if action is None or not about:
        raise TokenError(f"it has no `action`, or no `{kind}`", Reason.IDENTITY_MALFORMED)
    return _read(about, f"{kind}.{action}", owner, text_of(repository, "full_name", _REPOSITORY))


def _read(about: dict[str, Any], name: str, organization: str, repository: str | None) -> CiEvent:
    is_run = name.startswith("workflow_run.")
    commit = text_of(about, "head_sha", _COMMIT)
    state = text_of(about, "conclusion", _WORD) or text_of(about, "status", _WORD)
    return CiEvent(
        source="github",
        name=name,
        organization=organization,
        repository=repository,
        pipeline=text_of(about, "name" if is_run else "workflow_name", _LINE),
        build_id=_number(about, "id" if is_run else "run_id"),
        build_number=_integer(about, "run_number") if is_run else None,
        attempt=_integer(about, "run_attempt"),
        job_id=None if is_run else _job_id(about),
        step=None if is_run else text_of(about, "name", _LINE),
        state=state,
        build_state=state if is_run else None,
        branch=text_of(about, "head_branch", _LINE) if is_run else None,
        commit=commit,
        is_fork=_is_fork(about, repository) if is_run else None,
    )


def _job_id(job: dict[str, Any]) -> str | None:
    """Return the id that the token's `check_run_id` has."""
    match = _CHECK.fullmatch(text_of(job, "check_run_url", _LINE) or "")
    return _number(job, "id") if match is None else match[1]


def _is_fork(run: dict[str, Any], repository: str | None) -> bool | None:
    head = text_of(part_of(run, "head_repository"), "full_name", _REPOSITORY)
    return None if head is None or repository is None else head.lower() != repository.lower()


def _number(told: dict[str, Any], name: str) -> str | None:
    value = _integer(told, name)
    return None if value is None else str(value)


def _integer(told: dict[str, Any], name: str) -> int | None:
    value = told.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise TokenError(f"`{name}` is no number", Reason.IDENTITY_MALFORMED)
    return value
