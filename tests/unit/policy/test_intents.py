"""A line of `intent:` names exactly what it says: an allow rule must name all that is done, a deny rule any of it."""

from typing import Any

import pytest

from proxy.model.intent import EffectClass, Intent, Resource
from proxy.model.reason import Reason
from proxy.policy.evaluate import evaluate, explain, may_match
from proxy.policy.explain import describe, smallest_rule
from proxy.policy.intents import covers_all, is_unknown, parts_of, read_intent, touches_any
from proxy.policy.overlap import requests_overlap, rule_covers
from proxy.policy.patterns import PatternError
from tests.fakes.policy import a_request, a_rule, a_view, rules_of, ruleset_of

ANY = ("aws", "git", "oci", "npm")
PUT = "arn:aws:s3:::releases/payments/x.tgz"


def meant(protocol: str, action: str, resource: str, effect: str = "write", *also: Intent) -> Intent:
    return Intent(
        protocol=protocol,
        action=action,
        resource=Resource(type="x", id=resource),
        effect=EffectClass(effect),
        exact=True,
        also=also,
    )


COVERS: list[tuple[str, Intent, bool]] = [
    ("aws s3:PutObject arn:aws:s3:::releases/payments/*", meant("aws", "s3:PutObject", PUT), True),
    ("aws  s3:PutObject   arn:aws:s3:::releases/payments/*", meant("aws", "s3:PutObject", PUT), True),
    ("aws s3:* arn:aws:s3:::releases/payments/*", meant("aws", "s3:PutObject", PUT), True),
    ("aws s3:Put* *", meant("aws", "s3:PutObject", PUT), True),
    ("aws * *", meant("aws", "s3:PutObject", PUT), True),
    ("aws ** **", meant("aws", "s3:PutObject", PUT), True),
    ("aws write *", meant("aws", "s3:PutObject", PUT), True),
    ("aws read *", meant("aws", "s3:PutObject", PUT), False),
    ("aws read *", meant("aws", "s3:ListBucket", PUT, "list"), False),
    ("git * *", meant("aws", "s3:PutObject", PUT), False),
    ("aws * arn:aws:s3:::releases/*", meant("aws", "s3:PutObject", PUT), False),  # `*` stops at a slash
    ("aws * arn:aws:s3:::releases/**", meant("aws", "s3:PutObject", PUT), True),
    ("aws * arn:aws:s3:::*", meant("aws", "s3:PutObject", PUT), False),
    ("aws s3*PutObject *", meant("aws", "s3:PutObject", PUT), False),  # and at a colon
    ("aws * arn:aws:logs:*:1:x", meant("aws", "logs:Put", "arn:aws:logs:eu:1:x"), True),
    ("aws * arn:aws:logs:*:1:x", meant("aws", "logs:Put", "arn:aws:logs:eu:2:1:x"), False),
    ("aws s3:putobject *", meant("aws", "s3:PutObject", PUT), False),
    ("git push.* h.example/a#refs/heads/*", meant("git", "push.create", "h.example/a#refs/heads/x"), True),
    ("git push.* h.example/*", meant("git", "push.create", "h.example/a#refs/heads/x"), False),  # and at `#`
    ("git push.* h.example/a#**", meant("git", "push.create", "h.example/a#refs/heads/x"), True),
    ("git push.* h.example/**", meant("git", "push.create", "h.example/a#refs/heads/x"), True),
    ("oci pull.* h.example/a@sha256:*", meant("oci", "pull.blob", "h.example/a@sha256:00ff", "read"), True),
    ("npm publish h.example/a b", meant("npm", "publish", "h.example/a b", "publish"), True),
    # what nobody could tell is only ever named outright
    ("aws * *", meant("aws", "x:Odd", "*", "unknown"), False),
    ("aws x:* *", meant("aws", "x:Odd", "*", "unknown"), False),
    ("aws write *", meant("aws", "x:Odd", "*", "unknown"), False),
    ("aws x:Odd *", meant("aws", "x:Odd", "*", "unknown"), True),
    ("aws x:Other *", meant("aws", "x:Odd", "*", "unknown"), False),
    ("unknown", meant("aws", "x:Odd", "*", "unknown"), True),
    ("unknown", meant("aws", "s3:PutObject", PUT), False),
]


