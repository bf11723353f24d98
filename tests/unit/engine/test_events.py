"""An event ends the sessions of what has ended, once, and nothing else; whatever comes is on record within bounds."""

import asyncio
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Literal

import pytest

from proxy.engine.builds import BuildBook
from proxy.engine.events import EventDesk, EventParts, EventSource, has_ended
from proxy.model.errors import AuditError
from proxy.model.event import CiEvent, Unblocked
from proxy.model.grant import Secret
from proxy.model.identity import JobContext, Principal, Session
from proxy.model.reason import Reason
from proxy.model.record import AuditRecord, Kind
from tests.fakes.clock import FixedClock
from tests.fakes.trail import RecordingTrail

NOW = datetime(2030, 1, 1, tzinfo=UTC)
JOB = JobContext(organization="acme", pipeline="shop", build_number=7, build_id="b-1", job_id="j-1", agent_id="a-1")
SESSION = Session(
    id="s-1",
    principal=Principal(provider="buildkite", issuer="i", subject="s", token_digest="d"),
    job=JOB,
    opened_at=NOW,
    expires_at=NOW + timedelta(hours=1),
)
FINISHED = CiEvent(source="buildkite", name="job.finished", organization="acme", job_id="j-1")
BUILD = CiEvent(source="buildkite", name="build.finished", organization="acme", pipeline="shop", build_number=7)
LOST = CiEvent(source="buildkite", name="agent.lost", organization="acme", agent_id="a-1")


class Desk:
    """Holds sessions until they are closed."""

    def __init__(self) -> None:
        self.held = {"s-1": SESSION, "s-2": replace(SESSION, id="s-2", job=replace(JOB, job_id="j-2"))}
        self.closed: list[tuple[str, str]] = []

    @property
    def sessions(self) -> tuple[Session, ...]:
        return tuple(self.held.values())

    async def close(self, session_id: str, why: str) -> bool:
        self.closed.append((session_id, why))
        return self.held.pop(session_id, None) is not None


class Stage:
    def __init__(self, trail: RecordingTrail | None = None, remembered: int = 100) -> None:
        self.clock, self.trail, self.sessions = FixedClock(NOW), trail or RecordingTrail(), Desk()
        self.builds = BuildBook()
        parts = EventParts(
            clock=self.clock,
            trail=self.trail,
            sessions=self.sessions,
            together=asyncio.gather,
            builds=self.builds,
        )
        self.desk = EventDesk(parts, remembered)


@pytest.mark.parametrize(
    "event",
    [
        FINISHED,
        BUILD,
        replace(BUILD, name="build.skipped"),
        replace(BUILD, build_number=None, pipeline=None, build_id="b-1"),
        LOST,
        replace(LOST, name="agent.stopped"),
    ],
)
def test_what_has_ended_ends_its_sessions(event: CiEvent) -> None:
    """By the job's id, the build's id or number, the agent's id, as the token stated them."""
    assert has_ended(SESSION, event)


@pytest.mark.parametrize(
    "event",
    [
        replace(FINISHED, source="github"),
        replace(FINISHED, organization="other"),
        replace(FINISHED, job_id="j-2"),
        replace(FINISHED, job_id=None),
        replace(FINISHED, name="job.started"),
        replace(BUILD, is_blocked=True),
        replace(BUILD, pipeline="other"),
        replace(BUILD, pipeline=None),
        replace(BUILD, build_number=8),
        replace(BUILD, build_number=None, build_id="b-2"),
        replace(BUILD, name="build.running"),
        replace(LOST, agent_id="a-2"),
        replace(LOST, agent_id=None),
    ],
)
def test_anything_else_ends_nothing(event: CiEvent) -> None:
    """Another CI, organization, job, build or agent; a build that waits; what has not ended."""
    assert not has_ended(SESSION, event)


def test_a_job_that_states_nothing_is_not_meant() -> None:
    """What neither side says is not the same."""
    silent = replace(SESSION, job=JobContext(organization="acme"))
    for event in (replace(FINISHED, job_id=None), replace(BUILD, build_number=None, pipeline=None), LOST):
        assert not has_ended(silent, event)


