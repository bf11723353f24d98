"""Tampering with a trail's files is found, whichever way; `python -m tests.soak.tampering 10000` tries longer."""

from tests.soak.tampering import WAYS, soak


def test_every_way_of_tampering_is_found() -> None:
    """Flipped, deleted, doubled, swapped, forged, chained anew, cut: ten of each."""
    found = soak(10 * len(WAYS), seed=3)
    assert found == {way.__name__: 10 for way in WAYS}
