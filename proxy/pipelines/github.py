"""Reads a GitHub Actions workflow, and the workflows of the same repository that its jobs call, from plain values.

Each job is a step; a call is a group of the called workflow's jobs. What is not known is a fault with its place.
Source: docs.github.com, "Workflow syntax for GitHub Actions", "Reuse workflows".
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Final

from proxy.pipelines.expressions import Facts
from proxy.pipelines.github_expressions import survives_skips
from proxy.pipelines.pipeline import (
    Absence,
    Dependency,
    Fate,
    Pipeline,
    Place,
    Plugin,
    Step,
    StepKind,
    Verdict,
    listed,
    plain,
)
from proxy.policy.faults import Fault, suggest

MAX_MATRIX: Final = 256
MAX_JOBS: Final = 2000
"""How many jobs workflows that call one another may have together."""
_TOP: Final = frozenset({"name", "run-name", "on", "permissions", "env", "defaults", "concurrency", "jobs"})
_CALL: Final = frozenset(
    {"name", "uses", "with", "secrets", "strategy", "needs", "if", "concurrency", "permissions"}
)  # fmt: skip
_JOB: Final = _CALL | {
    "runs-on", "environment", "outputs", "env", "defaults", "steps", "timeout-minutes", "continue-on-error",
    "container", "services", "snapshot",
}  # fmt: skip
_STEP: Final = frozenset(
    {
        "id", "if", "name", "uses", "run", "working-directory", "shell", "with", "env", "continue-on-error",
        "timeout-minutes",
    }
)  # fmt: skip
_EXPRESSION: Final = "${{"


def read_workflow(document: object, file: str, facts: Facts, others: Mapping[str, object]) -> Pipeline:
    """Return the jobs of a workflow. `others` are the documents of workflows that it may call, by file."""
    reader = _Reader(file, facts, others)
    steps = tuple(reader.read(document))
    unused = [name for name in others if name not in reader.called]
    faults = [
        *((name, fault) for name, found in reader.faults.items() for fault in found),
        *((name, Fault(path=(), message="no job calls this workflow", hint="`uses: ./PATH`.")) for name in unused),
    ]
    name = document.get("name") if isinstance(document, dict) else None
    unseen = frozenset(reader.unseen)
    return Pipeline(steps=steps, provider="github", name=plain(name) or file, faults=tuple(faults), unseen=unseen)


@dataclass(frozen=True, slots=True)
class _Workflow:
    """One file on the way: who called it, and what it grants where a job says nothing."""

    file: str
    prefix: str = ""
    group: str | None = None
    chain: tuple[str, ...] = ()
    permissions: object = None
    may_ask: bool = True


@dataclass(slots=True)
class _Reader:
    file: str
    facts: Facts
    others: Mapping[str, object]
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    called: set[str] = field(default_factory=set)
    unseen: set[str] = field(default_factory=set)
    count: int = 0

    def read(self, document: object) -> Iterator[Step]:
        whole = _Workflow(self.file)
        if not isinstance(document, dict):
            self._fault(whole, (), "a workflow is a mapping with `on` and `jobs`")
            return
        verdict = self._event(document.get("on"), whole)
        for step in self._jobs(document, whole):
            yield step if verdict is None or step.group is not None else replace(step, verdict=verdict)

    def _fault(self, where: _Workflow, path: Place, message: str, hint: str = "", *, at_key: bool = False) -> None:
        fault = Fault(path=path, message=message, hint=hint, at_key=at_key)
        self.faults.setdefault(where.file, []).append(fault)

    def _check_keys(self, found: Mapping[str, Any], known: frozenset[str], where: _Workflow, path: Place) -> None:
        for name in found:
            if name not in known:
                hint = suggest(name, sorted(known))
                self._fault(where, (*path, name), f"unknown key `{name}`", hint, at_key=True)

    def _event(self, wanted: object, where: _Workflow) -> Verdict | None:
        """Return the fate of all jobs, where the event that is known starts no run of the workflow."""
        if wanted is None:
            self._fault(where, (), "nothing starts this workflow", "Write `on`.")
            return None
        events = wanted if isinstance(wanted, dict) else dict.fromkeys(map(plain, listed(wanted)))
        event = self.facts.values.get("github.event_name")
        if not isinstance(event, str):
            return None
        if event not in events:
            return Verdict(Fate.SKIPPED, f"on: nothing is said of {event}")
        return _filtered(events[event], event, self.facts)

    def _jobs(self, document: Mapping[str, Any], where: _Workflow) -> Iterator[Step]:
        self._check_keys(document, _TOP, where, ())
        jobs = document.get("jobs")
        if not isinstance(jobs, dict) or not jobs:
            self._fault(where, ("jobs",), "there are no jobs", "Write `jobs:` and a mapping.")
            return
        granted = where.permissions if document.get("permissions") is None else document["permissions"]
        where = replace(where, permissions=granted)
        for name, job in jobs.items():
            if isinstance(job, dict):
                yield from self._job(name, job, where, ("jobs", name))
            else:
                self._fault(where, ("jobs", name), "a job is a mapping")

    def _job(self, name: str, job: Mapping[str, Any], where: _Workflow, path: Place) -> Iterator[Step]:
        self.count += 1
        self._check_keys(job, _JOB if "uses" not in job else _CALL, where, path)
        if ("uses" in job) == ("steps" in job):
            self._fault(where, path, "a job has either `steps` or `uses`")
        condition = None if job.get("if") is None else plain(job["if"])
        absence = Absence.IGNORED if survives_skips(condition) else Absence.SKIPS
        needs = tuple(Dependency(f"{where.prefix}{plain(each)}", absence=absence) for each in listed(job.get("needs")))
        inner = tuple(self._steps(job.get("steps"), where, (*path, "steps")))
        environment = job.get("environment")
        if isinstance(environment, dict):
            environment = environment.get("name")
        callee = self._callee(job, where, path)
        permissions = where.permissions if job.get("permissions") is None else job["permissions"]
        step = Step(
            id=f"{where.prefix}{name}",
            kind=StepKind.COMMAND if callee is None else StepKind.GROUP,
            path=path,
            file=where.file,
            key=f"{where.prefix}{name}",
            label=plain(job.get("name")),
            group=where.group,
            depends_on=needs,
            condition=condition,
            commands=tuple(plain(each["run"]) for each in inner if each.get("run") is not None),
            plugins=tuple(_uses(each) for each in (*inner, job) if each.get("uses") is not None),
            environment=_variables(job.get("env")),
            agents=_runner(job.get("runs-on")),
            jobs=self._matrix(job.get("strategy"), where, (*path, "strategy")),
            deployment=None if environment is None else plain(environment),
            has_identity=where.may_ask and _may_ask(permissions),
        )
        yield step
        if callee is not None:
            chain = (*where.chain, where.file)
            inside = _Workflow(callee, f"{step.id}/", step.id, chain, permissions, step.has_identity)
            yield from self._called(inside, where, path)

    def _called(self, inside: _Workflow, where: _Workflow, path: Place) -> Iterator[Step]:
        document = self.others[inside.file]
        if inside.file in inside.chain:
            self._fault(where, (*path, "uses"), f"{inside.file} calls itself")
        elif self.count > MAX_JOBS:
            self._fault(where, (*path, "uses"), f"more than {MAX_JOBS} jobs together")
        elif isinstance(document, dict):
            yield from self._jobs(document, inside)
        else:
            self._fault(inside, (), "a workflow is a mapping with `on` and `jobs`")

    def _callee(self, job: Mapping[str, Any], where: _Workflow, path: Place) -> str | None:
        """Return the file that a job calls, where it was given."""
        if job.get("uses") is None:
            return None
        wanted = plain(job["uses"])
        local = wanted.removeprefix("./")
        found = next((name for name in self.others if name == local or name.endswith(f"/{local}")), None)
        if found is not None:
            self.called.add(found)
        elif wanted.startswith("./"):
            hint = f"Give it: --with {local}."
            self._fault(where, (*path, "uses"), f"`{wanted}` is called and was not given", hint)
        else:
            self.unseen.add(wanted)
        return found

    def _steps(self, found: object, where: _Workflow, path: Place) -> Iterator[Mapping[str, Any]]:
        for index, each in enumerate(listed(found)):
            if not isinstance(each, dict) or (each.get("run") is None) == (each.get("uses") is None):
                self._fault(where, (*path, index), "a step has either `run` or `uses`")
            else:
                self._check_keys(each, _STEP, where, (*path, index))
                yield each

    def _matrix(self, strategy: object, where: _Workflow, path: Place) -> int:
        """Return how many jobs a matrix makes; 1 where an expression decides it."""
        matrix = strategy.get("matrix") if isinstance(strategy, dict) else None
        if matrix is None or (isinstance(matrix, str) and _EXPRESSION in matrix):
            return 1
        axes = (
            {name: value for name, value in matrix.items() if name not in {"include", "exclude"}}
            if isinstance(matrix, dict)
            else None
        )
        if axes is None or not all(isinstance(value, list) or _EXPRESSION in plain(value) for value in axes.values()):
            self._fault(where, (*path, "matrix"), "a matrix is a mapping of lists")
            return 1
        if any(not isinstance(each, list) for each in (*axes.values(), *map(listed, _changes(matrix)))):
            return 1
        jobs = _combinations(axes, listed(matrix.get("include")), listed(matrix.get("exclude")))
        if jobs > MAX_MATRIX:
            self._fault(where, (*path, "matrix"), f"a matrix of {jobs} jobs: at most {MAX_MATRIX}")
        return jobs


def _changes(matrix: Mapping[str, Any]) -> Iterator[object]:
    return (matrix[name] for name in ("include", "exclude") if name in matrix)


def _combinations(axes: Mapping[str, list[Any]], include: list[Any], exclude: list[Any]) -> int:
    """Return how many combinations are left of all, and come to them: what changes none of the others' values joins."""
    size = 1
    for values in axes.values():
        size *= len(values)
        if size > MAX_MATRIX * 16:
            return size
    found = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())] if axes else []
    kept = [each for each in found if not any(_agrees(each, other, every=True) for other in exclude)]
    added = [other for other in include if not any(_agrees(each, other, every=False) for each in kept)]
    return len(kept) + len(added)


