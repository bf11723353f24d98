"""The names of a trail's files. A segment is named after its first record, so a missing one shows. Pure."""

import re
from typing import Final

CHECKPOINTS: Final = "checkpoints"
RESERVE: Final = "reserve"
LOCK: Final = "lock"

_SEGMENT: Final = re.compile(r"trail-([0-9]{12,18})\.jsonl")


def segment_name(start: int) -> str:
    """Return the name of the segment whose first record is number `start`."""
    return f"trail-{start:012d}.jsonl"


def segment_start(name: str) -> int | None:
    """Return the number of a segment's first record, as its name says; None when `name` is not a segment's."""
    found = _SEGMENT.fullmatch(name)
    return None if found is None else int(found[1])


def key_name(key_id: bytes) -> str:
    """Return the name of the file that holds a public key."""
    return f"key-{key_id.hex()}.pub"
