"""Buildkite's webhooks: is it theirs, is it fresh, what does it say. Pure. Anything unclear is no event.

Source: Buildkite documentation, "Webhooks": HTTP headers, request data. The signature is the HMAC-SHA256 of the
timestamp, a dot and the body, keyed with the webhook's token.
"""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from proxy.identity.strict import load_object
from proxy.model.errors import TokenError
from proxy.model.event import CiEvent, Unblocked
from proxy.model.grant import Secret
from proxy.model.reason import Reason

WINDOW: Final = timedelta(minutes=5)
"""How far a signature's time may be from ours, either way."""
_SIGNATURE: Final = re.compile(r"timestamp=([0-9]{1,12}),signature=([0-9a-f]{64})")
_EVENT: Final = re.compile(r"[a-z_]{1,32}(?:\.[a-z_]{1,40})?")
UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""As Buildkite writes ids."""
SLUG: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
"""As Buildkite names organizations and pipelines."""
_WORD: Final = re.compile(r"[ -~]{1,255}")
_LINE: Final = re.compile(r"[^\x00-\x1f\x7f]{1,1000}")
_REPOSITORY: Final = re.compile(
    r"(?:(?:https?|git|ssh)://(?:[^/@\s]+@)?|[^/@:\s]+@)(?P<host>[^/:@\s]+)(?::[0-9]+/|[/:])/?(?P<path>[^\s]+?)(?:\.git)?/?"
)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_UNBLOCKED: Final = "job.activated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One delivery as it came in. `fields` by lower-case name, each of ours once."""

    fields: Mapping[str, str]
    body: bytes


def check_signature(delivery: Delivery, token: Secret, now: datetime) -> str:
    """Return what names this delivery among others, once it is known to be Buildkite's and fresh.

    Raises TokenError: `identity-malformed`, `identity-signature`, `identity-expired`.
    """
    match = _SIGNATURE.fullmatch(delivery.fields.get("x-buildkite-signature", ""))
    if match is None or "x-buildkite-token" in delivery.fields:
        raise TokenError("there is not one X-Buildkite-Signature", Reason.IDENTITY_MALFORMED)
    signed = match[1].encode() + b"." + delivery.body
    expected = hmac.new(token.reveal().encode(), signed, sha256).hexdigest()
    if not hmac.compare_digest(expected, match[2]):
        raise TokenError("the signature is not one of this webhook", Reason.IDENTITY_SIGNATURE)
    if abs(now.timestamp() - int(match[1])) > WINDOW.total_seconds():
        raise TokenError("the signature is too old, or of the future", Reason.IDENTITY_EXPIRED)
    return match[2]


def check_token(delivery: Delivery, token: Secret) -> str:
    """Return what names this delivery, once it is known to be Buildkite's. Raises TokenError.

    Nothing of it is signed: whoever saw one delivery can make others. Prefer signatures.
    """
    stated = delivery.fields.get("x-buildkite-token", "")
    if not stated or "x-buildkite-signature" in delivery.fields:
        raise TokenError("there is not one X-Buildkite-Token", Reason.IDENTITY_MALFORMED)
    if not hmac.compare_digest(stated.encode("utf-8", "surrogateescape"), token.reveal().encode()):
        raise TokenError("the token is not this webhook's", Reason.IDENTITY_SIGNATURE)
    return sha256(delivery.body).hexdigest()


def read_event(delivery: Delivery, organization: str) -> CiEvent:
    """Return what a delivery says. Raises TokenError (`identity-malformed`) for what is no event."""
    try:
        told = load_object(delivery.body)
    except ValueError as error:
        raise TokenError(f"the body is no event: {error}", Reason.IDENTITY_MALFORMED) from None
    name = told.get("event")
    if not isinstance(name, str) or _EVENT.fullmatch(name) is None:
        raise TokenError("the event has no name", Reason.IDENTITY_MALFORMED)
    if delivery.fields.get("x-buildkite-event", name) != name:
        raise TokenError("X-Buildkite-Event names another event", Reason.IDENTITY_MALFORMED)
    build, job, pipeline = part_of(told, "build"), part_of(told, "job"), part_of(told, "pipeline")
    number = build.get("number")
    if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 0):
        raise TokenError("`build.number` is no number", Reason.IDENTITY_MALFORMED)
    commit = text_of(build, "commit", _LINE)
    return CiEvent(
        source="buildkite",
        name=name,
        organization=organization,
        pipeline=text_of(pipeline, "slug", SLUG),
        build_id=text_of(build, "id", UUID),
        build_number=number,
        job_id=text_of(job, "id", UUID),
        agent_id=text_of(part_of(told, "agent") or part_of(job, "agent"), "id", UUID),
        step=text_of(job, "step_key", _WORD),
        state=text_of(job or build, "state", _WORD),
        is_blocked=build.get("blocked") is True,
        build_state=text_of(build, "state", _WORD),
        branch=text_of(build, "branch", _LINE),
        commit=commit if _COMMIT.fullmatch(commit or "") else None,  # `HEAD`, before it is known
        is_fork=_read_fork(build, pipeline),
        unblocked=_read_unblocked(job) if name == _UNBLOCKED else None,
    )


def _read_fork(build: dict[str, Any], pipeline: dict[str, Any]) -> bool | None:
    """Return whether a pull request comes from another repository than the pipeline's; None when it cannot be told."""
    if "pull_request" not in build:
        return None
    asked = part_of(build, "pull_request")
    if not asked:
        return False
    theirs, ours = (_name_repository(text_of(part, "repository", _LINE)) for part in (asked, pipeline))
    return None if theirs is None or ours is None else theirs != ours


def _name_repository(url: str | None) -> str | None:
    """Return a repository's host and path in lower case, in whichever form git takes its URL."""
    match = None if url is None else _REPOSITORY.fullmatch(url)
    return None if match is None else f"{match['host']}/{match['path']}".lower()


def _read_unblocked(job: dict[str, Any]) -> Unblocked | None:
    """Return who unblocked a block step, and when; None without a name."""
    person = part_of(job, "unblocked_by")
    known = (text_of(person, "id", UUID), text_of(person, "email", _WORD))
    by = frozenset(name.lower() for name in known if name)
    stated = text_of(job, "unblocked_at", _WORD)
    try:
        at = None if stated is None else datetime.fromisoformat(stated)
    except ValueError:
        raise TokenError("`unblocked_at` is no time", Reason.IDENTITY_MALFORMED) from None
    if at is not None and at.tzinfo is None:
        raise TokenError("`unblocked_at` has no zone", Reason.IDENTITY_MALFORMED)
    return Unblocked(by=by, at=at) if by else None


def part_of(told: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an object within an event, empty where there is none. Raises TokenError for anything else."""
    part = told.get(name)
    if part is None:
        return {}
    if not isinstance(part, dict):
        raise TokenError(f"`{name}` is no object", Reason.IDENTITY_MALFORMED)
    return part


def text_of(part: dict[str, Any], name: str, form: re.Pattern[str]) -> str | None:
    """Return a text of a form, None where there is none. Raises TokenError for anything else."""
    value = part.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or form.fullmatch(value) is None:
        raise TokenError(f"`{name}` is not as the CI writes it", Reason.IDENTITY_MALFORMED)
    return value
