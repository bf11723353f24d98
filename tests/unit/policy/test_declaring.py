"""What a step declares only takes away, and what it goes beyond that with is denied or marked, as rules say."""

from dataclasses import replace
from typing import Any

import pytest

from proxy.model.authority import Authority
from proxy.model.decision import Declared
from proxy.model.identity import JobContext
from proxy.model.intent import EffectClass, Intent, Resource
from proxy.model.reason import Reason
from proxy.policy.declaring import MAX_LINES, check_declaration, compare, read_declaration
from proxy.policy.evaluate import evaluate, explain, reach
from proxy.policy.patterns import PatternError
from tests.fakes.policy import NOON, a_request, a_rule, ruleset_of

READ = ("http GET https://example.com:443/a/**",)
HERE = Authority("example.com", 443)


@pytest.mark.parametrize(
    "text, lines",
    [
        ("npm install *", ("npm install *",)),
        ("  npm   install  * ;aws read *\n\nunknown", ("npm install *", "aws read *", "unknown")),
        ("npm install *;", ("npm install *",)),
    ],
)  # fmt: skip
def test_lines_stand_below_one_another_or_beside(text: str, lines: tuple[str, ...]) -> None:
    """A variable holds several lines; spelling does not matter."""
    assert read_declaration(text) == lines


@pytest.mark.parametrize(
    "lines", [(), ("",), ("npm install",), ("nmp install *",), ("npm install *",) * (MAX_LINES + 1)]
)
def test_what_is_no_declaration_is_refused(lines: tuple[str, ...]) -> None:
    """An empty, misspelt or endless declaration is told, not taken for one that allows nothing or all."""
    with pytest.raises(PatternError):
        check_declaration(lines)


def intent(action: str = "install", *also: Intent) -> Intent:
    return Intent(
        protocol="npm",
        action=action,
        resource=Resource(type="x", id="r/p"),
        effect=EffectClass.READ,
        exact=True,
        also=also,
    )


@pytest.mark.parametrize(
    "declared, asked, expected",
    [
        (None, intent(), None),
        (None, None, None),
        (("npm install *",), intent(), Declared.WITHIN),
        (("npm install r/q",), intent(), Declared.BEYOND),
        (("npm install *",), intent("install", intent("publish")), Declared.BEYOND),
        (("npm install *", "npm publish *"), intent("install", intent("audit")), Declared.BEYOND),
        (("npm install *",), None, Declared.BEYOND),
    ],
)
def test_all_of_a_request_must_be_declared(
    declared: tuple[str, ...] | None, asked: Intent | None, expected: Declared | None
) -> None:
    """A request is within a declaration that names everything it does; one that nobody read is not."""
    assert compare(declared, asked) is expected


@pytest.mark.parametrize(
    "stances, declared, reason, noted",
    [
        (["deny"], None, Reason.ALLOWED, None),
        (["flag"], None, Reason.ALLOWED, None),
        (["required"], None, Reason.UNDECLARED, None),
        (["flag", "required"], None, Reason.UNDECLARED, None),
        (["deny"], READ, Reason.ALLOWED, Declared.WITHIN),
        (["required"], READ, Reason.ALLOWED, Declared.WITHIN),
        (["deny"], ("unknown",), Reason.UNDECLARED, Declared.BEYOND),
        (["required"], ("unknown",), Reason.UNDECLARED, Declared.BEYOND),
        (["flag"], ("unknown",), Reason.ALLOWED, Declared.BEYOND),
        (["flag", "flag"], ("unknown",), Reason.ALLOWED, Declared.BEYOND),
        (["flag", "deny"], ("unknown",), Reason.UNDECLARED, Declared.BEYOND),
        ([None], ("unknown",), Reason.UNDECLARED, Declared.BEYOND),
    ],
)
def test_a_rule_says_what_is_done_beyond_a_declaration(
    stances: list[str | None], declared: tuple[str, ...] | None, reason: Reason, noted: Declared | None
) -> None:
    """Beyond is denied; only rules that all say `flag` let it pass, marked; `required` wants a declaration."""
    rules = ruleset_of(*(_rule(f"r{at}", stance) for at, stance in enumerate(stances)))
    request = replace(a_request(url="https://example.com/a/b"), declared=declared)
    for judge in (evaluate, explain):
        decision = judge(rules, request)
        assert (decision.reason, decision.declared) == (reason, noted)
        assert decision.is_allowed is (reason is Reason.ALLOWED)
        assert decision.grant is None or decision.is_allowed


def test_a_declaration_gives_nothing() -> None:
    """What no rule allows stays denied, for the rules' reason, however much was declared; the record tells of both."""
    decision = evaluate(ruleset_of(a_rule(path="/b")), replace(a_request(url="https://example.com/a/b"), declared=READ))
    assert (decision.reason, decision.declared) == (Reason.NO_RULE, Declared.WITHIN)


@pytest.mark.parametrize(
    "stance, declared, reason",
    [
        (None, None, Reason.ALLOWED),
        (None, READ, Reason.UNDECLARED),
        ("flag", READ, Reason.ALLOWED),
        ("deny", READ, Reason.UNDECLARED),
    ],
)
def test_what_is_not_seen_is_beyond(stance: str | None, declared: tuple[str, ...] | None, reason: Reason) -> None:
    """A step that declared what it does gets no connection that nobody looks into, unless a rule says `flag`."""
    rules = ruleset_of(_rule("r", stance, inspect=False))
    assert reach(rules, JobContext(), HERE, NOON, declared).reason is reason


def _rule(name: str, stance: str | None, **more: Any) -> dict[str, Any]:
    given = {} if stance is None else {"declared": stance}
    return a_rule(id=name, **given, **more)
