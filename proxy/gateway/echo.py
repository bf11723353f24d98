"""An upstream that repeats our credential must not hand it to the job (C01). Found across pieces, blanked in place.

Looked for as it is and as pages usually show it: percent-encoded, JSON-escaped, and inside base64 at any alignment.
The blank is as long as what it hides, so Content-Length holds. A compressed body cannot be blanked: it is read on the
side and cut before the piece that holds the secret. Other codings are not asked for (`rewriting`); one that comes all
the same passes unread, and `is_blind` says so.
"""

import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from proxy.engine.spellings import spell
from proxy.model.errors import ProtocolError
from proxy.model.grant import Secret
from proxy.model.reason import Reason

_PIECE: Final = 256 * 1024
_FREE: Final = 64 * 1024 * 1024
_RATIO: Final = 256
_WAITING: Final = 1024 * 1024
"""Compressed bytes that may wait for the next to say whether they began a secret; empty blocks say nothing for ever."""
_NOTHING_HELD: Final[deque[tuple[bytes, int]]] = deque(maxlen=0)
_COMPRESSED: Final = frozenset({"gzip", "x-gzip", "deflate"})


class EchoGuard:
    """Reads one response for the secrets that were put on its request."""

    def __init__(self, watch: tuple[Secret, ...], content_encoding: str | None) -> None:
        coding = (content_encoding or "identity").strip().lower()
        self._spelled = _spell(tuple([secret.reveal() for secret in watch]))
        self._needles = self._spelled.needles
        self._longest = self._spelled.longest
        self._kept = b""
        self._covered = 0  # so many of the first kept bytes belong to a secret that is already complete
        self._inflater = _Inflater() if coding in _COMPRESSED else None
        # Compressed pieces, and how much text there was after each.
        self._held: deque[tuple[bytes, int]] = _NOTHING_HELD if self._inflater is None else deque()
        self.hits = 0
        self.is_blind = coding not in _COMPRESSED and coding != "identity"

    def is_clean_head(self, raw: bytes) -> bool:
        """Return whether no spelling stands in a head, in whatever case: then no field needs to be looked at."""
        folded = raw.lower()
        for needle in self._spelled.folded:  # noqa: SIM110 - a generator would cost more than the search
            if needle in folded:
                return False
        return True

    def clean_value(self, text: str) -> str:
        """Return a header value with every secret blanked."""
        raw = text.encode("latin-1", "replace")
        spans = self._spans(raw, 0)
        return _blanked(raw, spans, 0).decode("latin-1") if spans else text

    def is_repeated(self, name: str) -> bool:
        """Return whether a field's name, of which only lower case is left, repeats a secret; count it."""
        raw = name.encode("latin-1", "replace")
        found = any(needle.lower() in raw for needle in self._needles if len(needle) <= len(raw))
        self.hits += found
        return found

    def feed(self, chunk: bytes) -> bytes:
        """Return what may pass of the body so far. Raises ProtocolError to cut it (`credential-echo`)."""
        if self.is_blind or not self._needles:
            return chunk
        if self._inflater is not None:
            return self._read_compressed(self._inflater, chunk)
        content = self._kept + chunk if self._kept else chunk
        spans = self._spans(content, len(self._kept))
        passing = len(content) - self._unfinished(content)
        cleaned = _blanked(content, spans, self._covered) if spans or self._covered else content
        self._covered = max([0, self._covered - passing, *(end - passing for at, end in spans if at < passing)])
        self._kept = content[passing:]
        return cleaned[:passing]

    def feed_last(self, chunk: bytes) -> bytes:
        """Return what may pass of the body's end, or of a whole one. Raises ProtocolError as `feed` does."""
        if not self._kept and self._inflater is None and not self._stands_in(chunk):
            return chunk
        return (self.feed(chunk) if chunk else b"") + self.finish()

    def _stands_in(self, content: bytes) -> bool:
        for needle in self._needles:  # noqa: SIM110 - a generator would cost more than the search
            if needle in content:
                return True
        return False

    def finish(self) -> bytes:
        """Return what was held back for the longest secret; a shorter one in it is blanked."""
        kept, self._kept = self._kept, b""
        if self._inflater is not None:
            held = b"".join(piece for piece, _ in self._held)
            self._held.clear()
            return held
        return _blanked(kept, self._spans(kept, len(kept)), self._covered)

    def _spans(self, content: bytes, seen: int) -> list[tuple[int, int]]:
        """Return where secrets stand, overlapping ones as one; what ends within the first `seen` bytes was counted."""
        spans: list[tuple[int, int]] = []
        for at, end in sorted(self._occurrences(content)):
            if spans and at < spans[-1][1]:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
            else:
                spans.append((at, end))
        self.hits += sum(end > seen for _, end in spans)
        return spans

    def _occurrences(self, content: bytes) -> Iterator[tuple[int, int]]:
        for needle in self._needles:
            at = content.find(needle)
            while at >= 0:
                yield at, at + len(needle)
                at = content.find(needle, at + 1)

    def _unfinished(self, content: bytes) -> int:
        """Return how many of the last bytes could be the beginning of a secret."""
        start = max(0, len(content) - self._longest + 1)
        longest = 0
        for needle in self._needles:
            at = content.find(needle[:1], max(start, len(content) - len(needle) + 1))
            while at >= 0:
                # A few bytes first: most beginnings are none, and slices of a long body cost.
                if content.startswith(needle[: min(16, len(content) - at)], at) and needle.startswith(content[at:]):
                    longest = max(longest, len(content) - at)
                    break
                at = content.find(needle[:1], at + 1)
        return longest

    def _read_compressed(self, inflater: "_Inflater", chunk: bytes) -> bytes:
        """Pass pieces on once all they say is known to begin no secret: all but its last letter would do."""
        for plain in inflater.read(chunk):
            content = self._kept + plain
            if self._stands_in(content):
                self.hits += 1
                raise ProtocolError("the response repeats the credential, compressed", Reason.CREDENTIAL_ECHO)
            self._kept = content[len(content) - self._unfinished(content) :]
        self._held.append((chunk, inflater.given))
        harmless = inflater.given - len(self._kept)
        passing = []
        while self._held and self._held[0][1] <= harmless:
            passing.append(self._held.popleft()[0])
        if sum(len(piece) for piece, _ in self._held) > _WAITING:
            raise ProtocolError("the response's compression says nothing for too long", Reason.UPSTREAM_MALFORMED)
        return b"".join(passing)


