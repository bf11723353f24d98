"""A trail in memory that remembers, and that fails on demand with or without having kept the record."""

from collections.abc import Container

from proxy.model.errors import AuditError
from proxy.model.record import AuditRecord, Kind


class RecordingTrail:
    """`engine.ports.Trail` over a list. `fail_on` are the calls of `append`, counted from 1, that raise AuditError.

    With `persist_anyway` a failing append keeps its record nevertheless: a caller must be right in both worlds.
    """

    def __init__(self, fail_on: int | Container[int] = (), *, persist_anyway: bool = False) -> None:
        self.records: list[AuditRecord] = []
        self.posted: list[AuditRecord] = []
        self.writable = True
        self.appends = 0
        self._fail_on = {fail_on} if isinstance(fail_on, int) else fail_on
        self._persist_anyway = persist_anyway

    async def append(self, record: AuditRecord) -> None:
        self.appends += 1
        fails = self.appends in self._fail_on or not self.writable
        if not fails or self._persist_anyway:
            self.records.append(record)
        if fails:
            raise AuditError("the trail fails on demand")

    def post(self, record: AuditRecord) -> None:
        self.records.append(record)
        self.posted.append(record)

    def is_writable(self) -> bool:
        return self.writable

    def of(self, kind: Kind) -> list[AuditRecord]:
        """The records of one kind, in order."""
        return [record for record in self.records if record.kind is kind]
