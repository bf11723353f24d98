"""Durations as people write them."""

from datetime import timedelta

import pytest

from proxy.model.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    "text,seconds", [("90s", 90), ("15m", 900), ("12h", 43200), ("400d", 34560000), ("0s", 0), ("120s", 120)]
)
def test_reads_a_number_and_a_unit(text: str, seconds: int) -> None:
    """A whole number and one unit is a duration."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "15", "m", "1.5h", "-1s", " 15m", "15m\n", "15 m", "15M", "1h30m", "99999999s", "١s"]
)
def test_refuses_everything_else(text: str) -> None:
    """What could be read two ways is an error that shows the form."""
    with pytest.raises(ValueError, match="such as 90s"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["90s", "15m", "12h", "400d", "0s"])
def test_formats_what_it_reads(text: str) -> None:
    """Formatting is the inverse of parsing for the shortest form."""
    assert format_duration(parse_duration(text)) == text
