"""Rule tests: what a request of a job must be decided as. The shape of their files; whether a verdict fits. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from proxy.engine.decide import Verdict
from proxy.model.reason import Reason
from proxy.policy.compile import RuleSet
from proxy.policy.conditions import VARIABLES
from proxy.policy.faults import Fault, explain_errors, suggest
from proxy.policy.schema import Given, Listed

_REASONS: Final = frozenset(reason.value for reason in Reason)
_EVENTS: Final = tuple(
    name.removeprefix("event.") for name in VARIABLES if name.startswith("event.") and name != "event.stated"
)
_NOTHING: Final = "none"


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def _effect_alone(value: object) -> object:
    return {"effect": value} if isinstance(value, str) else value


def _reason(value: str) -> str:
    if value not in _REASONS:
        raise ValueError(f"no reason is called that. {suggest(value, sorted(_REASONS))}")
    return value


def _time(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("write a time such as 2030-01-01T12:00:00Z") from None
    if at.tzinfo is None:
        raise ValueError("a time without its zone; write it with Z, as 2030-01-01T12:00:00Z")
    return at


class ExpectText(_Strict):
    """What the decision must be. Only what is written is looked at."""

    effect: Literal["allow", "deny", "ask", "observe"] = Field(
        description="`ask`: allowed once a person says yes. `observe`: not allowed, and let through to be seen."
    )
    reason: Annotated[str, BeforeValidator(_reason)] | None = Field(None, description="The reason on the record.")
    rules: Annotated[tuple[str, ...], Listed] | None = Field(
        None, description="The ids of the rules that decided: these, and no others."
    )
    credential: str | None = Field(None, description="The connector that mints for it; `none` for no credential.")
    intent: str | None = Field(None, description="What it was read as: `PROTOCOL ACTION RESOURCE`.")


class RuleTestText(_Strict):
    """One rule test: requests of one job, and what must become of each."""

    name: str = Field(min_length=3, max_length=200, description="What is tested, for whoever reads that it failed.")
    job: Annotated[str | dict[str, Any] | None, Given] = Field(
        None, description="Who: facts as rules name them, or the name of one under `jobs`. Left out: states nothing."
    )
    claims: Annotated[dict[str, Any] | None, Given] = Field(
        None, description="Instead of `job`: the claims of an issuer's token."
    )
    provider: Annotated[str | None, Given] = Field(
        None, description="Whose claims they are, where `iss` is no public issuer."
    )
    request: Annotated[tuple[str, ...], Listed] = Field(
        min_length=1, description="`METHOD URL`, one or a list.", examples=["PUT https://registry.npmjs.org/left-pad"]
    )
    headers: dict[str, str] = Field(default_factory=dict, description="Header fields of each request.")
    body: str | None = Field(None, description="The body of each, where what it does stands there.")
    declared: Annotated[tuple[str, ...] | None, Listed] = Field(None, description="What the step declared.")
    events: dict[str, bool | str] = Field(default_factory=dict, description="What the CI's events said: `event.*`.")
    at: Annotated[datetime | None, BeforeValidator(_time)] = Field(
        None, description="When; needed where a rule asks for the time."
    )
    expect: Annotated[ExpectText, BeforeValidator(_effect_alone)] = Field(description="What must become of it.")


class RuleTestsText(_Strict):
    """A file of rule tests."""

    jobs: dict[str, dict[str, Any]] = Field(default_factory=dict, description="Jobs that tests name.")
    tests: Annotated[tuple[RuleTestText, ...], Listed] = Field(description="The tests, in any order.")


@dataclass(frozen=True, slots=True)
class ParsedTests:
    """What a document holds. With any fault, none of its tests may be run."""

    jobs: Mapping[str, Mapping[str, Any]]
    tests: tuple[RuleTestText, ...]
    faults: tuple[Fault, ...]


def parse_tests(document: object) -> ParsedTests:
    """Read one document of rule tests; all its faults at once."""
    try:
        text = RuleTestsText.model_validate(document)
    except ValidationError as error:
        return ParsedTests({}, (), tuple(explain_errors(error, RuleTestsText)))
    if not text.tests:
        return ParsedTests({}, (), (Fault(path=("tests",), message="there are no tests", hint="Write one."),))
    faults = [fault for index, test in enumerate(text.tests) for fault in _check(test, ("tests", index), text.jobs)]
    return ParsedTests(text.jobs, text.tests, tuple(faults))


def _check(test: RuleTestText, path: tuple[str | int, ...], jobs: Mapping[str, Any]) -> Iterable[Fault]:
    if isinstance(test.job, str) and test.job not in jobs:
        hint = suggest(test.job, jobs) if jobs else "Write its facts here, or under `jobs`."
        yield Fault(path=(*path, "job"), message=f"no job is called `{test.job}`", hint=hint)
    if test.job is not None and test.claims is not None:
        yield Fault(path=(*path, "claims"), message="`job` and `claims` both say who it is", hint="Keep one.")
    for name in test.events:
        if name not in _EVENTS:
            yield Fault(
                path=(*path, "events", name),
                message=f"no event fact is called `{name}`",
                hint=suggest(name, _EVENTS),
                at_key=True,
            )
    for index, request in enumerate(test.request):
        if len(request.split()) != 2:
            hint = "Write a method and a URL: `GET https://example.com/path`."
            yield Fault(path=(*path, "request", index), message=f"`{request[:80]}` is no request", hint=hint)


def judge(expected: ExpectText, verdict: Verdict) -> list[str]:
    """Return in what a verdict is not as expected, a sentence each; none when it is."""
    decision, intent = verdict.decision, verdict.intent
    effect = "deny" if not decision.is_allowed else "ask" if decision.approvals else "allow"
    effect = "observe" if decision.reason is Reason.OBSERVED else effect
    grant = _NOTHING if decision.grant is None else decision.grant.connector
    meant = _NOTHING if intent is None else f"{intent.name} {intent.resource.id}"
    wrong: list[str] = []
    if effect != expected.effect:
        by = f" ({', '.join(decision.rule_ids)})" if decision.rule_ids else ""
        wrong.append(f"expected {expected.effect}, got {effect}: {decision.reason.value}{by}")
    if expected.reason is not None and decision.reason.value != expected.reason:
        wrong.append(f"expected the reason {expected.reason}, got {decision.reason.value}")
    if expected.rules is not None and set(expected.rules) != set(decision.rule_ids):
        wrong.append(f"expected to be decided by {_named(expected.rules)}, was by {_named(decision.rule_ids)}")
    if expected.credential is not None and expected.credential != grant:
        wrong.append(f"expected the credential {expected.credential}, got {grant}")
    if expected.intent is not None and " ".join(expected.intent.split()) != meant:
        wrong.append(f"expected to be read as `{expected.intent}`, was read as `{meant}`")
    return wrong


def _named(ids: Iterable[str]) -> str:
    return ", ".join(sorted(ids)) or "no rule"


def asks_time(ruleset: RuleSet, ids: Iterable[str]) -> bool:
    """Whether one of these rules has a condition on the time."""
    wanted = set(ids)
    return any(rule.id in wanted and rule.when is not None and rule.when.needs_time for rule in ruleset.rules)


@dataclass(slots=True)
class Coverage:
    """Which rules the tests have seen decide something."""

    decided: set[str] = field(default_factory=set)

    def add(self, verdict: Verdict) -> None:
        """Note the rules that determined a decision."""
        self.decided.update(verdict.decision.rule_ids)

    def missing(self, ruleset: RuleSet) -> list[str]:
        """Return the ids of the rules that no test has seen decide."""
        return [rule.id for rule in ruleset.rules if rule.id not in self.decided]
