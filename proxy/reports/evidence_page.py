"""The evidence as one page for people: no script, nothing loaded, everything a job said escaped. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

_STYLE: Final = (
    "body{font:14px/1.5 ui-sans-serif,system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:.5em 0 1.5em;width:100%}th{font-weight:600}"
    "th,td{border-bottom:1px solid #ddd;padding:.25em .6em;text-align:left;vertical-align:top;overflow-wrap:anywhere}"
    "h2{margin-top:2em;border-bottom:2px solid #222}"
    ".bad{background:#b00020;color:#fff;padding:1em;font-size:1.2em}.good{background:#eefaf0;padding:.7em}"
    "@media print{body{max-width:none;margin:0}h2{page-break-after:avoid}}"
)
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_WIDTH, _HEIGHT, _BAR = 900, 180, 14
_MOST_ROWS: Final = 100


def render(pack: Mapping[str, Any], criteria: Sequence[Mapping[str, Any]]) -> str:
    """Return the page of an evidence pack, as `evidence.json` has it."""
    window, checked = pack["window"], pack["verification"]
    parts = [
        f"<h1>Evidence of access controls, {_text(window['from'])} to {_text(window['to'])}</h1>",
        _verdict(checked),
        _table(("", ""), [(name, checked[name]) for name in checked if name != "findings"]),
        "<h2>Criteria</h2>",
        _table(
            ("criterion", "what the data shows", "what it does not show", "parts"),
            [
                (f"{each['id']} {each['title']}", each["shows"], each["shows_not"], ", ".join(each["parts"]))
                for each in criteria
            ],
        ),
        "<h2>Flows by day</h2>",
        chart_days(pack["days"]),
        "<h2>Denied, by reason</h2>",
        chart_bars(pack["reasons"]),
        "<h2>Lifetimes of credentials</h2>",
        chart_bars(pack["lifetimes"]),
    ]
    for name, value in pack.items():
        if name not in {"window", "verification", "days", "criteria"}:
            parts.append(_section(name, value))
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><title>jobgate evidence</title>'
        f"<style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def chart_days(days: Mapping[str, Mapping[str, int]]) -> str:
    """Return a column for each day: allowed below, denied on top."""
    if not days:
        return "<p>none</p>"
    most = max(sum(each.values()) for each in days.values())
    wide = max(3, min(40, _WIDTH // len(days)))
    columns = []
    for number, (day, counts) in enumerate(sorted(days.items())):
        allowed, denied = counts.get("allow", 0), counts.get("deny", 0)
        tall = [max(1, round(each * _HEIGHT / most)) if each else 0 for each in (allowed, denied)]
        x = number * wide
        columns.append(
            f"<g><title>{_text(day)}: {allowed} allowed, {denied} denied</title>"
            f'<rect x="{x}" y="{_HEIGHT - tall[0]}" width="{wide - 1}" height="{tall[0]}" fill="#4a7bd0"/>'
            f'<rect x="{x}" y="{_HEIGHT - sum(tall)}" width="{wide - 1}" height="{tall[1]}" fill="#b00020"/></g>'
        )
    size = f'viewBox="0 -10 {wide * len(days)} {_HEIGHT + 10}" width="{wide * len(days)}" height="{_HEIGHT + 10}"'
    label = f"Flows by day, at most {most}; blue allowed, red denied"
    return f'<p>{label}</p><svg role="img" aria-label="{label}" {size}>{"".join(columns)}</svg>'


def chart_bars(counts: Mapping[str, int]) -> str:
    """Return a bar for each name, the longest first."""
    if not counts:
        return "<p>none</p>"
    rows = sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:_MOST_ROWS]
    most = rows[0][1] or 1
    bars = []
    for number, (name, count) in enumerate(rows):
        y = number * (_BAR + 6)
        bars.append(
            f'<text x="245" y="{y + _BAR - 2}" font-size="12" text-anchor="end">{_text(name)}</text>'
            f'<rect x="255" y="{y}" width="{max(1, round(count * 500 / most))}" height="{_BAR}" fill="#4a7bd0"/>'
            f'<text x="{262 + round(count * 500 / most)}" y="{y + _BAR - 2}" font-size="12">{count}</text>'
        )
    tall = len(rows) * (_BAR + 6)
    return f'<svg role="img" aria-label="counts" viewBox="0 0 {_WIDTH} {tall}" width="{_WIDTH}">{"".join(bars)}</svg>'


def _verdict(checked: Mapping[str, Any]) -> str:
    if checked["intact"]:
        return '<p class="good">The trail is intact: every record is chained, and the signed heads match.</p>'
    findings = "".join(f"<li>{_text(each)}</li>" for each in checked["findings"])
    return f'<div class="bad"><p>THE TRAIL IS NOT INTACT. What follows may be false.</p><ul>{findings}</ul></div>'


def _section(name: str, value: object) -> str:
    head = f"<h2>{_text(name.replace('_', ' '))}</h2>"
    if isinstance(value, Mapping):
        return head + _table(("", ""), [(key, value[key]) for key in value])
    if isinstance(value, list):
        if not value:
            return f"{head}<p>none</p>"
        columns = list(dict.fromkeys(key for each in value for key in each))
        return head + _table(columns, [[each.get(column, "") for column in columns] for each in value])
    return f"{head}<p>{_text(value)}</p>"


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    top = "".join(f"<th>{_text(each)}</th>" for each in head)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>" if body else "<p>none</p>"


def _text(value: object) -> str:
    """Return a value as text that is nothing but text: no element, no attribute, no control character."""
    if isinstance(value, Mapping):
        said = ", ".join(f"{key}: {each}" for key, each in value.items())
    elif isinstance(value, list | tuple):
        said = ", ".join(map(str, value))
    else:
        said = "" if value is None else str(value)
    return escape("".join(each if each.isprintable() else "\ufffd" for each in said))
