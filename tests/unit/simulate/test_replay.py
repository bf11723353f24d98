"""Recorded flows decided again: under the rules of then nothing changes; under others, exactly what they change."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.engine import records
from proxy.engine.decide import AccessQuestion, Verdict, decide
from proxy.engine.records import MAX_ALSO
from proxy.model.decision import Decision, Effect
from proxy.model.intent import EffectClass, Intent, RequestView, Resource
from proxy.model.reason import Reason
from proxy.model.record import AuditRecord, Fact, Kind
from proxy.policy.compile import RuleSet
from proxy.simulate.replay import ChangeKind, Decider, Flow, FlowReader, Report, decide_again, describe
from tests.fakes.flows import JOB, NOON, closed, connected, decided, opened, written
from tests.fakes.policy import a_rule, a_view, ruleset_of

AWS = {"aws": {"role": "r"}}


def replayed(rules: RuleSet, *trail: AuditRecord) -> Report:
    return decide_again(FlowReader().read(written(trail)), rules)


OPEN = a_rule(id="open")
CASES: list[tuple[str, dict[str, Any] | None, dict[str, Any] | None, ChangeKind | None]] = [
    ("the same", OPEN, OPEN, None),
    ("still denied", None, a_rule(id="other", to="other.test"), None),
    ("denied", OPEN, a_rule(id="open", job={"branch": "release"}), ChangeKind.DENIED),
    ("allowed", None, OPEN, ChangeKind.ALLOWED),
    ("asked", OPEN, a_rule(id="open", approval={}), ChangeKind.ASKED),
    ("still asked", a_rule(id="open", approval={}), a_rule(id="open", approval={}), None),
    ("unasked", a_rule(id="open", approval={}), OPEN, ChangeKind.UNASKED),
    ("credential", OPEN, a_rule(id="open", credential=AWS), ChangeKind.CREDENTIAL),
    ("another", a_rule(credential=AWS), a_rule(credential={"aws": {"role": "s"}}), ChangeKind.CREDENTIAL),
    ("the same one", a_rule(credential=AWS), a_rule(id="x", credential=AWS), None),
    ("claims", None, a_rule(when="job.claims.team == 'web'"), ChangeKind.ALLOWED),
    ("what is stated", None, a_rule(when="'agent_id' in job.stated"), ChangeKind.ALLOWED),
    ("stated", None, a_rule(job={"agent_id": "a-1"}), ChangeKind.ALLOWED),
    ("observed", None, a_rule(mode="observe"), None),
    ("still observed", a_rule(mode="observe"), a_rule(mode="observe"), None),
    ("no longer observed", a_rule(mode="observe"), None, None),
    ("observed, then allowed", a_rule(id="watch", mode="observe"), OPEN, ChangeKind.ALLOWED),
    ("allowed, then observed", OPEN, a_rule(mode="observe"), ChangeKind.DENIED),
    ("time", None, a_rule(when="now < timestamp('2030-01-01T12:00:01Z')"), ChangeKind.ALLOWED),
    ("headers", OPEN, a_rule(when="request.headers['x'] == 'y'"), ChangeKind.UNKNOWN),
    ("headers, denied all the same", None, a_rule(when="request.headers['x'] == 'y'"), None),
    ("no query", None, a_rule(when="request.query == ''"), ChangeKind.ALLOWED),
    ("a protocol", OPEN, a_rule(intent="npm install *"), ChangeKind.UNKNOWN),
]
ELSEWHERE = a_rule(id="elsewhere", to="elsewhere.test")


@pytest.mark.parametrize("name, before, after, kind", CASES)
def test_a_flow_fares_as_the_rules_say(
    name: str, before: dict[str, Any] | None, after: dict[str, Any] | None, kind: ChangeKind | None
) -> None:
    """One flow, recorded under one rule set and decided again by another."""
    old, new = (ruleset_of(ELSEWHERE, *([] if rule is None else [rule])) for rule in (before, after))
    report = replayed(new, opened(), decided(old, a_view()))
    assert [change.kind for change in report.changes] == ([] if kind is None else [kind]), name
    assert report.decided == 1


def test_a_query_that_is_not_on_record_cannot_be_told() -> None:
    """Of it there is a digest only; so a rule that asks for it may or may not hold."""
    view = replace(a_view(), query="a=b")
    report = replayed(ruleset_of(a_rule(when="request.query == 'a=b'")), opened(), decided(ruleset_of(OPEN), view))
    assert [change.kind for change in report.changes] == [ChangeKind.UNKNOWN]


def test_events_of_then_are_asked() -> None:
    """What the CI had said at that moment stands on the record."""
    fork = a_rule(id="fork", effect="deny", when="event.fork")
    report = replayed(
        ruleset_of(OPEN, fork),
        opened(),
        decided(ruleset_of(OPEN), a_view(), job=replace(JOB, events={"fork": False})),
        decided(ruleset_of(OPEN), a_view(), job=replace(JOB, events={"fork": True})),
    )
    assert (report.decided, report.count(ChangeKind.DENIED)) == (2, 1)


def test_what_was_declared_counts() -> None:
    """A step that declared something else is held to it again."""
    declared = opened(declared=("npm install registry.npmjs.org/*",))
    report = replayed(ruleset_of(OPEN), declared, decided(ruleset_of(OPEN), a_view()))
    assert [change.kind for change in report.changes] == [ChangeKind.DENIED]
    assert "undeclared" in report.changes[0].after


def test_like_changes_are_counted_together() -> None:
    """With the first and last time, and a few of the flows."""
    later = [decided(ruleset_of(OPEN), a_view(), NOON + timedelta(hours=hour)) for hour in range(9)]
    other = decided(ruleset_of(OPEN), a_view(url="https://example.com/other"))
    report = replayed(ruleset_of(ELSEWHERE), opened(), *later, other)
    first, second = report.changes
    assert (first.count, first.kind, second.count) == (9, ChangeKind.DENIED, 1)
    assert (first.first[:13], first.last[:13]) == ("2030-01-01T12", "2030-01-01T20")
    assert first.flows == ["f-1"] * 5
    assert first.job == {"organization": "acme", "pipeline": "shop", "step": "release", "branch": "main"}
    assert (first.what, first.before, first.after) == ("GET example.com/", "allow (open)", "deny: no-rule")


def test_only_so_many_answers_are_kept() -> None:
    """A trail of any length is decided in bounded memory, with the same answers."""
    old, new = ruleset_of(OPEN), ruleset_of(a_rule(path="/a", job={"branch": "main"}))
    sessions = ["s-1", "s-2", "s-3"]
    trail = [opened(each) for each in sessions]
    for name in sessions:
        for path in ("/a", "/b", "/a"):
            record = decided(old, a_view(url=f"https://example.com{path}"))
            trail.append(replace(record, facts={**record.facts, "session": name}))
    flows = list(FlowReader().read(written(trail)))
    few, many = Decider(new, most=1), Decider(new)
    assert [few.decide(flow) for flow in flows] == [many.decide(flow) for flow in flows]


def test_what_does_more_than_a_record_holds_cannot_be_told() -> None:
    """Of a request that does very many things at once the record names the first."""
    new = ruleset_of(a_rule(to="api.test", intent="npm install **"))
    part = Intent(
        protocol="npm",
        action="install",
        resource=Resource(type="package", id="r/x"),
        effect=EffectClass.READ,
        exact=True,
    )
    refused = Decision(effect=Effect.DENY, reason=Reason.NO_RULE, rule_ids=(), revision="r")
    for count, kind in ((3, ChangeKind.ALLOWED), (MAX_ALSO, ChangeKind.UNKNOWN)):
        facts = records.intent_facts(replace(part, also=(part,) * count))
        parts = {"session": "s-1", **records.request_facts(a_view(url="https://api.test/x")), **facts}
        record = records.decision_record(NOON, "f-1", parts, refused)
        assert [change.kind for change in replayed(new, opened(), record).changes] == [kind]


def test_tunnels_are_decided_as_tunnels() -> None:
    """A CONNECT that was refused, by rules that would open it; one that passes through, by rules that would not."""
    opaque = ruleset_of(a_rule(inspect=False), ELSEWHERE)
    report = replayed(opaque, opened(), connected(ruleset_of(ELSEWHERE), "example.com"))
    assert [(change.kind, change.what) for change in report.changes] == [
        (ChangeKind.ALLOWED, "CONNECT example.com:443")
    ]
    assert [
        each.kind for each in replayed(ruleset_of(ELSEWHERE), opened(), connected(opaque, "example.com")).changes
    ] == [ChangeKind.DENIED]


def test_a_request_that_was_not_read_is_not_decided_anew() -> None:
    """No rule could have allowed it, so it was not read; where one could now, nobody can say."""
    refused = Decision(effect=Effect.DENY, reason=Reason.NO_RULE, rule_ids=(), revision="r")
    view = a_view("PUT", "https://example.com/x")
    record = records.decision_record(NOON, "f-1", {"session": "s-1", **records.request_facts(view)}, refused)
    assert replayed(ruleset_of(ELSEWHERE), opened(), record).changes == []
    report = replayed(ruleset_of(a_rule(intent="npm publish *", method="PUT")), opened(), record)
    assert report.changes == []  # denied then, denied now: what it would have been read as is not needed for that
    assert report.decided == 1


def test_what_rules_did_not_decide_is_left_out() -> None:
    """A misuse, a kill: refused by whatever rules. And a flow without its session is decided by its labels."""
    killed = Decision(effect=Effect.DENY, reason=Reason.KILLED, rule_ids=(), revision="r")
    facts: dict[str, Fact] = {"session": "s-1", **records.request_facts(a_view())}
    reader = FlowReader()
    orphan = decided(ruleset_of(OPEN), a_view())
    loaded = AuditRecord(kind=Kind.RULES_LOADED, at=NOON, facts={})
    trail = [loaded, opened(), records.decision_record(NOON, "f-1", facts, killed), closed(), orphan]
    flows = list(reader.read(written(trail)))
    assert reader.skipped == {"killed": 1}
    assert (len(flows), reader.partial) == (1, 1)
    assert (flows[0].job.pipeline, flows[0].job.agent_id) == ("shop", None)


def test_a_flow_is_told_by_what_it_meant() -> None:
    """The decoder's words where it was read, with every part of it; method and place where it was not."""
    rules = ruleset_of(a_rule(to="registry.npmjs.org", intent="npm install **"))
    trail = [opened(), decided(rules, a_view(url="https://registry.npmjs.org/left-pad"))]
    (flow,) = FlowReader().read(written(trail))
    assert isinstance(flow, Flow)
    assert describe(flow).startswith("npm install registry.npmjs.org/left-pad")


