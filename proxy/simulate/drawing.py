"""A plan and its ways out as an SVG picture: a column for each stage, under each step where it could go. Pure.

Nothing of it is read from elsewhere: no script, no style sheet, no font but the viewer's own.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape as _escape
from typing import Final

from proxy.pipelines.dag import Plan
from proxy.pipelines.pipeline import Fate, Step, StepKind
from proxy.simulate.simulation import Simulation
from proxy.simulate.walk import Exit

_WIDTH: Final = 260
_GAP: Final = 70
_LINE: Final = 15
_HEAD: Final = 40
_SPACE: Final = 18
_MARGIN: Final = 20
_CHARACTERS: Final = 40
_MAX_EXITS: Final = 12
_FILLS: Final = {
    StepKind.COMMAND: "#eef4ff",
    StepKind.TRIGGER: "#f3ecff",
    StepKind.WAIT: "#f2f2f2",
    StepKind.BLOCK: "#fff1d6",
    StepKind.INPUT: "#fff1d6",
    StepKind.GROUP: "#f2f2f2",
}
_ROOT: Final = (
    'xmlns="http://www.w3.org/2000/svg" font-family="ui-sans-serif, system-ui, sans-serif" role="img"'
    ' aria-label="Where a pipeline goes"'
)
_ARROW: Final = (
    '<defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 L8 4 L0 8 z" fill="#888888"/></marker></defs>'
)
_ILLEGAL: Final = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PLAIN: Final = "#333333"
_CREDENTIAL: Final = "#8a4b00"
_OPEN: Final = "#b00020"
"""A credential of production, and no person before it."""


@dataclass(frozen=True, slots=True)
class _Box:
    step: Step
    x: int
    y: int
    lines: tuple[tuple[str, str], ...]

    @property
    def height(self) -> int:
        return _HEAD + _LINE * len(self.lines) + (8 if self.lines else 0)

    @property
    def middle(self) -> int:
        return self.y + _HEAD // 2


def legal(text: str) -> str:
    """Return a text without what XML may not hold and terminals act on."""
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)


def _xml(text: str) -> str:
    return _escape(legal(text))


def draw(simulation: Simulation) -> str:
    """Return the picture. Steps that do not run are left out; those of which it cannot be told have a broken line."""
    boxes = {box.step.id: box for box in _place(simulation)}
    width = max((box.x + _WIDTH for box in boxes.values()), default=_WIDTH) + _MARGIN
    height = max((box.y + box.height for box in boxes.values()), default=_HEAD) + _MARGIN
    lines = [
        f'<svg {_ROOT} viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        _ARROW,
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *_edges(simulation.plan, boxes),
        *(line for box in boxes.values() for line in _drawn(box, simulation.plan)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _place(simulation: Simulation) -> Iterator[_Box]:
    x = _MARGIN
    for stage in simulation.plan.stages:
        y = _MARGIN
        for name in stage:
            box = _Box(simulation.plan.steps[name], x, y, tuple(_told(simulation.exits.get(name, ()))))
            yield box
            y += box.height + _SPACE
        x += _WIDTH + _GAP


def _told(exits: tuple[Exit, ...]) -> Iterator[tuple[str, str]]:
    """Give out a line and its colour for each way out, and one more for its credential."""
    for each in exits[:_MAX_EXITS]:
        may = "" if each.is_certain else "may: "
        yield _PLAIN, f"→ {may}{', '.join(each.to)}"
        if each.credential is not None:
            guards = [*each.gates, *filter(None, [each.approval])]
            is_open = each.is_production and not each.is_gated
            guard = f" [{', '.join(guards)}]" if guards else ""
            yield _OPEN if is_open else _CREDENTIAL, f"   {each.credential}{guard}"
    if len(exits) > _MAX_EXITS:
        yield _PLAIN, f"and {len(exits) - _MAX_EXITS} more"


def _edges(plan: Plan, boxes: dict[str, _Box]) -> Iterator[str]:
    for name, before in plan.before.items():
        direct = set(before) - {far for each in before for far in plan.all_before(each)}
        for each in (each for each in before if each in direct and each in boxes and name in boxes):
            start, end = boxes[each], boxes[name]
            x, y, far = start.x + _WIDTH, start.middle, end.x
            middle = (x + far) // 2
            yield (
                f'<path d="M{x} {y} C{middle} {y} {middle} {end.middle} {far} {end.middle}" fill="none"'
                ' stroke="#888888" marker-end="url(#end)"/>'
            )


def _drawn(box: _Box, plan: Plan) -> Iterator[str]:
    step, fate = box.step, plan.fates[box.step.id]
    jobs = f" x{step.jobs}" if step.jobs != 1 else ""
    manual = ", by hand" if step.is_manual else ""
    dashes = ' stroke-dasharray="5 4"' if fate.fate is Fate.UNKNOWN else ""
    yield f"<g><title>{_xml(f'{step.name}: {fate.fate.value} {fate.why}'.strip())}</title>"
    yield (
        f'<rect x="{box.x}" y="{box.y}" width="{_WIDTH}" height="{box.height}" rx="6" fill="{_FILLS[step.kind]}"'
        f' stroke="#555555"{dashes}/>'
    )
    yield _text(box, 17, f"{step.name}{jobs}", 'font-size="13" font-weight="600"', _PLAIN)
    yield _text(box, 32, f"{step.kind.value}{manual}", 'font-size="10"', "#666666")
    for number, (colour, text) in enumerate(box.lines):
        yield _text(box, _HEAD + 10 + number * _LINE, text, 'font-size="11"', colour)
    yield "</g>"


def _text(box: _Box, y: int, text: str, style: str, colour: str) -> str:
    shown = text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 1]}…"
    more = "" if shown == text else f"<title>{_xml(text)}</title>"
    place = f'x="{box.x + 10}" y="{box.y + y}" xml:space="preserve"'
    return f'<text {place} {style} fill="{colour}">{_xml(shown)}{more}</text>'
