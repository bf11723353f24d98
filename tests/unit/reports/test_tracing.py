"""From a commit to artifacts, and back, over jobs that handed them on."""

from typing import Any

import pytest

from proxy.reports import tracing
from proxy.reports.artifacts import Way
from proxy.reports.tracing import About, Trace, read_target, trace
from tests.fakes.reported import COMMIT, DIGEST, HEX, Trail, sample


def follow(text: str, trail: Trail | None = None, depth: int = 1) -> Trace:
    records = (trail or sample()).records
    return trace(lambda: iter(records), read_target(text), depth)


def keys(found: Trace) -> list[str]:
    return [job.key for job in found.jobs]


@pytest.mark.parametrize(
    "text, about, read",
    [
        (DIGEST, About.ARTIFACT, DIGEST),
        (HEX, About.ARTIFACT, DIGEST),
        ("web#7", About.BUILD, "web#7"),
        (COMMIT.upper(), About.COMMIT, COMMIT),
        (COMMIT[:7], About.COMMIT, COMMIT[:7]),
        ("9f2c1d", About.ID, "9f2c1d"),
        ("job-build", About.ID, "job-build"),
    ],
)
def test_what_a_text_names(text: str, about: About, read: str) -> None:
    """A digest, a build, a commit or an id, told by its form."""
    target = read_target(text)
    assert (target.about, target.text) == (about, read)


@pytest.mark.parametrize("text", [COMMIT, COMMIT[:8], "web#7", "job-build", "s-build", "f1"])
def test_from_the_beginning_of_the_way_to_its_end(text: str) -> None:
    """Commit, build, job, session or flow: the job, and by what it published the next one."""
    assert keys(follow(text)) == ["job-build", "job-deploy"]
    assert keys(follow(text, depth=0)) == ["job-build"]


def test_from_an_artifact_both_ways() -> None:
    """Who published it, from which commit; who fetched it, and what came of that."""
    found = follow(DIGEST)
    assert keys(found) == ["job-build", "job-deploy"]
    build, deploy = found.jobs
    assert build.job["commit"] == COMMIT
    assert [each.digest for each in build.moved(Way.PUBLISHED)] == [DIGEST]
    assert [each.name for each in deploy.moved(Way.PUBLISHED)] == ["image"]
    assert [(other.key, each.way) for other, each in found.others(build)[DIGEST]] == [("job-deploy", Way.FETCHED)]


def test_back_from_what_was_made_of_it() -> None:
    """The image leads to the job that made it, that to what it fetched, that to the commit."""
    found = follow("cd" * 32)
    assert keys(found) == ["job-build", "job-deploy"]
    assert keys(follow("cd" * 32, depth=0)) == ["job-deploy"]


def test_what_a_job_did_is_all_there() -> None:
    """Times, flows, hosts, rules, credentials with their fate, denials, events before and after."""
    job = follow("job-build").jobs[0]
    assert job.title == "web#7 build"
    assert (job.allowed, job.denied) == (1, 1)
    assert job.opened < job.closed
    assert job.issuer == "https://ci.example"
    assert [(each["credential"], each.get("fate")) for each in job.credentials] == [("c1", "revoked"), ("c2", None)]
    assert [each["reason"] for each in job.denials] == ["no-rule"]
    assert [each["event"] for each in job.events] == ["job.started", "job.finished"]
    assert job.rules == {"r1": 1}


def test_a_job_that_shows_itself_late_is_gathered_whole() -> None:
    """It is recognized by an artifact; what it did before is found by reading once more."""
    trail = Trail()
    trail.job("late").opens().flows("f0", effect="deny").publishes("f1").closes()
    (job,) = follow(DIGEST, trail, depth=0).jobs
    assert (job.allowed, job.denied, bool(job.opened)) == (1, 1, True)


def test_a_body_of_plain_http_is_followed_too() -> None:
    """Not listed for every page; for one digest that is asked, an upload by PUT is."""
    trail = Trail()
    trail.job("a").opens().flows("f1", {"sent_sha256": HEX}, method="PUT", protocol="http")
    trail.job("b").opens().flows("f2", {"received_sha256": HEX}, protocol="http")
    assert keys(follow(DIGEST, trail)) == ["job-a"]


def test_jobs_without_an_id_are_told_by_their_session() -> None:
    """Some issuers name no job; a title says what is known."""
    trail = Trail()
    trail.job("a", job_id=None, step=None, build_number=None).opens().publishes("f1")
    (job,) = follow(DIGEST, trail).jobs
    assert (job.key, job.title) == ("s-a", "web#?")


def test_records_without_a_job_lead_nowhere() -> None:
    """Refused connections, outcomes without decision, local flows: nobody's."""
    trail = Trail().add("flow.decision", flow="f", effect="allow").add("flow.outcome", flow="f", reason="allowed")
    trail.add("flow.outcome", flow="g").add("session.opened", session="s", job={}).add("proxy.stopped")
    trail.add("session.opened", job={"pipeline": "x"}).add("credential.minted").add("session.closed")
    found = follow(DIGEST, trail)
    assert found.jobs == ()
    assert found.size == 8


def test_what_is_sealed_is_counted() -> None:
    """It may hold more of the way; the trace says so."""
    trail = sample().add("flow.decision", flow="f9", sealed={"class": "c"})
    assert follow("job-build", trail).sealed == 1


def test_lists_are_bounded() -> None:
    """All denials are counted, so many listed; events of jobs that never show are forgotten."""
    trail = Trail()
    for number in range(tracing.MAX_EARLY + 1):
        trail.add("event.received", event="job.started", job_id=f"x{number}" if number else "job-a")
    job = trail.job("a").opens()
    for number in range(tracing.MAX_DENIED + 1):
        job.flows(f"d{number}", effect="deny")
    (found,) = follow("job-a", trail).jobs
    assert (found.denied, len(found.denials)) == (tracing.MAX_DENIED + 1, tracing.MAX_DENIED)
    assert found.events == []


def test_a_trail_is_read_as_often_as_there_are_steps() -> None:
    """Once where the first reading finds no more to follow."""
    count: list[int] = []
    trail = Trail()
    trail.job("a").opens().closes()

    def records() -> Any:
        count.append(1)
        return iter(trail.records)

    trace(records, read_target("job-a"), depth=5)
    assert len(count) == 1
