"""Pkt-lines: how git frames what it says (gitprotocol-common(5)), read strictly from the first bytes of a body. Pure.

Four hex digits of length, those four included, then the content; 0000 is a flush, 0001 a delimiter. A packet that is
not whole yet is not read, and never guessed.
"""

import re
from collections.abc import Iterator
from typing import Final

from proxy.model.errors import IntentError

FLUSH: Final = None
DELIMITER: Final = b"\x00\x01"
"""What stands for the packets without content. No content can be it: a line holds no control but its last."""
MAX_PACKET: Final = 65_520
_LENGTH: Final = re.compile(rb"[0-9a-fA-F]{4}")


def read_packets(prefix: bytes) -> Iterator[tuple[bytes | None, int]]:
    """Yield each whole packet's content without its closing line feed, and where it ends.

    Raises IntentError for what is no packet.
    """
    at = 0
    while at + 4 <= len(prefix):
        head = prefix[at : at + 4]
        if _LENGTH.fullmatch(head) is None:
            raise IntentError("what stands where a git packet should is none")
        length = int(head, 16)
        if length == 0:
            at += 4
            yield FLUSH, at
        elif length == 1:
            at += 4
            yield DELIMITER, at
        elif length < 5 or length > MAX_PACKET:
            raise IntentError("a git packet has a length that none has")
        else:
            if at + length > len(prefix):
                return
            content = prefix[at + 4 : at + length]
            at += length
            yield content.removesuffix(b"\n"), at


def write_packet(content: bytes) -> bytes:
    """Return a packet of `content`."""
    return f"{len(content) + 4:04x}".encode() + content
