"""Old segments go, when every record in them may: oldest first, on record, and never before each sink has them.

What is kept longest decides for a segment: a record whose tag asks for years keeps its neighbours. After it `verify`
wants `--partial`; the checkpoint at the end of what went vouches for what is left.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from proxy.audit.chain import read_record
from proxy.audit.naming import segment_start
from proxy.model.errors import AuditError

SHORTEST: Final = timedelta(days=1)
"""No session lives as long, so that no flow in what goes can be open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long records are kept: `keep`, or longer where a record has a tag of `by_tag` (name, value)."""

    keep: timedelta
    by_tag: Mapping[tuple[str, str], timedelta] = field(default_factory=dict)

    def of(self, tags: Iterable[tuple[str, str]]) -> timedelta:
        """Return how long a record with these tags is kept."""
        return max([self.keep, *(self.by_tag[each] for each in tags if each in self.by_tag)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """A segment that may go: `first` and `last` are numbers of records, `tags` all values its records have."""

    path: Path
    first: int
    last: int
    tags: Mapping[str, tuple[str, ...]]


class Keeper:
    """Knows what may go. Blocks; used by one thread at a time."""

    def __init__(self, directory: Path, retention: Retention, delivered: Callable[[], int]) -> None:
        """`delivered`: the number of records that every sink has."""
        self._directory = directory
        self._retention = retention
        self._delivered = delivered
        self._known: dict[str, tuple[datetime, Expired]] = {}

    def find(self, now: datetime) -> Expired | None:
        """Return the oldest segment if it may go. Never the last one. Raises AuditError when it cannot be read."""
        names = sorted(
            (start, path) for path in self._directory.iterdir() if (start := segment_start(path.name)) is not None
        )
        if len(names) < 2:
            return None
        (start, path), (following, _) = names[:2]
        if following > self._delivered():
            return None
        if path.name not in self._known:
            self._known = {path.name: self._read(path, start, following)}
        until, found = self._known[path.name]
        return found if now >= until else None

    def remove(self, gone: Expired) -> None:
        """Delete a segment. Raises AuditError."""
        try:
            gone.path.unlink()
        except OSError as error:
            raise AuditError(f"{gone.path} cannot be removed: {error.strerror}") from None
        self._known.clear()

    def _read(self, path: Path, start: int, following: int) -> tuple[datetime, Expired]:
        """Return until when a segment is kept."""
        until = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
        tags: dict[str, set[str]] = {}
        try:
            with path.open("rb") as file:
                for line in file:
                    record = read_record(line)
                    if record["seq"] >= following:
                        break
                    found = record.get("tags")
                    own = [(str(name), str(value)) for name, value in found.items()] if isinstance(found, dict) else []
                    until = max(until, datetime.fromisoformat(record["at"]) + self._retention.of(own))
                    for name, value in own:
                        tags.setdefault(name, set()).add(value)
        except OSError as error:
            raise AuditError(f"{path} cannot be read: {error.strerror}") from None
        shown = {name: tuple(sorted(values)) for name, values in sorted(tags.items())}
        return until, Expired(path=path, first=start, last=following - 1, tags=shown)
