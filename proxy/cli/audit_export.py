"""`jobgate audit export`: a trail's records in the forms of other systems; `jobgate audit schema`: what a record is."""

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import click

from proxy.audit.forms import FORMS
from proxy.audit.place import Place
from proxy.audit.schema import record_schema
from proxy.cli.places import PLACE
from proxy.cli.progress import show_progress
from proxy.cli.reading import IDENTITY
from proxy.model.errors import AuditError
from proxy.model.record import Kind
from proxy.sources.trail import Filter, Wanted, find_segments, read_lines
from proxy.sources.unsealing import Unsealer


@click.command("export")
@click.argument("place", type=PLACE)
@click.option("--form", type=click.Choice(tuple(FORMS)), default="ocsf", show_default=True)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="A new file [standard output].")
@click.option("--kind", help="Kind of record, for example flow.*; with * and ?.")
@click.option("--effect", type=click.Choice(["allow", "deny"]), help="Effect of the decision.")
@click.option("--pipeline", help="Pipeline.")
@click.option("--host", help="Host the job wanted to reach.")
@IDENTITY
@click.pass_context
def export(
    ctx: click.Context, /, place: Path, *, form: str, output: Path | None, identities: tuple[Path, ...], **filters: Any
) -> None:
    """Write the records of the trail at PLACE as JSON lines, in another system's form."""
    if output is not None and output.exists():
        raise click.UsageError(f"{output} is there already; name a new file")
    chosen = Filter(Wanted(**filters), Unsealer(identities).open)
    total = sum(segment.path.stat().st_size for segment in find_segments(place))
    target: AbstractContextManager[IO[str]] = (
        nullcontext(sys.stdout) if output is None else output.open("x", encoding="utf-8")
    )
    try:
        with target as file, show_progress(total, "exporting") as advance:
            _write(place, chosen, form, file, advance)
    except AuditError as error:
        click.echo(str(error), err=True)
        ctx.exit(3)


def _open(output: Path | None) -> AbstractContextManager[IO[str]]:
    return nullcontext(sys.stdout) if output is None else output.open("x", encoding="utf-8")


def _write(place: Path, chosen: Filter, form: str, file: IO[str], advance: Any) -> None:
    make, origin = FORMS[form], ""
    for line in read_lines(place):
        advance(len(line))
        if b'"kind":"trail.opened"' in line:
            origin = _origin(line) or origin
        if (record := chosen.admits(line)) is not None:
            event = make(record, Place(origin, sha256(line).hexdigest()))
            file.write(json.dumps(event, separators=(",", ":")) + "\n")


def _origin(line: bytes) -> str:
    record = json.loads(line)
    return str(record.get("origin", "")) if record.get("kind") == Kind.TRAIL_OPENED else ""


@click.command("schema")
def schema() -> None:
    """Print the JSON Schema of a record."""
    click.echo(json.dumps(record_schema(), indent=1))
