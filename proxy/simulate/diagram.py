"""A plan and its exit points as a Mermaid flowchart, which code hosts draw. Pure."""

import re
from collections.abc import Iterator, Mapping

from proxy.pipelines.dag import Plan
from proxy.pipelines.pipeline import Fate, Step, StepKind
from proxy.simulate.walk import Exit

_SHAPES = {
    StepKind.COMMAND: ('["', '"]'),
    StepKind.TRIGGER: ('[["', '"]]'),
    StepKind.WAIT: ('("', '")'),
    StepKind.BLOCK: ('{{"', '"}}'),
    StepKind.INPUT: ('[/"', '"/]'),
    StepKind.GROUP: ('("', '")'),
}


def to_mermaid(plan: Plan, exits: Mapping[str, tuple[Exit, ...]]) -> str:
    """Return a flowchart: steps, what each waits for, and where its requests may go, with what credential."""
    return "\n".join(_lines(plan, exits)) + "\n"


def _lines(plan: Plan, exits: Mapping[str, tuple[Exit, ...]]) -> Iterator[str]:
    names = {step: f"s{number}" for number, step in enumerate(plan.steps)}
    yield "flowchart LR"
    for name, step in plan.steps.items():
        opening, closing = _SHAPES[step.kind]
        yield f"  {names[name]}{opening}{_said(step, plan)}{closing}"
    for name, before in plan.before.items():
        direct = set(before) - {far for each in before for far in plan.all_before(each)}
        for each in before:
            if each in direct:
                yield f"  {names[each]} --> {names[name]}"
    places: dict[str, str] = {}
    for name, found in exits.items():
        for way in found:
            credential = f"<br/>{_quoted(way.credential)}" if way.credential is not None else ""
            label = f"{_quoted(', '.join(way.to))}{credential}"
            place = places.setdefault(label, f"x{len(places)}")
            may = "" if way.is_certain else "may: "
            yield f"  {names[name]} -.->|{may}{_quoted(way.rule)}| {place}"
    for label, place in places.items():
        yield f'  {place}>"{label}"]'
    for fate, style in ((Fate.SKIPPED, "stroke-dasharray: 5 5, opacity: 0.4"), (Fate.UNKNOWN, "stroke-dasharray: 5 5")):
        them = [names[name] for name, verdict in plan.fates.items() if verdict.fate is fate]
        if them:
            yield f"  classDef {fate.name.lower()} {style}"
            yield f"  class {','.join(them)} {fate.name.lower()}"


def _said(step: Step, plan: Plan) -> str:
    jobs = f" x{step.jobs}" if step.jobs != 1 else ""
    why = plan.fates[step.id]
    told = f"<br/>{why.fate.value}" if why.fate is not Fate.RUNS else ""
    return f"{_quoted(step.name)}{jobs}{told}"


def _quoted(text: str) -> str:
    """Write a text so that nothing in it is Mermaid's or HTML's."""
    return re.sub(r"[^A-Za-z0-9 .,:/_*@()-]", lambda found: f"#{ord(found[0])};", text)
