"""CBOR bodies: one map with text keys, or nothing. Bytes are from RFC 8949, appendix A, and botocore's own writer."""

from typing import Any

import pytest
from botocore import serialize

from proxy.intents.aws_cbor import MAX_VALUES, read_cbor
from proxy.model.errors import IntentError


@pytest.mark.parametrize(
    "body,value",
    [
        ("", {}),
        ("a0", {}),
        ("a26161016162820203", {"a": 1, "b": [2, 3]}),
        ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
        ("a161617f657374726561646d696e67ff", {"a": "streaming"}),
        ("a161615f42010243030405ff", {"a": b"\x01\x02\x03\x04\x05"}),
        ("a1616120", {"a": -1}),
        ("a16161f5", {"a": True}),
        ("a16161f4", {"a": False}),
        ("a16161f6", {"a": None}),
        ("a16161fb3ff199999999999a", {"a": None}),
        ("a16161c11a514b67b0", {"a": 0x514B67B0}),
        ("a16161190100", {"a": 256}),
        ("a161611b000000e8d4a51000", {"a": 1000000000000}),
        ("a161614101", {"a": b"\x01"}),
    ],
)
def test_a_map_is_read(body: str, value: dict[str, Any]) -> None:
    """Maps, lists, texts and open lengths are read; numbers with a point and dates only read past."""
    assert read_cbor(bytes.fromhex(body)) == value


@pytest.mark.parametrize(
    "body",
    [
        "a1",
        "bf6161019fff",
        "a161",
        "80",
        "01",
        "a00a",
        "a2616101616102",
        "a10101",
        "a16161ff",
        "a1ff01",
        "bf6161ff",
        "a1616182ff01",
        "a1616162c328",
        "a161617fff01",
        "a161617f01ff",
        "a161617f7fffff",
        "a161611c",
        "a161611f",
        "ff",
        "a16161" + "81" * 70 + "01",
        "a16161" + "9a0000ffff" + "01" * (MAX_VALUES + 1),
    ],
)
def test_what_is_torn_or_doubled_is_refused(body: str) -> None:
    """A short body, a second value, a doubled or numeric name, a misplaced end, depth and length are not read."""
    with pytest.raises(IntentError):
        read_cbor(bytes.fromhex(body))


def test_what_botocore_writes_is_read() -> None:
    """The writer that clients use and this reader mean the same."""
    library: Any = serialize
    serializer = library.CBORSerializer()
    written = bytearray()
    serializer._serialize_type_string(written, "text", None, None)

    assert read_cbor(b"\xa1\x61a" + bytes(written)) == {"a": "text"}
