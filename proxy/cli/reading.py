"""Records for questions: of one trail, in the order they were written, opened where they are sealed."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from proxy.audit.sealing import sealed_with
from proxy.model.errors import AuditError
from proxy.sources.trail import read_lines
from proxy.sources.unsealing import KMS, Unsealer


class IdentityPath(click.ParamType[Path]):
    """A file of identities, or `kms`."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path, or `unsealing.KMS`."""
        if value in {"kms", KMS}:
            return KMS
        if not Path(value).is_file():
            self.fail(f"{value} is no file; `kms` asks AWS KMS", param, ctx)
        return Path(value)


IDENTITY = click.option(
    "--identity",
    "identities",
    multiple=True,
    type=IdentityPath(),
    help="A file with age identities that open sealed records, or `kms`: ask AWS KMS. May be repeated.",
)


def read_records(
    place: Path, identities: Sequence[Path] = (), advance: Callable[[int], None] = lambda _: None
) -> Iterator[dict[str, Any]]:
    """Give out the records of a trail, a directory or one segment. What no identity opens stays sealed.

    `advance` is told of bytes read. Raises AuditError for what cannot be read, or is no record: a question is not
    answered over a broken trail.
    """
    unsealer = Unsealer(identities)
    for number, line in enumerate(read_lines(place), start=1):
        advance(len(line))
        try:
            yield unsealer.read(line)
        except AuditError as error:
            raise AuditError(f"{place}: record {number}: {error}; run `jobgate audit verify {place}`") from None


def read_opened(
    place: Path, identities: Sequence[Path] = (), advance: Callable[[int], None] = lambda _: None
) -> Iterator[dict[str, Any]]:
    """Give out the same, for a question that half a trail would answer wrongly.

    Raises AuditError as `read_records` does, and for a record that stays sealed.
    """
    for record in read_records(place, identities, advance):
        if (key := sealed_with(record)) is not None:
            what = f"record {record['seq']} is sealed for class {record['sealed'].get('class')!r}, with key {key}"
            raise AuditError(f"{place}: {what}: give what opens it with --identity")
        yield record
