"""A trail as a table that changes while one looks: rows come as decisions do, and are completed by their outcomes."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from proxy.cli.audit_table import Row, make_table
from proxy.model.record import Kind

_LEAST = 5
_AROUND = 4
"""Lines that are no rows: the counts, the head, and room for the prompt."""
_PER_SECOND = 4


class LiveTable:
    """The last rows that fit a terminal, and what was counted since it began."""

    def __init__(self, console: Console, rows: Iterable[Row]) -> None:
        self._console = console
        self._rows: deque[Row] = deque(rows, maxlen=500)
        self.allowed = 0
        self.denied = 0

    def add(self, row: Row) -> None:
        """Show a row; one that is open changes by itself when it ends."""
        self._rows.append(row)
        if row.record["kind"] == Kind.DECISION:
            self.allowed += row.record.get("effect") == "allow"
            self.denied += row.record.get("effect") == "deny"

    def __rich__(self) -> RenderableType:
        most = max(_LEAST, self._console.height - _AROUND)
        shown = list(self._rows)[-most:]
        table = make_table()
        for row in shown:
            table.add_row(*row.cells())
        still = sum(row.is_open for row in self._rows)
        counts = Text.assemble(
            (f"{self.allowed} allowed", "green"), ", ", (f"{self.denied} denied", "bold red"), f", {still} open"
        )
        return Group(table, Text(), counts)


def follow_live(
    records: Iterable[Mapping[str, Any] | None],
    place: Callable[[dict[str, Any]], Row | None],
    rows: Iterable[Row],
    console: Console,
) -> None:
    """Show what comes until `records` end. `place` makes a row of a record, or completes one given out before."""
    table = LiveTable(console, rows)
    with Live(table, console=console, refresh_per_second=_PER_SECOND, vertical_overflow="crop"):
        for record in records:
            if record is not None and (row := place(dict(record))) is not None:
                table.add(row)
