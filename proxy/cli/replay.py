"""`jobgate replay`: what recorded traffic would have met under other rules.

Exit codes: 0 nothing would change, 1 something would, 2 wrong usage, 3 trail or rules cannot be read.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from proxy.cli.places import PLACE
from proxy.cli.progress import show_progress
from proxy.cli.reading import IDENTITY, read_opened
from proxy.connectors.registry import connector_scopes
from proxy.model.errors import AuditError, RuleFileError
from proxy.simulate.replay import Change, ChangeKind, FlowReader, Report, decide_again
from proxy.sources.rules import RuleFolder
from proxy.sources.trail import find_segments

_STYLES = {
    ChangeKind.DENIED: "red",
    ChangeKind.ALLOWED: "yellow",
    ChangeKind.ASKED: "cyan",
    ChangeKind.UNASKED: "yellow",
    ChangeKind.CREDENTIAL: "magenta",
    ChangeKind.UNKNOWN: "dim",
}


@click.command("replay")
@click.argument("trail", type=PLACE)
@click.option("--rules", "rules", multiple=True, type=click.Path(path_type=Path), help="The rules to try [rules/].")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@IDENTITY
@click.pass_context
def command(ctx: click.Context, trail: Path, rules: tuple[Path, ...], form: str, identities: tuple[Path, ...]) -> None:
    """Decide the flows of TRAIL again by other rules, with the clock and the claims of then."""
    try:
        ruleset = RuleFolder(rules or (Path("rules"),), connector_scopes()).load()
        reader = FlowReader()
        report = decide_again(reader.read(read_history(trail, "replaying", identities)), ruleset)
    except (AuditError, RuleFileError) as error:
        click.echo(str(error), err=True)
        ctx.exit(3)
    report.partial, report.skipped = reader.partial, reader.skipped
    if form == "json":
        click.echo(json.dumps(_as_json(report, ruleset.revision), indent=2))
    else:
        _print(report, ruleset.revision)
    ctx.exit(1 if report.changes else 0)


def read_history(trail: Path, doing: str, identities: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Give out the records of a trail, and show how far that got. Raises AuditError for what cannot be read."""
    total = sum(segment.path.stat().st_size for segment in find_segments(trail))
    with show_progress(total, doing) as advance:
        yield from read_opened(trail, identities, advance)


def _as_json(report: Report, revision: str) -> dict[str, Any]:
    return {
        "revision": revision,
        "decided": report.decided,
        "without_session": report.partial,
        "not_by_rules": dict(report.skipped),
        "changed": {kind.value: report.count(kind) for kind in ChangeKind},
        "changes": [asdict(change) for change in report.changes],
    }


def _print(report: Report, revision: str) -> None:
    console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 200)
    if report.changes:
        table = Table("change", "flows", "who", "what", "then", "now", box=None, pad_edge=False)
        for change in sorted(report.changes, key=lambda each: (list(ChangeKind).index(each.kind), -each.count)):
            table.add_row(
                change.kind.value,
                str(change.count),
                _who(change),
                change.what,
                change.before,
                change.after,
                style=_STYLES[change.kind],
            )
        console.print(table)
    counts = ", ".join(f"{report.count(kind)} {kind.value}" for kind in ChangeKind if report.count(kind))
    console.print(f"{report.decided} flows decided again by revision {revision}: {counts or 'nothing would change'}")
    if report.partial:
        console.print(f"{report.partial} of them without the record that opened their session: claims are not known")
    if report.skipped:
        others = ", ".join(f"{count} {reason}" for reason, count in report.skipped.most_common())
        console.print(f"not decided by rules, left out: {others}")


def _who(change: Change) -> str:
    job = change.job
    parts = [str(job[name]) for name in ("pipeline", "repository", "step", "branch", "tag") if name in job]
    return " ".join(parts) or "-"
