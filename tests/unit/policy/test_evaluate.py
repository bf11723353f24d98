from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from proxy.model.authority import Authority
from proxy.model.decision import Approval, Declared
from proxy.model.identity import JobContext
from proxy.model.intent import EffectClass, Intent, Resource
from proxy.model.reason import Reason
from proxy.policy.compile import REMEMBERED, RuleSet, compile_rules
from proxy.policy.evaluate import evaluate, explain, first_failing, may_match, reach
from tests.fakes.policy import NOON, a_request, a_rule, rules_of, ruleset_of

JOB = JobContext(pipeline="deploy", branch="main", build_number=7)
AWS = {"aws": {"role": "r"}}
HERE = Authority("example.com", 443)


def deny(**keys: Any) -> dict[str, Any]:
    return a_rule(id="no", effect="deny", **keys)


DECISIONS: list[tuple[str, list[dict[str, Any]], dict[str, Any], Reason, tuple[str, ...]]] = [
    # what, rules, request, reason, rules named
    ("a rule allows", [a_rule()], {}, Reason.ALLOWED, ("read",)),
    ("another host", [a_rule(to="example.org")], {}, Reason.NO_RULE, ()),
    ("another port", [a_rule()], {"url": "https://example.com:8443/"}, Reason.NO_RULE, ()),
    ("plain http", [a_rule()], {"url": "http://example.com/"}, Reason.NO_RULE, ()),
    ("another method", [a_rule()], {"method": "POST"}, Reason.NO_RULE, ()),
    ("any method", [a_rule(method="any")], {"method": "DELETE"}, Reason.ALLOWED, ("read",)),
    ("path", [a_rule(path="/a/*")], {"url": "https://example.com/a/b?x=/../c"}, Reason.ALLOWED, ("read",)),
    ("another path", [a_rule(path="/a/*")], {"url": "https://example.com/b"}, Reason.NO_RULE, ()),
    ("encoded path", [a_rule(path="/@a%2fb")], {"url": "https://example.com/@a%2fb"}, Reason.ALLOWED, ("read",)),
    ("job", [a_rule(job={"pipeline": "deploy", "branch": ["x", "main"]})], {}, Reason.ALLOWED, ("read",)),
    ("another job", [a_rule(job={"pipeline": "deploy", "branch": "x"})], {}, Reason.NO_RULE, ()),
    ("unstated fact", [a_rule(job={"tag": "v1"})], {}, Reason.NO_RULE, ()),
    ("condition", [a_rule(when="job.build_number > 6")], {}, Reason.ALLOWED, ("read",)),
    ("false condition", [a_rule(when="job.build_number > 7")], {}, Reason.NO_RULE, ()),
    ("broken condition", [a_rule(when="job.tag != 'v1'")], {}, Reason.NO_RULE, ()),
    ("deny wins", [a_rule(), deny(path="/**/x")], {"url": "https://example.com/a/x"}, Reason.RULE_DENIED, ("no",)),
    ("deny encoded", [a_rule(), deny(path="/a/*")], {"url": "https://example.com/a%2fx"}, Reason.RULE_DENIED, ("no",)),
    ("allow encoded", [a_rule(path="/a/*")], {"url": "https://example.com/a%2fx"}, Reason.NO_RULE, ()),
    ("deny elsewhere", [a_rule(), deny(path="/x")], {}, Reason.ALLOWED, ("read",)),
    ("deny other job", [a_rule(), deny(job={"branch": "x"})], {}, Reason.ALLOWED, ("read",)),
    ("deny unstated", [a_rule(), deny(job={"tag": "v*"})], {}, Reason.RULE_DENIED, ("no",)),
    ("deny broken", [a_rule(), deny(when="job.tag == 'x'")], {}, Reason.RULE_DENIED, ("no",)),
    ("deny false", [a_rule(), deny(when="job.branch == 'x'")], {}, Reason.ALLOWED, ("read",)),
    ("two denies", [a_rule(id="b", effect="deny"), a_rule(id="a", effect="deny")], {}, Reason.RULE_DENIED, ("a", "b")),
    ("two allows", [a_rule(id="b"), a_rule(id="a")], {}, Reason.ALLOWED, ("a", "b")),
    ("same grant", [a_rule(id="b", credential=AWS), a_rule(id="a", credential=AWS)], {}, Reason.ALLOWED, ("a", "b")),
    (
        "other grant",
        [a_rule(id="b", credential=AWS), a_rule(id="a", credential={"aws": {"role": "q"}})],
        {},
        Reason.RULE_AMBIGUOUS,
        ("a", "b"),
    ),
    ("grant or none", [a_rule(id="b", credential=AWS), a_rule(id="a")], {}, Reason.RULE_AMBIGUOUS, ("a", "b")),
    (
        "other tags",
        [a_rule(id="b", tags={"data": "x"}), a_rule(id="a", tags={"data": "y"})],
        {},
        Reason.RULE_AMBIGUOUS,
        ("a", "b"),
    ),
]