async def test_an_event_is_acted_on_once() -> None:
    """The session ends and both are on record; the same delivery again does nothing, until it could not be fresh."""
    stage = Stage()
    assert await stage.desk.receive(FINISHED, "d-1") == 1
    assert stage.sessions.closed == [("s-1", "event")]
    assert await stage.desk.receive(FINISHED, "d-1") is None
    assert await stage.desk.receive(replace(BUILD, is_blocked=True), "d-2") == 0
    (first, second) = stage.trail.of(Kind.EVENT_RECEIVED)
    assert first.facts == {
        "source": "buildkite",
        "event": "job.finished",
        "organization": "acme",
        "job_id": "j-1",
        "ended": ["s-1"],
    }
    assert second.facts["blocked"] is True
    stage.clock.advance(timedelta(minutes=12))
    assert await stage.desk.receive(FINISHED, "d-1") == 0


class FullTrail(RecordingTrail):
    """Cannot take a record, once."""

    full = True

    async def append(self, record: AuditRecord) -> None:
        if self.full:
            self.full = False
            raise AuditError("full")
        await super().append(record)


async def test_listeners_hear_what_is_on_record() -> None:
    """Each event once, and none that could not be recorded."""
    stage = Stage(RecordingTrail(fail_on=1))
    heard: list[CiEvent] = []
    stage.desk.on_event(heard.append)
    with pytest.raises(AuditError):
        await stage.desk.receive(FINISHED, "d-1")
    assert heard == []
    await stage.desk.receive(FINISHED, "d-1")
    await stage.desk.receive(FINISHED, "d-1")
    assert heard == [FINISHED]


async def test_an_event_that_could_not_be_recorded_may_come_again() -> None:
    """What it ended has ended; its next delivery is no repetition."""
    stage = Stage(FullTrail())
    with pytest.raises(AuditError):
        await stage.desk.receive(FINISHED, "d-1")
    assert stage.sessions.closed == [("s-1", "event")]
    assert await stage.desk.receive(FINISHED, "d-1") == 0
    assert len(stage.trail.of(Kind.EVENT_RECEIVED)) == 1


async def test_what_is_remembered_is_bounded() -> None:
    """A flood of authentic deliveries is acted on, if not remembered."""
    stage = Stage(remembered=1)
    assert await stage.desk.receive(LOST, "d-1") == 2
    assert await stage.desk.receive(LOST, "d-2") == 0
    assert await stage.desk.receive(LOST, "d-2") == 0


@pytest.mark.parametrize(
    "form, fields, body, is_authentic",
    [
        ("signature", {}, b"{}", False),
        ("token", {"x-buildkite-token": "wrong"}, b"{}", False),
        ("token", {"x-buildkite-token": "right"}, b"{}", True),
    ],
)
async def test_a_delivery_that_is_not_accepted_is_on_record(
    form: Literal["signature", "token"], fields: dict[str, str], body: bytes, *, is_authentic: bool
) -> None:
    """What is not Buildkite's, and what is and says nothing."""
    stage = Stage()
    source = EventSource(organization="acme", token=Secret("right"), form=form)
    found = await stage.desk.deliver(source, fields, body, "127.0.0.1:9")
    assert found is not None
    assert found.is_authentic is is_authentic
    assert stage.trail.of(Kind.EVENT_REFUSED)[0].facts["detail"] == found.detail


async def test_a_delivery_that_is_accepted_is_acted_on() -> None:
    """By its plain token here; signatures have tests of their own."""
    stage = Stage()
    source = EventSource(organization="acme", token=Secret("right"), form="token")
    body = b'{"event":"build.finished","build":{"number":7},"pipeline":{"slug":"shop"}}'
    assert await stage.desk.deliver(source, {"x-buildkite-token": "right"}, body, "127.0.0.1:9") is None
    assert [name for name, _ in stage.sessions.closed] == ["s-1", "s-2"]


ACTIVATED = CiEvent(
    source="buildkite",
    name="job.activated",
    organization="acme",
    pipeline="shop",
    build_number=7,
    step="release",
    is_fork=True,
    unblocked=Unblocked(by=frozenset({"u-1", "ann@acme.test"}), at=NOW),
)


async def test_an_unblocked_step_counts_once_it_is_on_record() -> None:
    """What takes away counts either way; what gives needs its record."""
    stage = Stage(FullTrail())
    with pytest.raises(AuditError):
        await stage.desk.receive(ACTIVATED, "d-1")
    assert stage.builds.unblocked(JOB, "release") is None
    assert stage.builds.about(JOB) == {"fork": True}
    stage = Stage()
    await stage.desk.receive(ACTIVATED, "d-1")
    assert stage.builds.unblocked(JOB, "release") == ACTIVATED.unblocked
    facts = stage.trail.of(Kind.EVENT_RECEIVED)[0].facts
    assert (facts["unblocked_by"], facts["fork"]) == (["ann@acme.test", "u-1"], True)


