"""`jobgate audit`: is the trail as it was written, and what does it say.

Exit codes of `verify`: 0 intact, 1 something is wrong with it, 2 wrong usage, 3 it cannot be read.
"""

import json
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click
from rich.console import Console

from proxy.audit.verify import Report
from proxy.cli.audit_evidence import command as evidence
from proxy.cli.audit_export import export, schema
from proxy.cli.audit_live import follow_live
from proxy.cli.audit_table import Row, as_line, make_table, plain
from proxy.cli.audit_trace import command as trace
from proxy.cli.moment import Moment
from proxy.cli.places import DIRECTORY, PLACE
from proxy.cli.progress import show_progress
from proxy.cli.query import command as query
from proxy.cli.reading import IDENTITY
from proxy.model.record import Kind
from proxy.sources.trail import (
    Filter,
    Wanted,
    find_segments,
    follow_lines,
    read_keys,
    read_lines,
    sequence_of,
    verify_trail,
)
from proxy.sources.unsealing import Unsealer

_SHOWN: Final = 200
_WIDE: Final = 200
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("audit")
def command() -> None:
    """Verify and read the audit trail."""


@command.command("verify")
@click.argument("directory", type=DIRECTORY)
@click.option("--key", "keys", multiple=True, type=_FILE, help="Believe this public key only; may be repeated.")
@click.option(
    "--checkpoint", "elsewhere", multiple=True, type=_FILE, help="Also hold it against checkpoints kept here."
)
@click.option("--partial", is_flag=True, help="The oldest segments were moved away; the checkpoints were kept.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def verify(directory: Path, *, keys: tuple[Path, ...], as_json: bool, **how: Any) -> int:
    """Recompute the chain in DIRECTORY and compare it with the signed checkpoints."""
    verifiers = read_keys(list(keys) or sorted(directory.glob("key-*.pub")))
    total = sum(segment.path.stat().st_size for segment in find_segments(directory))
    with show_progress(total) as advance:
        report = verify_trail(
            directory, verifiers, elsewhere=[*how["elsewhere"]], partial=how["partial"], advance=advance
        )
    if as_json:
        click.echo(json.dumps(_as_json(report)))
    else:
        _print_report(report, pinned=bool(keys))
    return 0 if report.is_intact else 1


def _as_json(report: Report) -> dict[str, Any]:
    return {"intact": report.is_intact, **asdict(report)}


def _print_report(report: Report, *, pinned: bool) -> None:
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    for finding in report.findings:
        console.print(plain(finding), style="red")
    if report.more_findings:
        console.print(f"... and {report.more_findings} more", style="red")
    verdict, style = ("intact", "bold green") if report.is_intact else ("NOT INTACT", "bold red")
    console.print(f"{verdict}: ", style=style, end="")
    console.print(
        f"{report.records} records ({report.first} to {report.head.size - 1}) in {report.segments} segments, "
        f"{report.first_at or 'never'} to {report.last_at or 'never'}"
    )
    console.print(f"{report.checkpoints} checkpoints verified, the last over {report.covered} records")
    for note in _notes(report, pinned=pinned):
        console.print(f"note: {note}", style="yellow")


def _notes(report: Report, *, pinned: bool) -> Iterator[str]:
    if not pinned:
        yield "the keys were taken from beside the trail; --key with your own copy proves who signed"
    if (loose := report.head.size - report.covered) > 0:
        yield f"the last {loose} records are after the last checkpoint: chained, but not signed yet"
    if report.open_flows:
        some = ", ".join(map(plain, report.open_flows[:5]))
        yield f"{len(report.open_flows)} allowed flows have no outcome (yet): {some}"
    if report.torn:
        yield f"{report.torn} bytes at the end are a record cut short by a crash; nobody was told it was written"
    if report.abandoned:
        yield f"{report.abandoned} bytes are of batches that failed and could not be removed; the record after says so"
    if report.steps_back:
        yield f"the clock was set back {report.steps_back} times; the sequence numbers are the order"


@command.command("show")
@click.argument("path", type=PLACE)
@click.option("--follow", "-f", is_flag=True, help="Go on with records as they are written.")
@click.option("--json", "as_json", is_flag=True, help="Print the lines of the trail as they stand.")
@click.option("--limit", type=click.IntRange(min=0), default=None, help=f"The last N only; 0: all. Tables: {_SHOWN}.")
@click.option("--job", help="Job id. Like all below: exact, or with * and ?.")
@click.option("--pipeline", help="Pipeline.")
@click.option("--host", help="Host the job wanted to reach.")
@click.option("--effect", type=click.Choice(["allow", "deny"]), help="Effect of the decision.")
@click.option("--reason", help="Reason, for example no-rule.")
@click.option("--kind", help="Kind of record, for example flow.* or session.opened.")
@click.option("--flow", help="Flow id, as a denial names it.")
@click.option("--since", type=Moment(), help="Not older than: 10m, 6h, 2d, or a time with a zone.")
@IDENTITY
def show(
    path: Path,
    *,
    follow: bool,
    as_json: bool,
    limit: int | None,
    identities: tuple[Path, ...],
    **filters: Any,
) -> None:
    """Print the records in PATH, a trail's directory or one segment. A flow's decision and outcome are one row."""
    chosen = Filter(Wanted(**filters), Unsealer(identities).open)
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=_WIDE)
    try:
        _show(path, chosen, console, as_json=as_json, limit=limit, follow=follow)
    except BrokenPipeError:
        # The reader left (`| head`): its wish, and click would make it exit code 1.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show(path: Path, chosen: Filter, console: Console, *, as_json: bool, limit: int | None, follow: bool) -> None:
    pairs = _Pairs()
    lines = _Counted(read_lines(path))
    shown = _SHOWN if limit is None else limit
    if follow and console.is_terminal and not as_json:
        rows, _ = _last_rows(lines, chosen, pairs, shown)
        new = follow_lines(path, after=lines.last, is_over=_catch_signals())
        follow_live((None if line is None else chosen.admits(line) for line in new), pairs.place, rows, console)
        return
    if as_json:
        _show_lines(lines, chosen, limit)
    else:
        _show_table(lines, chosen, pairs, shown, console)
    if follow:
        _follow(
            follow_lines(path, after=lines.last, is_over=_catch_signals()), chosen, None if as_json else pairs, console
        )