@pytest.mark.parametrize("line, intent, expected", COVERS, ids=[f"{r[0]} / {r[1].name} {r[1].effect}" for r in COVERS])
def test_a_line_covers_what_it_names(line: str, intent: Intent, *, expected: bool) -> None:
    """A star never reaches over a separator, a class is one class, and the unknown is never meant by a wildcard."""
    assert covers_all((read_intent(line, ANY),), intent) is expected


TOUCHES: list[tuple[str, Intent, bool]] = [
    ("aws delete *", meant("aws", "s3:DeleteObject", PUT, "delete"), True),
    ("aws delete *", meant("aws", "s3:PutObject", PUT), False),
    ("aws delete *", meant("aws", "x:Odd", PUT, "unknown"), True),
    ("aws delete arn:aws:s3:::other/**", meant("aws", "x:Odd", PUT, "unknown"), False),
    ("aws s3:* *", meant("aws", "s3:Odd", PUT, "unknown"), True),
    ("git delete *", meant("aws", "x:Odd", PUT, "unknown"), False),
    ("unknown", meant("aws", "x:Odd", PUT, "unknown"), True),
    ("unknown", meant("aws", "s3:PutObject", PUT), False),
]


@pytest.mark.parametrize("line, intent, expected", TOUCHES, ids=[f"{r[0]} / {r[1].name}" for r in TOUCHES])
def test_a_deny_line_touches_what_it_might_name(line: str, intent: Intent, *, expected: bool) -> None:
    """For a deny rule, what cannot be told counts as meant."""
    assert touches_any((read_intent(line, ANY),), intent) is expected


COPY = meant(
    "aws", "s3:PutObject", "arn:aws:s3:::a/x", "write", meant("aws", "s3:GetObject", "arn:aws:s3:::b/y", "read")
)


def test_everything_a_request_does_must_be_allowed() -> None:
    """Copying is writing here and reading there; one of the two is not enough, and one of them is enough to deny."""
    write, read = (
        read_intent("aws s3:PutObject arn:aws:s3:::a/**", ANY),
        read_intent("aws s3:GetObject arn:aws:s3:::b/**", ANY),
    )

    assert not covers_all((write,), COPY)
    assert not covers_all((read,), COPY)
    assert covers_all((write, read), COPY)
    assert touches_any((read,), COPY)
    assert [part.action for part in parts_of(COPY)] == ["s3:PutObject", "s3:GetObject"]
    assert not is_unknown(COPY)
    assert is_unknown(meant("aws", "a:B", "*", "read", meant("aws", "c:D", "*", "unknown")))


@pytest.mark.parametrize(
    "line", ["", "git", "git fetch", "gti fetch *", "Git fetch *", "unknown *", "git f** *", "git fetch a**", "* * *"]
)
def test_a_line_that_could_not_mean_anything_is_refused(line: str) -> None:
    """Too few words, an unheard-of protocol or a misplaced star."""
    with pytest.raises(PatternError):
        read_intent(line)


def ask(intent: Intent, *rules: dict[str, Any]) -> tuple[Reason, tuple[str, ...]]:
    ruleset, request = ruleset_of(*rules), a_request(method="POST")
    request = type(request)(job=request.job, view=request.view, intent=intent, now=request.now)
    decisions = evaluate(ruleset, request), explain(ruleset, request)
    assert decisions[0].reason is decisions[1].reason
    return decisions[0].reason, decisions[0].rule_ids


PUSH = meant("ci", "push.create", "example.com/a#refs/heads/x")
ODD = meant("ci", "odd", "example.com/a", "unknown")
GIT = a_rule(id="git", intent=["ci push.create example.com/a#refs/heads/*", "ci fetch *"])
PLAIN = a_rule(id="plain", method="any")
NO = a_rule(id="no", effect="deny", intent="ci write *")


