"""`python -m bench.null_disk ...`: jobgate auditing to /dev/null: records are made and chained, and not written."""

from proxy.cli.main import main
from proxy.sinks.segments import Segments


def commit(_: Segments, __: bytes, ___: int, *, fresh: bool) -> None:
    """Take a batch for written."""
    del fresh


if __name__ == "__main__":
    setattr(Segments, commit.__name__, commit)
    main()
