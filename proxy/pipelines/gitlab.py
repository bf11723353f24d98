"""Reads GitLab CI files, with what they include, extend and refer to, from plain values.

Each job is a step. Stages are written out as what each job waits for; a job that a person starts is a gate for those
who wait for it. Source: docs.gitlab.com, "CI/CD YAML syntax reference".
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Final

from proxy.pipelines.expressions import Facts
from proxy.pipelines.gitlab_merging import Merged, Resolver, include_all
from proxy.pipelines.gitlab_rules import Ruling, known_of, rule_job, rule_workflow
from proxy.pipelines.pipeline import (
    Absence,
    Dependency,
    Fate,
    Pipeline,
    Place,
    Step,
    StepKind,
    Verdict,
    listed,
    plain,
)
from proxy.policy.faults import Fault, suggest

MAX_PARALLEL: Final = 200
_STAGES: Final = ("build", "test", "deploy")
_TOP: Final = frozenset(
    {
        "default", "include", "stages", "variables", "workflow", "spec", "image", "services", "cache", "before_script",
        "after_script",
    }
)  # fmt: skip
_JOB: Final = frozenset(
    {
        "after_script", "allow_failure", "artifacts", "before_script", "cache", "coverage", "dast_configuration",
        "dependencies", "environment", "except", "extends", "hooks", "id_tokens", "identity", "image", "inherit",
        "inputs", "interruptible", "manual_confirmation", "needs", "only", "pages", "parallel", "publish", "release",
        "resource_group", "retry", "rules", "run", "script", "secrets", "services", "stage", "start_in", "tags",
        "timeout", "trigger", "variables", "when",
    }
)  # fmt: skip
_DEFAULTED: Final = frozenset({"before_script", "after_script", "id_tokens", "tags"})
_VARIABLE: Final = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")


def read_ci(document: object, file: str, facts: Facts, others: Mapping[str, object]) -> Pipeline:
    """Return the jobs of a CI file. `others` are the documents of files that it may include, by name."""
    reader = _Reader(file, facts)
    return reader.read(document, others)


@dataclass(slots=True)
class _Reader:
    file: str
    facts: Facts
    faults: list[tuple[str, Fault]] = field(default_factory=list)
    homes: Mapping[str, str] = field(default_factory=dict)
    stages: list[str] = field(default_factory=list)
    default: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, object] = field(default_factory=dict)
    whole: Verdict | None = None
    """What `workflow` makes of every job, where it does not let them be."""

    def read(self, document: object, others: Mapping[str, object]) -> Pipeline:
        if not isinstance(document, dict):
            self._complain(self.file, (), "a CI file is a mapping of jobs", "")
            return Pipeline(steps=(), provider="gitlab", faults=tuple(self.faults))
        merged = include_all(document, self.file, others, self._complain)
        for name in others:
            if name not in merged.used:
                self._complain(name, (), "nothing includes this file", f"`include: {{local: {name}}}`.")
        self.homes = merged.homes
        resolver = Resolver(merged, self._complain)
        self._read_globals(resolver, merged)
        jobs = {name: resolver.job(name) for name in merged.values if self._is_job(name, merged)}
        if not jobs and not merged.unseen:
            self._complain(self.file, (), "there are no jobs", "")
        steps = self._ordered([step for name, job in jobs.items() for step in self._steps(name, job)])
        return Pipeline(
            steps=tuple(steps), provider="gitlab", faults=tuple(self.faults), unseen=frozenset(merged.unseen)
        )

    def _complain(self, file: str, path: Place, message: str, hint: str) -> None:
        self.faults.append((file, Fault(path=path, message=message, hint=hint)))

    def _fault(self, name: str, path: Place, message: str, hint: str = "") -> None:
        self._complain(self.homes.get(name, self.file), (name, *path), message, hint)

    def _is_job(self, name: str, merged: Merged) -> bool:
        if name in _TOP or name.startswith("."):
            return False
        if isinstance(merged.values[name], dict):
            return True
        self._fault(name, (), f"`{name}` is neither a job nor a key of the file", suggest(name, sorted(_TOP)))
        return False

    def _read_globals(self, resolver: Resolver, merged: Merged) -> None:
        found = {name: resolver.value(name) for name in sorted(_TOP) if name in merged.values}
        self.stages = [".pre", *(map(plain, listed(found.get("stages"))) if found.get("stages") else _STAGES), ".post"]
        default = found.get("default")
        old = {name: found[name] for name in _DEFAULTED if name in found}
        self.default = {**old, **(default if isinstance(default, dict) else {})}
        self.variables = _variables(found.get("variables"))
        workflow = found.get("workflow")
        rules = workflow.get("rules") if isinstance(workflow, dict) else None
        if rules is not None:
            known = known_of(self.facts, self.variables)
            verdict = rule_workflow(rules, known, lambda path, message: self._fault("workflow", path, message))
            self.whole = None if verdict.fate is Fate.RUNS else Verdict(verdict.fate, f"workflow: {verdict.why}")

    def _steps(self, name: str, job: Mapping[str, Any]) -> Iterator[Step]:
        for key in job:
            if key not in _JOB:
                self._fault(name, (key,), f"unknown key `{key}`", suggest(key, sorted(_JOB)))
        if not job.keys() & {"script", "run", "trigger"}:
            self._fault(name, (), f"`{name}` has neither `script` nor `trigger`")
        job = {**self._inherited(job.get("inherit"), "default", self.default), **job}
        variables = {
            **self._inherited(job.get("inherit"), "variables", self.variables),
            **_variables(job.get("variables")),
        }
        known = known_of(self.facts, variables)
        ruling = rule_job(job, known, lambda path, message: self._fault(name, path, message))
        stage = plain(job.get("stage")) or "test"
        if stage not in self.stages:
            hint = suggest(stage, self.stages) or "Write it into `stages`."
            self._fault(name, ("stage",), f"there is no stage `{stage}`", hint)
        environment = job.get("environment")
        if isinstance(environment, dict):
            environment = environment.get("name")
        trigger = job.get("trigger")
        yield Step(
            id=name,
            kind=StepKind.COMMAND if trigger is None else StepKind.TRIGGER,
            path=(name,),
            file=self.homes.get(name, self.file),
            key=name,
            depends_on=self._needs(name, job.get("needs")),
            verdict=self._verdict(ruling),
            commands=tuple(_lines(job)),
            environment={each: plain(value) for each, value in variables.items()},
            agents={"tags": " ".join(map(plain, listed(job.get("tags"))))},
            jobs=self._parallel(name, job.get("parallel")),
            triggers=None if trigger is None else _triggered(trigger),
            deployment=None if environment is None else _expanded(plain(environment), known),
            is_manual=ruling.is_manual,
            is_optional=ruling.is_manual and not ruling.blocks,
            has_identity=bool(job.get("id_tokens")),
            stage=stage,
        )

    def _verdict(self, ruling: Ruling) -> Verdict:
        if self.whole is None or ruling.verdict.fate is Fate.SKIPPED:
            return ruling.verdict
        return self.whole

    @staticmethod
    def _inherited(said: object, kind: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the defaults or variables that a job inherits: all, none, or those that it names."""
        wanted = said.get(kind) if isinstance(said, dict) else None
        if wanted is None or wanted is True:
            return values
        return {name: value for name, value in values.items() if name in listed(wanted)}

    def _needs(self, name: str, needs: object) -> tuple[Dependency, ...] | None:
        if needs is None:
            return None
        found = []
        for index, each in enumerate(listed(needs)):
            entry = {"job": each} if isinstance(each, str) else each
            if not isinstance(entry, dict):
                self._fault(name, ("needs", index), "a need is a job's name, or a mapping with `job`")
            elif isinstance(entry.get("job"), str) and "project" not in entry and "pipeline" not in entry:
                absence = Absence.IGNORED if entry.get("optional") is True else Absence.FAILS
                found.append(Dependency(entry["job"], absence=absence))
        return tuple(found)

    def _parallel(self, name: str, found: object) -> int:
        if found is None:
            return 1
        jobs = 0
        if isinstance(found, int):
            jobs = found
        elif isinstance(found, dict) and isinstance(found.get("matrix"), list):
            entries = [each for each in found["matrix"] if isinstance(each, dict)]
            jobs = sum(prod(len(listed(values)) for values in each.values()) for each in entries)
        if not 1 <= jobs <= MAX_PARALLEL:
            self._fault(name, ("parallel",), f"`parallel` is a number or a matrix of 1 to {MAX_PARALLEL} jobs")
            return 1
        return jobs

    def _ordered(self, steps: list[Step]) -> list[Step]:
        """Return the steps by stage, those without `needs` waiting for all of the stages before."""
        places = {name: index for index, name in enumerate(self.stages)}
        ordered = sorted(steps, key=lambda step: places.get(step.stage, 0))
        known = {step.key for step in steps}
        found: list[Step] = []
        for step in ordered:
            if step.depends_on is None:
                before = [
                    each
                    for each in ordered
                    if places.get(each.stage, 0) < places.get(step.stage, 0) and not each.is_optional
                ]
                needs = tuple(Dependency(each.id) for each in before)
            else:
                needs = tuple(
                    each for each in step.depends_on if each.key in known or each.absence is not Absence.IGNORED
                )
            found.append(replace(step, depends_on=needs))
        return found


def _variables(found: object) -> dict[str, object]:
    """Return variables with their values; one may be a mapping that describes it."""
    if not isinstance(found, dict):
        return {}
    return {name: value.get("value") if isinstance(value, dict) else value for name, value in found.items()}


def _lines(job: Mapping[str, Any]) -> Iterator[str]:
    """Give out the commands of a job; lists within lists are one list."""
    for name in ("before_script", "script", "after_script"):
        for line in listed(job.get(name)):
            yield from map(plain, listed(line))


def _triggered(trigger: object) -> str:
    if not isinstance(trigger, dict):
        return plain(trigger)
    return plain(trigger.get("project")) or "a child pipeline"


def _expanded(text: str, known: Mapping[str, object]) -> str:
    """Return a text with the variables that are known; the others stay as written."""

    def put(found: re.Match[str]) -> str:
        value = known.get(found[1] or found[2])
        return found[0] if value is None else plain(value)

    return _VARIABLE.sub(put, text)
