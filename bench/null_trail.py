"""`python -m bench.null_trail ...`: jobgate with a trail that takes every record and keeps none, to see what it costs.

Nothing is encoded, chained or written: the difference to a run as shipped is all that the trail costs.
"""

from proxy.cli.main import main
from proxy.model.record import AuditRecord
from proxy.sinks.file import FileTrail


async def append(_: FileTrail, __: AuditRecord) -> None:
    """Say that a record is durable."""


def post(_: FileTrail, __: AuditRecord) -> None:
    """Take a record."""


if __name__ == "__main__":
    for method in (append, post):
        setattr(FileTrail, method.__name__, method)
    main()