@pytest.mark.parametrize(
    "rules, request_parts, reason, ids", [row[1:] for row in DECISIONS], ids=[r[0] for r in DECISIONS]
)
def test_a_request_is_decided_by_its_rules(
    rules: list[dict[str, Any]], request_parts: dict[str, Any], reason: Reason, ids: tuple[str, ...]
) -> None:
    """Deny by default, deny wins, unknown counts against the request, and disagreement is a denial."""
    ruleset, request = ruleset_of(*rules), a_request(JOB, **request_parts)

    for decision in (evaluate(ruleset, request), explain(ruleset, request)):
        assert (decision.reason, decision.rule_ids) == (reason, ids)
        assert decision.is_allowed is (reason is Reason.ALLOWED)
        assert decision.revision == ruleset.revision


def test_no_rules_at_all_deny_with_a_reason_of_their_own() -> None:
    """Before a set is loaded everything is denied as `rules-unavailable`."""
    assert evaluate(RuleSet.empty(), a_request()).reason is Reason.RULES_UNAVAILABLE
    assert reach(RuleSet.empty(), JobContext(), HERE, NOON).reason is Reason.RULES_UNAVAILABLE


def test_a_decision_carries_grant_and_tags_of_its_rules() -> None:
    """Rules that agree on the grant add up their tags; a deny keeps the tags it has."""
    ruleset = ruleset_of(
        a_rule(id="a", credential=AWS, tags={"data": "x"}),
        a_rule(id="b", credential=AWS, tags={"data": "x", "retention": "1d"}),
        a_rule(id="c", effect="deny", path="/no", tags={"data": "y"}),
        a_rule(id="d", effect="deny", path="/*", to="example.com", tags={"data": "z"}, when="request.path == '/both'"),
        a_rule(id="e", effect="deny", path="/both", tags={"data": "y"}),
    )
    allowed = evaluate(ruleset, a_request(JOB))
    assert allowed.grant is not None
    assert allowed.grant.scope == {"role": "r"}
    assert allowed.tags == {"data": "x", "retention": "1d"}
    denied = evaluate(ruleset, a_request(JOB, url="https://example.com/no"))
    assert (denied.grant, denied.tags) == (None, {"data": "y"})
    assert evaluate(ruleset, a_request(JOB, url="https://example.com/both")).tags == {}


def test_the_same_rules_are_combined_once() -> None:
    """What rules come to together is made once, and to a limit; what differs is made anew."""
    ruleset = ruleset_of(a_rule(id="a", path="/a"), a_rule(id="b", path=["/a", "/b"]))
    both, one = (evaluate(ruleset, a_request(JOB, url=f"https://example.com/{name}")) for name in "ab")
    assert evaluate(ruleset, a_request(JOB, url="https://example.com/a")) is both
    assert (both.rule_ids, one.rule_ids) == (("a", "b"), ("b",))
    full = ruleset_of(a_rule(id="a"))
    full.combined.update({(str(number),): one for number in range(REMEMBERED)})
    assert evaluate(full, a_request(JOB)).rule_ids == ("a",)
    assert len(full.combined) == REMEMBERED


