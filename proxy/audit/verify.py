"""Walk a trail and report everything that is not as it was written. Pure: lines in, a report out.

Recompute, then compare: each line's digest against the next line's `prev`, each signed head against the digest computed
at that place. What a crash can leave behind (a torn last line, the rest of a batch that failed) is told apart from what
only a hand can do.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from proxy.audit.chain import BEGINNING, Envelope, Head, is_torn, read_envelope, read_record, verify_link
from proxy.audit.checkpoint import Notes, Verifier, open_note, read_key_id
from proxy.model.errors import AuditError
from proxy.model.reason import Reason
from proxy.model.record import Checkpoint, Kind

MAX_FINDINGS: Final = 100
"""Findings kept in full; more are only counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and where. Lines count from 1; 0 means the file as a whole."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a walk found. `covered` is the number of records the last good checkpoint vouches for."""

    findings: tuple[Finding, ...]
    more_findings: int
    segments: int
    records: int
    first: int
    head: Head
    first_at: str
    last_at: str
    checkpoints: int
    covered: int
    open_flows: tuple[str, ...]
    torn: int
    """Bytes of a last line that a crash cut short: never acknowledged, no part of the trail."""
    abandoned: int
    """Bytes of failed batches left in their segment: never acknowledged, no part of the trail."""
    steps_back: int
    """How often a record's time is before that of the record ahead of it: the clock was set back."""

    @property
    def is_intact(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


@dataclass(slots=True)
class _Segment:
    name: str = ""
    next_start: int | None = None
    line: int = 0
    kept: int = 0
    abandoned_at: int = 0


@dataclass(slots=True)
class _Tally:
    segments: int = 0
    records: int = 0
    first: int = 0
    first_at: str = ""
    last_at: str = ""
    torn: int = 0
    abandoned: int = 0
    steps_back: int = 0
    start: int = 0
    own_only: bool = True
    is_closed: bool = False
    open_flows: dict[str, None] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)


