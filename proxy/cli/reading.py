"""Records for questions: of one or more trails, in the order they were written, opened where they are sealed."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from proxy.audit.chain import read_record
from proxy.model.errors import AuditError
from proxy.sources.trail import read_lines

IDENTITY = click.option(
    "--identity",
    "identities",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with age identities that open sealed records. May be repeated.",
)


def read_records(place: Path, identities: Sequence[Path] = ()) -> Iterator[dict[str, Any]]:  # noqa: ARG001 - nothing is sealed yet
    """Give out the records of a trail, a directory or one segment.

    Raises AuditError for what cannot be read, or is no record: a question is not answered over a broken trail.
    """
    for number, line in enumerate(read_lines(place), start=1):
        try:
            yield read_record(line)
        except AuditError as error:
            raise AuditError(f"{place}: record {number}: {error}; run `jobgate audit verify {place}`") from None