def test_all_approvals_that_rules_want_are_wanted() -> None:
    """A rule that asks nobody does not undo another's question; of two questions the shorter-lived yes is wanted."""
    plain, long, short = (
        a_rule(id="plain"),
        a_rule(id="long", approval={"within": "1h"}),
        a_rule(id="short", approval={"within": "30s", "ask": "Sure?"}),
    )
    step = a_rule(id="step", approval={"unblocked": {"step": "release", "by": ["b", "a", "b"]}})
    unblocked = Approval(within=timedelta(minutes=10), step="release", teams=("a", "b"))
    assert evaluate(ruleset_of(plain), a_request(JOB)).approvals == ()
    assert evaluate(ruleset_of(plain, step), a_request(JOB)).approvals == (unblocked,)
    decision = evaluate(ruleset_of(plain, long, step, short), a_request(JOB))
    assert decision.approvals == (unblocked, Approval(within=timedelta(seconds=30), ask="Sure?"))


def test_cookies_pass_where_every_rule_says_so() -> None:
    """One rule that does not say so keeps them."""
    plain, passing = a_rule(id="plain"), a_rule(id="passing", cookies="pass")
    assert evaluate(ruleset_of(passing), a_request(JOB)).passes_cookies
    assert not evaluate(ruleset_of(passing, plain), a_request(JOB)).passes_cookies


EVENTS: list[tuple[str, dict[str, object], Reason]] = [
    ("event.fork", {"fork": True}, Reason.RULE_DENIED),
    ("event.fork", {"fork": False}, Reason.ALLOWED),
    ("event.fork", {}, Reason.RULE_DENIED),
    ("'fork' in event.stated && event.fork", {}, Reason.ALLOWED),
    ("event.build_state != 'running'", {"build_state": "canceled"}, Reason.RULE_DENIED),
    ("event.build_state != 'running'", {"build_state": "running"}, Reason.ALLOWED),
    ("!event.agent_matches", {"agent_matches": False}, Reason.RULE_DENIED),
]


@pytest.mark.parametrize("when, events, reason", EVENTS)
def test_events_take_away(when: str, events: dict[str, object], reason: Reason) -> None:
    """A deny rule may ask what events said; where none has come, it denies. So at CONNECT already."""
    rules = ruleset_of(a_rule(), a_rule(id="hint", effect="deny", when=when))
    job = replace(JOB, events=events)
    assert evaluate(rules, a_request(job)).reason is reason
    assert reach(rules, job, HERE, NOON).reason is reason


TUNNEL = a_rule(id="tunnel", inspect=False)
REACH: list[tuple[str, list[dict[str, Any]], Reason, bool, tuple[str, ...]]] = [
    ("no rule", [a_rule(to="example.org")], Reason.NO_RULE, True, ()),
    ("only plain http", [a_rule(to="http://example.com:443")], Reason.NO_RULE, True, ()),
    ("a rule could", [a_rule(path="/a", method="PUT", when="request.query == ''")], Reason.ALLOWED, True, ("read",)),
    ("another job", [a_rule(job={"branch": "x"})], Reason.NO_RULE, True, ()),
    ("condition on the job", [a_rule(when="job.branch == 'x'")], Reason.NO_RULE, True, ()),
    ("denied", [a_rule(), deny()], Reason.RULE_DENIED, True, ("no",)),
    ("denied by port", [a_rule(), deny(to="example.com:443")], Reason.RULE_DENIED, True, ("no",)),
    ("deny without an allow", [deny()], Reason.RULE_DENIED, True, ("no",)),
    ("denied by condition", [a_rule(), deny(when="job.branch == 'main'")], Reason.RULE_DENIED, True, ("no",)),
    ("denied, undecidable", [a_rule(), deny(when="job.tag == 'x'")], Reason.RULE_DENIED, True, ("no",)),
    ("deny some paths", [a_rule(), deny(path="/x")], Reason.ALLOWED, True, ("read",)),
    ("only some paths denied", [deny(path="/x")], Reason.NO_RULE, True, ()),
    ("deny another job", [a_rule(), deny(job={"branch": "x"})], Reason.ALLOWED, True, ("read",)),
    ("tunnel", [TUNNEL], Reason.ALLOWED, False, ("tunnel",)),
    (
        "tunnel by condition",
        [a_rule(id="tunnel", inspect=False, when="job.branch == 'main'")],
        Reason.ALLOWED,
        False,
        ("tunnel",),
    ),
    ("tunnel, undecidable", [a_rule(id="tunnel", inspect=False, when="job.tag == 'x'")], Reason.NO_RULE, True, ()),
    ("tunnel beside a look", [TUNNEL, a_rule()], Reason.ALLOWED, True, ("read", "tunnel")),
    ("tunnel beside a deny inside", [TUNNEL, deny(path="/x")], Reason.ALLOWED, True, ("tunnel",)),
    (
        "tunnel beside another job's deny",
        [TUNNEL, deny(path="/x", job={"branch": "x"})],
        Reason.ALLOWED,
        False,
        ("tunnel",),
    ),
    (
        "tunnels that disagree",
        [a_rule(id="a", inspect=False, tags={"data": "x"}), a_rule(id="b", inspect=False, tags={"data": "y"})],
        Reason.RULE_AMBIGUOUS,
        True,
        ("a", "b"),
    ),
]


