"""A yes is for one request, once, for a while; a question is asked once, and questions are bounded."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from proxy.engine.approvals import ApprovalBook, ApprovalDesk, Approver, Question, bind
from proxy.engine.builds import BuildBook
from proxy.model.authority import Authority
from proxy.model.decision import Approval, Decision, Effect
from proxy.model.errors import AuditError
from proxy.model.event import CiEvent, Unblocked
from proxy.model.identity import JobContext, Principal, Session
from proxy.model.intent import BodyPrefix, RequestView
from proxy.model.reason import Reason
from proxy.model.record import AuditRecord, Kind
from tests.fakes.clock import FixedClock
from tests.fakes.entropy import CountingEntropy
from tests.fakes.trail import RecordingTrail

NOW = datetime(2030, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SESSION = Session(
    id="s-1",
    principal=Principal(provider="buildkite", issuer="i", subject="s", token_digest="d"),
    job=JobContext(organization="acme", pipeline="shop", build_number=7),
    opened_at=NOW,
    expires_at=NOW + timedelta(hours=1),
)
VIEW = RequestView(
    method="POST",
    scheme="https",
    authority=Authority("api.test", 443),
    path="/a",
    query="b=c",
    headers=(),
    body_length=4,
    body=BodyPrefix(data=b"body", is_whole=True),
)
DECISION = Decision(
    effect=Effect.ALLOW,
    reason=Reason.ALLOWED,
    rule_ids=("r",),
    revision="1",
    approvals=(Approval(within=10 * MINUTE, ask="Really?"),),
)


def question(name: str = "q-1", session: str = "s-1", binding: str = "b-1") -> Question:
    return Question(
        id=name, session_id=session, binding=binding, within=10 * MINUTE, asked_at=NOW, facts={"path": "/a"}
    )


def test_a_yes_is_good_once_and_for_a_while() -> None:
    """Used up by the request that takes it, and by time."""
    book = ApprovalBook()
    for used_at, expected in ((NOW + 9 * MINUTE, "q-1"), (NOW + 10 * MINUTE, None)):
        book.add(question())
        assert book.answer("q-1", yes=True, now=NOW) == question()
        assert book.take("other", used_at) is None
        assert book.take("b-1", used_at) == expected
        assert book.take("b-1", used_at) is None
    assert book.answer("q-1", yes=True, now=NOW) is None


def test_a_no_stands_for_a_while() -> None:
    """The same request is not asked about again at once."""
    book = ApprovalBook()
    book.add(question())
    book.answer("q-1", yes=False, now=NOW)
    assert book.take("b-1", NOW) is None
    assert book.was_refused("b-1", NOW)
    assert not book.was_refused("b-1", NOW + 10 * MINUTE)


def test_a_question_stands_until_it_is_answered_or_old() -> None:
    """And is found by the very request that asks again."""
    book = ApprovalBook()
    book.add(question())
    assert book.find("b-1", NOW) == question()
    assert book.find("b-2", NOW) is None
    assert book.questions(NOW + 59 * MINUTE) == (question(),)
    assert book.questions(NOW + 60 * MINUTE) == ()
    assert book.answer("q-1", yes=True, now=NOW) is None


def test_a_session_takes_its_questions_and_answers_along() -> None:
    """What another session asked stays."""
    book = ApprovalBook()
    for number, session in enumerate(("s-1", "s-2")):
        for kind in ("open", "given", "refused"):
            name = f"{kind}-{number}"
            book.add(question(name, session, name))
            if kind != "open":
                book.answer(name, yes=kind == "given", now=NOW)
    book.forget_session("s-1")
    assert [each.id for each in book.questions(NOW)] == ["open-1"]
    assert book.take("given-0", NOW) is None
    assert book.take("given-1", NOW) == "given-1"
    assert (book.was_refused("refused-0", NOW), book.was_refused("refused-1", NOW)) == (False, True)


def test_questions_are_bounded() -> None:
    """Twenty of a session, a thousand in all."""
    book = ApprovalBook()
    for number in range(20):
        assert book.has_room("s-1")
        book.add(question(f"q-{number}", "s-1", f"b-{number}"))
    assert not book.has_room("s-1")
    assert book.has_room("s-2")
    for number in range(20, 1000):
        book.add(question(f"q-{number}", f"s-{number}", f"b-{number}"))
    assert not book.has_room("s-new")


OTHERS: list[Any] = [
    (replace(SESSION, id="s-2"), VIEW, DECISION),
    (SESSION, replace(VIEW, method="PUT"), DECISION),
    (SESSION, replace(VIEW, scheme="http"), DECISION),
    (SESSION, replace(VIEW, authority=Authority("api.test", 444)), DECISION),
    (SESSION, replace(VIEW, path="/b"), DECISION),
    (SESSION, replace(VIEW, query="b=d"), DECISION),
    (SESSION, replace(VIEW, query=None), DECISION),
    (SESSION, replace(VIEW, body=BodyPrefix(data=b"Body", is_whole=True)), DECISION),
    (SESSION, VIEW, replace(DECISION, rule_ids=("r", "s"))),
    (SESSION, VIEW, replace(DECISION, revision="2")),
]


@pytest.mark.parametrize("session, view, decision", OTHERS)
def test_another_request_is_another_question(session: Session, view: RequestView, decision: Decision) -> None:
    """Whatever differs of who, what, where, with what body and by which rules."""
    assert bind(session, view, decision) != bind(SESSION, VIEW, DECISION)
    assert bind(SESSION, replace(VIEW, headers=(("x", "y"),)), DECISION) == bind(SESSION, VIEW, DECISION)


def test_nobody_is_asked_about_half_a_body() -> None:
    """What is not here whole has no digest; no body has the digest of nothing."""
    assert bind(SESSION, replace(VIEW, body=None), DECISION) is None
    assert bind(SESSION, replace(VIEW, body=BodyPrefix(data=b"bo", is_whole=False)), DECISION) is None
    assert bind(SESSION, replace(VIEW, body=None, body_length=0), DECISION) is not None


async def test_a_person_is_told_what_is_asked() -> None:
    """Place, path, digests and the rule's own words; of the query only a digest."""
    trail = RecordingTrail()
    await settle(VIEW, DECISION, trail=trail)
    await settle(replace(VIEW, query=None, body_length=0, body=None), wanting(Approval(within=MINUTE)), trail=trail)
    told, bare = (record.facts for record in trail.of(Kind.APPROVAL_ASKED))
    assert (told["method"], told["host"], told["path"], told["ask"]) == ("POST", "api.test:443", "/a", "Really?")
    assert (told["length"], told["rules"], told["job"]) == (
        4,
        ["r"],
        {"organization": "acme", "pipeline": "shop", "build_number": 7},
    )
    assert "b=c" not in str(told)
    assert not {"query_sha256", "body_sha256", "length", "ask"} & bare.keys()