RULES = st.lists(
    st.builds(
        a_rule,
        id=st.sampled_from(["a", "b", "c", "d"]),
        effect=st.sampled_from([None, "deny"]),
        to=st.sampled_from(["example.com", "*.example.com", "registry.npmjs.org"]),
        path=st.sampled_from([None, "/a", "/*"]),
        job=st.sampled_from([None, {"branch": "main"}, {"step": "other"}, {"claims": {"team": "web"}}]),
        when=st.sampled_from([None, "job.step == 'release'", "now.getHours() < 13", "intent.effect == 'read'"]),
    ),
    unique_by=lambda rule: str(rule["id"]),
    min_size=1,
)
VIEWS = st.lists(
    st.builds(
        a_view,
        st.sampled_from(["GET", "PUT", "DELETE"]),
        st.sampled_from(
            [
                "https://example.com/a",
                "https://x.example.com/b",
                "https://registry.npmjs.org/left-pad",
                "https://q.test/",
            ]
        ),
    ),
    min_size=1,
)


@settings(max_examples=150, deadline=None)
@given(RULES, VIEWS, RULES)
def test_a_trail_under_its_own_rules_does_not_change(
    rules: list[dict[str, Any]], views: list[RequestView], others: list[dict[str, Any]]
) -> None:
    """Whatever the rules and requests; and under others, what is told is what those rules decide."""
    old, new = ruleset_of(*rules), ruleset_of(*others)
    views = [view for view in views if isinstance(decide(AccessQuestion(view, JOB, old, NOON, None)), Verdict)]
    trail = [opened(), *[decided(old, view) for view in views]]
    assert replayed(old, *trail).changes == []
    report = replayed(new, *trail)
    for view in views:
        before = decide(AccessQuestion(view, JOB, old, NOON, None))
        after = decide(AccessQuestion(view, JOB, new, NOON, None))
        assert isinstance(before, Verdict)
        if isinstance(after, Verdict) and before.decision.is_allowed and not after.decision.is_allowed:
            assert report.count(ChangeKind.DENIED) + report.count(ChangeKind.UNKNOWN) > 0