@pytest.mark.parametrize("rules, reason, inspect, ids", [row[1:] for row in REACH], ids=[row[0] for row in REACH])
def test_a_tunnel_is_opened_only_where_a_rule_could_apply(
    rules: list[dict[str, Any]], reason: Reason, *, inspect: bool, ids: tuple[str, ...]
) -> None:
    """A CONNECT that no rule could use is denied; it passes uninspected only when nothing must look inside."""
    decision = reach(ruleset_of(*rules), JOB, HERE, NOON)

    assert (decision.reason, decision.rule_ids) == (reason, ids)
    assert decision.inspect is (inspect or not decision.is_allowed)
    assert decision.grant is None


def test_what_is_denied_at_connect_no_request_inside_is_allowed() -> None:
    """The coarse answer never refuses what the fine one would allow, nor the reverse."""
    for _, rules, reason, _, _ in REACH:
        ruleset = ruleset_of(*rules)
        inside = evaluate(ruleset, a_request(JOB))
        if reason is not Reason.ALLOWED:
            assert not inside.is_allowed


STEPS = [
    (
        a_rule(to="http://example.com"),
        False,
        "to: the request goes to https://example.com:443, the rule names `http://example.com`",
    ),
    (a_rule(job={"branch": ["x", "y*"]}), False, "job.branch: `main`, the rule wants `x` or `y*`"),
    (a_rule(job={"tag": "v1"}), False, "job.tag: not stated by the issuer, the rule wants `v1`"),
    (a_rule(method=["PUT", "POST"]), False, "method: GET is not `POST` or `PUT`"),
    (a_rule(path="/b"), False, "path: `/` is not `/b`"),
    (a_rule(when="job.branch == 'x'"), False, "when: `job.branch == 'x'` is false"),
    (a_rule(when="job.tag == 'x'"), False, "when: `job.tag == 'x'` could not be evaluated: `job.tag` is not known"),
    (a_rule(), True, "allows this"),
    (a_rule(effect="deny"), True, "denies this"),
    (a_rule(effect="deny", job={"tag": "x"}), True, "denies this; job.tag is not stated, which counts as a match"),
    (a_rule(effect="deny", when="job.tag == 'x'"), True, "which counts as a match"),
]


@pytest.mark.parametrize("rule, matched, why", STEPS, ids=[row[2] for row in STEPS])
def test_every_step_says_what_failed_first(rule: dict[str, Any], *, matched: bool, why: str) -> None:
    """Each rule that names the host is listed with the first condition that did not hold."""
    (step,) = explain(ruleset_of(rule), a_request(JOB)).steps

    assert (step.rule_id, step.matched) == ("read", matched)
    assert why in step.why


def test_rules_of_other_pipelines_are_explained_too() -> None:
    """Explain lists what the index leaves out, because that is what a reader looks for."""
    decision = explain(ruleset_of(a_rule(job={"pipeline": "other"})), a_request(JOB))
    assert [step.why for step in decision.steps] == ["job.pipeline: `deploy`, the rule wants `other`"]


def test_the_first_condition_that_a_rule_fails_on_is_told() -> None:
    """In the order in which they are asked; None where it matches."""
    rules = ruleset_of(a_rule(path="/a/*", job={"branch": "main"}))
    (rule,) = rules.rules
    assert first_failing(rules, rule, a_request(JOB, "GET", "https://example.com/a/b")) is None
    assert first_failing(rules, rule, a_request(JOB, "GET", "https://example.com/b")) == "path"
    assert first_failing(rules, rule, a_request(JOB, "PUT", "https://example.com/a/b")) == "method"