@pytest.mark.parametrize(
    "intent, rules, reason, ids",
    [
        (PUSH, [GIT], Reason.ALLOWED, ("git",)),
        (PUSH, [PLAIN], Reason.ALLOWED, ("plain",)),
        (PUSH, [GIT, NO], Reason.RULE_DENIED, ("no",)),
        (PUSH, [a_rule(id="git", intent="ci fetch *")], Reason.NO_RULE, ()),
        (PUSH, [{**GIT, "method": "GET"}], Reason.NO_RULE, ()),
        (ODD, [PLAIN], Reason.ALLOWED, ("plain",)),  # nobody governs this host by intent
        (ODD, [PLAIN, GIT], Reason.NO_RULE, ()),  # somebody does
        (ODD, [PLAIN, a_rule(id="odd", intent="unknown")], Reason.ALLOWED, ("odd",)),
        (ODD, [PLAIN, a_rule(id="elsewhere", to="example.org", intent="unknown")], Reason.ALLOWED, ("plain",)),
        (ODD, [PLAIN, NO], Reason.RULE_DENIED, ("no",)),
    ],
)
def test_rules_speak_of_what_is_meant(
    intent: Intent, rules: list[dict[str, Any]], reason: Reason, ids: tuple[str, ...]
) -> None:
    """A rule with `intent` allows what it names, whatever the method; unknown things need a rule that says so."""
    assert ask(intent, *rules) == (reason, ids)


def test_explaining_says_how_a_request_was_read() -> None:
    """The decision names protocol, action, resource and class, and why a rule does not speak of it."""
    ruleset, request = ruleset_of(a_rule(intent="ci fetch *"), a_rule(id="b", method="any")), a_request()
    for intent, words in ((PUSH, "the rule names `ci fetch *`"), (ODD, "not known well enough")):
        asked = type(request)(job=request.job, view=request.view, intent=intent, now=request.now)
        decision = explain(ruleset, asked)
        assert any(words in step.why for step in decision.steps)
        assert any(f"read as {intent.name} {intent.resource.id}" in line for line in describe(decision, asked, ruleset))


def test_the_smallest_rule_names_the_intent() -> None:
    """What was decoded is said in its own words; what cannot be said so is said with method and path."""
    request = a_request(method="POST")
    for intent, expected in (
        (COPY, ['      - "aws s3:PutObject arn:aws:s3:::a/x"', '      - "aws s3:GetObject arn:aws:s3:::b/y"']),
        (meant("ci", "push", "a*b"), ["    method: POST"]),
    ):
        asked = type(request)(job=request.job, view=request.view, intent=intent, now=request.now)
        text = smallest_rule(evaluate(ruleset_of(a_rule(to="example.org")), asked), asked)
        assert text is not None
        assert set(expected) <= set(text.splitlines())


def test_the_smallest_rule_keeps_its_conditions() -> None:
    """A fact that no pattern can name is asked about in `when`, beside the intent."""
    request = a_request(method="POST")
    job = type(request.job)(pipeline="a*b")
    asked = type(request)(job=job, view=request.view, intent=PUSH, now=request.now)
    text = smallest_rule(evaluate(ruleset_of(a_rule(to="example.org")), asked), asked)
    assert text is not None
    assert 'when: "job.pipeline == \\"a*b\\""' in text


def test_a_body_is_worth_reading_only_where_a_rule_could_allow() -> None:
    """Identity, place, method and path are asked first; a deny rule allows nothing."""
    rules = ruleset_of(a_rule(path="/a/*", method="POST", job={"pipeline": "p"}), a_rule(id="n", effect="deny"))
    job = type(a_request().job)(pipeline="p")
    assert may_match(rules, job, a_view("POST", "https://example.com/a/b"))
    assert not may_match(rules, job, a_view("POST", "https://example.com/b"))
    assert not may_match(rules, job, a_view("PUT", "https://example.com/a/b"))
    assert not may_match(rules, type(job)(pipeline="q"), a_view("POST", "https://example.com/a/b"))
    assert not may_match(rules, job, a_view("POST", "http://example.com/a/b"))


def test_rules_of_different_protocols_do_not_overlap() -> None:
    """Two allow rules share a request only through a protocol both name; a cover repeats every line."""
    git, npm, both, none = rules_of(
        a_rule(id="a", intent="ci fetch *"),
        a_rule(id="b", intent="npm install *"),
        a_rule(id="c", intent=["npm install *", "ci fetch *"]),
        a_rule(id="d", method="any"),
    )
    assert not requests_overlap(git, npm)
    assert requests_overlap(git, both)
    assert requests_overlap(git, none)
    assert rule_covers(both, git)
    assert not rule_covers(git, both)
    assert not rule_covers(git, none)
    assert rule_covers(none, git)
    assert git.meaning != both.meaning
