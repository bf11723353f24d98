"""How a secret shows in a text: as it is, percent-encoded, JSON-escaped, and inside base64 at any alignment. Pure."""

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote

SHORTEST: Final = 8
"""Encoded spellings shorter than this would be found in anything."""


def spell(texts: Iterable[str]) -> tuple[bytes, ...]:
    """Return every spelling looked for, longest first, so that no blank leaves part of a longer one."""
    needles: set[bytes] = set()
    for text in texts:
        raw = text.encode("latin-1", "replace")
        if not raw:
            continue
        needles.add(raw)
        escaped = json.dumps(text)[1:-1]
        spellings = {escaped.encode(), escaped.replace("/", "\\/").encode(), *_in_percent(text), *_in_base64(raw)}
        needles |= {each for each in spellings if len(each) >= SHORTEST}
    return tuple(sorted(needles, key=len, reverse=True))


def _in_percent(text: str) -> Iterator[bytes]:
    """Yield the percent-encoded text with upper-case digits and with lower-case ones (RFC 3986 2.1)."""
    quoted = quote(text, safe="")
    yield quoted.encode()
    yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), quoted).encode()


def _in_base64(raw: bytes) -> Iterator[bytes]:
    """Yield the characters of a base64 text that depend on `raw` alone, for each place it may begin at (mod 3)."""
    for shift in range(3):
        for encode in (b64encode, urlsafe_b64encode):
            encoded = encode(bytes(shift) + raw)
            yield encoded[(shift * 8 + 5) // 6 : (shift + len(raw)) * 8 // 6]