WATCH = a_rule(id="watch", mode="observe", tags={"data": "seen"})
OBSERVED: list[tuple[str, list[dict[str, Any]], Reason, tuple[str, ...]]] = [
    ("what nothing allows is let through", [WATCH], Reason.OBSERVED, ("watch",)),
    ("by any method", [{**WATCH, "path": "/x"}, a_rule(id="other", method="PUT")], Reason.OBSERVED, ("watch",)),
    ("where another rule allows, that one decides", [WATCH, a_rule(credential=AWS)], Reason.ALLOWED, ("read",)),
    ("a denial stays one", [WATCH, deny()], Reason.RULE_DENIED, ("no",)),
    ("what it does not match is denied", [{**WATCH, "job": {"branch": "x"}}], Reason.NO_RULE, ()),
    (
        "two rules that disagree on tags",
        [WATCH, {**WATCH, "id": "more", "tags": {"data": "else"}}],
        Reason.OBSERVED,
        ("more", "watch"),
    ),
]


@pytest.mark.parametrize("rules, reason, ids", [row[1:] for row in OBSERVED], ids=[row[0] for row in OBSERVED])
def test_what_would_be_denied_is_let_through_where_an_operator_said_so(
    rules: list[dict[str, Any]], reason: Reason, ids: tuple[str, ...]
) -> None:
    """Marked, and with nothing of ours: no credential, no cookies."""
    method = "DELETE" if "method" in rules[-1] else "GET"
    decision = evaluate(ruleset_of(*rules), a_request(JOB, method, "https://example.com/x"))
    assert (decision.reason, decision.rule_ids) == (reason, ids)
    if reason is Reason.OBSERVED:
        assert decision.is_allowed
        assert (decision.grant, decision.passes_cookies, decision.inspect) == (None, False, True)
        assert decision.tags == ({} if len(ids) > 1 else {"data": "seen"})


def test_what_is_only_seen_may_be_unknown_and_beyond_what_was_declared() -> None:
    """The host is governed by intents, and this is none that is known: an allow rule would not take it."""
    unknown = Intent(
        protocol="aws", action="unknown", resource=Resource(type="url", id="x"), effect=EffectClass.UNKNOWN, exact=False
    )
    spoken = a_rule(id="aws", intent="aws s3:GetObject *")
    request = replace(a_request(JOB), intent=unknown, declared=("npm install *",))
    assert evaluate(ruleset_of(spoken, a_rule()), request).reason is Reason.NO_RULE
    decision = evaluate(ruleset_of(spoken, WATCH), request)
    assert (decision.reason, decision.declared) == (Reason.OBSERVED, Declared.BEYOND)


def test_everything_may_be_let_through() -> None:
    """Unless a rule denies it; before there are rules at all nothing is."""
    rules = compile_rules(rules_of(a_rule(to="else.test"), deny(path="/no")), observes=True)
    decision = evaluate(rules, a_request(JOB))
    assert (decision.reason, decision.rule_ids, decision.grant) == (Reason.OBSERVED, (), None)
    assert evaluate(rules, a_request(JOB, url="https://example.com/no")).reason is Reason.RULE_DENIED
    assert evaluate(rules, a_request(JOB, url="https://else.test/")).reason is Reason.ALLOWED
    assert evaluate(compile_rules((), observes=True), a_request(JOB)).reason is Reason.OBSERVED
    assert evaluate(RuleSet.empty(), a_request(JOB)).reason is Reason.RULES_UNAVAILABLE
    assert may_match(rules, JOB, a_request(JOB).view)
    assert rules.revision != compile_rules(rules.rules).revision


def test_connections_are_opened_to_see_what_is_inside() -> None:
    assert reach(ruleset_of(WATCH), JOB, HERE, NOON).reason is Reason.OBSERVED
    decision = reach(compile_rules((), observes=True), JOB, HERE, NOON)
    assert (decision.reason, decision.inspect) == (Reason.OBSERVED, True)
    assert reach(ruleset_of(WATCH, a_rule()), JOB, HERE, NOON).reason is Reason.ALLOWED
    assert reach(ruleset_of(WATCH, deny()), JOB, HERE, NOON).reason is Reason.RULE_DENIED
