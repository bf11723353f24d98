"""`python -m bench.null_trail ...`: jobgate with a trail that takes every record and keeps none, to see what it costs.

Nothing is encoded, chained or written: the difference to a run as shipped is all that the trail costs.
"""

from proxy.cli.main import main
from proxy.model.record import AuditRecord, Link
from proxy.sinks.file import FileTrail

_PLACE = Link(sequence=0, digest="", previous="")


async def append(_: FileTrail, __: AuditRecord) -> Link:
    """Say that a record is durable."""
    return _PLACE


def post(_: FileTrail, __: AuditRecord) -> None:
    """Take a record."""


if __name__ == "__main__":
    for method in (append, post):
        setattr(FileTrail, method.__name__, method)
    main()
