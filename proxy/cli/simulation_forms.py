"""A simulation, or what changed since another, for people and for machines."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any, Final
from xml.etree import ElementTree as ET

import click

from proxy import __version__
from proxy.simulate.changes import Changes, ExitChange
from proxy.simulate.diagram import to_mermaid
from proxy.simulate.drawing import draw, legal
from proxy.simulate.findings import Finding, Level
from proxy.simulate.simulation import Simulation
from proxy.simulate.walk import Exit
from proxy.sources.yaml import Located

_COLOURS: Final = {Level.ERROR: "red", Level.WARNING: "yellow", Level.NOTE: "white"}

_EXIT: Final = tuple(each.name for each in fields(Exit))

type Documents = Mapping[str, Located]
type Form = Callable[[Simulation, Changes | None, Documents], str]


def _place(finding: Finding, documents: Documents) -> tuple[int, int]:
    located = documents.get(finding.file)
    if located is None:
        return 1, 1
    place = located.place(finding.path)
    return place.line, place.column


def _as_text(found: Simulation, changes: Changes | None, documents: Documents) -> str:
    lines: list[str] = []
    for number, stage in enumerate(found.plan.stages, 1):
        lines.append(click.style(f"stage {number}", bold=True))
        for name in stage:
            step, fate = found.plan.steps[name], found.plan.fates[name]
            jobs = f" x{step.jobs}" if step.jobs != 1 else ""
            manual = ", by hand" if step.is_manual else ""
            told = f"  {fate.fate.value}: {legal(fate.why)}" if fate.why else ""
            lines.append(f"  {legal(step.name)} ({step.kind.value}{jobs}{manual}){told}")
            lines += [f"    -> {legal(_exit(each))}" for each in found.exits.get(name, ())]
    skipped = [step for name, step in found.plan.steps.items() if name not in found.plan.before]
    lines += [f"not run: {legal(step.name)} ({legal(found.plan.fates[step.id].why)})" for step in skipped]
    for each in found.findings:
        line, column = _place(each, documents)
        place = f"{each.file}:{line}:{column}: " if each.file else ""
        level = click.style(each.level.value, fg=_COLOURS[each.level])
        lines.append(f"{place}{level}: {legal(each.message)} [{each.id}]")
        lines += [f"  {legal(each.hint)}"] if each.hint else []
    count = sum(len(ways) for ways in found.exits.values())
    steps, stages, findings = len(found.plan.before), len(found.plan.stages), len(found.findings)
    lines.append(f"{steps} steps in {stages} stages, {count} exit points, {findings} findings")
    if changes is not None:
        lines += ["", *_change_lines(changes)]
    return "".join(f"{line}\n" for line in lines)


def _change_lines(changes: Changes) -> list[str]:
    lines = [click.style("what changes", bold=True)]
    lines += [
        f"  step {each.kind.value}: {legal(each.step)}: {legal(_from_to(each.before, each.after))}"
        for each in changes.steps
    ]
    lines += [f"  way out {each.kind.value}: {legal(each.step)}: {legal(_exit_change(each))}" for each in changes.exits]
    lines += [f"  new {each.level.value}: {legal(each.message)} [{each.id}]" for each in changes.new_findings]
    lines += [f"  no more: {legal(each.message)} [{each.id}]" for each in changes.gone_findings]
    return lines if len(lines) > 1 else [*lines, "  nothing"]


def _from_to(before: str, after: str) -> str:
    return f"{before} -> {after}" if before and after else before or after


def _exit_change(change: ExitChange) -> str:
    before, after = (_exit(each) if each is not None else "" for each in (change.before, change.after))
    return _from_to(before, after)


def _exit(each: Exit) -> str:
    may = "" if each.is_certain else "may: "
    credential = f" with {each.credential}" if each.credential is not None else ""
    guards = [*(f"gate {gate}" for gate in each.gates), *filter(None, [each.approval])]
    guard = f" [{', '.join(guards)}]" if guards else ""
    return f"{may}{', '.join(each.to)}: {'; '.join(each.does)}{credential}{guard} ({each.rule})"


def _as_markdown(found: Simulation, changes: Changes | None, documents: Documents) -> str:
    """Write what a pull request's reader wants to know: what changes, what is wrong, and the picture."""
    lines: list[str] = []
    if changes is not None:
        told = _changes_as_markdown(changes)
        lines += ["### What changes for the pipeline's steps", "", *(told or ["Nothing."]), ""]
    shown = found.findings if changes is None else changes.new_findings
    lines += ["### What is wrong" if changes is None else "### What is newly wrong", ""]
    for each in shown:
        line, _ = _place(each, documents)
        place = f" ({_code(f'{each.file}:{line}')})" if each.file else ""
        lines.append(f"- **{each.level.value}** {_cell(each.message)}{place}. {_cell(each.hint)}".rstrip())
    lines += [] if shown else ["Nothing."]
    lines += ["", "<details><summary>Order and ways out</summary>", "", "```mermaid"]
    return "\n".join([*lines, to_mermaid(found.plan, found.exits).rstrip(), "```", "", "</details>"]) + "\n"


