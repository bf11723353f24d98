"""Where each step of a pipeline could go under the rules: its exit points, and what is wrong with them."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, TypedDict

from proxy.model.authority import Authority
from proxy.model.identity import JobContext
from proxy.pipelines.dag import Plan
from proxy.pipelines.pipeline import Fate, Step, StepKind
from proxy.policy.compile import RuleSet
from proxy.policy.conditions import Bindings, bind_job
from proxy.policy.declaring import read_declaration
from proxy.policy.intents import IntentTest, read_intent
from proxy.policy.overlap import rule_covers
from proxy.policy.patterns import Glob, PatternError, covers
from proxy.policy.rule import READ_METHODS, FactTest, Rule
from proxy.simulate.findings import Finding, Level
from proxy.simulate.needs import known_needs

_OF_STEPS: Final = frozenset({"step", "queue", "environment"})
_PRODUCTION: Final = re.compile(r"(?:^|[^a-z])(?:prod|production|live)(?:$|[^a-z])", re.IGNORECASE)
_HOME: Final = ("pipeline", "repository")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """One way out of a step: a rule that allows it. `is_certain`: whatever else the issuer states of the job."""

    rule: str
    is_certain: bool
    to: tuple[str, ...]
    does: tuple[str, ...]
    credential: str | None
    approval: str | None
    gates: tuple[str, ...]
    is_production: bool

    @property
    def is_gated(self) -> bool:
        """Whether a person stands before it."""
        return bool(self.gates) or self.approval is not None


class _Way(TypedDict):
    """What is the same of an exit, whoever takes it."""

    rule: str
    to: tuple[str, ...]
    does: tuple[str, ...]
    credential: str | None
    approval: str | None
    is_production: bool


@dataclass(frozen=True, slots=True)
class Walk:
    """The exit points of each step that may run, and what was found."""

    exits: dict[str, tuple[Exit, ...]]
    findings: tuple[Finding, ...]


def walk(plan: Plan, rules: RuleSet, job: JobContext, now: datetime, protected: frozenset[str] = frozenset()) -> Walk:
    """Return where a build's steps could go. `job` states what is known of the build; steps add their own facts.

    `protected` are the environments for which a person must say yes before a job deploys to them.
    """
    found = _Walker(plan, rules, job, now, protected)
    exits = {step.id: tuple(found.exits(step)) for step in found.steps()}
    findings = [each for step in found.steps() for each in found.check(step, exits[step.id])]
    return Walk(exits, (*findings, *found.unreached(exits)))


class _Walker:
    def __init__(self, plan: Plan, rules: RuleSet, job: JobContext, now: datetime, protected: frozenset[str]) -> None:
        self._plan, self._job, self._now, self._protected = plan, job, now, protected
        # Of other CIs, tokens do not name the job's key, and files say all that there is of environments.
        self._names_steps = plan.provider == "buildkite"
        self._told = frozenset({"step"} if self._names_steps else {"step", "environment"})
        self._allows: defaultdict[str | None, list[Rule]] = defaultdict(list)
        self._denies: list[Rule] = []
        self._covering: dict[str, list[Rule]] = {}
        self._ways: dict[str, _Way] = {}
        self._by_id = {rule.id: rule for rule in rules.rules}
        for rule in rules.rules:
            if self._fits(rule, job, whole=False) is False:
                continue
            if rule.is_deny:
                self._denies.append(rule)
                continue
            named = next((test for test in rule.tests if test.name == "step"), None)
            for name in [None] if named is None or named.globs else named.exact:
                self._allows[None if name is None else str(name)].append(rule)

    def steps(self) -> Iterator[Step]:
        """Give out the steps whose jobs run on an agent, in order."""
        for stage in self._plan.stages:
            for name in stage:
                if self._plan.steps[name].kind is StepKind.COMMAND:
                    yield self._plan.steps[name]

    def exits(self, step: Step) -> Iterator[Exit]:
        """Give out the ways out of a step; none where it cannot say who it is."""
        if step.has_identity:
            yield from self._exits(step)

    def _exits(self, step: Step) -> Iterator[Exit]:
        job = self._job_of(step)
        gates = tuple(gate.name for gate in self._plan.gates(step.id))
        gates += (f"environment {step.deployment}",) if step.deployment in self._protected else ()
        for rule in (*self._allows[None], *(self._allows.get(step.key, ()) if step.key is not None else ())):
            fits = self._fits(rule, job, whole=True)
            if fits is False or self._is_denied(rule, job):
                continue
            is_certain = fits is True and self._plan.fates[step.id].fate is Fate.RUNS
            way = self._ways.get(rule.id)
            if way is None:
                way = self._ways[rule.id] = _way(rule)
            yield Exit(is_certain=is_certain, gates=gates, **way)

    def _job_of(self, step: Step) -> JobContext:
        job = replace(self._job, step=step.key if self._names_steps else None)
        if job.queue is None and "queue" in step.agents:
            job = replace(job, queue=step.agents["queue"])
        return job if step.deployment is None else replace(job, environment=step.deployment)

    def _fits(self, rule: Rule, job: JobContext, *, whole: bool) -> bool | None:
        """Whether a rule is for a job; None where that depends on what is not known. Not `whole`: its build's facts."""
        answers = [self._holds(test, job) for test in rule.tests if whole or test.name not in _OF_STEPS]
        if whole and rule.when is not None:
            answer = rule.when.holds(Bindings(bind_job(job, self._now)))
            answers.append(answer if isinstance(answer, bool) else None)
        return False if False in answers else None if None in answers else True

    def _holds(self, test: FactTest, job: JobContext) -> bool | None:
        answer = test.holds(job)
        # A step without a key is known to have none.
        return False if answer is None and test.name in self._told else answer

    def _is_denied(self, rule: Rule, job: JobContext) -> bool:
        """Whether a deny rule that is surely for this job covers all that a rule allows."""
        if rule.id not in self._covering:
            bare = replace(rule, tests=())
            covering = [deny for deny in self._denies if rule_covers(replace(deny, tests=()), bare)]
            self._covering[rule.id] = covering
        return any(self._fits(deny, job, whole=True) is True for deny in self._covering[rule.id])

    def check(self, step: Step, exits: tuple[Exit, ...]) -> Iterator[Finding]:
        """Give out what is wrong with a step's ways out."""
        if not step.has_identity:
            if any(self._exits(step)):
                message = f"`{step.name}` may not ask for a token, so that jobgate lets it go nowhere"
                hint = "GitHub: `permissions: {id-token: write}`; GitLab: `id_tokens`."
                yield self._finding("no-identity", Level.NOTE, step, message, hint)
            return
        for each in exits:
            if each.credential is not None and each.is_production and not each.is_gated:
                message = f"`{step.name}` gets a production credential by {each.rule}, and no person stands before it"
                hint = "Put a block before it, or write `approval` into the rule."
                yield self._finding("ungated-credential", Level.WARNING, step, message, hint, rule=each.rule)
            wanted = self._by_id[each.rule].approval
            if wanted is not None and wanted.step is not None:
                before = {gate.key for gate in self._plan.gates(step.id)}
                if wanted.step not in before:
                    message = (
                        f"{each.rule} wants step `{wanted.step}` unblocked, which does not stand before `{step.name}`"
                    )
                    hint = "Every request by this rule is denied: depend on it, or put it before."
                    yield self._finding("approval-out-of-reach", Level.ERROR, step, message, hint, rule=each.rule)
        yield from self._needs(step, exits)
        yield from self._declared(step, exits)

    def _finding(
        self, name: str, level: Level, step: Step, message: str, hint: str, rule: str | None = None
    ) -> Finding:
        return Finding(
            id=name, level=level, message=message, hint=hint, step=step.id, rule=rule, file=step.file, path=step.path
        )

    def _needs(self, step: Step, exits: tuple[Exit, ...]) -> Iterator[Finding]:
        """Give out what a step is known to need, and would not get."""
        for host, why in known_needs(step).items():
            place = Authority(host, 443)
            rules = (self._by_id[each.rule] for each in exits)
            if not any(target.matches("https", place) for rule in rules for target in rule.targets):
                message = f"`{step.name}`: {why} needs {host}, and no rule lets it go there"
                yield self._finding(
                    "missing-access", Level.WARNING, step, message, "Write a rule, or remove the command."
                )

    def _declared(self, step: Step, exits: tuple[Exit, ...]) -> Iterator[Finding]:
        """Give out what a step declares that it does, and no rule allows."""
        try:
            lines = [read_intent(line) for text in _declarations(step) for line in read_declaration(text)]
        except PatternError as error:
            yield self._finding(
                "declaration", Level.ERROR, step, f"`{step.name}` declares {error}", "See docs/rules.md."
            )
            return
        rules = [self._by_id[each.rule] for each in exits]
        for line in lines:
            if not any(_speaks_of(test, line) for rule in rules for test in rule.intents or ()):
                message = f"`{step.name}` declares `{line.text}`, and no rule with that intent is for it"
                yield self._finding("undelivered-intent", Level.WARNING, step, message, "It would be denied.")

    def unreached(self, exits: dict[str, tuple[Exit, ...]]) -> Iterator[Finding]:
        """Give out rules that name this pipeline and a step that it has not."""
        reached = {each.rule for found in exits.values() for each in found}
        for rule in (rule for found in self._allows.values() for rule in found):
            is_ours = any(test.name in _HOME and test.holds(self._job) for test in rule.tests)
            if is_ours and rule.id not in reached and any(test.name in self._told for test in rule.tests):
                reached.add(rule.id)
                message = f"{rule.id} is for this pipeline, and no step of it can reach the rule"
                hint = "Is the step's key right? Does the step run in this build?"
                yield Finding(
                    id="unreached-rule",
                    level=Level.WARNING,
                    message=message,
                    hint=hint,
                    rule=rule.id,
                    file=rule.file,
                    path=("rules", rule.index, "job"),
                )


