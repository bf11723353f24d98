"""What a record is tagged with: by the operator, by the job's identity, by the rules that decided. Pure.

Tags say who may read a record, how long it is kept and where it goes. A flow's outcome has its decision's tags, and
what a connection or a session leaves has its job's, so that one job's records are not kept apart by accident.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from proxy.model.record import AuditRecord, Fact, Kind

MAX_REMEMBERED: Final = 65_536
"""Open flows and sessions whose tags are known; past that the oldest are forgotten, never anything else."""
MAX_VALUE: Final = 256
"""Characters of a tag's value, as in a rule: S3 takes no more."""

type Tags = dict[str, str]


class Tagger:
    """Tags records in the order they are written. A rule's tag counts before the job's, that before the operator's."""

    def __init__(self, fixed: Mapping[str, str], from_job: tuple[str, ...] = ()) -> None:
        """Put `fixed` on every record; `from_job` names the facts of the job that are tags."""
        self._fixed = dict(fixed)
        self._from_job = from_job
        self._is_plain = not fixed and not from_job
        self._flows: OrderedDict[str, Tags] = OrderedDict()
        self._sessions: OrderedDict[str, Tags] = OrderedDict()

    def tag(self, record: AuditRecord) -> AuditRecord:
        """Return the record with all of its tags; the same one where none are added."""
        facts = record.facts
        own = facts.get("tags")
        if self._is_plain and own is None and not (record.kind is Kind.OUTCOME and facts.get("flow") in self._flows):
            return record  # on the path of every flow: most deployments have no tags
        tags = self._fixed | self._of_who(facts) | (_texts(own) if own else {})
        flow = facts.get("flow")
        if isinstance(flow, str):
            if record.kind is Kind.OUTCOME:
                tags |= self._flows.pop(flow, {})
            elif record.kind is Kind.DECISION and facts.get("effect") == "allow" and tags:
                _remember(self._flows, flow, tags)
        self._note_session(record, tags)
        if not tags or tags == own:
            return record
        return AuditRecord(kind=record.kind, at=record.at, facts={**facts, "tags": {**tags}})

    def _of_who(self, facts: Mapping[str, Fact]) -> Tags:
        """Return the tags of the job a record names, or of the session's that it names."""
        if not self._from_job:
            return {}
        job = facts.get("job")
        if isinstance(job, dict):
            return {name: str(value)[:MAX_VALUE] for name in self._from_job if (value := job.get(name)) is not None}
        session = facts.get("session")
        return self._sessions.get(session, {}) if isinstance(session, str) else {}

    def _note_session(self, record: AuditRecord, tags: Tags) -> None:
        session = record.facts.get("session")
        if not self._from_job or not isinstance(session, str):
            return
        if record.kind is Kind.SESSION_OPENED:
            _remember(self._sessions, session, tags)
        elif record.kind is Kind.SESSION_CLOSED:
            self._sessions.pop(session, None)


def _texts(tags: Fact) -> Tags:
    return {name: str(value) for name, value in tags.items()} if isinstance(tags, dict) else {}


def _remember(known: OrderedDict[str, Tags], name: str, tags: Tags) -> None:
    known[name] = tags
    if len(known) > MAX_REMEMBERED:
        known.popitem(last=False)
