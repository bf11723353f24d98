"""Where a record stands is inert data."""

from proxy.audit.place import Place


def test_a_place_is_its_parts() -> None:
    """Two of the same parts are equal."""
    assert Place("o", "d") == Place("o", "d")
