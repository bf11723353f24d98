"""In which order a pipeline's steps run, what may run together, what stands before a step, and what is wrong with it.

Rules of order, from "Managing step dependencies": without `depends_on`, a step waits for the last wait or block before
it, and those wait for everything before them; `depends_on` takes the place of that; an empty one means no waiting. An
input step neither waits nor is waited for. A group's members have an order of their own, after what the group waits
for; who depends on a group waits for all of it, who depends on an uploading step also for what that uploads.
"""

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from proxy.pipelines.conditionals import evaluate_condition, matches_branches
from proxy.pipelines.expressions import ExpressionError, Facts
from proxy.pipelines.github_expressions import evaluate_expression
from proxy.pipelines.pipeline import Absence, Fate, Pipeline, Place, Step, StepKind, Verdict

MAX_JOBS: Final = 4000
_EVALUATE: Final = {"buildkite": evaluate_condition, "github": evaluate_expression}
_WORDS: Final = {"buildkite": "depends_on", "github": "needs", "gitlab": "needs"}
_BARRIERS: Final = frozenset({StepKind.WAIT, StepKind.BLOCK})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """Something wrong with the order. `id` is stable; `is_error`: the build would fail, or never end."""

    id: str
    is_error: bool
    message: str
    hint: str
    file: str
    path: Place


@dataclass(frozen=True, slots=True)
class Plan:
    """The order of a build's steps. `before`: of each step, what it waits for directly, and why."""

    steps: Mapping[str, Step]
    fates: Mapping[str, Verdict]
    before: Mapping[str, Mapping[str, str]]
    stages: tuple[tuple[str, ...], ...]
    """Steps by how early they can start: those of one stage may run together."""
    mistakes: tuple[Mistake, ...]
    provider: str = "buildkite"
    _ancestors: dict[str, frozenset[str]] = field(default_factory=dict, repr=False, compare=False)

    def all_before(self, step: str) -> frozenset[str]:
        """Return every step that must have ended before this one starts."""
        if not self._ancestors:
            for stage in self.stages:
                for name in stage:
                    found = set(self.before[name])
                    for each in self.before[name]:
                        found |= self._ancestors.get(each, frozenset())
                    self._ancestors[name] = frozenset(found)
        return self._ancestors.get(step, frozenset())

    def may_run_together(self, one: str, other: str) -> bool:
        """Whether neither waits for the other."""
        return one != other and one not in self.all_before(other) and other not in self.all_before(one)

    def gates(self, step: str) -> list[Step]:
        """Return the steps at which a person must have said yes before a step starts, itself if a person starts it.

        One that may not be there counts only where the step is there for the same reason.
        """
        found = [self.steps[name] for name in (*self.all_before(step), step)]
        return sorted((each for each in found if self._is_gate(each, step)), key=lambda each: each.id)

    def _is_gate(self, gate: Step, step: str) -> bool:
        verdict = self.fates[gate.id]
        is_there = verdict.fate is Fate.RUNS or verdict == self.fates[step]
        return is_there and (gate.kind in {StepKind.BLOCK, StepKind.INPUT} or gate.is_manual)


def plan(pipeline: Pipeline, facts: Facts) -> Plan:
    """Return the order in which a build with these facts runs the pipeline's steps."""
    return _Planner(pipeline, facts).plan()


@dataclass(slots=True)
class _Scope:
    """A sequence of steps with implicit order: the pipeline's own, or a group's."""

    start: str | None = None
    barrier: str | None = None
    since: list[str] = field(default_factory=list)


