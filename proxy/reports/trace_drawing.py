"""A trace as a picture (SVG) and as Mermaid: jobs from left to right, what each published, and who fetched it. Pure.

Nothing is read from elsewhere: no script, no style sheet, no font but the viewer's own. Text of a job is escaped.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Final

from proxy.reports.artifacts import Artifact, Way
from proxy.reports.tracing import Trace, TracedJob

_WIDTH: Final = 300
_GAP: Final = 110
_LINE: Final = 16
_SPACE: Final = 24
_MARGIN: Final = 20
_CHARACTERS: Final = 44
_MOST: Final = 8
_ILLEGAL: Final = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ROOT: Final = (
    'xmlns="http://www.w3.org/2000/svg" font-family="ui-sans-serif, system-ui, sans-serif" role="img"'
    ' aria-label="From commits to artifacts"'
)
_ARROW: Final = (
    '<defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 L8 4 L0 8 z" fill="#666666"/></marker></defs>'
)


@dataclass(slots=True)
class _Box:
    x: int
    y: int
    title: str
    lines: tuple[str, ...]
    fill: str

    @property
    def height(self) -> int:
        return 28 + _LINE * len(self.lines) + (8 if self.lines else 0)

    @property
    def middle(self) -> int:
        return self.y + self.height // 2


def draw(trace: Trace) -> str:
    """Return the picture: commits, their jobs, and the artifacts between jobs."""
    boxes: dict[str, _Box] = {}
    arrows: list[tuple[str, str, str]] = []
    columns = _columns(trace)
    y = [_MARGIN] * (2 * max(columns.values(), default=0) + 3)

    def place(name: str, column: int, title: str, lines: tuple[str, ...], fill: str) -> None:
        if name not in boxes:
            box = boxes[name] = _Box(_MARGIN + column * (_WIDTH + _GAP), y[column], title, lines, fill)
            y[column] += box.height + _SPACE

    for job in trace.jobs:
        column = 2 * columns[job.key] + 1
        if commit := str(job.job.get("commit", "")):
            place(f"c{commit}", 0, f"commit {commit[:12]}", _source(job), "#f2f2f2")
            arrows.append((f"c{commit}", f"j{job.key}", ""))
        place(f"j{job.key}", column, job.title, _about(job), "#fff0f0" if job.denied else "#eef4ff")
    for job in trace.jobs:
        for artifact in _shown(trace, job):
            name = f"a{artifact.digest}"
            place(name, 2 * columns[job.key] + 2, artifact.name, (_short(artifact.digest),), "#eefaf0")
            ends = (f"j{job.key}", name) if artifact.way is Way.PUBLISHED else (name, f"j{job.key}")
            arrows.append((*ends, artifact.way.value))
    width = _MARGIN * 2 + max((box.x + _WIDTH for box in boxes.values()), default=_WIDTH)
    height = max([_MARGIN * 2, *(box.y + box.height + _MARGIN for box in boxes.values())])
    body = "".join([*_draw_arrows(boxes, arrows), *map(_draw_box, boxes.values())])
    return f'<svg {_ROOT} viewBox="0 0 {width} {height}" width="{width}" height="{height}">{_ARROW}{body}</svg>\n'


def diagram(trace: Trace) -> str:
    """Return the same as a Mermaid flowchart."""
    names: dict[str, str] = {}

    def node(key: str, text: str, shape: str) -> str:
        opened, closed = shape[0], shape[1]
        if key in names:
            return names[key]
        names[key] = f"n{len(names)}"
        return f'{names[key]}{opened}"{_mermaid(text)}"{closed}'

    lines = ["flowchart LR"]
    for job in trace.jobs:
        box = node(f"j{job.key}", job.title, "[]")
        if commit := str(job.job.get("commit", "")):
            commit_box = node(f"c{commit}", f"commit {commit[:12]}", "()")
            lines.append(f"    {commit_box} --> {box}")
        else:
            lines.append(f"    {box}")
        for artifact in _shown(trace, job):
            text = f"{artifact.name} {_short(artifact.digest)}"
            other = node(f"a{artifact.digest}", text, "()")
            me = names[f"j{job.key}"]
            lines.append(
                f"    {me} -- published --> {other}"
                if artifact.way is Way.PUBLISHED
                else f"    {other} -- fetched --> {me}"
            )
    return "\n".join(lines) + "\n"


def _columns(trace: Trace) -> dict[str, int]:
    """Put each job right of those whose artifacts it fetched; jobs come in the order they began."""
    columns: dict[str, int] = {}
    published: dict[str, int] = {}
    for job in trace.jobs:
        columns[job.key] = max(
            (published[each.digest] + 1 for each in job.moved(Way.FETCHED) if each.digest in published), default=0
        )
        for each in job.moved(Way.PUBLISHED):
            published.setdefault(each.digest, columns[job.key])
    return columns


def _shown(trace: Trace, job: TracedJob) -> list[Artifact]:
    """Return what is drawn of a job's artifacts: all that lead on, and the first of the rest of what it published."""
    others = trace.others(job)
    found = {(each.digest, each.way): each for each in job.artifacts if each.digest in others}
    for each in job.moved(Way.PUBLISHED)[:_MOST]:
        found.setdefault((each.digest, each.way), each)
    return list(found.values())


