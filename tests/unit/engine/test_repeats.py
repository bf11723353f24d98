"""What a session's requests repeat is worked out once, and never taken for what another request carries."""

from dataclasses import replace

from proxy.engine.repeats import Repeats
from proxy.model.authority import Authority
from proxy.model.intent import Headers, RequestView
from proxy.model.placeholder import derive_placeholders
from tests.fakes.engine import make_session

MINE = derive_placeholders("my-password")
SESSION = replace(make_session("s1"), placeholders=MINE)


def view(headers: Headers, query: str | None = None) -> RequestView:
    return RequestView(
        method="GET", scheme="https", authority=Authority("a.test", 443), path="/", query=query, headers=headers
    )


def test_it_says_who_asks() -> None:
    """The facts of every record, and the labels that connectors get."""
    known = Repeats(SESSION)

    assert known.facts == {"session": "s1", "job": {"pipeline": "s1"}}
    assert known.labels == {"pipeline": "s1", "issuer": "https://issuer.test"}


def test_the_same_fields_are_looked_at_once() -> None:
    """Equal fields give the very same answer, other values of the same fields their own."""
    known = Repeats(SESSION)
    first = known.carried(view((("authorization", "Bearer a"), ("accept", "*/*"))), frozenset())

    assert known.carried(view((("authorization", "Bearer a"), ("accept", "*/*"))), frozenset()) is first
    assert first.stripped == {"authorization"}
    assert first.texts == ("Bearer a",)
    assert known.carried(view((("authorization", "Bearer b"), ("accept", "*/*"))), frozenset()).texts == ("Bearer b",)


def test_a_query_is_looked_at_every_time() -> None:
    """It is no part of what is remembered."""
    known = Repeats(SESSION)
    fields = (("authorization", "Bearer a"),)

    assert known.carried(view(fields, "k=1"), frozenset()).texts == ("Bearer a", "k=1")
    assert known.carried(view(fields, "k=2"), frozenset()).texts == ("Bearer a", "k=2")
    assert known.carried(view(fields), frozenset()).texts == ("Bearer a",)


def test_what_it_was_told_to_send_is_not_the_jobs() -> None:
    """It is neither removed nor looked at, this time."""
    known = Repeats(SESSION)
    fields = (("authorization", "Bearer a"), ("x-api-key", "b"))

    assert known.carried(view(fields), frozenset({"authorization"})).stripped == {"x-api-key"}
    assert known.carried(view(fields), frozenset({"authorization"})).texts == ("b",)
    assert known.carried(view(fields), frozenset()).stripped == {"authorization", "x-api-key"}


def test_a_flood_of_fields_is_not_kept() -> None:
    """A job that never repeats itself fills no memory."""
    known = Repeats(SESSION)
    for number in range(1000):
        assert known.carried(view((("x-api-key", str(number)),)), frozenset()).texts == (str(number),)

    assert len(known._carried) <= 64