UNBLOCKED = Approval(within=10 * MINUTE, step="release", teams=("leads", "night"))
TEAMS = {"leads": frozenset({"ann@acme.test"}), "night": frozenset({"u-1"})}
STEPS: list[tuple[str, dict[str, Any] | None, str]] = [
    ("by a lead", {"by": "ann@acme.test", "at": NOW - MINUTE}, ""),
    ("by id", {"by": "u-1", "at": NOW - 10 * MINUTE}, ""),
    ("never", None, "no event says that it was"),
    ("another step", {"step": "other", "by": "u-1", "at": NOW}, "no event says that it was"),
    ("another build", {"number": 8, "by": "u-1", "at": NOW}, "no event says that it was"),
    ("too long ago", {"by": "u-1", "at": NOW - 10 * MINUTE - timedelta(seconds=1)}, "longer ago than is good"),
    ("by somebody", {"by": "eve@acme.test", "at": NOW}, "who did is not in the team"),
]


@pytest.mark.parametrize("name, told, missing", STEPS)
async def test_a_step_is_unblocked_by_the_right_person_in_time(
    name: str, told: dict[str, Any] | None, missing: str
) -> None:
    """As the CI's event says, for the build of this very job."""
    book = BuildBook()
    if told is not None:
        event = CiEvent(
            source="buildkite",
            name="job.activated",
            organization="acme",
            pipeline="shop",
            build_number=told.get("number", 7),
            step=told.get("step", "release"),
            unblocked=Unblocked(by=frozenset({told["by"]}), at=told["at"]),
        )
        book.note(event, NOW)
    parts: dict[str, Any] = {}
    settled = await settle(VIEW, wanting(UNBLOCKED), book, parts)
    assert settled.is_allowed is not bool(missing), name
    assert missing in parts.get("detail", "")


async def test_a_team_that_nobody_knows_has_no_members() -> None:
    """And a person is not asked while a step is locked."""
    trail, parts = RecordingTrail(), dict[str, Any]()
    settled = await settle(
        VIEW, wanting(replace(UNBLOCKED, teams=("nobody",)), *DECISION.approvals), None, parts, trail
    )
    assert settled.reason is Reason.APPROVAL_REQUIRED
    assert "unblocked by nobody" in parts["detail"]
    assert trail.records == []


def wanting(*approvals: Approval) -> Decision:
    return replace(DECISION, approvals=approvals)


async def settle(
    view: RequestView,
    decision: Decision,
    builds: BuildBook | None = None,
    parts: dict[str, Any] | None = None,
    trail: RecordingTrail | None = None,
) -> Decision:
    """Settle with empty books."""
    entropy, trail = CountingEntropy(), trail or RecordingTrail()
    approver = Approver(ApprovalBook(), builds or BuildBook(), TEAMS, FixedClock(NOW), entropy, trail)
    return await approver.settle(SESSION, view, decision, {} if parts is None else parts)


class FullTrail(RecordingTrail):
    """Takes no record."""

    async def append(self, record: AuditRecord) -> None:
        raise AuditError("full")


def desk(trail: RecordingTrail) -> ApprovalDesk:
    book = ApprovalBook()
    book.add(question())
    return ApprovalDesk(book=book, clock=FixedClock(NOW), trail=trail)


async def test_an_answer_counts_once_it_is_on_record() -> None:
    """Who and why; what cannot be recorded does not count; what nobody asked is not answered."""
    full = desk(FullTrail())
    with pytest.raises(AuditError):
        await full.answer("q-1", yes=True, by="ann", why="fine")
    assert full.book.take("b-1", NOW) is None
    trail = RecordingTrail()
    kept = desk(trail)
    assert kept.questions() == (question(),)
    assert not await kept.answer("q-2", yes=True, by="ann", why="fine")
    assert await kept.answer("q-1", yes=True, by="ann", why="fine")
    assert not await kept.answer("q-1", yes=True, by="ann", why="fine")
    (given,) = trail.of(Kind.APPROVAL_GIVEN)
    expected: Mapping[str, object] = {"approval": "q-1", "by": "ann", "why": "fine"}
    assert given.facts == expected
    other = desk(trail)
    assert await other.answer("q-1", yes=False, by="ann", why="no")
    assert len(trail.of(Kind.APPROVAL_REFUSED)) == 1
