"""File names say what is in the files."""

import pytest

from proxy.audit.naming import key_name, segment_name, segment_start


@pytest.mark.parametrize("start, name", [(0, "trail-000000000000.jsonl"), (10**13, "trail-10000000000000.jsonl")])
def test_a_segment_is_named_after_its_first_record(start: int, name: str) -> None:
    """Name and number are the same thing, both ways."""
    assert segment_name(start) == name
    assert segment_start(name) == start


@pytest.mark.parametrize("name", ["trail-1.jsonl", "trail-000000000000.jsonl.gz", "xtrail-000000000000.jsonl", "lock"])
def test_other_files_are_no_segments(name: str) -> None:
    """Only exactly our names count."""
    assert segment_start(name) is None


def test_a_key_file_is_named_after_its_key() -> None:
    """The id a checkpoint's signature names finds its file."""
    assert key_name(b"\x01\xab\x00\xff") == "key-01ab00ff.pub"
