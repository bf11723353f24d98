"""Whether a path can be read in only one way. Pure. What cannot is refused, never repaired (B01).

Servers disagree on dot segments, empty segments, encoded separators, double encoding, `;params` and the case of hex
digits. A rule matches the text we see; a path that another reader could turn into a different text is refused.

One thing is left to the engine: an encoded slash. GitLab and others take `group%2Fapp` as one segment; the request
passes here when both halves would be normal segments, and is allowed only where a decoder knows how it is read.
"""

import re
from functools import lru_cache
from typing import Final

from proxy.model.errors import ProtocolError
from proxy.model.reason import Reason

# RFC 3986 pchar without `;`; upper-case hex, as RFC 3986 2.1 normalises it and clients write it.
_SEGMENT: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%[0-9A-F]{2})*+")
_SLASH: Final = re.compile("%2[fF]")
_ESCAPE: Final = re.compile(r"%([0-9A-F]{2})")
_ESCAPES: Final = re.compile(r"(?:%[0-9A-F]{2})+")
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
# Encoded separators, the percent sign of a double encoding, `;`, and what some servers cut or fold.
_NEVER_ENCODED: Final = frozenset(b"/\\%;") | frozenset(range(0x20)) | {0x7F} | _UNRESERVED
_QUERY: Final = re.compile(r"[\x21\x22\x24-\x7e]*+")


_REMEMBERED: Final = 256


def check_path(path: str) -> None:
    """Raise ProtocolError (`path-not-normal`) unless `path` is absolute and has one reading."""
    # Paths come before anyone has said who they are: only short ones are remembered, so that memory stays small.
    if len(path) <= _REMEMBERED:
        _check_short(path)
    else:
        _check(path)


@lru_cache(maxsize=4096)
def _check_short(path: str) -> None:
    _check(path)


def _check(path: str) -> None:
    if not path.startswith("/"):
        raise _refused("it does not begin with a slash")
    *segments, last = path[1:].split("/")
    for segment in segments:
        _check_segment(segment)
    if last:
        _check_segment(last)


def _check_segment(segment: str) -> None:
    for piece in _SLASH.split(segment) if "%" in segment else (segment,):
        if not piece:
            raise _refused("a segment is empty")
        if piece in {".", ".."}:
            raise _refused("a segment is a dot segment")
        if _SEGMENT.fullmatch(piece) is None:
            raise _refused("a character or escape is not in normal form")
        if "%" in piece:
            _check_escapes(piece)


def check_query(query: str) -> None:
    """Raise ProtocolError (`path-not-normal`) unless `query` is printable ASCII without `#`."""
    if _QUERY.fullmatch(query) is None:
        raise _refused("the query holds a fragment or a character that must be encoded")


def _check_escapes(segment: str) -> None:
    for escape in _ESCAPE.findall(segment):
        if int(escape, 16) in _NEVER_ENCODED:
            raise _refused("an escape hides a separator, a control, a percent sign or a plain character")
    for run in _ESCAPES.findall(segment):
        try:
            bytes.fromhex(run.replace("%", "")).decode()
        except UnicodeDecodeError:
            raise _refused("its escapes are not UTF-8") from None


def _refused(why: str) -> ProtocolError:
    return ProtocolError(f"path refused: {why}", Reason.PATH_NOT_NORMAL)
