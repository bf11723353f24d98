"""Lines are kept as they came but for secrets, whose sessions end; what cannot be kept is refused, to come again."""

import asyncio
import base64
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from proxy.engine.exposure import SecretWatch
from proxy.engine.logs import MOST_CHARACTERS, MOST_LINES, PIECE, LogDesk, LogParts
from proxy.identity.sessions import digest_secret
from proxy.model.errors import AuditError
from proxy.model.grant import Credential, Secret
from proxy.model.identity import JobContext, Principal, Session
from proxy.model.log import JobLog, LogLine
from proxy.model.record import AuditRecord, Kind
from tests.fakes.clock import FixedClock
from tests.fakes.meter import RecordingMeter
from tests.fakes.trail import RecordingTrail

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PASSWORD = "jgs_" + "aB3-_" * 8 + "xyz"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2EifQ.c2lnbmF0dXJl"
SECRET = "a-secret-of-an-upstream"
SESSION = Session(
    id="s-1",
    principal=Principal(provider="buildkite", issuer="i", subject="s", token_digest="d"),
    job=JobContext(organization="acme", pipeline="shop", job_id="j-1"),
    opened_at=NOW,
    expires_at=NOW + timedelta(hours=1),
)


class Desk:
    """Two open sessions, each with its passwords."""

    def __init__(self) -> None:
        second = replace(SESSION, id="s-2", job=replace(SESSION.job, job_id="j-2"))
        self.held = {"s-1": SESSION, "s-2": second}
        self.passwords = {digest_secret(PASSWORD): "s-1", digest_secret(TOKEN): "s-2"}
        self.closed: list[tuple[str, str]] = []

    @property
    def sessions(self) -> tuple[Session, ...]:
        return tuple(self.held.values())

    def find_owner(self, secret: Secret) -> Session | None:
        return self.held.get(self.passwords.get(digest_secret(secret.reveal()), ""))

    async def close(self, session_id: str, why: str) -> bool:
        self.closed.append((session_id, why))
        return self.held.pop(session_id, None) is not None


class Stage:
    def __init__(self, remembered: int = 100) -> None:
        self.audit, self.trail, self.sessions = RecordingTrail(), RecordingTrail(), Desk()
        self.watch, self.meter = SecretWatch(), RecordingMeter()
        self.desk = LogDesk(
            LogParts(
                clock=FixedClock(NOW),
                audit=self.audit,
                logs=self.trail,
                sessions=self.sessions,
                watch=self.watch,
                meter=self.meter,
                together=asyncio.gather,
                pause=partial(asyncio.sleep, 0),
            ),
            remembered,
        )

    def issue(self, session: str = "s-1") -> None:
        self.watch.note(
            session,
            Credential(
                connector="header", secrets={"token": Secret(SECRET)}, facts={}, fingerprint="f-1", expires_at=None
            ),
        )

    def receive(self, *lines: str | LogLine, job: str = "j-1") -> list[AuditRecord]:
        """Hand over lines of a job; return what was put on the trail of logs for it."""
        before = len(self.trail.records)
        made = tuple(LogLine(line) if isinstance(line, str) else line for line in lines)
        asyncio.run(self.desk.receive([JobLog(source="otlp", job={"job_id": job}, lines=made)]))
        return self.trail.records[before:]

    def text(self, *lines: str | LogLine, job: str = "j-1") -> list[str]:
        return [str(line) for record in self.receive(*lines, job=job) for line in as_list(record.facts["text"])]

    @property
    def exposed(self) -> list[AuditRecord]:
        return self.audit.of(Kind.SECRET_EXPOSED)


def as_list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_lines_are_kept_with_who_and_when(stage: Stage) -> None:
    """The session where one is open, the sender's facts always, the first and last time that was said."""
    later = NOW + timedelta(seconds=5)
    (record,) = stage.receive(LogLine("one", NOW), "", LogLine("two", later), "three")
    assert record.kind is Kind.JOB_LOG
    assert record.facts == {
        "source": "otlp",
        "job": {"job_id": "j-1"},
        "session": "s-1",
        "text": ["one", "", "two", "three"],
        "from": NOW.isoformat(),
        "until": later.isoformat(),
    }
    (other,) = stage.receive("of nobody", job="j-9")
    assert "session" not in other.facts
    assert "from" not in other.facts
    assert stage.desk.has_seen("j-9")
    assert not stage.desk.has_seen("j-8")


def test_no_lines_are_no_record(stage: Stage) -> None:
    """An export may be empty."""
    assert stage.receive() == []


def test_long_lines_are_cut_and_many_lines_are_many_records(stage: Stage) -> None:
    """Every record stays within its limits; where a line was cut is told."""
    (record,) = stage.receive("x" * (2 * PIECE + 1), "end")
    assert [len(str(piece)) for piece in as_list(record.facts["text"])] == [PIECE, PIECE, 1, 3]
    assert record.facts["cut"] == [0, 1]
    assert Counter(len(as_list(each.facts["text"])) for each in stage.receive(*["y"] * (MOST_LINES + 1))) == {
        MOST_LINES: 1,
        1: 1,
    }
    sizes = [sum(len(str(line)) for line in as_list(each.facts["text"])) for each in stage.receive("z" * 50_000)]
    assert sum(sizes) == 50_000
    assert max(sizes) <= MOST_CHARACTERS