def _agrees(combination: Mapping[str, Any], other: object, *, every: bool) -> bool:
    """Whether nothing that a mapping says of the axes is otherwise here; `every`: and it says nothing else."""
    if not isinstance(other, dict) or (every and not other.keys() <= combination.keys()):
        return False
    return all(combination[name] == value for name, value in other.items() if name in combination)


def _filtered(wanted: object, event: str, facts: Facts) -> Verdict | None:
    """Return the fate of all jobs, where a filter on branches or tags keeps the event out or may."""
    if not isinstance(wanted, dict) or event not in {"push", "pull_request", "pull_request_target"}:
        return None
    if wanted.keys() & {"paths", "paths-ignore"}:
        return Verdict(Fate.UNKNOWN, "on: it depends on the paths that changed")
    filters = {name: list(map(plain, listed(value))) for name, value in wanted.items() if name != "types"}
    if not filters:
        return None
    kind, name = _ref(event, facts)
    if kind is None or name is None:
        return Verdict(Fate.UNKNOWN, f"on: it depends on the branch of the {event}")
    fits = _fits(filters, kind, name)
    return None if fits else Verdict(Fate.SKIPPED, f"on: {event} is not for {name}")


def _ref(event: str, facts: Facts) -> tuple[str | None, str | None]:
    names = ("github.ref_type", "github.ref_name") if event == "push" else ("", "github.base_ref")
    kind, name = (facts.values.get(each) for each in names)
    return (str(kind) if kind else None) if event == "push" else "branch", name if isinstance(name, str) else None


