"""What is stopped stays stopped, whatever fails; what goes on does so only once that is stored and on record."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from proxy.engine.kills import KillDesk, KillParts, KillSwitch, is_aimed_at_flow, is_aimed_at_job
from proxy.model.errors import AuditError
from proxy.model.identity import JobContext, Principal, Session
from proxy.model.kill import Kill, KillScope
from proxy.model.record import Kind
from tests.fakes.clock import FixedClock
from tests.fakes.entropy import CountingEntropy
from tests.fakes.trail import RecordingTrail

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
JOB = JobContext(organization="acme", pipeline="web", step="build", job_id="j1")


def kill(scope: KillScope, value: str, name: str = "k1") -> Kill:
    return Kill(id=name, scope=scope, value=value, why="x", at=NOW)


@pytest.mark.parametrize(
    "scope, value, aimed",
    [
        (KillScope.ORGANIZATION, "acme", True),
        (KillScope.PIPELINE, "web", True),
        (KillScope.STEP, "build", True),
        (KillScope.JOB, "j1", True),
        (KillScope.JOB, "j2", False),
        (KillScope.PIPELINE, "build", False),
        (KillScope.PIPELINE, "Web", False),
        (KillScope.RULE, "web", False),
        (KillScope.HOST, "web", False),
    ],
)
def test_jobs_are_stopped_by_what_their_issuer_states(scope: KillScope, value: str, aimed: bool) -> None:  # noqa: FBT001 - a table
    """Exactly the stated fact of that name; a fact that is not stated matches nothing."""
    assert is_aimed_at_job(kill(scope, value), JOB) is aimed
    assert not is_aimed_at_job(kill(scope, value), JobContext())
    assert (KillSwitch([kill(scope, value)]).of_job(JOB) is not None) is aimed


@pytest.mark.parametrize(
    "scope, value, aimed",
    [
        (KillScope.HOST, "a.test", True),
        (KillScope.HOST, "*.test", True),
        (KillScope.HOST, "*.a.test", False),
        (KillScope.HOST, "test", False),
        (KillScope.HOST, "b.test", False),
        (KillScope.RULE, "second", True),
        (KillScope.RULE, "third", False),
        (KillScope.CONNECTOR, "aws", True),
        (KillScope.CONNECTOR, "header", False),
        (KillScope.JOB, "aws", False),
    ],
)
def test_flows_are_stopped_by_host_rule_and_connector(scope: KillScope, value: str, aimed: bool) -> None:  # noqa: FBT001 - a table
    """The host itself or what is below it, any rule that spoke, the connector of the credential."""
    assert is_aimed_at_flow(kill(scope, value), "a.test", frozenset({"first", "second"}), "aws") is aimed
    assert (KillSwitch([kill(scope, value)]).of_flow("a.test", ("first", "second"), "aws") is not None) is aimed


def test_nothing_is_stopped_by_nothing() -> None:
    """An empty switch stops nobody, and a lifted kill nobody any more."""
    switch = KillSwitch()
    assert switch.of_job(JOB) is None
    assert switch.of_flow("a.test") is None
    switch.add(kill(KillScope.JOB, "j1"))
    assert switch.of_job(JOB) is not None
    assert switch.lift("k1") is not None
    assert switch.lift("k1") is None
    assert switch.of_job(JOB) is None


class Memory:
    """A store that fails on cue."""

    def __init__(self) -> None:
        self.saved: list[tuple[Kill, ...]] = []
        self.fault: OSError | None = None

    async def save(self, kills: tuple[Kill, ...]) -> None:
        if self.fault is not None:
            raise self.fault
        self.saved.append(kills)


class Held:
    """Two sessions, of two jobs."""

    def __init__(self) -> None:
        principal = Principal(provider="x", issuer="x", subject="x", token_digest="")
        first = Session(id="s1", principal=principal, job=JOB, opened_at=NOW, expires_at=NOW + timedelta(hours=1))
        self.sessions = (first, replace(first, id="s2", job=replace(JOB, job_id="j2")))
        self.closed: list[tuple[str, str]] = []

    async def close(self, session_id: str, why: str) -> bool:
        self.closed.append((session_id, why))
        return True


class Bench:
    def __init__(self, trail: RecordingTrail | None = None) -> None:
        self.trail, self.store, self.held = trail or RecordingTrail(), Memory(), Held()
        self.switch = KillSwitch()
        self.cut: list[Kill] = []
        parts = KillParts(
            clock=FixedClock(NOW),
            entropy=CountingEntropy(),
            trail=self.trail,
            store=self.store,
            sessions=self.held,
            cut=self.cut.append,
            together=asyncio.gather,
        )
        self.desk = KillDesk(self.switch, parts)


async def test_a_kill_is_made_effective_stored_and_recorded() -> None:
    """The job's sessions end, flows are cut, the store and the trail know it."""
    bench = Bench()
    made = await bench.desk.kill("job", "j1", "stolen token")
    assert bench.desk.kills == (made,)
    assert bench.held.closed == [("s1", "killed")]
    assert bench.cut == [made]
    assert bench.store.saved == [(made,)]
    (record,) = bench.trail.records
    assert record.kind is Kind.KILL_SET
    assert record.facts == {"kill": "id-1", "scope": "job", "value": "j1", "why": "stolen token", "sessions": 1}


async def test_what_is_no_kill_stops_nothing() -> None:
    """A bad request changes nothing."""
    bench = Bench()
    with pytest.raises(ValueError, match="say why"):
        await bench.desk.kill("job", "j1", "")
    assert (bench.desk.kills, bench.cut, bench.store.saved) == ((), [], [])


@pytest.mark.parametrize("fault", ["store", "trail"])
async def test_a_kill_holds_even_if_it_cannot_be_kept(fault: str) -> None:
    """A full disk does not let the job go on."""
    bench = Bench(RecordingTrail(fail_on=1) if fault == "trail" else None)
    bench.store.fault = OSError("full") if fault == "store" else None
    with pytest.raises((OSError, AuditError)):
        await bench.desk.kill("pipeline", "web", "x")
    assert bench.switch.of_job(JOB) is not None
    assert [session for session, _ in bench.held.closed] == ["s1", "s2"]


async def test_lifting_is_stored_and_recorded_first() -> None:
    """It goes on only after that; an id nobody knows is nothing."""
    bench = Bench()
    made = await bench.desk.kill("host", "*.test", "x")
    assert await bench.desk.lift("nobody") is None
    assert await bench.desk.lift(made.id) == made
    assert bench.store.saved[-1] == ()
    assert bench.trail.records[-1].kind is Kind.KILL_LIFTED
    assert bench.desk.kills == ()


@pytest.mark.parametrize("fault", ["store", "trail"])
async def test_what_cannot_be_lifted_stays(fault: str) -> None:
    """Neither an unwritable store nor an unwritable trail lets anything go on."""
    bench = Bench(RecordingTrail(fail_on=2))
    made = await bench.desk.kill("rule", "deploy", "x")
    bench.store.fault = OSError("full") if fault == "store" else None
    with pytest.raises((OSError, AuditError)):
        await bench.desk.lift(made.id)
    assert bench.desk.kills == (made,)