@pytest.mark.parametrize(
    "shown, left",
    [
        (f"it is {PASSWORD}.", "it is [redacted]."),
        (f"http://jobgate:{PASSWORD}@127.0.0.1:8080", "http://jobgate:[redacted]@127.0.0.1:8080"),
        (f"Basic {base64.b64encode(f'x:{PASSWORD}'.encode()).decode()}", "Basic [redacted]=="),
        (f"{PASSWORD} and {PASSWORD}", "[redacted] and [redacted]"),
        (f"ü{PASSWORD}ü", "ü[redacted]ü"),
        ("jgs_" + "z" * 43, "jgs_" + "z" * 43),
        ("A" * 61, "A" * 61),
    ],
)
def test_a_proxy_password_is_taken_out_wherever_it_stands(stage: Stage, shown: str, left: str) -> None:
    """Bare, in a URL, in the field that clients show; what only looks like one stays."""
    assert stage.text("a", shown, "b") == ["a", left, "b"]
    is_hit = "[redacted]" in left
    assert stage.sessions.closed == ([("s-1", "exposed")] if is_hit else [])
    assert len(stage.exposed) == is_hit


def test_a_token_that_is_a_password_counts_as_one(stage: Stage) -> None:
    """Raw, or in Basic; another job's log ends its owner's session, and the record says where it was seen."""
    packed = base64.b64encode(f"token:{TOKEN}".encode()).decode().rstrip("=")
    assert stage.text(f"Bearer {TOKEN} {packed}") == ["Bearer [redacted] [redacted]"]
    assert stage.sessions.closed == [("s-2", "exposed")]
    assert stage.exposed[0].facts == {
        "session": "s-2",
        "job": {"organization": "acme", "pipeline": "shop", "job_id": "j-2"},
        "what": "proxy-password",
        "source": "otlp",
        "seen_in": {"job_id": "j-1"},
        "ended": True,
    }


def test_a_credential_is_found_across_lines_and_deliveries(stage: Stage) -> None:
    """Wherever it was cut in two, as much of it as is still to come is taken out, and its session is over."""
    stage.issue()
    assert stage.text("begins " + SECRET[:7], SECRET[7:15], SECRET[15:] + " ends") == [
        "begins [redacted]",
        "[redacted]",
        "[redacted] ends",
    ]
    stage.text(SECRET[:10])
    (record,) = stage.receive(SECRET[10:], "next")
    assert record.facts["text"] == ["[redacted]", "next"]
    assert record.facts["redacted"] == 1
    assert stage.text("next") == ["next"]
    assert stage.sessions.closed == [("s-1", "exposed")] * 2
    (exposed,) = stage.exposed
    assert (exposed.facts["what"], exposed.facts["connector"], exposed.facts["credential"]) == (
        "credential",
        "header",
        "f-1",
    )
    assert stage.meter.events == ["secret-exposed"]


def test_one_place_found_twice_is_blanked_once(stage: Stage) -> None:
    """A credential inside what is also a password's field."""
    stage.watch.note(
        "s-1",
        Credential(
            connector="header", secrets={"token": Secret(PASSWORD[4:])}, facts={}, fingerprint="f-2", expires_at=None
        ),
    )
    assert stage.text(f"- {PASSWORD} -", "next") == ["- [redacted] -", "next"]


def test_a_secret_that_sessions_share_ends_the_one_that_showed_it(stage: Stage) -> None:
    """And all that have it where the log is of none of them."""
    stage.issue("s-1")
    stage.issue("s-2")
    stage.text(SECRET, job="j-2")
    assert stage.sessions.closed == [("s-2", "exposed")]
    stage.text(SECRET, job="j-9")
    assert sorted(stage.sessions.closed) == [("s-1", "exposed"), ("s-2", "exposed"), ("s-2", "exposed")]


def test_a_session_that_was_over_is_told_all_the_same(stage: Stage) -> None:
    """What it was given may live on at its issuer."""
    stage.issue("s-gone")
    stage.text(SECRET)
    assert stage.exposed[0].facts["ended"] is False
    assert "job" not in stage.exposed[0].facts


def test_what_cannot_be_kept_is_refused_but_acted_on(stage: Stage) -> None:
    """The sender sends it again; the session is over at once."""
    stage.trail.writable = False
    with pytest.raises(AuditError):
        stage.receive(PASSWORD)
    assert stage.sessions.closed == [("s-1", "exposed")]
    stage.trail.writable = True
    assert stage.text("again") == ["again"]


def test_an_exposure_that_is_not_on_record_is_told_again() -> None:
    """No line of it is kept before."""
    stage = Stage()
    stage.issue()
    stage.audit.writable = False
    with pytest.raises(AuditError):
        stage.receive(SECRET)
    assert stage.trail.records == []
    stage.audit.writable = True
    assert stage.text(SECRET) == ["[redacted]"]
    assert len(stage.exposed) == 1


def test_a_log_that_is_missing_is_on_record(stage: Stage) -> None:
    """So that nobody takes silence for a quiet job."""
    missing = JobLog(source="api", job={"job_id": "j-3"}, lines=(), missing="status 404")
    asyncio.run(stage.desk.receive([missing]))
    stage.desk.note_missing(missing)
    assert [record.facts for record in stage.trail.records] == [
        {"source": "api", "job": {"job_id": "j-3"}, "missing": "status 404"}
    ] * 2


def test_so_many_jobs_are_remembered_and_no_more() -> None:
    """The oldest is forgotten first."""
    stage = Stage(remembered=2)
    for number in range(3):
        stage.receive("line", job=f"j-{number}")
    assert [stage.desk.has_seen(f"j-{number}") for number in range(3)] == [False, True, True]