class _Planner:
    def __init__(self, pipeline: Pipeline, facts: Facts) -> None:
        self._facts = facts
        self._provider = pipeline.provider
        self._word = _WORDS[pipeline.provider]
        self._steps = {step.id: step for step in pipeline.steps}
        self._all = pipeline.steps
        self._by_key = {step.key: step.id for step in reversed(pipeline.steps) if step.key is not None}
        self._mistakes: list[Mistake] = []
        self._fates: dict[str, Verdict] = {}
        self._before: dict[str, dict[str, str]] = {}
        self._members: defaultdict[str, list[str]] = defaultdict(list)
        self._uploaded: defaultdict[str, list[str]] = defaultdict(list)

    def plan(self) -> Plan:
        self._check()
        for step in self._steps.values():
            self._fate(step)
        kept = [step for step in self._steps.values() if self._fates[step.id].fate is not Fate.SKIPPED]
        for step in kept:
            if step.group is not None:
                self._members[step.group].append(step.id)
            if step.uploaded_by is not None:
                self._uploaded[step.uploaded_by].append(step.id)
        self._link(kept)
        stages, left = _stages(self._before)
        if left:
            cycle = _find_cycle({name: self._before[name] for name in left}, left)
            first = self._steps[cycle[0]]
            shown = " -> ".join([*cycle, cycle[0]])
            self._mistake(
                "cycle", first, f"these wait for one another for ever: {shown}", f"Cut one `{self._word}`.", self._word
            )
        return Plan(self._steps, self._fates, self._before, stages, tuple(self._mistakes), self._provider)

    def _mistake(self, name: str, step: Step, message: str, hint: str, key: str = "", *, is_error: bool = True) -> None:
        path = (*step.path, key) if key else step.path
        self._mistakes.append(
            Mistake(id=name, is_error=is_error, message=message, hint=hint, file=step.file, path=path)
        )

    def _check(self) -> None:
        """Look for what is wrong whatever the build."""
        seen: dict[str, Step] = {}
        for step in self._all:
            if step.key is not None and seen.setdefault(step.key, step) is not step:
                self._mistake("duplicate-key", step, f"two steps have the key `{step.key}`", "Keys are unique.", "key")
        keys = {step.key for step in self._all if step.key is not None}
        for step in self._all:
            for each in step.depends_on or ():
                if each.key == step.key:
                    message = f"`{step.name}` waits for itself"
                    self._mistake("self-dependency", step, message, "Remove it.", self._word)
                elif each.key not in keys and each.key not in self._steps:
                    close = difflib.get_close_matches(each.key, keys, n=1)
                    hint = f"Did you mean `{close[0]}`?" if close else "The build fails when it is reached."
                    self._mistake("missing-key", step, f"no step has the key `{each.key}`", hint, self._word)
            if step.concurrency is not None and step.concurrency_group is None:
                message = f"`{step.name}` has `concurrency` without `concurrency_group`"
                self._mistake("concurrency", step, message, "Name a group.", "concurrency")
            if step.jobs == 0:
                message = f"`{step.name}` makes no job"
                self._mistake("no-jobs", step, message, "Whoever waits for it goes on.", is_error=False)
        count = sum(step.jobs for step in self._all if step.kind in {StepKind.COMMAND, StepKind.TRIGGER})
        if count > MAX_JOBS:
            message = f"{count} jobs in one build: at most {MAX_JOBS}"
            self._mistake("too-many-jobs", self._all[0], message, "Split the pipeline.")

    def _fate(self, step: Step) -> Verdict:
        if step.id not in self._fates:
            # Steps that wait for one another are told as a mistake.
            self._fates[step.id] = Verdict(Fate.RUNS)
            self._fates[step.id] = self._with_needs(step, self._inherited(step) or self._own_fate(step))
        return self._fates[step.id]

    def _inherited(self, step: Step) -> Verdict | None:
        """Return what the fate of its group, or of what uploads it, makes of a step; None where it has its own."""
        if step.group is not None and step.group in self._steps:
            of_group = self._fate(self._steps[step.group])
            if of_group.fate is Fate.SKIPPED:
                return Verdict(Fate.SKIPPED, f"its group is: {of_group.why}")
            own = self._own_fate(step)
            return of_group if own.fate is Fate.RUNS else own
        uploader = self._fates.get(step.uploaded_by or "")
        if uploader is not None and uploader.fate is Fate.SKIPPED:
            return Verdict(Fate.SKIPPED, f"`{step.uploaded_by}`, which uploads it, is: {uploader.why}")
        return None

    def _with_needs(self, step: Step, own: Verdict) -> Verdict:
        """Return a step's fate, given those of what it needs."""
        for each in step.depends_on or ():
            name = self._by_key.get(each.key, each.key)
            if own.fate is Fate.SKIPPED or each.absence is Absence.IGNORED or name not in self._steps:
                continue
            needed = self._fate(self._steps[name])
            why = f"`{each.key}`, which it needs: {needed.why}"
            if each.absence is Absence.SKIPS and needed.fate is not Fate.RUNS:
                own = Verdict(needed.fate, why)
            elif needed.fate is Fate.SKIPPED:
                message = f"`{step.name}` needs `{each.key}`, which is not in this pipeline ({needed.why})"
                self._mistake("absent-need", step, message, "Make it optional, or give it the same rules.", self._word)
        return own

    def _own_fate(self, step: Step) -> Verdict:
        if step.verdict is not None or step.skip is not None:
            return step.verdict or Verdict(Fate.SKIPPED, str(step.skip))
        if step.branches is not None:
            branch = self._facts.values.get("build.branch")
            answer = matches_branches(step.branches, branch if isinstance(branch, str) else None)
            if answer is not True:
                return _unmet(f"branches: {step.branches}", is_told=answer is not None)
        if step.condition is None:
            return Verdict(Fate.RUNS)
        try:
            answer = _EVALUATE[self._provider](step.condition, self._facts)
        except ExpressionError as error:
            self._mistake("condition", step, f"`if` of `{step.name}`: {error}", "The upload would be refused.", "if")
            return Verdict(Fate.UNKNOWN, "its `if` cannot be read")
        if answer is True:
            return Verdict(Fate.RUNS)
        return _unmet(f"if: {step.condition.strip()}", is_told=answer is not None)

    def _link(self, kept: Iterable[Step]) -> None:
        scopes: dict[str | None, _Scope] = {None: _Scope()}
        for step in kept:
            self._before[step.id] = {}
        for step in kept:
            inside = step.group or step.uploaded_by
            scope = scopes.setdefault(inside, _Scope(start=inside if inside in self._before else None))
            self._order(step, scope)

    def _order(self, step: Step, scope: _Scope) -> None:
        before = self._before[step.id]
        if scope.start is not None:
            before[scope.start] = "group" if step.group is not None else "upload"
        if step.depends_on is not None:
            self._explicit(step, before)
        elif step.kind in _BARRIERS:
            for name in scope.since:
                before |= dict.fromkeys(self._whole(name), step.kind.value)
            if scope.barrier is not None:
                before[scope.barrier] = step.kind.value
        elif step.kind is not StepKind.INPUT and scope.barrier is not None:
            before[scope.barrier] = self._steps[scope.barrier].kind.value
        before.pop(step.id, None)
        if step.kind in _BARRIERS:
            # One that names what it waits for does not speak for everything before it.
            earlier = [*scope.since, *([scope.barrier] if scope.barrier else ()), step.id]
            scope.since = [] if step.depends_on is None else earlier
            scope.barrier = step.id
        elif step.kind is not StepKind.INPUT:
            scope.since.append(step.id)

    def _explicit(self, step: Step, before: dict[str, str]) -> None:
        for each in step.depends_on or ():
            name = self._by_key.get(each.key, each.key)
            if name not in self._steps or name == step.id:
                continue
            if name in self._before:
                before |= dict.fromkeys(self._whole(name), "depends_on")
            elif self._steps[name].skip is not None and each.absence is Absence.IGNORED:
                message = f"`{step.name}` waits for `{each.key}`, which is skipped ({self._fates[name].why})"
                self._mistake("skipped-dependency", step, message, "It is not waited for.", self._word, is_error=False)

    def _whole(self, name: str) -> Iterator[str]:
        """Return a step, its members if it is a group, and all that it uploads."""
        yield name
        for each in (*self._members.get(name, ()), *self._uploaded.get(name, ())):
            yield from self._whole(each)