class _Inflater:
    """Reads gzip, zlib and raw deflate in bounded pieces; a body that grows without measure is cut."""

    def __init__(self) -> None:
        self._engine: zlib._Decompress | None = None
        self._taken = 0
        self.given = 0

    def read(self, chunk: bytes) -> Iterator[bytes]:
        self._taken += len(chunk)
        is_full = False
        while chunk or is_full:
            if self._engine is None or self._engine.eof:
                self._engine = zlib.decompressobj(_window_bits(chunk))
            try:
                plain = self._engine.decompress(chunk, _PIECE)
            except zlib.error:
                raise ProtocolError("the response's compression is broken", Reason.UPSTREAM_MALFORMED) from None
            self.given += len(plain)
            if self.given > _FREE and self.given > _RATIO * self._taken:
                raise ProtocolError("the response inflates without measure", Reason.UPSTREAM_MALFORMED)
            yield plain
            chunk = self._engine.unused_data if self._engine.eof else self._engine.unconsumed_tail
            is_full = len(plain) == _PIECE and not self._engine.eof  # more may wait inside than input is left


def _blanked(content: bytes, spans: list[tuple[int, int]], covered: int) -> bytes:
    blanked = bytearray(content)
    for at, end in [(0, min(covered, len(content))), *spans]:
        blanked[at:end] = b"*" * (end - at)
    return bytes(blanked)


def _window_bits(chunk: bytes) -> int:
    """Tell gzip and zlib by their first byte; servers that say `deflate` often send it raw (RFC 9110 8.4.1.2)."""
    if chunk[0] == 0x1F:
        return zlib.MAX_WBITS + 16
    return zlib.MAX_WBITS if chunk[0] & 0x0F == 8 and chunk[0] >> 4 <= 7 else -zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class _Spelled:
    """Every spelling looked for, longest first; `folded` in lower case."""

    needles: tuple[bytes, ...]
    folded: tuple[bytes, ...]
    longest: int


@lru_cache(maxsize=64)  # the same credential is on request after request
def _spell(texts: tuple[str, ...]) -> _Spelled:
    spelled = spell(texts)
    folded = tuple(sorted({needle.lower() for needle in spelled}))
    return _Spelled(spelled, folded, len(spelled[0]) if spelled else 1)
