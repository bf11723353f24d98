"""Packets are whole, of a length that can be, or nothing."""

import pytest

from proxy.intents.git_packets import DELIMITER, FLUSH, MAX_PACKET, read_packets, write_packet
from proxy.model.errors import IntentError


def contents(prefix: bytes) -> list[bytes | None]:
    return [content for content, _ in read_packets(prefix)]


@pytest.mark.parametrize(
    "prefix, expected",
    [
        (b"", []),
        (b"0000", [FLUSH]),
        (b"0001", [DELIMITER]),
        (b"0006a\n", [b"a"]),
        (b"0005a0000", [b"a", FLUSH]),
        (b"0005a0006b", [b"a"]),
        (b"0005a00", [b"a"]),
        (b"000Aabcdef", [b"abcdef"]),
        (write_packet(b"x" * (MAX_PACKET - 4)), [b"x" * (MAX_PACKET - 4)]),
    ],
)
def test_whole_packets_are_read(prefix: bytes, expected: list[bytes | None]) -> None:
    """What has not come yet is not guessed."""
    assert contents(prefix) == expected


def test_where_each_ends() -> None:
    """The place after a packet is where the rest begins."""
    assert [at for _, at in read_packets(b"0005a00000001")] == [5, 9, 13]


@pytest.mark.parametrize("prefix", [b"PACK", b"0002", b"0003", b"0004", b"fff1", b"ffff", b"-001", b"0x05a", b" 005a"])
def test_what_is_no_packet_is_refused(prefix: bytes) -> None:
    """Other framing, empty packets and impossible lengths are nobody's words."""
    with pytest.raises(IntentError):
        contents(prefix)
