"""Collects one answer's body while it passes, for whoever reads what it says. Bounded; what cannot be read is not."""

import zlib
from collections.abc import Callable
from typing import Final

_INFLATED: Final = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


class AnswerCollector:
    """Hands on one answer's body, decoded, once it is whole. One that is too long or coded otherwise is not handed on.

    With `is_prefix_enough`, so much of a longer body is handed on as `limit` says.
    """

    def __init__(
        self, coding: str | None, limit: int, hand_on: Callable[[bytes], None], *, is_prefix_enough: bool = False
    ) -> None:
        self._limit, self._hand_on, self._is_prefix_enough = limit, hand_on, is_prefix_enough
        self._body = bytearray()
        name = (coding or "identity").strip().lower()
        self._inflater = zlib.decompressobj(wbits=_INFLATED[name]) if name in _INFLATED else None
        self._is_readable = name == "identity" or self._inflater is not None
        self._is_full = False

    def feed(self, piece: bytes) -> None:
        """Read a piece."""
        if not self._is_readable or self._is_full:
            return
        if self._inflater is not None:
            try:
                piece = self._inflater.decompress(piece, self._limit + 1)
            except zlib.error:
                self._is_readable = False
                return
        self._body += piece
        if len(self._body) > self._limit:
            self._is_readable = self._is_full = self._is_prefix_enough

    def finish(self) -> None:
        """Hand the body on, now that all of it has passed."""
        if self._is_readable and (self._is_full or self._inflater is None or self._inflater.eof):
            self._hand_on(bytes(self._body[: self._limit]))
