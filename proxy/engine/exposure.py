"""The secrets that jobgate put on requests, known for as long as somebody could misuse them, and found in texts. Pure.

No job ever gets one. Where one shows all the same, as an upstream repeated it in a way that the gateway did not know,
it is in what the job prints. All spellings of all secrets are looked for in one pass over a text (Aho-Corasick).
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from ahocorasick_rs import BytesAhoCorasick

from proxy.engine.spellings import spell
from proxy.model.grant import Credential

SHORTEST: Final = 12
"""Characters of a secret that is looked for: a shorter one would be found in anything."""
KEPT: Final = timedelta(minutes=15)
"""After its session's end, as a job's last lines come late; never longer than the credential lives."""
MOST: Final = 10_000
"""Credentials known at once; past that the oldest are forgotten."""

_END: Final = 32
"""Bytes of a spelling's end that are looked for first; what comes before is compared where they stand. The beginnings
of tokens are much alike, and what is short is prepared quickly."""
_NO_SECRETS: Final = frozenset({"username", "lease"})
"""What some connectors keep beside the secret, and others may know."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A credential by its names: whose it was, who made it, its fingerprint."""

    session_id: str
    connector: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Where one stands in a text; two sessions may have been given the same."""

    start: int
    end: int
    issued: tuple[Issued, ...]


@dataclass(slots=True)
class _Held:
    spellings: tuple[bytes, ...] = field(repr=False)
    ends_at: datetime | None
    until: datetime | None = None
    """Once its session is over."""


class SecretWatch:
    """Looks for what was issued. Nothing is prepared before somebody looks."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._held: OrderedDict[Issued, _Held] = OrderedDict()
        self._needles: list[Mapping[bytes, tuple[Issued, ...]]] = []
        """By their common end, as the finder counts ends: each spelling, and whom it was issued to."""
        self._finder: BytesAhoCorasick | None = None
        self._is_stale = False

    def note(self, session_id: str, credential: Credential) -> None:
        """Look for this credential from now on."""
        texts = [secret.reveal() for name, secret in credential.secrets.items() if name not in _NO_SECRETS]
        spellings = spell(text for text in texts if len(text) >= SHORTEST)
        if not spellings:
            return
        issued = Issued(session_id, credential.connector, credential.fingerprint)
        self._held[issued] = _Held(spellings, credential.ends_at or credential.expires_at)
        if len(self._held) > self._most:
            self._held.popitem(last=False)
        self._is_stale = True

    def end_session(self, session_id: str, now: datetime) -> None:
        """Forget a session's credentials, after a while."""
        for issued, held in self._held.items():
            if issued.session_id == session_id:
                held.until = now + KEPT

    def find(self, text: bytes, now: datetime) -> list[Finding]:
        """Return where issued secrets stand in a text, each place once, in order."""
        self._forget(now)
        if self._is_stale:
            self._prepare()
        if self._finder is None:
            return []
        found = [
            (end - len(needle), end, issued)
            for index, _, end in self._finder.find_matches_as_indexes(text, overlapping=True)
            for needle, issued in self._needles[index].items()
            if text.endswith(needle, 0, end)
        ]
        return list(_merged(found))

    def _forget(self, now: datetime) -> None:
        over = [issued for issued, held in self._held.items() if _is_over(held, now)]
        for issued in over:
            del self._held[issued]
        self._is_stale = self._is_stale or bool(over)

    def _prepare(self) -> None:
        ends: dict[bytes, dict[bytes, tuple[Issued, ...]]] = {}
        for issued, held in self._held.items():
            for needle in held.spellings:
                alike = ends.setdefault(needle[-_END:], {})
                alike[needle] = (*alike.get(needle, ()), issued)
        self._needles = list(ends.values())
        self._finder = BytesAhoCorasick(list(ends)) if ends else None
        self._is_stale = False


def _is_over(held: _Held, now: datetime) -> bool:
    has_ended = held.ends_at is not None and held.ends_at <= now
    return held.until is not None and (has_ended or held.until <= now)


def _merged(found: list[tuple[int, int, tuple[Issued, ...]]]) -> Iterator[Finding]:
    """Put together what overlaps: spellings of one secret contain each other."""
    last: Finding | None = None
    for start, end, issued in sorted(found, key=lambda each: each[:2]):
        if last is not None and start < last.end:
            others = tuple(each for each in issued if each not in last.issued)
            last = Finding(last.start, max(end, last.end), last.issued + others)
            continue
        if last is not None:
            yield last
        last = Finding(start, end, issued)
    if last is not None:
        yield last
