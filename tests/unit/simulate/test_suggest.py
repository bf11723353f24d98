"""Suggestions from a trail: what replay does not bear out is not shown, and what is shown does what it says."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.model.intent import RequestView
from proxy.model.record import AuditRecord
from proxy.policy.compile import RuleSet, compile_rules
from proxy.policy.parse import parse_rules
from proxy.simulate.replay import ChangeKind, FlowReader, decide_again
from proxy.simulate.suggest import MOST_TRIED, at_least, keep_supported, mine
from proxy.simulate.suggestion import AddRule, Confidence, Patch, RemoveRule, SetList, Suggestion, Topic
from tests.fakes.flows import JOB, decided, opened, written
from tests.fakes.policy import SCOPES, a_rule, a_view, ruleset_of

type Rules = list[dict[str, Any]]
ELSEWHERE = a_rule(id="elsewhere", to="elsewhere.test")


def given_rules(rules: RuleSet, _: Patch) -> RuleSet:
    return rules


def records_of(trail: Iterable[AuditRecord]) -> Callable[[str], Iterable[Mapping[str, Any]]]:
    records = written(trail)
    return lambda _: records


def patched(rules: Rules, patch: Patch) -> Rules:
    """The rules as written, with a change."""
    if isinstance(patch, AddRule):
        return [*rules, dict(patch.rule)]
    if isinstance(patch, RemoveRule):
        return [rule for rule in rules if rule["id"] != patch.id]
    return [{**rule, patch.field: list(patch.values)} if rule["id"] == patch.id else rule for rule in rules]


def compiled(rules: Rules) -> RuleSet:
    parsed = parse_rules({"rules": rules}, "test.yaml", SCOPES)
    assert parsed.faults == ()
    return compile_rules(parsed.rules)


def suggested(rules: Rules, *trail: AuditRecord) -> list[Suggestion]:
    records, now = records_of(trail), ruleset_of(*rules)
    _, found = mine(records, now)

    def change(patch: Patch) -> RuleSet | None:
        changed = patched(rules, patch)
        return compiled(changed) if changed else None

    return keep_supported(records, now, found, change)


def used(rules: Rules, views: list[RequestView], jobs: int = 6) -> list[AuditRecord]:
    now, trail = ruleset_of(*rules), list[AuditRecord]()
    for number in range(jobs):
        job, session = replace(JOB, job_id=f"j-{number}"), f"s-{number}"
        trail.append(opened(session, job))
        trail += [decided(now, view, job=job, session=session, flow=f"f-{number}") for view in views]
    return trail


def test_what_is_shown_is_proved() -> None:
    """The surest first, with what replay says that each changes."""
    rules = [ELSEWHERE, a_rule(id="idle", to="idle.test"), a_rule(id="web", path=["/a", "/b"])]
    views = [a_view(url="https://example.com/a"), a_view(url="https://files.test/x")]
    found = suggested(rules, *used(rules, views))
    assert [each.topic for each in found] == [Topic.MISSING, Topic.UNUSED_RULE, Topic.UNUSED_RULE, Topic.UNUSED_ENTRY]
    missing, first, second, entry = found
    assert missing.proof is not None
    assert missing.proof.allows == {"GET files.test/x": 6}
    assert {each.what for each in (first, second)} == {"elsewhere", "idle"}
    assert entry.proof is not None
    assert entry.proof.is_silent
    assert at_least(found, Confidence.HIGH) == [missing]
    assert len({each.id for each in found}) == 4


def test_what_replay_does_not_bear_out_is_not_shown() -> None:
    """A change that does nothing, allows what it is not about, denies, or hands out another credential."""
    rules = [a_rule(id="web", path="/a"), a_rule(id="minted", path="/m", credential={"aws": {"role": "r"}})]
    views = [a_view(url=f"https://example.com{path}") for path in ("/a", "/b", "/c", "/m")]
    records, now = records_of(used(rules, views)), ruleset_of(*rules)
    _, found = mine(records, now)
    (missing,) = [each for each in found if each.topic is Topic.MISSING]
    stray = replace(missing, about=frozenset())
    narrowing = replace(missing, topic=Topic.UNUSED_ENTRY, patch=SetList(id="web", field="path", values=("/x",)))
    cases: list[tuple[Suggestion, Rules]] = [
        (missing, rules),
        (stray, [*rules, a_rule(id="more")]),
        (narrowing, [a_rule(id="web", path="/x"), rules[1]]),
        (missing, [rules[0], a_rule(id="minted", path="/m", credential={"aws": {"role": "s"}})]),
        (missing, [a_rule(id="web", path="/a", approval={}), rules[1]]),
        (missing, [*rules, a_rule(id="headers", path="/b", when="request.headers['x'] == 'y'")]),
    ]
    for suggestion, others in cases:
        other = ruleset_of(*others)
        assert keep_supported(records, now, [suggestion], partial(given_rules, other)) == []
    assert keep_supported(records, now, [missing], lambda _: None) == []
    right = keep_supported(records, now, [missing], lambda patch: compiled(patched(rules, patch)))
    assert right == [missing]


def test_only_so_many_changes_are_tried() -> None:
    records, now = records_of(used([ELSEWHERE], [a_view()])), ruleset_of(ELSEWHERE)
    _, found = mine(records, now)
    missing = next(each for each in found if each.topic is Topic.MISSING)
    many = [replace(missing, what=f"w-{number}") for number in range(MOST_TRIED + 5)]
    shown = keep_supported(records, now, many, lambda patch: compiled(patched([ELSEWHERE], patch)))
    assert len(shown) == MOST_TRIED


def test_what_has_no_change_needs_no_proof() -> None:
    suggestion = Suggestion(
        topic=Topic.RETRIES, who=None, what="x", said="x", seen=mine_seen(), confidence=Confidence.LOW
    )
    asked: list[str] = []

    def records(doing: str) -> list[Mapping[str, Any]]:
        asked.append(doing)
        return []

    assert keep_supported(records, ruleset_of(ELSEWHERE), [suggestion], lambda _: None) == [suggestion]
    assert asked == []


def mine_seen() -> Any:
    history, _ = mine(lambda _: [], ruleset_of(ELSEWHERE))
    return history.usage["elsewhere"].seen


def test_a_proof_names_only_so_many_flows() -> None:
    """The rest is counted."""
    rules = [ELSEWHERE]
    views = [a_view(url=f"https://example.com/v/{number}") for number in range(60)]
    (found,) = [each for each in suggested(rules, *used(rules, views, 2)) if each.topic is Topic.MISSING]
    assert found.proof is not None
    assert sum(found.proof.allows.values()) == 120
    assert found.proof.allows["and more"] == 20


RULES = st.lists(
    st.builds(
        a_rule,
        id=st.sampled_from(["a", "b", "c"]),
        effect=st.sampled_from([None, "deny"]),
        to=st.sampled_from(["example.com", "*.example.com", "registry.npmjs.org"]),
        path=st.sampled_from([None, "/a", "/*", ["/a", "/left-pad"]]),
        method=st.sampled_from([None, ["GET", "PUT"]]),
        job=st.sampled_from([None, {"branch": "main"}, {"step": "release"}, {"pipeline": "shop", "step": "release"}]),
    ),
    unique_by=lambda rule: str(rule["id"]),
    min_size=1,
)
URLS = [
    "https://example.com/a",
    "https://example.com/b/c",
    "https://x.example.com/b",
    "https://registry.npmjs.org/left-pad",
]
FLOWS = st.lists(
    st.tuples(
        st.builds(a_view, st.sampled_from(["GET", "PUT"]), st.sampled_from(URLS)),
        st.sampled_from(["main", "topic"]),
        st.sampled_from(["release", "test"]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=120, deadline=None)
@given(RULES, FLOWS)
def test_what_is_suggested_denies_nothing_and_allows_only_its_evidence(
    rules: Rules, flows: list[tuple[RequestView, str, str]]
) -> None:
    """Of any rules and flows: replayed under each change, and under all that is missing at once."""
    now, trail = ruleset_of(*rules), list[AuditRecord]()
    for number, (view, branch, step) in enumerate(flows):
        job, session = replace(JOB, branch=branch, step=step, job_id=f"j-{number}"), f"s-{number}"
        trail += [opened(session, job)]
        if view.method == "GET" or view.authority.host != "registry.npmjs.org":
            trail.append(decided(now, view, job=job, session=session, flow=f"f-{number}"))
    found = suggested(rules, *trail)
    together = rules
    for each in found:
        if each.patch is None:
            continue
        changed = patched(rules, each.patch)
        report = decide_again(FlowReader().read(written(trail)), compiled(changed))
        assert report.count(ChangeKind.DENIED) == 0
        if each.topic is Topic.MISSING:
            assert 0 < report.count(ChangeKind.ALLOWED) <= each.seen.count
            together = patched(together, each.patch)
        else:
            assert report.changes == []
    report = decide_again(FlowReader().read(written(trail)), compiled(together))
    assert report.count(ChangeKind.DENIED) == 0