def _source(job: TracedJob) -> tuple[str, ...]:
    return tuple(str(job.job[name]) for name in ("repository", "branch") if job.job.get(name))


def _about(job: TracedJob) -> tuple[str, ...]:
    lines = [f"{job.allowed} allowed, {job.denied} denied"]
    lines += [f"{len(job.credentials)} credentials"] if job.credentials else []
    lines += [f"{host} ({count})" for host, count in job.hosts.most_common(_MOST)]
    return tuple(lines)


def _short(digest: str) -> str:
    algorithm, _, value = digest.partition(":")
    return f"{algorithm}:{value[:16]}..."


def _draw_box(box: _Box) -> str:
    lines = "".join(
        f'<text x="{box.x + 10}" y="{box.y + 38 + _LINE * number}" font-size="12" fill="#444444">{_text(line)}</text>'
        for number, line in enumerate(box.lines)
    )
    return (
        f'<g><rect x="{box.x}" y="{box.y}" width="{_WIDTH}" height="{box.height}" rx="6" fill="{box.fill}"'
        f' stroke="#999999"/><text x="{box.x + 10}" y="{box.y + 19}" font-size="13" font-weight="600">'
        f"{_text(box.title)}</text>{lines}</g>"
    )


def _draw_arrows(boxes: dict[str, _Box], arrows: list[tuple[str, str, str]]) -> Iterator[str]:
    for start, end, said in dict.fromkeys(arrows):
        one, other = boxes[start], boxes[end]
        x1, x2 = one.x + _WIDTH, other.x
        if x2 < x1:  # back to the left: from side to side
            x1, x2 = one.x, other.x + _WIDTH
        bend = (x1 + x2) // 2
        path = f"M{x1} {one.middle} C{bend} {one.middle} {bend} {other.middle} {x2} {other.middle}"
        yield f'<path d="{path}" fill="none" stroke="#666666" marker-end="url(#end)"/>'
        if said:
            y = (one.middle + other.middle) // 2 - 4
            yield f'<text x="{bend}" y="{y}" font-size="11" text-anchor="middle" fill="#666666">{_text(said)}</text>'


def _text(text: str) -> str:
    short = text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 3]}..."
    return escape(_ILLEGAL.sub("\ufffd", short))


def _mermaid(text: str) -> str:
    short = text if len(text) <= 2 * _CHARACTERS else f"{text[: 2 * _CHARACTERS - 3]}..."
    return "".join(each if each.isalnum() or each in " .,:/-_@" else f"#{ord(each)};" for each in short)
