"""`jobgate audit query`: SQL over a trail, in memory, with nothing else in reach of the query."""

import csv
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import Any, Final, Self

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.audit.sealing import sealed_with
from proxy.cli.audit_table import plain
from proxy.cli.moment import Moment
from proxy.cli.places import PLACE
from proxy.cli.progress import show_progress
from proxy.cli.query_sql import CREATE, INSERT, LEFT_SEALED, QUESTIONS, VIEWS
from proxy.cli.reading import IDENTITY
from proxy.model.errors import AuditError
from proxy.sources.trail import (
    SegmentFile,
    find_segments,
    last_record,
    read_keys,
    read_lines,
    segments_between,
    verify_trail,
)
from proxy.sources.unsealing import Unsealer

_CHUNK: Final = 50_000
_MEMORY: Final = "2GB"
_MISSING: Final = "jobgate audit query needs the extra: pip install 'jobgate[query]'"


@click.command("query")
@click.argument("place", type=PLACE, required=False)
@click.argument("sql", required=False)
@click.option("--question", type=click.Choice(tuple(QUESTIONS)), help="A ready-made question; --questions lists them.")
@click.option("--questions", is_flag=True, help="List the ready-made questions with their SQL.")
@click.option("--json", "form", flag_value="json", help="One JSON object a row.")
@click.option("--csv", "form", flag_value="csv", help="CSV with a header.")
@click.option(
    "--parquet", type=click.Path(path_type=Path), help="Write the rows to a new Parquet file; without SQL: all flows."
)
@click.option(
    "--also",
    "others",
    type=PLACE,
    multiple=True,
    help="Another trail beside it, such as that of jobs' logs; repeat it.",
)
@click.option("--since", type=Moment(), help="Leave out segments that are wholly older: 6h, 2d, or a time with a zone.")
@click.option("--until", type=Moment(), help="Leave out segments that are wholly newer.")
@click.option("--no-verify", is_flag=True, help="Do not verify the trail first.")
@IDENTITY
@click.pass_context
def command(ctx: click.Context, /, place: Path | None, sql: str | None, **options: Any) -> None:
    """Ask SQL of the trail at PLACE: tables flows, sessions, credentials, events, logs and records."""
    if options["questions"]:
        _list_questions()
        return
    if place is None:
        raise click.UsageError("name a trail: a directory, a segment, or s3://bucket/prefix/origin")
    wanted = sql or (QUESTIONS[options["question"]][1] if options["question"] else None)
    if wanted is None and options["parquet"] is None:
        raise click.UsageError("ask something: SQL, or --question NAME")
    if options["parquet"] is not None and options["parquet"].exists():
        raise click.UsageError(f"{options['parquet']} is there already; name a new file")
    try:
        places = (place, *options["others"])
        is_intact = options["no_verify"] or not [each for each in places if not _verify(each)]
        with ExitStack() as undo:
            database = Database(options["parquet"], undo)
            window = options["since"], options["until"]
            database.load([Part(each, segments_between(each, *window)) for each in places], options["identities"])
            _answer(database, wanted or "SELECT * FROM flows", options["form"], options["parquet"])
            if database.left:
                click.echo(f"{database.left} records are sealed, and no --identity opens them", err=True)
    except AuditError as error:
        click.echo(str(error), err=True)
        ctx.exit(3)
    if options["no_verify"]:
        click.echo("the trail was not verified", err=True)
    ctx.exit(0 if is_intact else 1)


@dataclass(frozen=True, slots=True)
class Part:
    """Those segments of a trail that are read."""

    place: Path
    chosen: slice = slice(None)

    def segments(self) -> list[SegmentFile]:
        """Return them, in order. Raises AuditError."""
        return find_segments(self.place)[self.chosen]

    def whole_files(self) -> Iterator[Path]:
        """Give out the first ones, as long as each ends with the record before the next: read as they stand."""
        for segment in self.segments():
            if segment.next_start is None or last_record(segment.path) != segment.next_start - 1:
                return
            yield segment.path