def _fits(filters: Mapping[str, list[str]], kind: str, name: str) -> bool:
    wanted, unwanted = (("branches", "branches-ignore"), ("tags", "tags-ignore"))[kind == "tag"]
    if wanted in filters:
        return _is_listed(filters[wanted], name)
    if unwanted in filters:
        return not _is_listed(filters[unwanted], name)
    # A filter for the other kind alone keeps this kind out.
    return False


def _is_listed(patterns: list[str], name: str) -> bool:
    """Whether the last pattern that fits wants a name: `!` takes away what came before."""
    answer = False
    for pattern in patterns:
        if re.fullmatch(_translate(pattern.removeprefix("!")), name):
            answer = not pattern.startswith("!")
    return answer


def _translate(pattern: str) -> str:
    """Return the regular expression of a filter pattern: `*`, `**`, `?` and `+` after a character, `[abc]`."""
    pieces = re.findall(r"\*\*|\*|\[[A-Za-z0-9-]+\]|\\.|[?+]|.", pattern, re.DOTALL)
    meaning = {"**": ".*", "*": "[^/]*", "?": "?", "+": "+"}
    return "".join(
        meaning.get(each) or (each if each.startswith("[") and len(each) > 1 else re.escape(each.removeprefix("\\")))
        for each in pieces
    )


def _uses(each: Mapping[str, Any]) -> Plugin:
    options = each.get("with")
    return Plugin(plain(each["uses"]), options if isinstance(options, dict) else {})


def _variables(found: object) -> dict[str, str]:
    return {name: plain(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _runner(found: object) -> dict[str, str]:
    labels = found.get("labels") if isinstance(found, dict) else found
    return {"labels": " ".join(map(plain, listed(labels)))}


def _may_ask(permissions: object) -> bool:
    """Whether a job may ask for an identity: it must be granted, whatever the defaults are."""
    if isinstance(permissions, dict):
        return permissions.get("id-token") == "write"
    return permissions == "write-all"
