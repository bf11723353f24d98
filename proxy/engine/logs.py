"""What jobs print: looked through for secrets that jobgate issued, and put on a trail of its own without them.

A secret that shows ends its session at once, which drops and revokes what it was given: whoever reads the log has it.
Texts are looked through across lines and across deliveries, so that where something was cut in two does not matter.
"""

import re
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Protocol

from proxy.engine.exposure import Finding, Issued, SecretWatch
from proxy.engine.ports import Clock, Meter, Trail
from proxy.engine.records import job_facts
from proxy.model.errors import AuditError
from proxy.model.grant import REDACTED, Secret
from proxy.model.identity import Session
from proxy.model.log import JobLog, LogLine
from proxy.model.record import AuditRecord, Fact, Kind

MOST_CHARACTERS: Final = 16_384
"""Of one record: however a character is escaped, the record stays within its limit."""
MOST_LINES: Final = 200
PIECE: Final = 2000
"""Characters of a line that stand together; a longer one is cut, and the record says where."""
REMEMBERED: Final = 10_000
"""Jobs whose last bytes are known, and exposures that are on record."""

_PROXY_PASSWORD: Final = "proxy-password"  # noqa: S105 - what was exposed, not what it is
_TAIL: Final = 8192
_PASSWORD: Final = re.compile(rb"jgs_[A-Za-z0-9_-]{43}")
# Only where a run of such characters begins: a text that begins a thousand times over must not be read so often.
_TOKEN: Final = re.compile(
    rb"(?<![A-Za-z0-9_.-])eyJ[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{8,8192}"
)
_BASE64: Final = re.compile(rb"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{60,16384}")
_SAFE: Final = bytes.maketrans(b"+/", b"-_")


class Sessions(Protocol):
    """The desk, as far as a log needs it."""

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The open sessions."""

    def find_owner(self, secret: Secret) -> Session | None:
        """Return the open session this is the password of."""

    async def close(self, session_id: str, why: str) -> bool:
        """End a session and drop its credentials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogParts:
    """The edges, wired by `app`. `audit` is the audit trail, `logs` that of the logs."""

    clock: Clock
    audit: Trail
    logs: Trail
    sessions: Sessions
    watch: SecretWatch
    meter: Meter
    together: Callable[..., Awaitable[object]]
    pause: Callable[[], Awaitable[object]]
    """Lets others go on (`asyncio.sleep(0)`): called between one log and the next."""


@dataclass(slots=True)
class _Read:
    """A log once it was looked through."""

    lines: tuple[LogLine, ...]
    redacted: int = 0
    found: dict[Issued, None] = field(default_factory=dict)


class LogDesk:
    """Where jobs' logs arrive."""

    def __init__(self, parts: LogParts, remembered: int = REMEMBERED) -> None:
        self._parts = parts
        self._remembered = remembered
        self._tails: OrderedDict[str, bytes] = OrderedDict()
        self._told: OrderedDict[Issued, None] = OrderedDict()

    def has_seen(self, job_id: str) -> bool:
        """Whether lines of a job have come."""
        return job_id in self._tails

    async def receive(self, logs: Sequence[JobLog]) -> None:
        """Return once every line is on record. Raises AuditError when that may not be so; send all of it again.

        What was exposed is acted on first, whether or not the lines can be kept.
        """
        parts, now = self._parts, self._parts.clock.now()
        sessions = {session.job.job_id: session for session in parts.sessions.sessions}
        records: list[AuditRecord] = []
        tails: dict[str, bytes] = {}
        exposed: list[tuple[Issued, JobLog]] = []
        for log in logs:
            job_id = str(log.job["job_id"])
            session = sessions.get(job_id)
            read, tails[job_id] = self._read(log, session, tails.get(job_id, self._tails.get(job_id, b"")), now)
            exposed += [(issued, log) for issued in read.found]
            records += _records(log, read, session, now)
            await parts.pause()
        for issued, log in exposed:
            await self._expose(issued, log, now)
        if not parts.logs.is_writable():
            raise AuditError("the trail of logs takes no records now")
        await parts.together(*[parts.logs.append(record) for record in records])
        for job_id, tail in tails.items():
            _remember(self._tails, job_id, tail, self._remembered)

    def note_missing(self, log: JobLog) -> None:
        """Put on record that a log is missing, without waiting."""
        for record in _records(log, _Read(()), None, self._parts.clock.now()):
            self._parts.logs.post(record)

    def _read(self, log: JobLog, session: Session | None, tail: bytes, now: datetime) -> tuple[_Read, bytes]:
        """Return a log without what it must not show, and the end of it as it came."""
        texts = [line.text.encode("utf-8", "replace") for line in log.lines]
        whole = b"".join([tail, *texts])
        found = [each for each in self._found(whole, texts, len(tail), now) if each.end > len(tail)]
        read = _Read(_without(log.lines, texts, found, len(tail)), len(found))
        for each in found:
            mine = [issued for issued in each.issued if session is not None and issued.session_id == session.id]
            read.found |= dict.fromkeys(mine or each.issued)
        return read, whole[-_TAIL:]

    def _found(self, whole: bytes, texts: list[bytes], at: int, now: datetime) -> Iterator[Finding]:
        yield from self._parts.watch.find(whole, now)
        for match in _PASSWORD.finditer(whole):
            yield from self._owned(match[0], match.start(), match.end())
        for text in texts:
            for match in _TOKEN.finditer(text):
                yield from self._owned(match[0], at + match.start(), at + match.end())
            for match in _BASE64.finditer(text):
                for inner in _decoded(match[0]):
                    yield from self._owned(inner, at + match.start(), at + match.end())
            at += len(text)

    def _owned(self, password: bytes, start: int, end: int) -> Iterator[Finding]:
        session = self._parts.sessions.find_owner(Secret(password.decode("ascii")))
        if session is not None:
            yield Finding(start, end, (Issued(session.id, "", _PROXY_PASSWORD),))

    async def _expose(self, issued: Issued, log: JobLog, now: datetime) -> None:
        """End the session of an exposed secret, and put that on record, once. Raises AuditError."""
        parts = self._parts
        owner = next((each for each in parts.sessions.sessions if each.id == issued.session_id), None)
        has_ended = await parts.sessions.close(issued.session_id, "exposed")
        if issued in self._told:
            return
        parts.meter.count_event("secret-exposed")
        facts: dict[str, Fact] = {"session": issued.session_id}
        if owner is not None:
            facts["job"] = job_facts(owner.job)
        if issued.fingerprint == _PROXY_PASSWORD:
            facts["what"] = _PROXY_PASSWORD
        else:
            facts |= {"what": "credential", "connector": issued.connector, "credential": issued.fingerprint}
        facts |= {"source": log.source, "seen_in": dict(log.job), "ended": has_ended}
        await parts.audit.append(AuditRecord(kind=Kind.SECRET_EXPOSED, at=now, facts=facts))
        _remember(self._told, issued, None, self._remembered)


