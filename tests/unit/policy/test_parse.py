from datetime import timedelta
from typing import Any

import pytest

from proxy.model.decision import Effect
from proxy.policy.faults import Fault
from proxy.policy.parse import parse_rules
from tests.fakes.policy import SCOPES, a_rule, faults_of, rules_of

AWS = {"aws": {"role": "r"}}
FILE = {"header": {"file": "f"}}

FAULTS: list[tuple[dict[str, Any], tuple[str | int, ...], str, str]] = [
    # rule, path below it, message, hint
    (a_rule(id=None), (), "`id` is missing", "Name of the rule"),
    (a_rule(why=None), (), "`why` is missing", "Why the rule exists"),
    (a_rule(why="x"), ("why",), "empty or too short", ""),
    (a_rule(to=None), (), "`to` is missing", "Where"),
    (a_rule(id="Upper"), ("id",), "`id` cannot be `Upper`", "Lower-case"),
    (a_rule(id=7), ("id",), "`id` must be text, not the number 7", 'Quote it: "7"'),
    (a_rule(wehn="x"), ("wehn",), "unknown key `wehn`", "Did you mean `when`?"),
    (a_rule(host="x"), ("host",), "unknown key `host`", "Did you mean `to`?"),
    (a_rule(qqqqq="x"), ("qqqqq",), "unknown key `qqqqq`", "Known here: id, why, effect"),
    (a_rule(intent="x"), ("intent", 0), "`PROTOCOL ACTION RESOURCE`", ""),
    (a_rule(intent=["npm install *", "nmp push *"]), ("intent", 1), "`nmp` is no protocol", ""),
    (a_rule(intent="npm f** *"), ("intent", 0), "stands alone", ""),
    (a_rule(intent=[]), ("intent",), "is empty", ""),
    (a_rule(intents="git fetch *"), ("intents",), "unknown key `intents`", "Did you mean `intent`"),
    (a_rule(intent="npm install *", inspect=False), ("intent",), "cannot be used with", "Remove `intent`"),
    (a_rule(approval={}, effect="deny"), ("approval",), "denies whoever says yes", "Remove `approval`"),
    (a_rule(cookies="keep"), ("cookies",), "`cookies` cannot be `keep`", ""),
    (a_rule(cookies="pass", effect="deny"), ("cookies",), "passes nothing", "Remove `cookies`"),
    (a_rule(cookies="pass", inspect=False), ("cookies",), "cannot be used with", "Remove `cookies`"),
    (a_rule(approval={}, inspect=False), ("approval",), "cannot be used with", "Remove `approval`"),
    (a_rule(approval={"unblocked": {"step": "s", "by": "t"}, "ask": "?"}), ("approval",), "nobody is asked", "Remove"),
    (a_rule(approval={"unblocked": {"step": "s", "by": []}}), ("approval", "unblocked", "by"), "is empty", ""),
    (a_rule(when="event.fork"), ("when",), "can only take away", "`effect: deny`"),
    (a_rule(when="'x' in event . stated"), ("when",), "can only take away", ""),
    (a_rule(when="event.frok", effect="deny"), ("when",), "not a name known here", "Did you mean `event.fork`?"),
    (a_rule(approval={"within": "soon"}), ("approval", "within"), "`within`", ""),
    (a_rule(effect="allows"), ("effect",), "`effect` cannot be `allows`", "Did you mean `allow`?"),
    (a_rule(job={}), ("job",), "`job` is empty", "leave `job` out"),
    (a_rule(job="main"), ("job",), "`job` must be a mapping", ""),
    (a_rule(job={"brnch": "x"}), ("job", "brnch"), "unknown key `brnch`", "Did you mean `branch`?"),
    (a_rule(job={"ref": "x"}), ("job", "ref"), "unknown key `ref`", "Did you mean `branch`?"),
    (a_rule(job={"branch": None}), ("job", "branch"), "`branch` is empty", "leave the key out"),
    (a_rule(job={"branch": []}), ("job", "branch"), "`branch` is empty", ""),
    (a_rule(job={"branch": ["a", 1]}), ("job", "branch", 1), "must be text, not the number 1", 'Quote it: "1"'),
    (a_rule(job={"branch": True}), ("job", "branch", 0), "must be text, not true", ""),
    (a_rule(job={"branch": {"a": 1}}), ("job", "branch", 0), "must be text, not a mapping", ""),
    (a_rule(job={"branch": [["a"]]}), ("job", "branch", 0), "must be text, not a list", ""),
    (a_rule(job={"branch": "*"}), ("job", "branch", 0), "matches everything", ""),
    (a_rule(job={"branch": ""}), ("job", "branch", 0), "matches nothing", ""),
    (a_rule(job={"build_number": "7"}), ("job", "build_number", 0), "a whole number, not `7`", "Remove the quotes"),
    (a_rule(job={"build_number": True}), ("job", "build_number", 0), "a whole number, not true", ""),
    (a_rule(job={"protected": "true"}), ("job", "protected"), "true or false, not `true`", "Remove the quotes"),
    (a_rule(job={"protected": 1}), ("job", "protected"), "true or false, not the number 1", ""),
    (a_rule(job={"claims": {}}), ("job", "claims"), "`claims` is empty", ""),
    (a_rule(job={"claims": {"x": None}}), ("job", "claims", "x", 0), "a claim is compared with", ""),
    (a_rule(job={"claims": {"x": [{}]}}), ("job", "claims", "x", 0), "a claim is compared with", ""),
    (
        a_rule(job={"claims": {"sub": "repo:acme/*"}}),
        ("job", "claims", "sub", 0),
        "never matched by a pattern",
        "one by one",
    ),
    (a_rule(to="*.com"), ("to", 0), "fix at least two labels", ""),
    (a_rule(to=["example.com", "*"]), ("to", 1), "whole leading labels", ""),
    (a_rule(to="a/b"), ("to", 0), "not a URL", ""),
    (a_rule(to=5), ("to", 0), "must be text", ""),
    (a_rule(method="get"), ("method", 0), "write `GET`", ""),
    (a_rule(method="TRACE"), ("method", 0), "`method` cannot be `TRACE`", "Known here"),
    (a_rule(method=["any", "GET"]), ("method",), "`any` stands alone", ""),
    (a_rule(method=[]), ("method",), "`method` is empty", ""),
    (a_rule(method=None, path=None, when=""), ("when",), "`when` is empty", ""),
    (a_rule(path="a"), ("path", 0), "write `/a`", ""),
    (a_rule(path=3), ("path", 0), "must be text", ""),
    (a_rule(when="job.brnach == 'x'"), ("when",), "`job.brnach` is not a name", "Did you mean `job.branch`?"),
    (a_rule(when=True), ("when",), "`when` must be text, not true", ""),
    (a_rule(inspect=None) | {"inspect": None}, ("inspect",), "true or false, not nothing", ""),
    (a_rule(declared="maybe"), ("declared",), "`declared` cannot be `maybe`", "Known here"),
    (a_rule(effect="deny", declared="flag"), ("declared",), "denies either way", "Remove"),
    (a_rule(inspect=False, declared="required"), ("declared",), "is never what a step declared", "flag"),
    (a_rule(effect="deny", inspect=False), ("inspect",), "passes nothing through", ""),
    (a_rule(effect="deny", credential=AWS), ("credential",), "gives nothing", ""),
    (a_rule(mode="watch"), ("mode",), "", ""),
    (a_rule(mode="observe", effect="deny"), ("mode",), "what a deny rule denies is not let through", ""),
    (a_rule(mode="observe", credential=AWS), ("credential",), "cannot be used with `mode: observe`", ""),
    (a_rule(mode="observe", approval={}), ("approval",), "cannot be used with `mode: observe`", ""),
    (a_rule(mode="observe", cookies="pass"), ("cookies",), "cannot be used with `mode: observe`", ""),
    (a_rule(mode="observe", declared="flag"), ("declared",), "cannot be used with `mode: observe`", ""),
    (a_rule(mode="observe", inspect=False), ("inspect",), "cannot be used with `mode: observe`", ""),
    (a_rule(inspect=False, credential=AWS), ("credential",), "cannot be used with `inspect: false`", ""),
    (a_rule(inspect=False, method="GET"), ("method",), "cannot be used with `inspect: false`", ""),
    (a_rule(inspect=False, path="/a"), ("path",), "cannot be used with `inspect: false`", ""),
    (a_rule(inspect=False, when="request.path == ''"), ("when",), "cannot be used with `inspect: false`", ""),
    (a_rule(inspect=False, to="http://a.example"), ("to", 0), "is not TLS", ""),
    (a_rule(to="http://a.example", credential=AWS), ("to", 0), "is plain HTTP", "Use https."),
    (a_rule(credential={"awss": {}}), ("credential", "awss"), "no connector is called `awss`", "Did you mean `aws`?"),
    (a_rule(credential={}), ("credential",), "`credential` is empty", ""),
    (a_rule(credential={"aws": {"role": "r", "intents": []}}), ("credential", "aws", "intents"), "not for writing", ""),
    (a_rule(credential={"aws": {"role": "r", "rule": "x"}}), ("credential", "aws", "rule"), "not for writing", ""),
    (a_rule(credential={**AWS, "header": {}}), ("credential",), "at most 1 item", ""),
    (a_rule(credential={"aws": {}}), ("credential", "aws"), "`role` is missing", ""),
    (a_rule(credential={"aws": {"role": 5}}), ("credential", "aws", "role"), "must be text", ""),
    (a_rule(credential={"aws": {"role": "r", "rol": 1}}), ("credential", "aws", "rol"), "unknown key", "`role`?"),
    (
        a_rule(credential={"aws": {"role": "r", "policy": [{"actoin": "s3:Get", "action": "x"}]}}),
        ("credential", "aws", "policy", 0, "actoin"),
        "unknown key `actoin`",
        "Did you mean `action`?",
    ),
    (a_rule(credential={"aws": {"role": "r", "policy": [{}]}}), ("credential", "aws", "policy", 0), "is missing", ""),
    (a_rule(credential={"aws": {"role": "r", "duration": "15"}}), ("credential", "aws", "duration"), "15m", ""),
    (a_rule(credential={"aws": {"role": "r", "duration": 15}}), ("credential", "aws", "duration"), "15m", ""),
    (a_rule(credential={"aws": {"role": "r", "duration": "0s"}}), ("credential", "aws", "duration"), "between", ""),
    (a_rule(credential={"aws": {"role": "r", "duration": "13h"}}), ("credential", "aws", "duration"), "between", ""),
    (a_rule(tags={"a b": "x"}), ("tags", "a b"), "`a b` cannot be a tag", "Letters"),
    (a_rule(tags={"retention": "long"}), ("tags", "retention"), "is not a duration", ""),
    (a_rule(tags={"data": ""}), ("tags", "data"), "`data` is empty", ""),
    (a_rule(tags={"data": 5}), ("tags", "data"), "must be text", ""),
]


