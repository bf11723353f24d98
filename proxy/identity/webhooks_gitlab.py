"""GitLab's webhooks about jobs and pipelines: is it theirs, what does it say. Pure.

A secret token goes along with each delivery and nothing is signed: whoever has seen one can make others, so these
only ever take away. Source: GitLab documentation, "Webhook events" (job events, pipeline events), "Webhooks".
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

_PATH: Final = re.compile(r"[A-Za-z0-9._-]{1,255}(?:/[A-Za-z0-9._-]{1,255}){1,20}")
_WORD: Final = re.compile(r"[a-z_]{1,40}")
_LINE: Final = re.compile(r"[^\x00-\x1f\x7f]{1,1000}")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def check_gitlab(delivery: Delivery, token: Secret) -> str:
    """Return what names this delivery, once it is known to be GitLab's. Raises TokenError."""
    stated = delivery.fields.get("x-gitlab-token", "")
    if not stated:
        raise TokenError("there is no X-Gitlab-Token", Reason.IDENTITY_MALFORMED)
    if not hmac.compare_digest(stated.encode("utf-8", "surrogateescape"), token.reveal().encode()):
        raise TokenError("the token is not this webhook's", Reason.IDENTITY_SIGNATURE)
    return sha256(delivery.body).hexdigest()


def read_gitlab(delivery: Delivery, organization: str) -> CiEvent:
    """Return what a delivery says, under the names that a job's token has. Raises TokenError for what is no event."""
    try:
        told = load_object(delivery.body)
    except ValueError as error:
        raise TokenError(f"the body is no event: {error}", Reason.IDENTITY_MALFORMED) from None
    project = text_of(part_of(told, "project"), "path_with_namespace", _PATH)
    if project is None or not _is_within(project, organization):
        raise TokenError("the project is not within the namespace that this webhook is for", Reason.IDENTITY_MALFORMED)
    match told.get("object_kind"):
        case "build":
            return _read_job(told, project)
        case "pipeline":
            return _read_pipeline(told, part_of(told, "object_attributes"), project)
    raise TokenError("it is no job event and no pipeline event", Reason.IDENTITY_MALFORMED)


def _is_within(project: str, namespace: str) -> bool:
    return project.lower().startswith(f"{namespace.lower()}/")


def _read_job(told: dict[str, Any], project: str) -> CiEvent:
    state = _state(told, "build_status")
    return CiEvent(
        source="gitlab",
        name=f"build.{state}",
        organization=project.rpartition("/")[0],
        repository=project,
        build_id=_number(told, "pipeline_id"),
        job_id=_number(told, "build_id"),
        agent_id=_number(part_of(told, "runner"), "id"),
        step=text_of(told, "build_name", _LINE),
        state=state,
        commit=text_of(told, "sha", _COMMIT),
    )


def _read_pipeline(told: dict[str, Any], about: dict[str, Any], project: str) -> CiEvent:
    state = _state(about, "status")
    return CiEvent(
        source="gitlab",
        name=f"pipeline.{state}",
        organization=project.rpartition("/")[0],
        repository=project,
        build_id=_number(about, "id"),
        state=state,
        build_state=state,
        branch=None if about.get("tag") is True else text_of(about, "ref", _LINE),
        commit=text_of(about, "sha", _COMMIT),
        is_fork=_is_fork(part_of(told, "merge_request")),
    )


def _is_fork(request: dict[str, Any]) -> bool | None:
    if not request:
        return None
    theirs, ours = (_number(request, f"{side}_project_id") for side in ("source", "target"))
    return None if theirs is None or ours is None else theirs != ours


def _state(told: dict[str, Any], name: str) -> str:
    state = text_of(told, name, _WORD)
    if state is None:
        raise TokenError(f"it has no `{name}`", Reason.IDENTITY_MALFORMED)
    return state


def _number(told: dict[str, Any], name: str) -> str | None:
    value = told.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise TokenError(f"`{name}` is no number", Reason.IDENTITY_MALFORMED)
    return str(value)
