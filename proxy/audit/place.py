"""Where a record stands: what an exported form says besides the record itself. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """`origin`: the name that the trail's checkpoints are signed under. `digest`: hex SHA-256 of the record's line."""

    origin: str
    digest: str