class Database:
    """A trail as tables, in memory. A query reaches nothing else: no file, no network, no extension."""

    def __init__(self, output: Path | None, undo: ExitStack) -> None:
        """`output` is the one file that may be written. Raises AuditError without the library."""
        try:
            import duckdb  # noqa: PLC0415 - an extra
        except ImportError:
            raise AuditError(_MISSING) from None
        self.left = 0
        self._library: Any = duckdb
        self._undo = undo
        self._output = output
        self._scratch = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="jobgate-")))
        safe = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        self._connection: Any = duckdb.connect(":memory:", config={**safe, "memory_limit": _MEMORY})
        undo.callback(self._connection.close)

    def load(self, parts: Sequence[Part], identities: Sequence[Path]) -> None:
        """Read trails into one set of tables. What is opened never touches a disk. Raises AuditError."""
        # A trail whose records are opened must not be spilled to disk in the clear.
        self._connection.execute("SET temp_directory = ?", ["" if identities else str(self._scratch)])
        total = sum(segment.path.stat().st_size for part in parts for segment in part.segments())
        with show_progress(total, "loading") as advance, _Passage(self._scratch) as passage:
            statement = CREATE
            for part in parts:
                files = [] if identities else list(part.whole_files())
                for file in files:
                    self._connection.execute(statement, [str(file)])
                    statement = INSERT
                    advance(file.stat().st_size)
                for lines in batched(self._lines(part, len(files), identities, advance), _CHUNK, strict=False):
                    self._connection.execute(statement, [passage.fill(lines)])
                    statement = INSERT
            if statement is CREATE:  # a table all the same
                self._connection.execute(CREATE, [passage.fill(())])
        self._connection.execute(VIEWS)
        self.left = int(self._connection.execute(LEFT_SEALED).fetchone()[0])
        if self._output is not None:
            self._connection.execute("SET allowed_paths = ?", [[str(self._output)]])
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")

    def ask(self, sql: str) -> Any:
        """Return the cursor of one SELECT. Raises AuditError with the database's words for anything else."""
        try:
            statements = self._connection.extract_statements(sql)
            if len(statements) != 1 or statements[0].type not in (
                self._library.StatementType.SELECT,
                self._library.StatementType.EXPLAIN,
            ):
                raise AuditError("one SELECT is what can be asked")
            return self._connection.execute(sql)
        except self._library.Error as error:
            raise AuditError(plain(str(error)).replace("\\n", "\n")) from None

    def write_parquet(self, sql: str, output: Path) -> None:
        """Write one SELECT's rows to the output, for its owner alone. Raises AuditError."""
        self.ask(f"EXPLAIN {sql}")
        before = os.umask(0o077)
        try:
            quoted = str(output).replace("'", "''")
            self._connection.execute(f"COPY ({sql}\n) TO '{quoted}' (FORMAT parquet)")
        except self._library.Error as error:
            raise AuditError(plain(str(error))) from None
        finally:
            os.umask(before)

    def _lines(
        self, part: Part, skip: int, identities: Sequence[Path], advance: Callable[[int], None]
    ) -> Iterator[bytes]:
        """Give out the lines after the first `skip` of the segments, opened where they are sealed and that can be."""
        unsealer = Unsealer(identities)
        for line in read_lines(part.place, chosen=slice((part.chosen.start or 0) + skip, part.chosen.stop)):
            advance(len(line))
            if not identities or (b',"sealed":{' not in line and b'"kind":"key.sealed"' not in line):
                yield line
                continue
            record = unsealer.read(line)
            yield line if sealed_with(record) is not None else json.dumps(record).encode() + b"\n"


class _Passage:
    """A file in memory, by which lines get into the database; without such files, one in a private folder."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = -1
        self._path = folder / "lines"

    def __enter__(self) -> Self:
        if hasattr(os, "memfd_create"):
            self._descriptor = os.memfd_create("jobgate-lines")
            self._path = Path(f"/proc/self/fd/{self._descriptor}")
        else:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def fill(self, lines: Iterable[bytes]) -> str:
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        with os.fdopen(os.dup(self._descriptor), "wb") as file:
            file.writelines(lines)
        return str(self._path)


def _verify(place: Path) -> bool:
    """Verify a whole trail, and say what is wrong. A single segment cannot be verified by itself."""
    if place.is_file():
        click.echo("one segment by itself is not verified", err=True)
        return True
    total = sum(segment.path.stat().st_size for segment in find_segments(place))
    with show_progress(total) as advance:
        report = verify_trail(place, read_keys(sorted(place.glob("key-*.pub"))), advance=advance)
    if not report.is_intact:
        click.echo("THE TRAIL IS NOT INTACT; run `jobgate audit verify`. What follows may be false.", err=True)
    return report.is_intact


def _answer(database: Database, sql: str, form: str | None, output: Path | None) -> None:
    if output is not None:
        database.write_parquet(sql, output)
        click.echo(f"written: {output}", err=True)
        return
    found = database.ask(sql)
    names = [each[0] for each in found.description]
    rows: Iterator[tuple[Any, ...]] = iter(found.fetchone, None)
    if form == "json":
        for row in rows:
            click.echo(json.dumps(dict(zip(names, row, strict=True)), default=str))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
    else:
        _print_table(names, rows)


def _print_table(names: list[str], rows: Iterable[tuple[Any, ...]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(plain(name), overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(_shown(value))) for value in row))
    wide = None if sys.stdout.isatty() else 200
    Console(highlight=False, markup=False, emoji=False, width=wide).print(table)


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _list_questions() -> None:
    for name, (what, sql) in QUESTIONS.items():
        click.echo(f"{name}: {what}\n    {sql}")
