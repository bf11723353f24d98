"""What is otherwise in one simulation than in another: of other rules, or of another pipeline. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from proxy.simulate.findings import Finding
from proxy.simulate.simulation import Simulation
from proxy.simulate.walk import Exit


class ChangeKind(StrEnum):
    """How something differs."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class StepChange(NamedTuple):
    """A step that is new, gone, or fares otherwise. `before` and `after` say how, for a person."""

    kind: ChangeKind
    step: str
    before: str
    after: str


class ExitChange(NamedTuple):
    """A way out of a step that is new, gone or otherwise."""

    kind: ChangeKind
    step: str
    rule: str
    before: Exit | None
    after: Exit | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """All that is otherwise."""

    steps: tuple[StepChange, ...]
    exits: tuple[ExitChange, ...]
    new_findings: tuple[Finding, ...]
    gone_findings: tuple[Finding, ...]

    @property
    def widens(self) -> bool:
        """Whether a step may do what it could not: a new way out, more certain, less guarded, another credential."""
        return any(each.after is not None and _widens(each.before, each.after) for each in self.exits)


def compare(old: Simulation, new: Simulation) -> Changes:
    """Return what is otherwise in `new`. Steps are the same if their ids are, ways out if their rules are."""
    return Changes(
        steps=tuple(_steps(old, new)),
        exits=tuple(_exits(old, new)),
        new_findings=_beyond(new, old),
        gone_findings=_beyond(old, new),
    )


def _steps(old: Simulation, new: Simulation) -> Iterator[StepChange]:
    for name in dict.fromkeys((*old.plan.steps, *new.plan.steps)):
        before, after = _fare(old, name), _fare(new, name)
        if before == after:
            continue
        kind = ChangeKind.ADDED if before is None else ChangeKind.REMOVED if after is None else ChangeKind.CHANGED
        yield StepChange(kind, name, before or "", after or "")


def _fare(simulation: Simulation, name: str) -> str | None:
    """Say what becomes of a step, what it waits for, and who must let it."""
    plan = simulation.plan
    if name not in plan.steps:
        return None
    step, fate = plan.steps[name], plan.fates[name]
    parts = [f"{fate.fate.value}{f' ({fate.why})' if fate.why else ''}"]
    if before := plan.before.get(name):
        parts.append(f"after {', '.join(sorted(before))}")
    if step.jobs != 1:
        parts.append(f"{step.jobs} jobs")
    if gates := [gate.name for gate in plan.gates(name)]:
        parts.append(f"gate {', '.join(gates)}")
    return "; ".join(parts)


def _exits(old: Simulation, new: Simulation) -> Iterator[ExitChange]:
    for step in dict.fromkeys((*old.exits, *new.exits)):
        before = {each.rule: each for each in old.exits.get(step, ())}
        after = {each.rule: each for each in new.exits.get(step, ())}
        for rule in dict.fromkeys((*before, *after)):
            one, other = before.get(rule), after.get(rule)
            if one != other:
                kind = ChangeKind.ADDED if one is None else ChangeKind.REMOVED if other is None else ChangeKind.CHANGED
                yield ExitChange(kind, step, rule, one, other)


def _widens(before: Exit | None, after: Exit) -> bool:
    if before is None:
        return True
    return (
        (after.is_certain and not before.is_certain)
        or (before.is_gated and not after.is_gated)
        or not set(after.to) <= set(before.to)
        or not set(after.does) <= set(before.does)
        or (after.credential is not None and after.credential != before.credential)
    )


def _beyond(one: Simulation, other: Simulation) -> tuple[Finding, ...]:
    """Return the findings that the other has not, wherever they stand."""
    known = {(each.id, each.step, each.rule, each.message) for each in other.findings}
    return tuple(each for each in one.findings if (each.id, each.step, each.rule, each.message) not in known)