@pytest.mark.parametrize("text, path, message, hint", FAULTS, ids=[f"{row[2]} {row[1]}" for row in FAULTS])
def test_each_mistake_is_one_fault_at_its_place(
    text: dict[str, Any], path: tuple[str | int, ...], message: str, hint: str
) -> None:
    """A wrong key, value or combination is refused where it stands, with what to write instead."""
    found = [fault for fault in faults_of(text) if message in fault.message]

    assert found, faults_of(text)
    assert found[0].path[2:] == path
    assert hint in found[0].hint


@pytest.mark.parametrize(
    "document, message",
    [
        (None, "the file has no rules"),
        ([], "must be a mapping"),
        ("rules", "must be a mapping"),
        ({}, "`rules` is missing"),
        ({"rules": None}, "must be a list"),
        ({"rules": []}, "`rules` is empty"),
        ({"rules": {}}, "must be a list"),
        ({"rules": "x"}, "must be a list"),
        ({"rules": [a_rule()], "rule": 1}, "unknown key `rule`"),
        ({"rules": ["x"]}, "must be a mapping"),
        ({"rules": [a_rule()] * 20_001}, "more than 20000 rules"),
    ],
)
def test_a_file_that_is_no_rule_file_is_refused(document: object, message: str) -> None:
    """Empty is failure: a file without rules, or of another shape, is an error."""
    faults = parse_rules(document, "x.yaml", SCOPES).faults
    assert any(message in fault.message for fault in faults), faults