def _remember[K, V](known: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > most:
        known.popitem(last=False)


def _decoded(run: bytes) -> Iterator[bytes]:
    """Give out the passwords inside a run of base64, as `Proxy-Authorization` shows them (RFC 7617)."""
    text = run.translate(_SAFE)
    plain = urlsafe_b64decode(text[: len(text) - (len(text) % 4 == 1)] + b"==")
    for pattern in (_PASSWORD, _TOKEN):
        yield from (match[0] for match in pattern.finditer(plain))


def _without(lines: Sequence[LogLine], texts: list[bytes], found: list[Finding], at: int) -> tuple[LogLine, ...]:
    """Return the lines with every place blanked, however many lines it goes over."""
    if not found:
        return tuple(lines)
    spans = sorted((each.start, each.end) for each in found)
    clean: list[LogLine] = []
    first = 0
    for line, text in zip(lines, texts, strict=True):
        end = at + len(text)
        while first < len(spans) and spans[first][1] <= at:
            first += 1
        here = _beginning(spans, first, end)
        clean.append(replace(line, text=_blanked(text, here, at)) if here else line)
        at = end
    return tuple(clean)


def _beginning(spans: list[tuple[int, int]], first: int, before: int) -> list[tuple[int, int]]:
    last = first
    while last < len(spans) and spans[last][0] < before:
        last += 1
    return spans[first:last]


def _blanked(text: bytes, spans: list[tuple[int, int]], at: int) -> str:
    """Return a text that begins at `at` without these places."""
    kept: list[bytes] = []
    done = 0
    for start, end in spans:
        if end - at > done:
            kept += [text[done : max(done, start - at)], REDACTED.encode()]
            done = end - at
    return b"".join([*kept, text[done:]]).decode("utf-8", "replace")


def _records(log: JobLog, read: _Read, session: Session | None, now: datetime) -> Iterator[AuditRecord]:
    """Give out records of so many lines each. The last one says what was taken out of them."""
    facts: dict[str, Fact] = {"source": log.source, "job": dict(log.job)}
    if session is not None:
        facts["session"] = session.id
    if log.missing is not None:
        yield AuditRecord(kind=Kind.JOB_LOG, at=now, facts={**facts, "missing": log.missing})
        return
    chunks = list(_chunks(read.lines))
    for number, chunk in enumerate(chunks):
        told = {**facts, **chunk.facts()}
        if read.redacted and number == len(chunks) - 1:
            told["redacted"] = read.redacted
        yield AuditRecord(kind=Kind.JOB_LOG, at=now, facts=told)


@dataclass(slots=True)
class _Chunk:
    text: list[str] = field(default_factory=list)
    cut: list[int] = field(default_factory=list)
    size: int = 0
    first: datetime | None = None
    last: datetime | None = None

    def add(self, piece: str, at: datetime | None, *, goes_on: bool) -> None:
        if goes_on:
            self.cut.append(len(self.text))
        self.text.append(piece)
        self.size += len(piece)
        self.first, self.last = self.first or at, at or self.last

    def facts(self) -> dict[str, Fact]:
        facts: dict[str, Fact] = {"text": [*self.text]}
        if self.cut:
            facts["cut"] = [*self.cut]
        times = {"from": self.first, "until": self.last}
        return facts | {name: at.isoformat() for name, at in times.items() if at is not None}


def _chunks(lines: Sequence[LogLine]) -> Iterator[_Chunk]:
    chunk = _Chunk()
    for line in lines:
        pieces = [line.text[at : at + PIECE] for at in range(0, len(line.text), PIECE)] or [""]
        for number, piece in enumerate(pieces):
            if len(chunk.text) == MOST_LINES or chunk.size + len(piece) > MOST_CHARACTERS:
                yield chunk
                chunk = _Chunk()
            chunk.add(piece, line.at, goes_on=number < len(pieces) - 1)
    if chunk.text:
        yield chunk
