"""Records as a table for people: a decision and its outcome are one row. Foreign text never reaches the terminal raw.

Whatever a terminal would act on (escape sequences, line breaks, bidirectional and invisible characters) is shown as an
escape (E06); nothing is read as markup.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from proxy.model.reason import Reason
from proxy.model.record import Kind

COLUMNS: Final = ("time", "job", "effect", "request", "why", "status", "sent", "received", "ms")
_RIGHT: Final = frozenset({"status", "sent", "received", "ms"})
_ENVELOPE: Final = frozenset({"v", "seq", "prev", "at", "kind", "job"})
_COLOURS: Final = {"allow": "green", "deny": "bold red", "open": "yellow"}


@dataclass(slots=True)
class Row:
    """A decision with its outcome, once there is one; or a record of another kind."""

    record: Mapping[str, Any]
    outcome: Mapping[str, Any] | None = None

    @property
    def is_open(self) -> bool:
        """Whether an outcome is still to come."""
        return self.outcome is None and self.record["kind"] == Kind.DECISION and self.record.get("effect") == "allow"

    def cells(self) -> tuple[Text, ...]:
        """Return one cell per column."""
        if self.record["kind"] in (Kind.DECISION, Kind.OUTCOME):
            return self._flow_cells()
        facts = {name: value for name, value in self.record.items() if name not in _ENVELOPE}
        if "sealed" in facts:
            facts["sealed"] = _sealed(self.record)
        return (
            _time(self.record),
            _job(self.record),
            Text(plain(self.record["kind"]), "dim"),
            Text(plain(json.dumps(facts, ensure_ascii=False)), "dim"),
            *(Text(),) * 5,
        )

    def _flow_cells(self) -> tuple[Text, ...]:
        record, outcome = self.record, self.outcome or {}
        if record["kind"] == Kind.OUTCOME:  # its decision is not among the records shown
            outcome = record
        effect = str(record.get("effect", "outcome"))
        total = outcome.get("ms", {}).get("total") if isinstance(outcome.get("ms"), dict) else None
        return (
            _time(record),
            _job(record),
            Text(plain(effect), _COLOURS.get(effect, "")),
            Text(plain(_request(record))),
            Text(plain(_why(record, outcome))),
            Text(plain(outcome.get("status", "open" if self.is_open else "")), "yellow" if self.is_open else ""),
            Text(_size(outcome.get("sent"))),
            Text(_size(outcome.get("received"))),
            Text("" if not isinstance(total, int | float) else f"{total:.0f}"),
        )


def plain(value: object) -> str:
    """Return text that a terminal only prints: each character it might act on, or hide, as a backslash escape."""
    text = "" if value is None else str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def make_table(*, header: bool = True) -> Table:
    """Return an empty table with our columns."""
    table = Table(box=None, pad_edge=False, show_header=header, header_style="bold")
    for name in COLUMNS:
        table.add_column(
            name, justify="right" if name in _RIGHT else "left", overflow="fold", no_wrap=name in {"time", "effect"}
        )
    return table


def as_line(row: Row) -> Text:
    """Return a row as one line, for a list that grows."""
    return Text("  ").join(cell for cell in row.cells() if cell.plain)


def _time(record: Mapping[str, Any]) -> Text:
    return Text(datetime.fromisoformat(str(record["at"])).astimezone().strftime("%m-%d %H:%M:%S"), "dim")


def _job(record: Mapping[str, Any]) -> Text:
    labels = record.get("job")
    if not isinstance(labels, dict):
        return Text(plain(record.get("client")), "dim")
    return Text(plain("/".join(str(labels[name]) for name in ("pipeline", "step", "branch") if labels.get(name))))


def _request(record: Mapping[str, Any]) -> str:
    if "sealed" in record:
        return f"{record.get('flow', '')} {_sealed(record)}"
    if "host" not in record:
        return str(record.get("flow", ""))
    host, port, scheme = str(record["host"]), record.get("port"), record.get("scheme")
    place = f"[{host}]" if ":" in host else host
    if scheme is None or port != {"http": 80, "https": 443}.get(str(scheme)):
        place = f"{place}:{port}"
    if record.get("method") in (None, "CONNECT"):
        return f"{record.get('method') or ''} {place}".strip()
    query = "?..." if "query_sha256" in record else ""
    return f"{record['method']} {scheme}://{place}{record.get('path', '')}{query}"


def _sealed(record: Mapping[str, Any]) -> str:
    sealed = record.get("sealed")
    return f"(sealed: {sealed.get('class') if isinstance(sealed, dict) else ''})"


def _why(record: Mapping[str, Any], outcome: Mapping[str, Any]) -> str:
    reason = str(record.get("reason", ""))
    if outcome.get("reason", Reason.ALLOWED) != Reason.ALLOWED:
        reason = str(outcome["reason"])
    rules = record.get("rules")
    named = ", ".join(str(rule) for rule in rules) if isinstance(rules, list) else ""
    if reason == Reason.ALLOWED:
        return named or reason
    return f"{reason} ({named})" if named else reason


def _size(count: object) -> str:
    if not isinstance(count, int):
        return ""
    size = float(count)
    for unit in ("", "k", "M", "G"):
        if size < 1000:
            return f"{size:.0f}{unit}" if unit == "" or size >= 10 else f"{size:.1f}{unit}"
        size /= 1000
    return f"{size:.1f}T"
