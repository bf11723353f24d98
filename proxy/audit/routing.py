"""Which records go where: routes, and what each of them picks out of a trail. Pure.

An outcome does not repeat who and where, so it goes where its decision went. Order never matters: a destination gets a
record once, if any of its routes picks it.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Final

from proxy.model.record import Kind

MAX_OPEN: Final = 100_000
"""Flows whose outcome is awaited; past that the oldest are forgotten."""


class Group(StrEnum):
    """What a route is about, in the words of people."""

    RECORDS = "records"
    EVENTS = "events"
    METADATA = "metadata"
    LOGS = "logs"


TRAIL: Final = frozenset({Group.RECORDS, Group.EVENTS, Group.METADATA})
"""All that stands in the audit trail. Logs have a trail of their own."""

_GROUPS: Final = {
    "event": Group.EVENTS,
    "approval": Group.EVENTS,
    "session": Group.METADATA,
    "proxy": Group.METADATA,
    "rules": Group.METADATA,
    "kill": Group.METADATA,
    "trail": Group.METADATA,
    "key": Group.METADATA,
    "job": Group.LOGS,
}
JOB_FIELDS: Final = ("organization", "pipeline", "repository", "step", "branch", "environment", "job_id")
FIELDS: Final = ("effect", "reason", "rule", "host", "protocol", "action", "connector", *JOB_FIELDS)
"""What `where` may ask about a record, besides its tags."""


def group_of(kind: str) -> Group:
    """Return what a kind of record belongs to; what nothing else claims is a record."""
    return _GROUPS.get(kind.partition(".")[0], Group.RECORDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route. Patterns may hold `*` and `?`; of several, one must match. An empty choice takes everything."""

    id: str
    to: tuple[str, ...]
    of: frozenset[Group] = TRAIL
    kinds: tuple[str, ...] = ()
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    form: str = "record"

    @property
    def takes_all(self) -> bool:
        """Whether it takes every record of its groups."""
        return not (self.kinds or self.where or self.tags)

    def picks(self, record: Mapping[str, Any]) -> bool:
        """Whether it takes this record, by itself."""
        kind = str(record["kind"])
        if group_of(kind) not in self.of or not _matches(self.kinds, kind):
            return False
        tags = record.get("tags")
        labels: Mapping[str, Any] = tags if isinstance(tags, dict) else {}
        return all(_matches(wanted, labels.get(name)) for name, wanted in self.tags.items()) and all(
            _matches_any(wanted, _values(record, name)) for name, wanted in self.where.items()
        )


class Picker:
    """Picks for one destination, in the trail's order."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """`routes` are those that lead to the destination."""
        self._routes = tuple(routes)
        self._open: OrderedDict[str, None] = OrderedDict()

    @property
    def is_whole(self) -> bool:
        """Whether everything in the audit trail is picked, so that a copy of it can be verified."""
        taken = [route.of for route in self._routes if route.takes_all]
        return frozenset[Group]().union(*taken) >= TRAIL

    def picks(self, record: Mapping[str, Any]) -> bool:
        """Whether any route takes this record, or took the decision whose outcome it is."""
        flow = record.get("flow")
        is_picked = any(route.picks(record) for route in self._routes)
        if record["kind"] == Kind.OUTCOME and str(flow) in self._open:
            del self._open[str(flow)]
            return True
        if is_picked and record["kind"] == Kind.DECISION and record.get("effect") == "allow":
            self._open[str(flow)] = None
            if len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
        return is_picked


def _values(record: Mapping[str, Any], name: str) -> list[Any]:
    if name == "rule":
        rules = record.get("rules")
        return rules if isinstance(rules, list) else []
    if name in JOB_FIELDS:
        job = record.get("job")
        return [job.get(name)] if isinstance(job, dict) else []
    return [record.get(name)]


def _matches_any(wanted: tuple[str, ...], values: list[Any]) -> bool:
    return any(_matches(wanted, value) for value in values)


def _matches(wanted: tuple[str, ...], value: object) -> bool:
    if not wanted:
        return True
    return value is not None and any(fnmatchcase(str(value), pattern) for pattern in wanted)
