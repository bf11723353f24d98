"""The first decoder that answers wins; a broken request is the error of the decoder that owns it."""

import pytest

from proxy.intents.registry import DECODERS, Spoken, decode, load_decoders
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import EffectClass, Intent, RequestView, Resource
from proxy.policy.intents import PROTOCOLS

VIEW = RequestView(
    method="GET", scheme="https", authority=Authority("example.com", 443), path="/", query=None, headers=()
)
MINE = Intent(protocol="x", action="Read", resource=Resource(type="x", id="1"), effect=EffectClass.READ, exact=True)


def not_mine(view: RequestView, spoken: Spoken) -> Intent | None:
    return None


def mine(view: RequestView, spoken: Spoken) -> Intent | None:
    return MINE


def broken(view: RequestView, spoken: Spoken) -> Intent | None:
    raise IntentError("mine, but broken")


def test_first_answer_wins() -> None:
    """Decoders are asked in order and None passes to the next."""
    assert decode(VIEW, decoders=(not_mine, mine, broken)) is MINE


def test_nobody_answers() -> None:
    """HTTP itself speaks for what nobody owns, and for an empty list."""
    for answer in (decode(VIEW, decoders=(not_mine,)), decode(VIEW)):
        assert isinstance(answer, Intent)
        assert answer.name == "http GET"


def test_broken_is_not_passed_on() -> None:
    """A request that is a decoder's own but broken never reaches a milder decoder."""
    with pytest.raises(IntentError):
        decode(VIEW, decoders=(broken, mine))


def test_every_name_is_a_decoder() -> None:
    """The list names modules that have a `decode`."""
    assert len(load_decoders()) == len(DECODERS)
    assert all(callable(decoder) for decoder in load_decoders())


def test_rules_know_the_words_of_the_decoders() -> None:
    """A rule can name every protocol that is read, and no other: a word nobody reads would never match."""
    assert {*DECODERS.values(), "http"} == set(PROTOCOLS)


def test_whoever_knows_a_host_reads_before_what_rules_name_there() -> None:
    """Rules that name several protocols for one vendor's host do not let another decoder claim its requests."""
    request = RequestView(
        method="POST",
        scheme="https",
        authority=Authority("rubygems.org", 443),
        path="/api/v1/api_key",
        query=None,
        headers=(),
    )
    found = decode(request, frozenset({"cargo", "gem", "npm"}))
    assert isinstance(found, Intent)
    assert found.protocol == "gem"