def _unmet(why: str, *, is_told: bool) -> Verdict:
    return Verdict(Fate.SKIPPED if is_told else Fate.UNKNOWN, why)


def _stages(before: Mapping[str, Mapping[str, str]]) -> tuple[tuple[tuple[str, ...], ...], list[str]]:
    """Return steps by the length of the longest way to them, and those that a cycle keeps from ever starting."""
    waiting = {name: len(found) for name, found in before.items()}
    after: defaultdict[str, list[str]] = defaultdict(list)
    for name, found in before.items():
        for each in found:
            after[each].append(name)
    stages: list[tuple[str, ...]] = []
    ready = [name for name, count in waiting.items() if not count]
    while ready:
        stages.append(tuple(ready))
        following: list[str] = []
        for name in ready:
            for each in after[name]:
                waiting[each] -= 1
                if not waiting[each]:
                    following.append(each)
        ready = following
    done = {name for stage in stages for name in stage}
    return tuple(stages), [name for name in before if name not in done]


def _find_cycle(before: Mapping[str, Mapping[str, str]], left: list[str]) -> list[str]:
    """Return steps that wait for one another in a ring, each for the next. All of `left` are in one, or behind it."""
    stuck, name, way = set(left), left[0], dict[str, None]()
    while name not in way:
        way[name] = None
        name = next(each for each in before[name] if each in stuck)
    found = list(way)
    return found[found.index(name) :]