@pytest.mark.parametrize("form", ["signature", "token"])
async def test_only_a_signed_delivery_unblocks(form: Literal["signature", "token"]) -> None:
    """Whoever saw one delivery that shows a plain token can make others."""
    stage = Stage()
    told = {
        "event": "job.activated",
        "job": {"step_key": "release", "unblocked_by": {"email": "Ann@acme.test"}},
        "build": {"number": 7},
        "pipeline": {"slug": "shop"},
    }
    body = json.dumps(told).encode()
    stamp = str(int(NOW.timestamp()))
    signature = hmac.new(b"right", stamp.encode() + b"." + body, sha256).hexdigest()
    fields = (
        {"x-buildkite-token": "right"}
        if form == "token"
        else {"x-buildkite-signature": f"timestamp={stamp},signature={signature}"}
    )
    source = EventSource(organization="acme", token=Secret("right"), form=form)
    assert await stage.desk.deliver(source, fields, body, "127.0.0.1:9") is None
    found = stage.builds.unblocked(JOB, "release")
    assert found == (Unblocked(by=frozenset({"ann@acme.test"}), at=NOW) if form == "signature" else None)


def test_refusals_are_on_record_within_bounds() -> None:
    """Sixty in a minute, the last of which says that there may be more; the next minute has its own."""
    stage = Stage()
    for _ in range(100):
        stage.desk.refuse(Reason.IDENTITY_SIGNATURE, "wrong", "127.0.0.1:9")
    refused = stage.trail.of(Kind.EVENT_REFUSED)
    assert len(refused) == 60
    assert refused[0].facts == {"reason": "identity-signature", "detail": "wrong", "client": "127.0.0.1:9"}
    assert refused[-1].facts["more"] is True
    stage.clock.advance(timedelta(minutes=1))
    stage.desk.refuse(Reason.IDENTITY_SIGNATURE, "wrong", "127.0.0.1:9")
    assert len(stage.trail.of(Kind.EVENT_REFUSED)) == 61


GITHUB_SIGNATURE = f"sha256={hmac.new(b'right', b'{}', sha256).hexdigest()}"
RUN = CiEvent(source="github", name="workflow_run.completed", organization="acme", build_id="11", attempt=2)


def on_github(**claims: object) -> Session:
    job = JobContext(organization="acme", pipeline="shop", build_number=7, build_id="11", job_id="33", claims=claims)
    return replace(SESSION, principal=replace(SESSION.principal, provider="github"), job=job)


def test_a_run_ends_its_own_attempt_only() -> None:
    """Run again it has the same id: what ended before says nothing of it; a number is no name there."""
    assert has_ended(on_github(run_attempt="2"), RUN)
    assert has_ended(on_github(run_attempt=2), RUN)
    assert has_ended(on_github(), RUN)
    assert has_ended(on_github(run_attempt="3"), replace(RUN, attempt=None))
    assert not has_ended(on_github(run_attempt="3"), RUN)
    assert not has_ended(on_github(), replace(RUN, build_id=None, pipeline="shop", build_number=7))
    job = replace(RUN, name="workflow_job.completed", build_id=None, job_id="33")
    assert has_ended(on_github(run_attempt="2"), job)


@pytest.mark.parametrize(
    "form, fields, body",
    [
        ("github", {"x-hub-signature-256": GITHUB_SIGNATURE, "x-github-event": "ping"}, b"{}"),
        (
            "gitlab",
            {"x-gitlab-token": "right"},
            b'{"object_kind":"build","build_status":"success","project":{"path_with_namespace":"acme/a"}}',
        ),
    ],
)
async def test_other_cis_deliveries_are_read_as_theirs(
    form: Literal["github", "gitlab"], fields: dict[str, str], body: bytes
) -> None:
    """Each by its own check and its own reader."""
    stage = Stage()
    source = EventSource(organization="acme", token=Secret("right"), form=form)
    assert await stage.desk.deliver(source, fields, body, "127.0.0.1:9") is None
    assert stage.trail.of(Kind.EVENT_RECEIVED)[0].facts["source"] == form
