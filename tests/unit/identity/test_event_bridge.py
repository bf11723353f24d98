"""Buildkite's events on a queue: from its event source, of the organization, never that a step was unblocked."""

import json
from typing import Any

import pytest

from proxy.identity.event_bridge import NAMES, read_bridged
from proxy.model.errors import TokenError

JOB, BUILD, AGENT = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "abc")
DETAIL: dict[str, Any] = {
    "version": 1,
    "job": {"uuid": JOB, "step_key": "release", "state": "finished", "agent": {"uuid": AGENT}},
    "build": {"uuid": BUILD, "number": 7, "state": "running", "branch": "main", "commit": "a" * 40},
    "pipeline": {"slug": "shop"},
    "organization": {"slug": "acme"},
}


def message(kind: str = "Job Finished", **changes: Any) -> bytes:
    told = {
        "version": "0",
        "id": "e-1",
        "detail-type": kind,
        "source": "aws.partner/buildkite.com/acme/1",
        "account": "1",
        "detail": DETAIL,
    }
    return json.dumps({**told, **changes}).encode()


def test_an_event_is_what_the_webhook_says() -> None:
    """Names and ids as a job's token has them; its own id tells it from others."""
    found = read_bridged(message(), "acme")
    assert found is not None
    event, delivery = found
    assert delivery == "eventbridge e-1"
    assert (event.source, event.name, event.organization, event.pipeline) == (
        "buildkite",
        "job.finished",
        "acme",
        "shop",
    )
    assert (event.job_id, event.build_id, event.build_number, event.agent_id) == (JOB, BUILD, 7, AGENT)
    assert (event.step, event.state, event.build_state) == ("release", "finished", "running")
    assert (event.branch, event.commit, event.is_blocked, event.unblocked) == ("main", "a" * 40, False, None)


@pytest.mark.parametrize("kind", NAMES)
def test_every_detail_type_has_the_webhooks_name(kind: str) -> None:
    """And none carries who unblocked a step: the queue's messages are not signed."""
    detail = {**DETAIL, "job": {**DETAIL["job"], "unblocked_by": {"uuid": AGENT}}}
    found = read_bridged(message(kind, detail=detail), "acme")
    assert found is not None
    assert found[0].name == NAMES[kind]
    assert found[0].unblocked is None


def test_other_detail_types_say_nothing_to_us() -> None:
    """They are taken from the queue and that is all."""
    assert read_bridged(message("Audit Event Logged"), "acme") is None


def test_a_blocked_build_is_not_over() -> None:
    """EventBridge calls it finished, in the state `blocked`; a commit may be a word before it is known."""
    detail = {**DETAIL, "job": None, "build": {**DETAIL["build"], "state": "blocked", "commit": "HEAD", "number": None}}
    found = read_bridged(message("Build Finished", detail=detail), "acme")
    assert found is not None
    assert (found[0].is_blocked, found[0].commit, found[0].build_number) == (True, None, None)


@pytest.mark.parametrize(
    "body",
    [
        b"no JSON",
        message(source="aws.s3"),
        message(source=None),
        message(id=None),
        message(id="a b"),
        message(detail={**DETAIL, "organization": {"slug": "mallory"}}),
        message(detail={**DETAIL, "organization": None}),
        message(detail={**DETAIL, "build": {"number": "7"}}),
        message(detail={**DETAIL, "build": {"number": True}}),
        message(detail={**DETAIL, "job": {"uuid": "x"}}),
    ],
)
def test_anything_else_is_no_event(body: bytes) -> None:
    """Another source, another organization, another shape."""
    with pytest.raises(TokenError):
        read_bridged(body, "acme")