def test_all_faults_are_told_at_once() -> None:
    """One wrong rule hides nothing that is wrong with the next."""
    faults = faults_of(
        a_rule(id="A", when="job.x", to="*.com"), a_rule(when="job.x"), a_rule(credential={"no": {}}), a_rule(to=5, x=1)
    )
    assert [fault.path[1:3] for fault in faults] == [
        (0, "id"),
        (0, "to"),
        (0, "when"),
        (1, "when"),
        (2, "credential"),
        (3, "to"),
        (3, "x"),
    ]


def test_defaults_are_the_careful_ones() -> None:
    """An allow rule without `method` reads; a deny rule without it denies everything; a tunnel sees no method."""
    allow, deny, tunnel, anything = rules_of(
        a_rule(), a_rule(effect="deny"), a_rule(inspect=False), a_rule(method="any")
    )
    assert allow.methods == frozenset({"GET", "HEAD"})
    assert allow.effect is Effect.ALLOW
    assert allow.inspect
    assert deny.methods is None
    assert tunnel.methods is None
    assert anything.methods is None


def test_a_grant_is_named_by_what_it_means() -> None:
    """Two spellings of one scope share a grant; another scope, connector or lifetime does not."""
    one, same, later, other, own = rules_of(
        a_rule(credential=AWS),
        a_rule(credential={"aws": {"actions": [], "role": "r", "duration": "15m"}}),
        a_rule(credential={"aws": {"role": "r", "duration": "1h"}}),
        a_rule(credential={"aws": {"role": "q"}}),
        a_rule(credential={"header": {"file": "/f", "duration": "30m"}}),
    )
    assert one.grant is not None
    assert same.grant is not None
    assert later.grant is not None
    assert other.grant is not None
    assert own.grant is not None
    assert one.grant.key == same.grant.key
    assert len({one.grant.key, later.grant.key, other.grant.key, own.grant.key}) == 4
    assert one.grant.lifetime == timedelta(minutes=15)
    assert later.grant.scope == {"role": "r"}
    assert own.grant.scope == {"file": "/f", "duration": "30m"}  # this connector reads it itself
    assert own.grant.lifetime == timedelta(minutes=30)