class TrailWalk:
    """Feed it a trail in order: `begin_segment`, its lines, the next; then `finish`."""

    def __init__(
        self, checkpoints: Mapping[str, Notes], verifiers: Iterable[Verifier], *, partial: bool = False
    ) -> None:
        """Take the contents of checkpoint files by file name, and the keys that are believed.

        `partial`: the oldest segments may have been moved away, where a checkpoint vouches for how the rest begins.
        """
        self._partial = partial
        self._findings: list[Finding] = []
        self._more = 0
        self._verifiers = {verifier.key_id: verifier for verifier in verifiers}
        self._stated: dict[int, list[tuple[str, int, Checkpoint]]] = {}
        self._signers: dict[str, tuple[str, int]] = {}
        self._verified = 0
        self._covered = 0
        self._head: Head | None = None
        self._segment = self._before = _Segment()
        self._unexplained: Finding | None = None
        self._tally = _Tally()
        for file, notes in checkpoints.items():
            self._read_notes(file, notes)

    def begin_segment(self, name: str, start: int, next_start: int | None) -> None:
        """Say that the lines to come are of the segment `name`, named for record `start`, and where the next begins."""
        before = self._segment
        self._segment = _Segment(name=name, next_start=next_start)
        self._tally.segments += 1
        if self._head is None:
            self._head = self._find_beginning(start)
        elif self._head.size != start:
            self._report(0, f"begins at record {start}, but {before.name} ends before record {self._head.size}")
            self._head = Head(start, "")
        self._before = before
        if before.abandoned_at:
            self._unexplained = Finding(before.name, before.abandoned_at, "lines that are no part of the trail")

    def feed(self, line: bytes) -> None:
        """Take the next line, newline included."""
        segment, head = self._segment, self._head
        segment.line += 1
        assert head is not None  # noqa: S101 - for mypy; begin_segment set it
        if segment.next_start is not None and head.size >= segment.next_start and segment.kept:
            segment.abandoned_at = segment.abandoned_at or segment.line
            self._tally.abandoned += len(line)
            return
        if self._tally.torn or (segment.next_start is None and is_torn(line)):
            self._tally.torn += len(line)
            return
        try:
            envelope = read_envelope(line)
            record = read_record(line, envelope)
        except AuditError as error:
            self._report(segment.line, str(error))
            return
        self._follow(line, envelope)
        segment.kept += len(line)
        self._note_record(envelope, record)

    def finish(self) -> Report:
        """Return the report: what was found, and what the signed heads say that the trail does not."""
        self._settle()
        head = self._head or BEGINNING
        for size in sorted(self._stated):
            for file, line, _ in self._stated[size]:
                if size > head.size:
                    self._add(Finding(file, line, f"the trail is cut: {size} records signed, {head.size} present"))
        self._check_signers()
        tally = self._tally
        if self._covered <= tally.start and not tally.own_only:
            self._add(Finding("checkpoints", 0, f"none vouches for the start at record {tally.start}"))
        return Report(
            findings=tuple(self._findings),
            more_findings=self._more,
            segments=tally.segments,
            records=tally.records,
            first=tally.first,
            head=head,
            first_at=tally.first_at,
            last_at=tally.last_at,
            checkpoints=self._verified,
            covered=self._covered,
            open_flows=tuple(tally.open_flows),
            torn=tally.torn,
            abandoned=tally.abandoned,
            steps_back=tally.steps_back,
        )

    # --- the chain ----------------------------------------------------------------------------------------------

    def _find_beginning(self, start: int) -> Head:
        """Return what the first record must follow. Old segments may have been moved away, if a checkpoint says so."""
        self._tally.first = start
        if start == 0:
            return BEGINNING
        if not self._partial:
            self._report(0, f"the {start} records before it are missing; if they were moved away, say --partial")
        for _, _, checkpoint in self._stated.get(start, ()):
            return Head(start, checkpoint.head)
        self._report(0, "no checkpoint vouches for how the trail begins here")
        return Head(start, "")

    def _follow(self, line: bytes, envelope: Envelope) -> None:
        """Check one link and move on; after a broken one, go on from what stands there."""
        head = self._head
        assert head is not None  # noqa: S101 - for mypy
        if head.digest == "":  # already reported: nothing to compare with
            head = Head(head.size, envelope.previous)
        try:
            self._head = verify_link(head, line, envelope)
        except AuditError as error:
            self._report(self._segment.line, str(error))
            self._head = Head(envelope.sequence + 1, sha256(line).hexdigest())
        self._compare(self._head)

    def _compare(self, head: Head) -> None:
        for file, line, checkpoint in self._stated.get(head.size, ()):
            if checkpoint.head == head.digest:
                self._verified += 1
                self._covered = max(self._covered, head.size)
            else:
                where = f"{self._segment.name}:{self._segment.line}"
                self._add(Finding(file, line, f"signs another head than {where} has: records up to it were replaced"))

    # --- what the records say -----------------------------------------------------------------------------------

    def _note_record(self, envelope: Envelope, record: dict[str, Any]) -> None:
        tally = self._tally
        tally.records += 1
        tally.first_at = tally.first_at or envelope.at
        tally.steps_back += envelope.at < tally.last_at
        tally.last_at = envelope.at
        if envelope.kind in (Kind.TRAIL_OPENED, Kind.TRAIL_REPAIRED):
            self._check_seam(record)
        self._settle()
        self._note_run(envelope, record)
        self._note_flow(envelope.kind, record)

    def _note_run(self, envelope: Envelope, record: dict[str, Any]) -> None:
        """Each start is signed before anyone else's record follows it, and nothing but a start follows an end."""
        tally = self._tally
        if envelope.kind == Kind.TRAIL_OPENED:
            tally.keys.add(str(record.get("key")))
            tally.start, tally.own_only = envelope.sequence, True
        elif tally.is_closed:
            self._report(self._segment.line, "was added after the trail was closed")
        elif envelope.kind == Kind.OUTCOME and record.get("reason") == Reason.INTERRUPTED:
            return
        elif envelope.kind != Kind.KEY_SEALED:  # a start's own, like the ends of what was interrupted
            tally.own_only = False
        tally.is_closed = envelope.kind == Kind.TRAIL_CLOSED

    def _settle(self) -> None:
        """Report lines after the end of a segment unless the next segment's first record accounted for them."""
        if self._unexplained is not None:
            self._add(self._unexplained)
            self._unexplained = None

    def _note_flow(self, kind: str, record: dict[str, Any]) -> None:
        if kind == Kind.DECISION and record.get("effect") == "allow":
            self._tally.open_flows[str(record.get("flow"))] = None
        elif kind in (Kind.DECISION, Kind.OUTCOME):
            self._tally.open_flows.pop(str(record.get("flow")), None)

    def _check_seam(self, record: dict[str, Any]) -> None:
        """Compare what a record says of the end of the segment before with what was found there."""
        if "after" not in record or self._before.name == "":
            return
        if record["after"] == self._before.name and record.get("kept") == self._before.kept:
            if not self._tally.is_closed:  # after a good end no batch can have failed: somebody else wrote there
                self._unexplained = None
        else:
            self._report(self._segment.line, f"says that {self._before.name} ends elsewhere than it does")

    # --- signed heads -------------------------------------------------------------------------------------------

    def _read_notes(self, file: str, notes: Notes) -> None:
        for line in notes.broken:
            self._add(Finding(file, line, "not a checkpoint"))
        for note in notes.whole:
            verifier = self._verifiers.get(read_key_id(note.text))
            if verifier is None:
                self._add(Finding(file, note.line, "signed by a key that is not among those given"))
                continue
            try:
                checkpoint = open_note(note.text, verifier)
            except AuditError as error:
                self._add(Finding(file, note.line, str(error)))
                continue
            self._stated.setdefault(checkpoint.size, []).append((file, note.line, checkpoint))
            self._signers.setdefault(verifier.name, (file, note.line))

    def _check_signers(self) -> None:
        """Each start names its key in the chain: a key that no start named was brought by someone else."""
        for name, (file, line) in self._signers.items():
            if self._tally.first == 0 and name not in self._tally.keys:
                self._add(Finding(file, line, "signed by a key that the trail does not name"))

    def _report(self, line: int, message: str) -> None:
        self._add(Finding(self._segment.name, line, message))

    def _add(self, finding: Finding) -> None:
        if len(self._findings) < MAX_FINDINGS:
            self._findings.append(finding)
        else:
            self._more += 1
