"""Tags follow who and what a record is about, also where the record itself does not say it."""

from datetime import UTC, datetime
from typing import Any

from proxy.audit import tagging
from proxy.audit.tagging import MAX_VALUE, Tagger
from proxy.model.record import AuditRecord, Fact, Kind

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
JOB: Fact = {"pipeline": "web", "build_number": 7}


def record(kind: Kind, **facts: Any) -> AuditRecord:
    return AuditRecord(kind=kind, at=AT, facts=facts)


def tags(tagger: Tagger, kind: Kind, **facts: Any) -> Fact:
    return tagger.tag(record(kind, **facts)).facts.get("tags")


def test_without_tags_a_record_is_left_alone() -> None:
    """Nothing set, nothing said: the very same record."""
    given = record(Kind.DECISION, flow="f1", effect="allow", job=JOB)
    assert Tagger({}).tag(given) is given
    tagged = record(Kind.DECISION, flow="f2", effect="deny", tags={"data": "pii"})
    assert Tagger({}).tag(tagged) is tagged


def test_a_rule_counts_before_the_job_and_that_before_the_operator() -> None:
    """The most particular says it: a default classification can be raised by a rule."""
    tagger = Tagger({"team": "all", "classification": "internal", "pipeline": "?"}, ("pipeline", "build_number", "tag"))
    assert tags(tagger, Kind.DECISION, job=JOB, tags={"classification": "restricted"}) == {
        "team": "all",
        "classification": "restricted",
        "pipeline": "web",
        "build_number": "7",
    }


def test_an_outcome_has_its_decisions_tags() -> None:
    """Decision and outcome of a flow belong to one class and one retention; each outcome takes them once."""
    tagger = Tagger({}, ("pipeline",))
    tags(tagger, Kind.DECISION, flow="f1", effect="allow", job=JOB, tags={"data": "pii"})
    assert tags(tagger, Kind.OUTCOME, flow="f1") == {"pipeline": "web", "data": "pii"}
    assert tags(tagger, Kind.OUTCOME, flow="f1") is None


def test_a_denied_flow_has_no_outcome_to_remember_for() -> None:
    """What will never be asked for is not kept."""
    tagger = Tagger({})
    tags(tagger, Kind.DECISION, flow="f1", effect="deny", tags={"data": "pii"})
    assert tags(tagger, Kind.OUTCOME, flow="f1") is None


def test_a_connection_has_its_sessions_tags_while_that_is_open() -> None:
    """Records that name only a session are its job's all the same."""
    tagger = Tagger({}, ("pipeline",))
    tags(tagger, Kind.SESSION_OPENED, session="s1", job=JOB)
    assert tags(tagger, Kind.CONNECTION, session="s1") == {"pipeline": "web"}
    assert tags(tagger, Kind.CONNECTION, session="s2") is None
    assert tags(tagger, Kind.CONNECTION) is None
    assert tags(tagger, Kind.SESSION_CLOSED, session="s1", job=JOB) == {"pipeline": "web"}
    assert tags(tagger, Kind.CONNECTION, session="s1") is None


def test_values_have_the_length_of_a_tag() -> None:
    """A job's fact may be as long as its issuer likes; a tag may not."""
    assert tags(Tagger({}, ("branch",)), Kind.DECISION, job={"branch": "x" * 999}) == {"branch": "x" * MAX_VALUE}


def test_what_is_remembered_is_bounded() -> None:
    """Flows that never end push out the oldest of them, nothing else."""
    tagger = Tagger({})
    for number in range(tagging.MAX_REMEMBERED + 1):
        tags(tagger, Kind.DECISION, flow=f"f{number}", effect="allow", tags={"data": "pii"})
    assert tags(tagger, Kind.OUTCOME, flow="f0") is None
    assert tags(tagger, Kind.OUTCOME, flow="f1") == {"data": "pii"}


def test_tags_of_another_form_are_not_believed() -> None:
    """A fact called `tags` that is no mapping adds none."""
    assert tags(Tagger({"team": "a"}), Kind.EVENT_RECEIVED, tags=["x"]) == {"team": "a"}
