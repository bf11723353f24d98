"""What events said of a build is what rules are told of its jobs, within bounds."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from proxy.engine.builds import BuildBook
from proxy.model.event import CiEvent, Unblocked
from proxy.model.identity import JobContext

NOW = datetime(2030, 1, 1, tzinfo=UTC)
JOB = JobContext(
    organization="acme",
    pipeline="shop",
    build_number=7,
    job_id="j-1",
    agent_id="a-1",
    branch="main",
    commit="c" * 40,
)
EVENT = CiEvent(source="buildkite", name="job.started", organization="acme", pipeline="shop", build_number=7)
STARTED = replace(EVENT, job_id="j-1", agent_id="a-1", state="running", build_state="running")


def book(*events: CiEvent) -> BuildBook:
    made = BuildBook()
    for event in events:
        made.note(event, NOW)
    return made


def test_what_agrees_and_what_does_not() -> None:
    """The agent, branch and commit that events name against those that the token states."""
    told = replace(STARTED, branch="main", commit="c" * 40, is_fork=False)
    assert book(told).about(JOB) == {
        "build_state": "running",
        "job_state": "running",
        "agent_matches": True,
        "branch_matches": True,
        "commit_matches": True,
        "fork": False,
    }
    other = book(replace(told, agent_id="a-2", branch="dev", commit="d" * 40, is_fork=True)).about(JOB)
    assert {name for name, fact in other.items() if fact is False} == {
        "agent_matches",
        "branch_matches",
        "commit_matches",
    }
    assert other["fork"] is True


def test_what_is_not_told_is_not_stated() -> None:
    """No event, no number, another pipeline, a token without the fact: nothing is said."""
    known = book(replace(STARTED, branch="main", commit="c" * 40))
    assert book().about(JOB) == {}
    assert book(replace(STARTED, pipeline=None), replace(STARTED, build_number=None)).about(JOB) == {}
    for job in (
        replace(JOB, pipeline="other"),
        replace(JOB, organization="other"),
        replace(JOB, build_number=None),
        replace(JOB, pipeline=None),
        replace(JOB, organization=None),
    ):
        assert known.about(job) == {}
        assert known.unblocked(job, "release") is None
    poor = known.about(replace(JOB, job_id=None, branch=None, commit=None))
    assert poor == {"build_state": "running"}
    assert "agent_matches" not in known.about(replace(JOB, agent_id=None))
    assert "agent_matches" not in book(replace(STARTED, agent_id=None)).about(JOB)


def test_later_events_add_and_an_ended_job_stays_ended() -> None:
    """Deliveries may come in any order: a late `started` does not undo a `finished`."""
    finished = replace(STARTED, state="finished", build_state=None)
    made = book(replace(EVENT, is_fork=True), STARTED, finished, STARTED, replace(EVENT, build_state="canceled"))
    assert made.about(JOB) == {
        "build_state": "canceled",
        "job_state": "finished",
        "agent_matches": True,
        "fork": True,
    }


def test_a_step_is_unblocked_by_the_last_who_did_and_never_in_the_future() -> None:
    """A time that is still to come counts from now; one that is not told, too."""
    late, none = (Unblocked(by=frozenset({name}), at=at) for name, at in (("u", NOW + timedelta(hours=1)), ("v", None)))
    activated = replace(EVENT, step="release")
    made = book(replace(activated, unblocked=late), replace(activated, unblocked=none), replace(activated, step=None))
    assert made.unblocked(JOB, "release") == Unblocked(by=frozenset({"v"}), at=NOW)
    assert book(replace(activated, unblocked=late)).unblocked(JOB, "release") == replace(late, at=NOW)
    assert book(replace(EVENT, unblocked=late)).unblocked(JOB, "release") is None


def test_what_is_kept_is_bounded() -> None:
    """Builds go, the longest unheard of first; jobs and steps beyond the bound are not taken in."""
    made = BuildBook(most=2, per_build=1)
    for number in (1, 2, 1, 3):
        made.note(replace(EVENT, build_number=number, build_state="running"), NOW)
    assert [made.about(replace(JOB, build_number=number)) != {} for number in (1, 2, 3)] == [True, False, True]
    for job in ("j-1", "j-2"):
        made.note(replace(STARTED, job_id=job, step=job, unblocked=Unblocked(frozenset({"u"}))), NOW)
    assert made.about(JOB)["job_state"] == "running"
    assert "job_state" not in made.about(replace(JOB, job_id="j-2"))
    assert made.unblocked(JOB, "j-2") is None


def test_elsewhere_a_build_is_told_by_its_id() -> None:
    """Two repositories may have a workflow of one name and a run of one number; one CI says nothing of another's."""
    run = CiEvent(
        source="github",
        name="workflow_run.requested",
        organization="acme",
        pipeline="shop",
        build_number=7,
        build_id="11",
        is_fork=True,
    )
    known = book(run, replace(run, build_id=None))
    job = replace(JOB, build_id="11")
    assert known.about(job, "github") == {"fork": True}
    assert known.about(replace(job, build_id="12"), "github") == {}
    assert known.about(replace(job, build_id=None), "github") == {}
    assert known.about(job, "gitlab") == {}
    assert known.about(job) == {}