def _way(rule: Rule) -> _Way:
    return {
        "rule": rule.id,
        "to": tuple(target.text for target in rule.targets),
        "does": _does(rule),
        "credential": _credential(rule),
        "approval": _approval(rule),
        "is_production": _is_production(rule),
    }


def _does(rule: Rule) -> tuple[str, ...]:
    """Say what a rule allows, for a person."""
    if rule.observes:
        return ("anything that is not allowed, to be seen",)
    if rule.intents is not None:
        return tuple(test.text for test in rule.intents)
    if not rule.inspect:
        return ("anything, unseen",)
    methods = (
        "any method"
        if rule.methods is None
        else "read"
        if rule.methods == READ_METHODS
        else " ".join(sorted(rule.methods))
    )
    return tuple(f"{methods} {glob.text}" for glob in rule.paths) if rule.paths is not None else (f"{methods} of all",)


def _credential(rule: Rule) -> str | None:
    if rule.grant is None:
        return None
    shown = ("role", "impersonate", "tenant", "repository", "login")
    scope = next((str(rule.grant.scope[name]) for name in shown if name in rule.grant.scope), "")
    return f"{rule.grant.connector} {scope}".strip()


def _approval(rule: Rule) -> str | None:
    if rule.approval is None:
        return None
    return "each request asked" if rule.approval.step is None else f"step {rule.approval.step} unblocked"


def _is_production(rule: Rule) -> bool:
    """Whether a rule is about production, by its name, tags, environment and what it mints for."""
    environments = [str(each) for test in rule.tests if test.name == "environment" for each in test.wanted]
    scope = "" if rule.grant is None else json.dumps(rule.grant.scope, default=str)
    return any(_PRODUCTION.search(text) for text in (rule.id, *rule.tags.values(), *environments, scope))


def _declarations(step: Step) -> Iterator[str]:
    yield from filter(None, [step.environment.get("JOBGATE_INTENT")])
    for plugin in step.plugins:
        if "jobgate" in plugin.source:
            intent = plugin.options.get("intent")
            yield from (str(line) for line in (intent if isinstance(intent, list) else [intent]) if line)


def _speaks_of(test: IntentTest, line: IntentTest) -> bool:
    """Whether a rule's line may allow what a step declares."""
    if test.protocol != line.protocol or not _reaches(test.resource, line.resource):
        return False
    return test.effect is not None or line.effect is not None or _reaches(test.action, line.action)


def _reaches(wide: Glob | None, narrow: Glob | None) -> bool:
    return wide is None or (narrow is not None and covers(wide, narrow))