def test_a_fault_within_a_condition_says_where() -> None:
    """The place within the text of `when` is kept, for a caret under it."""
    (fault,) = faults_of(a_rule(when="true && job.brnach == 'x'"))
    assert isinstance(fault, Fault)
    assert fault.offset == (1, 9)


def test_a_connector_whose_tokens_name_the_rule_is_told_it() -> None:
    """Where jobgate speaks for the job; others share credentials across rules."""
    told, silent = (
        parse_rules({"rules": [a_rule(credential={"aws": {"role": "r", **more}})]}, "f", SCOPES).rules[0]
        for more in ({"subject": "jobgate"}, {})
    )
    assert told.grant is not None
    assert silent.grant is not None
    assert told.grant.scope["rule"] == "read"
    assert "rule" not in silent.grant.scope


def test_a_connector_that_wants_the_intents_gets_them() -> None:
    """A scope may be narrowed by what the rule says a request means; the two are then one credential."""
    lines = ["npm install *", "npm publish registry.example/a"]
    told, silent, other = rules_of(
        a_rule(credential=AWS, intent=lines), a_rule(credential=AWS), a_rule(credential=FILE)
    )
    assert told.grant is not None
    assert silent.grant is not None
    assert other.grant is not None
    assert told.grant.scope["intents"] == lines
    assert "intents" not in silent.grant.scope
    assert told.grant.key != silent.grant.key
    assert "intents" not in other.grant.scope