def _changes_as_markdown(changes: Changes) -> list[str]:
    rows = [(each.kind.value, each.step, each.before, each.after) for each in changes.steps]
    for way in changes.exits:
        before, after = (_exit(each) if each is not None else "" for each in (way.before, way.after))
        rows.append((way.kind.value, way.step, before, after))
    if not rows:
        return []
    warning = ["**Steps may do more than before.**", ""] if changes.widens else []
    cells = (f"| {kind} | {_code(step)} | {_cell(before)} | {_cell(after)} |" for kind, step, before, after in rows)
    return [*warning, "| change | step | before | after |", "|---|---|---|---|", *cells]


def _cell(text: str) -> str:
    """Write a text so that it stays in its cell and nothing of it is Markdown's or HTML's."""
    flat = " ".join(legal(text).split())
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>()#+!|~@" else "&amp;" if sign == "&" else sign for sign in flat)


def _code(text: str) -> str:
    flat = " ".join(legal(text).replace("`", "'").split())
    return f"`{flat}`".replace("|", "\\|")


def _as_json(found: Simulation, changes: Changes | None, documents: Documents) -> str:
    report: dict[str, Any] = {
        "provider": found.plan.provider,
        "stages": found.plan.stages,
        "steps": [
            {
                "id": step.id,
                "key": step.key,
                "name": step.name,
                "kind": step.kind.value,
                "jobs": step.jobs,
                "fate": found.plan.fates[step.id].fate.value,
                "why": found.plan.fates[step.id].why,
                "after": dict(found.plan.before.get(step.id, {})),
                "gates": [gate.id for gate in found.plan.gates(step.id)],
                "exits": [_exit_as_json(each) for each in found.exits.get(step.id, ())],
            }
            for step in found.plan.steps.values()
        ],
        "findings": [_finding_as_json(each, documents) for each in found.findings],
    }
    if changes is not None:
        report["changes"] = {
            "widens": changes.widens,
            "steps": [each._asdict() for each in changes.steps],
            "exits": [
                {
                    **each._asdict(),
                    "before": None if each.before is None else _exit_as_json(each.before),
                    "after": None if each.after is None else _exit_as_json(each.after),
                }
                for each in changes.exits
            ],
            "new_findings": [_finding_as_json(each, documents) for each in changes.new_findings],
            "gone_findings": [asdict(each) for each in changes.gone_findings],
        }
    return json.dumps(report, indent=2) + "\n"


def _exit_as_json(each: Exit) -> dict[str, Any]:
    return {name: getattr(each, name) for name in _EXIT}


def _finding_as_json(finding: Finding, documents: Documents) -> dict[str, Any]:
    return {**asdict(finding), "line": _place(finding, documents)[0]}


def _as_mermaid(found: Simulation, _changes: Changes | None, _documents: Documents) -> str:
    return to_mermaid(found.plan, found.exits)


def _as_svg(found: Simulation, _changes: Changes | None, _documents: Documents) -> str:
    return draw(found)


def _as_sarif(found: Simulation, _changes: Changes | None, documents: Documents) -> str:
    """Write SARIF 2.1.0, which code hosts show beside the changed line."""
    results = []
    for each in found.findings:
        line, column = _place(each, documents)
        place = {"artifactLocation": {"uri": each.file or "."}, "region": {"startLine": line, "startColumn": column}}
        results.append(
            {
                "ruleId": each.id,
                "level": each.level.value,
                "message": {"text": f"{each.message}. {each.hint}".strip()},
                "locations": [{"physicalLocation": place}],
            }
        )
    names = sorted({each.id for each in found.findings})
    driver = {"name": "jobgate", "version": __version__, "rules": [{"id": name} for name in names]}
    report = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    }
    return json.dumps(report, indent=2) + "\n"


def _as_junit(found: Simulation, _changes: Changes | None, _documents: Documents) -> str:
    """Write JUnit's XML: a test for each step, failed by what is wrong with it; what is about no step is one more."""
    steps = found.plan.steps
    by_step: dict[str | None, list[Finding]] = {}
    for each in found.findings:
        if each.level is not Level.NOTE:
            by_step.setdefault(each.step, []).append(each)
    suite = ET.Element("testsuite", name="jobgate simulate", tests=str(len(steps) + 1), failures=str(len(by_step)))
    for name in [*steps, None]:
        shown = "pipeline and rules" if name is None else legal(steps[name].name)
        case = ET.SubElement(suite, "testcase", classname="pipeline", name=shown)
        for each in by_step.get(name, ()):
            ET.SubElement(case, "failure", type=each.id, message=legal(each.message)).text = legal(each.hint)
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


FORMS: Final[Mapping[str, Form]] = {
    "text": _as_text,
    "markdown": _as_markdown,
    "json": _as_json,
    "mermaid": _as_mermaid,
    "svg": _as_svg,
    "sarif": _as_sarif,
    "junit": _as_junit,
}
"""How a simulation can be written."""
