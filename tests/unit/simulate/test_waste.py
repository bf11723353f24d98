"""Inefficient routes, secrets that jobs carry, what is new: found from records, in bounded memory."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from proxy.engine import records
from proxy.model.decision import Decision, Effect
from proxy.model.reason import Reason
from proxy.model.record import AuditRecord, Fact, Kind
from proxy.simulate.suggestion import Confidence, Suggestion, Topic
from proxy.simulate.waste import Observer
from tests.fakes.flows import JOB, NOON, closed, decided, ended, opened, written
from tests.fakes.policy import a_rule, a_view, ruleset_of

NEAR, FAR = "b.s3.eu-west-1.amazonaws.com", "c.s3.us-east-1.amazonaws.com"
ANY = ruleset_of(a_rule(to=["example.com", "b.test", "new.test", NEAR, FAR], method="any"))


def found(*trail: AuditRecord, most: int = 1000) -> list[Suggestion]:
    observer = Observer(most)
    for record in written(trail):
        observer.listen(record)
    return list(observer.findings())


def flow(
    number: int, url: str, session: str = "s-1", at: datetime = NOON, method: str = "GET", **end: Any
) -> list[AuditRecord]:
    """A request and how it ended."""
    name = f"f-{session}-{number}"
    return [
        decided(ANY, a_view(method, url), at, flow=name, session=session),
        ended(name, at, **{"status": 200, **end}),
    ]


def refused(reason: Reason, detail: str = "") -> AuditRecord:
    decision = Decision(effect=Effect.DENY, reason=reason, rule_ids=(), revision="r")
    facts: dict[str, Fact] = {"session": "s-1", **records.request_facts(a_view())}
    if detail:
        facts["detail"] = detail
    return records.decision_record(NOON, "f-x", facts, decision)


@pytest.mark.parametrize(
    "detail, kind",
    [
        ("a github token", "github token"),
        ("an aws key", "aws key"),
        ("a placeholder of another job", None),
        ("a credential of ours", None),
        ("", None),
    ],
)
def test_a_real_secret_that_a_job_sends(detail: str, kind: str | None) -> None:
    """Not a placeholder astray, nor what jobgate issued: those are incidents."""
    told = [each.what for each in found(opened(), refused(Reason.CREDENTIAL_MISUSE, detail))]
    assert told == ([] if kind is None else [f"{kind} example.com"])


def test_the_same_bytes_again_and_again() -> None:
    """Large, the same digest, often; not what changes, is small, or was no success."""
    size = 3_000_000
    trail = [opened()]
    for number in range(6):
        trail += flow(number, "https://example.com/big", received_bytes=size, received_digest="a" * 64)
        trail += flow(10 + number, "https://example.com/new", received_bytes=size, received_digest=f"{number}" * 64)
        trail += flow(20 + number, "https://example.com/small", received_bytes=10, received_digest="b" * 64)
        trail += flow(30 + number, "https://example.com/bare", received_bytes=size)
        trail += flow(
            40 + number, "https://example.com/part", received_bytes=size, received_digest="c" * 64, status=206
        )
    (told,) = found(*trail)
    assert (told.topic, told.what, told.seen.count) == (Topic.REPEATED, "example.com/big", 6)
    assert "14 MiB" in told.said


def test_what_is_asked_again_and_again_in_vain() -> None:
    """Ten failures of one kind within a minute; slower ones, or of many things, are no storm."""
    url = "https://example.com/x"
    quick, slow, many, denied = list[AuditRecord](), list[AuditRecord](), list[AuditRecord](), list[AuditRecord]()
    for n in range(12):
        quick += flow(n, url, at=NOON + timedelta(seconds=n), status=503)
        slow += flow(n, url, at=NOON + timedelta(minutes=n), status=503)
        many += flow(n, f"https://example.com/{n}", status=404)
        denied.append(decided(ANY, a_view(url="https://no.example/"), NOON + timedelta(seconds=n), flow=f"d-{n}"))
    (told,) = found(opened(), *quick)
    assert (told.topic, told.what, told.seen.count) == (Topic.RETRIES, "GET example.com 503", 3)
    assert found(opened(), *slow, *many) == []
    assert [each.what for each in found(opened(), *denied)] == ["GET no.example no-rule"]


def minted(number: int, session: str = "s-1", **need: str) -> AuditRecord:
    facts: dict[str, Fact] = {"session": session, "connector": "aws", "grant": "g", "credential": f"c-{number}"}
    return AuditRecord(kind=Kind.CREDENTIAL_MINTED, at=NOON, facts={**facts, "need": dict(need)} if need else facts)


def test_a_credential_that_is_minted_over_and_over() -> None:
    """In one job and for one need."""
    (told,) = found(opened(), *(minted(number) for number in range(6)))
    assert (told.topic, told.what, told.seen.count) == (Topic.CHURN, "aws", 2)
    assert found(opened(), *(minted(number, repository=f"r-{number}") for number in range(6))) == []
    assert found(*(minted(number) for number in range(6))) == []
    ended_between = [*(minted(n) for n in range(3)), closed(), opened(), *(minted(n) for n in range(3))]
    assert found(opened(), *ended_between) == []


def test_buckets_in_another_region() -> None:
    """A redirect each time; or much that goes far."""
    bucket = f"https://{NEAR}/k"
    (told,) = found(opened(), *flow(1, bucket, status=301))
    assert (told.topic, told.what) == (Topic.REGION, NEAR)
    near = [each for n in range(3) for each in flow(n, bucket, received_bytes=200_000_000)]
    far = flow(9, f"https://{FAR}/k", received_bytes=150_000_000)
    (told,) = found(opened(), *near, *far)
    assert (told.topic, told.what, told.confidence) == (Topic.REGION, "eu-west-1 us-east-1", Confidence.LOW)
    little = flow(9, f"https://{FAR}/k", received_bytes=1000)
    assert found(opened(), *near, *little) == []


def test_what_a_step_never_did_before() -> None:
    """After many jobs that did not: a new place is surer than a new act at a known one."""
    trail: list[AuditRecord] = []
    for number in range(21):
        session = f"s-{number}"
        trail += [opened(session), *flow(1, "https://example.com/", session)]
        if number == 20:
            trail += [*flow(2, "https://new.test/", session), *flow(3, "https://example.com/", session, method="PUT")]
    told = {each.what: each.confidence for each in found(*trail) if each.topic is Topic.FIRST_SEEN}
    assert told["new.test"] is Confidence.MEDIUM
    assert len(told) == 2
    assert "never did this in 20 jobs" in found(*trail)[0].said
    assert found(*trail[:30], *flow(2, "https://new.test/", "s-1")) == []


def test_a_job_that_sends_far_more_than_its_step_does() -> None:
    trail: list[AuditRecord] = []
    for number in range(21):
        session, sent = f"s-{number}", 90_000_000 if number == 7 else 1_000_000
        trail += [opened(session), *flow(1, "https://example.com/", session, sent_bytes=sent)]
    (told,) = found(*trail)
    assert (told.topic, told.what, told.confidence) == (Topic.VOLUME, "s-7", Confidence.MEDIUM)
    assert "90 times as much as usual" in told.said


def test_flows_without_a_session_are_left_out() -> None:
    """Nobody knows whose they are."""
    assert (
        found(*flow(1, "https://example.com/", status=503), refused(Reason.CREDENTIAL_MISUSE, "a github token")) == []
    )


def test_memory_is_bounded() -> None:
    """With room for one of each, one of each is found."""
    other = replace(JOB, pipeline="another")
    trail = [opened(), opened("s-2", other), opened("s-3")]
    for number in range(12):
        at = NOON + timedelta(seconds=number)
        for session in ("s-1", "s-2", "s-3"):
            for url in ("https://example.com/x", "https://b.test/y"):
                trail += flow(number, url, session, at, status=500)
                trail += flow(100 + number, url, session, at, received_bytes=9_000_000, received_digest="a" * 64)
        trail += [minted(number), minted(number, "s-2"), minted(number, "s-1", x="y")]
        trail += [refused(Reason.CREDENTIAL_MISUSE, f"a {kind} token") for kind in ("github", "gitlab")]
    begun = [flow(200 + number, "https://example.com/z")[0] for number in range(2)]
    trail += [
        *begun,
        closed(),
        opened("s-4"),
        *flow(1, "https://example.com/x", "s-4"),
        AuditRecord(kind=Kind.STARTED, at=NOON, facts={}),
    ]
    some, all_of_it = found(*trail, most=1), found(*trail)
    assert 0 < len(some) < len(all_of_it)
    assert {each.topic for each in some} <= {each.topic for each in all_of_it}


def test_sessions_beyond_the_most_have_no_history() -> None:
    """What is told of flows is told all the same."""
    later = [closed(), opened("s-4"), *flow(1, "https://b.test/y", "s-4", status=301)]
    assert found(opened(), *later, most=1) == []
    astray = [closed(), opened("s-4"), *flow(1, f"https://{NEAR}/k", "s-4", status=301)]
    assert [each.what for each in found(opened(), *astray, most=1)] == [NEAR]
