"""How records become lines: tagged, then sealed where that is set. What a segment begins with. Pure."""

from datetime import datetime

from proxy.audit.canonical import encode
from proxy.audit.sealing import DataKey, Sealer, announcement
from proxy.audit.tagging import Tagger
from proxy.model.record import AuditRecord


class Encoding:
    """One trail's way of writing: it remembers open flows and holds data keys, so it belongs to one trail."""

    def __init__(self, tagger: Tagger | None = None, sealer: Sealer | None = None) -> None:
        self._tagger = Tagger({}) if tagger is None else tagger
        self._sealer = sealer

    def encode(self, record: AuditRecord) -> bytes:
        """Return the record's bytes without envelope. Raises AuditError; it may then not be written another way."""
        tagged = self._tagger.tag(record)
        return encode(tagged) if self._sealer is None else self._sealer.encode(tagged)

    def preface(self, at: datetime) -> list[AuditRecord]:
        """Return the records that a new segment begins with."""
        return [] if self._sealer is None else self._sealer.preface(at)

    def turn_key(self, key: DataKey, at: datetime) -> AuditRecord:
        """Seal a class with a new key; return what must be queued for the trail before anything else is encoded."""
        assert self._sealer is not None  # noqa: S101 - who has keys has a sealer
        self._sealer.use(key)
        return announcement(key, at)
