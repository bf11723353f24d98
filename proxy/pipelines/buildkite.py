"""Reads a Buildkite pipeline, from plain values. What it does not know is a fault with its place, never a guess.

Source: "Defining steps" and the pages of each step type; github.com/buildkite/pipeline-schema.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Final

from proxy.pipelines.interpolate import InterpolationError, Interpolator
from proxy.pipelines.pipeline import Dependency, Pipeline, Place, Plugin, Step, StepKind, listed, plain
from proxy.policy.faults import Fault, suggest

MAX_JOBS: Final = 500
_MAX_MATRIX: Final = 50
_COMMON: Final = frozenset(
    {
        "key", "id", "identifier", "label", "name", "depends_on", "if", "branches", "allow_dependency_failure", "skip",
        "notify", "if_changed", "type",
    }
)  # fmt: skip
_GATE: Final = _COMMON | {"prompt", "fields", "blocked_state", "allowed_teams"}
_COMMAND: Final = _COMMON | {
    "command", "commands", "script", "agents", "artifact_paths", "cache", "cancel_on_build_failing", "checkout",
    "concurrency", "concurrency_group", "concurrency_method", "env", "image", "matrix", "parallelism", "plugins",
    "priority", "retry", "secrets", "signature", "soft_fail", "timeout_in_minutes",
}  # fmt: skip
_KEYS: Final = {
    StepKind.COMMAND: _COMMAND,
    StepKind.WAIT: _COMMON | {"wait", "waiter", "continue_on_failure"},
    StepKind.BLOCK: _GATE | {"block", "manual"},
    StepKind.INPUT: _GATE | {"input"},
    StepKind.TRIGGER: _COMMON | {"trigger", "async", "build", "parallelism", "soft_fail", "priority"},
    StepKind.GROUP: _COMMON | {"group", "steps"},
}
_BY_KEY: Final = {
    "group": StepKind.GROUP,
    "trigger": StepKind.TRIGGER,
    "block": StepKind.BLOCK,
    "manual": StepKind.BLOCK,
    "input": StepKind.INPUT,
    "wait": StepKind.WAIT,
    "waiter": StepKind.WAIT,
    "command": StepKind.COMMAND,
    "commands": StepKind.COMMAND,
    "script": StepKind.COMMAND,
    "plugins": StepKind.COMMAND,
}
_WORDS: Final = {name: _BY_KEY[name] for name in ("wait", "waiter", "block", "manual", "input")}
_TYPES: Final = {name: kind for name, kind in _BY_KEY.items() if name != "plugins"}
_UPLOAD: Final = re.compile(
    r"buildkite-agent\s+pipeline\s+upload(?:\s+--?[a-z-]+(?:=\S+)?)*(?:\s+([^\s|&;<>-][^\s|&;<>]*))?"
)
_DEFAULT_FILE: Final = ".buildkite/pipeline.yml"


def read_pipeline(document: object, file: str, environment: Mapping[str, str]) -> Pipeline:
    """Return the pipeline of a document, its variables replaced by those given and its own `env`."""
    return _Reader(file, environment).read(document)


def merge(pipeline: Pipeline, fragments: Mapping[str, Pipeline]) -> Pipeline:
    """Return a pipeline with the steps that its steps upload put after them; fragments are known by file name.

    A file that no step uploads is a fault.
    """
    faults, steps, used = list(pipeline.faults), list[Step](), set[str]()
    unset = pipeline.unset

    def add(found: tuple[Step, ...], uploader: str | None, prefix: str) -> None:
        nonlocal unset
        for step in found:
            mine = replace(step, id=f"{prefix}{step.id}", group=_prefixed(prefix, step.group), uploaded_by=uploader)
            steps.append(mine)
            for name in step.uploads:
                fragment = _find(fragments, name)
                if fragment is not None and fragment not in used:
                    used.add(fragment)
                    faults.extend(fragments[fragment].faults)
                    unset = unset | fragments[fragment].unset
                    add(fragments[fragment].steps, mine.id, f"{mine.id}/")

    add(pipeline.steps, None, "")
    for name in fragments:
        if name not in used:
            fault = Fault(
                path=(), message="no step uploads this file", hint=f"`buildkite-agent pipeline upload {name}`."
            )
            faults.append((name, fault))
    return replace(pipeline, steps=tuple(steps), faults=tuple(faults), unset=unset)


def _prefixed(prefix: str, name: str | None) -> str | None:
    return None if name is None else f"{prefix}{name}"


def _find(fragments: Mapping[str, Pipeline], name: str) -> str | None:
    """Return the fragment that an upload names: the same path, or one that ends in it."""
    return next((each for each in fragments if each == name or each.endswith(f"/{name}")), None)


@dataclass(slots=True)
class _Reader:
    file: str
    environment: Mapping[str, str]
    faults: list[Fault] = field(default_factory=list)
    agents: Mapping[str, str] = field(default_factory=dict)
    count: int = 0

    def read(self, document: object) -> Pipeline:
        steps: list[Step] = []
        path: Place = ()
        found = document
        if isinstance(document, dict):
            # Other keys of the top hold what anchors are taken from; the agent ignores them.
            self.agents = self._agents(document.get("agents"), ("agents",))
            interpolator = self._interpolate(document.get("env"))
            found, path = document.get("steps"), ("steps",)
        else:
            interpolator = Interpolator(self.environment)
        try:
            found = interpolator.value(found)
        except InterpolationError as error:
            self._fault(path, str(error), "Write `$$` for a dollar sign of the command's own.")
        unset = frozenset(interpolator.unset)
        if not isinstance(found, list):
            self._fault(path, "there is no list of steps", "Write `steps:` and a list.")
        else:
            for index, entry in enumerate(found):
                steps += self._step(entry, (*path, index), None)
        return Pipeline(steps=tuple(steps), faults=tuple((self.file, fault) for fault in self.faults), unset=unset)

    def _interpolate(self, own: object) -> Interpolator:
        """Return what replaces variables: by those given, and by the pipeline's own."""
        known = dict(self.environment)
        first = Interpolator(known)
        for name, value in own.items() if isinstance(own, dict) else ():
            try:
                known[name] = first.text(plain(value))
            except InterpolationError as error:
                self._fault(("env", name), str(error))
        return Interpolator(known, first.unset)

    def _fault(self, path: Place, message: str, hint: str = "", *, at_key: bool = False) -> None:
        self.faults.append(Fault(path=path, message=message, hint=hint, at_key=at_key))

    def _check_keys(self, found: Mapping[str, Any], known: frozenset[str], path: Place) -> None:
        for name in found:
            if name not in known:
                self._fault((*path, name), f"unknown key `{name}`", suggest(name, sorted(known)), at_key=True)

    def _step(self, entry: object, path: Place, group: str | None) -> Iterator[Step]:
        if isinstance(entry, str):
            kind = _WORDS.get(entry)
            if kind is None:
                self._fault(path, f"`{entry}` is no step", "Write `wait`, `block`, `input`, or a mapping.")
                return
            entry = {entry: None}
        if not isinstance(entry, dict) or not entry:
            self._fault(path, "a step is a mapping, or the word `wait`, `block` or `input`")
            return
        kind = self._kind(entry, path)
        if kind is None:
            return
        word = next((name for name in entry if _BY_KEY.get(name) is kind), "")
        if len(entry) == 1 and isinstance(entry.get(word), dict):
            # The form of old: everything below the one word.
            entry = {word: None, **entry[word]}
        self._check_keys(entry, _KEYS[kind], path)
        step = self._read(entry, kind, path, group)
        yield step
        if kind is StepKind.GROUP:
            yield from self._members(entry, step, path, group)

    def _kind(self, entry: Mapping[str, Any], path: Place) -> StepKind | None:
        if isinstance(entry.get("type"), str) and entry["type"] in _TYPES:
            return _TYPES[entry["type"]]
        kinds = {_BY_KEY[name]: name for name in entry if name in _BY_KEY}
        if len(kinds) > 1:
            kinds.pop(StepKind.COMMAND, None)
        if len(kinds) == 1:
            return next(iter(kinds))
        if kinds:
            self._fault(
                path, f"a step is one of {' and '.join(f'`{name}`' for name in kinds.values())}, not all of them"
            )
        else:
            self._fault(
                path, "what kind of step this is, is not said", "Write `command`, `wait`, `block`, `trigger`, ..."
            )
        return None

    def _members(self, entry: Mapping[str, Any], step: Step, path: Place, group: str | None) -> Iterator[Step]:
        if group is not None:
            self._fault(path, "a group within a group", "Groups are not nested.")
        members = entry.get("steps")
        if not isinstance(members, list) or not members:
            self._fault((*path, "steps"), "a group has at least one step")
            return
        for index, member in enumerate(members):
            yield from self._step(member, (*path, "steps", index), step.id)

    def _read(self, entry: Mapping[str, Any], kind: StepKind, path: Place, group: str | None) -> Step:
        self.count += 1
        key = next((plain(entry[name]) for name in ("key", "id", "identifier") if entry.get(name) is not None), None)
        label = next((plain(entry[name]) for name in ("label", "name") if entry.get(name) is not None), "")
        word = next((entry[name] for name in ("group", "block", "input", "trigger", "manual") if name in entry), None)
        commands = tuple(self._commands(entry, path))
        jobs = self._matrix(entry.get("matrix"), (*path, "matrix"))
        parallelism = self._number(entry, "parallelism", path)
        if parallelism is not None and entry.get("matrix") is not None:
            self._fault(
                (*path, "parallelism"), "`parallelism` and `matrix` exclude each other", "Remove one.", at_key=True
            )
        if entry.get("branches") is not None and entry.get("if") is not None:
            self._fault(
                (*path, "branches"),
                "`branches` and `if` exclude each other",
                "Ask for `build.branch` in `if`.",
                at_key=True,
            )
        return Step(
            id=key or f"step-{self.count}",
            kind=kind,
            path=path,
            file=self.file,
            key=key,
            label=label or (word if isinstance(word, str) and kind is not StepKind.TRIGGER else ""),
            group=group,
            depends_on=self._depends_on(entry, path),
            condition=None if entry.get("if") is None else plain(entry["if"]),
            branches=self._branches(entry),
            skip=_skip(entry.get("skip")),
            commands=commands,
            plugins=tuple(self._plugins(entry.get("plugins"), (*path, "plugins"))),
            environment=self._texts(entry.get("env"), (*path, "env")),
            agents={**self.agents, **self._agents(entry.get("agents"), (*path, "agents"))},
            jobs=jobs if jobs is not None else 1 if parallelism is None else parallelism,
            matrix=jobs is not None,
            parallelism=parallelism,
            concurrency=self._number(entry, "concurrency", path),
            concurrency_group=None if entry.get("concurrency_group") is None else plain(entry["concurrency_group"]),
            allows_dependency_failure=entry.get("allow_dependency_failure") is True,
            soft_fails=bool(entry.get("soft_fail")),
            allowed_teams=tuple(map(plain, listed(entry.get("allowed_teams")))),
            triggers=plain(entry.get("trigger")) if kind is StepKind.TRIGGER else None,
            uploads=tuple(dict.fromkeys(_uploads(commands))),
        )

    def _commands(self, entry: Mapping[str, Any], path: Place) -> Iterator[str]:
        for name in ("command", "commands", "script"):
            for index, line in enumerate(listed(entry.get(name))):
                if isinstance(line, dict | list):
                    self._fault((*path, name, index), "a command is text", "Quote it: does it hold `: `?")
                else:
                    yield plain(line)

    def _branches(self, entry: Mapping[str, Any]) -> str | None:
        found = entry.get("branches")
        return None if found is None else " ".join(map(plain, listed(found)))

    def _number(self, entry: Mapping[str, Any], name: str, path: Place) -> int | None:
        value = entry.get(name)
        if value is None:
            return None
        if isinstance(value, str) and value.isdigit():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_JOBS:
            self._fault((*path, name), f"`{name}` is a number from 0 to {MAX_JOBS}")
            return None
        return value

    def _depends_on(self, entry: Mapping[str, Any], path: Place) -> tuple[Dependency, ...] | None:
        if "depends_on" not in entry:
            return None
        found: list[Dependency] = []
        for index, each in enumerate(listed(entry["depends_on"])):
            if isinstance(each, dict) and isinstance(each.get("step"), str):
                found.append(Dependency(each["step"], each.get("allow_failure") is True))
            elif isinstance(each, str | int):
                found.append(Dependency(plain(each)))
            else:
                self._fault((*path, "depends_on", index), "a dependency is a step's key, or `step:` and its key")
        return tuple(found)

    def _matrix(self, found: object, path: Place) -> int | None:
        """Return how many jobs a matrix makes; None for none."""
        if found is None:
            return None
        setup = found.get("setup") if isinstance(found, dict) else found
        if isinstance(setup, list) and setup:
            sizes = [len(setup)]
        elif isinstance(setup, dict) and setup and all(isinstance(value, list) and value for value in setup.values()):
            sizes = [len(value) for value in setup.values()]
        else:
            self._fault(path, "a matrix is a list of values, or `setup` with lists by name")
            return 1
        adjustments = found.get("adjustments") if isinstance(found, dict) else None
        jobs = prod(sizes) + self._adjusted(adjustments, setup, path)
        if len(sizes) > 6 or max(sizes) > 25 or jobs > _MAX_MATRIX:
            self._fault(path, f"a matrix of {jobs} jobs: at most 6 dimensions of 25 values and {_MAX_MATRIX} jobs")
        return max(jobs, 0)

    def _adjusted(self, adjustments: object, setup: object, path: Place) -> int:
        """Return how many jobs adjustments add, or take away with `skip`."""
        change = 0
        for index, each in enumerate(listed(adjustments)):
            if not isinstance(each, dict) or "with" not in each:
                self._fault((*path, "adjustments", index), "an adjustment says which combination: `with`")
                continue
            is_known = _is_combination(each["with"], setup)
            skipped = _skip(each.get("skip")) is not None
            change += -1 if is_known and skipped else 0 if is_known or skipped else 1
        return change

    def _plugins(self, found: object, path: Place) -> Iterator[Plugin]:
        entries = [{name: options} for name, options in found.items()] if isinstance(found, dict) else listed(found)
        for index, entry in enumerate(entries):
            if isinstance(entry, str):
                yield Plugin(entry)
            elif isinstance(entry, dict) and len(entry) == 1:
                ((source, options),) = entry.items()
                yield Plugin(source, options if isinstance(options, dict) else {})
            else:
                self._fault((*path, index), "a plugin is its name, or its name and options")

    def _texts(self, found: object, path: Place) -> dict[str, str]:
        if found is None:
            return {}
        if not isinstance(found, dict):
            self._fault(path, "variables are a mapping")
            return {}
        return {name: plain(value) for name, value in found.items() if not isinstance(value, dict | list)}

    def _agents(self, found: object, path: Place) -> dict[str, str]:
        if isinstance(found, list):
            return dict(plain(each).partition("=")[::2] for each in found)
        return self._texts(found, path)


def _is_combination(wanted: object, setup: object) -> bool:
    if isinstance(setup, list):
        return wanted in setup
    return (
        isinstance(wanted, dict)
        and isinstance(setup, dict)
        and wanted.keys() == setup.keys()
        and all(wanted[name] in setup[name] for name in wanted)
    )


def _uploads(commands: tuple[str, ...]) -> Iterator[str]:
    for command in commands:
        for match in _UPLOAD.finditer(command):
            yield match[1] or _DEFAULT_FILE


def _skip(value: object) -> str | None:
    """Return why a step is skipped: an empty text and `false` mean that it is not."""
    if value is True or (isinstance(value, str) and value.lower() == "true"):
        return "skip: true"
    return f"skip: {value}" if isinstance(value, str) and value and value.lower() != "false" else None