class _Counted:
    """Lines, and the number of the last one given out: following goes on from there without a gap."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self.last = -1
        self._lines = lines

    def __iter__(self) -> Iterator[bytes]:
        for line in self._lines:
            self.last = sequence_of(line)
            yield line


def _show_lines(lines: _Counted, chosen: Filter, limit: int | None) -> None:
    wanted = ((line, record) for line in lines if (record := chosen.admits(line)) is not None)
    for line, record in deque(wanted, limit) if limit else wanted:
        click.echo(_as_it_is(line, record), nl=False)


def _as_it_is(line: bytes, record: dict[str, Any]) -> str:
    """Return a line as it stands in the trail; of a sealed one that was opened, what it says."""
    was_opened = "sealed" not in record and b',"sealed":{' in line
    return f"{json.dumps(record)}\n" if was_opened else line.decode("ascii")


def _last_rows(lines: _Counted, chosen: Filter, pairs: "_Pairs", limit: int) -> tuple[deque[Row], int]:
    """Return the last rows, and how many there were."""
    rows: deque[Row] = deque(maxlen=limit or None)
    count = 0
    for line in lines:
        if (record := chosen.admits(line)) is not None and (row := pairs.place(record)) is not None:
            rows.append(row)
            count += 1
    return rows, count


def _show_table(lines: _Counted, chosen: Filter, pairs: "_Pairs", limit: int, console: Console) -> None:
    rows, count = _last_rows(lines, chosen, pairs, limit)
    table = make_table()
    for row in rows:
        table.add_row(*row.cells())
    console.print(table)
    if count > len(rows):
        console.print(f"the last {len(rows)} of {count}; --limit 0 shows all", style="dim")


class _Pairs:
    """Brings outcomes to their decisions."""

    def __init__(self) -> None:
        self.open: dict[str, Row] = {}

    def place(self, record: dict[str, Any]) -> Row | None:
        """Return a new row; None when the record completed one given out before."""
        flow = str(record.get("flow"))
        if record["kind"] == Kind.OUTCOME and (row := self.open.pop(flow, None)) is not None:
            row.outcome = record
            return None
        row = Row(record)
        if row.is_open:
            self.open[flow] = row
        return row


def _catch_signals() -> Callable[[], bool]:
    """Let ^C and SIGTERM end the following, not the program in the middle of a line; return whether one came."""
    stopped: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        stopped.append(number)

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, stop)
    return lambda: bool(stopped)


def _follow(lines: Iterator[bytes | None], chosen: Filter, pairs: _Pairs | None, console: Console) -> None:
    """Print what comes: raw lines without `pairs`, else rows. An allowed flow's row is printed when it ends."""
    for line in lines:
        if line is None or (record := chosen.admits(line)) is None:
            continue
        if pairs is None:
            sys.stdout.write(_as_it_is(line, record))
            sys.stdout.flush()
            continue
        waiting = pairs.open.get(str(record.get("flow")))
        row = pairs.place(record) or waiting
        if row is not None and not row.is_open:
            console.print(as_line(row), soft_wrap=True)


command.add_command(query)
command.add_command(trace)
command.add_command(evidence)
command.add_command(export)
command.add_command(schema)
