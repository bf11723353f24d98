"""Buildkite's events as Amazon EventBridge carries them: what does one say. Pure.

Who may put events on the queue is for its policy: whoever can is believed, as a webhook without a signature would be,
so an event may end sessions and never says that a step was unblocked. Source: Buildkite documentation, "Amazon
EventBridge": a partner event source `aws.partner/buildkite.com/ORGANIZATION/...`.
"""

import re
from typing import Any, Final

from proxy.identity.strict import load_object
from proxy.identity.webhooks import SLUG, UUID, part_of, text_of
from proxy.model.errors import TokenError
from proxy.model.event import CiEvent
from proxy.model.reason import Reason

NAMES: Final = {
    "Build Created": "build.scheduled",
    "Build Started": "build.running",
    "Build Failing": "build.failing",
    "Build Finished": "build.finished",
    "Job Scheduled": "job.scheduled",
    "Job Started": "job.started",
    "Job Finished": "job.finished",
    "Job Activated": "job.activated",
    "Agent Connected": "agent.connected",
    "Agent Disconnected": "agent.disconnected",
    "Agent Lost": "agent.lost",
    "Agent Stopping": "agent.stopping",
    "Agent Stopped": "agent.stopped",
}
"""EventBridge's detail types, as the webhook calls the same."""

_SOURCE: Final = re.compile(r"aws\.partner/buildkite\.com/[A-Za-z0-9._/-]{1,200}")
_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_WORD: Final = re.compile(r"[ -~]{1,255}")
_LINE: Final = re.compile(r"[^\x00-\x1f\x7f]{1,1000}")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def read_bridged(body: bytes, organization: str) -> tuple[CiEvent, str] | None:
    """Return an event and its id; None for a detail type that says nothing to us. Raises TokenError."""
    try:
        told = load_object(body)
    except ValueError as error:
        raise TokenError(f"the message is no event: {error}", Reason.IDENTITY_MALFORMED) from None
    if text_of(told, "source", _SOURCE) is None:
        raise TokenError("the event is not from Buildkite's event source", Reason.IDENTITY_MALFORMED)
    delivery = text_of(told, "id", _ID)
    if delivery is None:
        raise TokenError("the event has no id", Reason.IDENTITY_MALFORMED)
    name = NAMES.get(str(told.get("detail-type")))
    if name is None:
        return None
    detail = part_of(told, "detail")
    if text_of(part_of(detail, "organization"), "slug", SLUG) != organization:
        raise TokenError("the event is another organization's", Reason.IDENTITY_MALFORMED)
    return _read(detail, name, organization), f"eventbridge {delivery}"


def _read(detail: dict[str, Any], name: str, organization: str) -> CiEvent:
    build, job = part_of(detail, "build"), part_of(detail, "job")
    number = build.get("number")
    if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 0):
        raise TokenError("`build.number` is no number", Reason.IDENTITY_MALFORMED)
    state = text_of(build, "state", _WORD)
    commit = text_of(build, "commit", _LINE)
    return CiEvent(
        source="buildkite",
        name=name,
        organization=organization,
        pipeline=text_of(part_of(detail, "pipeline"), "slug", SLUG),
        build_id=text_of(build, "uuid", UUID),
        build_number=number,
        job_id=text_of(job, "uuid", UUID),
        agent_id=text_of(part_of(detail, "agent") or part_of(job, "agent"), "uuid", UUID),
        step=text_of(job, "step_key", _WORD),
        state=text_of(job or build, "state", _WORD),
        is_blocked=state == "blocked",
        build_state=state,
        branch=text_of(build, "branch", _LINE),
        commit=commit if _COMMIT.fullmatch(commit or "") else None,
    )
