"""Leads are kept for one session, for a time."""

from datetime import UTC, datetime, timedelta

import pytest

from proxy.engine.leads import LeadBook, led_by
from proxy.intents.git_lfs import describe
from proxy.intents.leads import Lead
from proxy.model.authority import Authority
from proxy.model.intent import EffectClass, RequestView

NOW = datetime(2030, 1, 1, tzinfo=UTC)
OID = "d" * 64
BATCH = describe("lfs.download", "git.test/app", EffectClass.READ, {"objects": OID, "object_count": "1"})


def lead(target: str = "/o?s=1", seconds: int | None = None) -> Lead:
    return Lead(
        method="GET",
        scheme="https",
        authority=Authority("store.test", 443),
        target=target,
        intent=BATCH,
        fields=frozenset(),
        seconds=seconds,
    )


def view(path: str = "/o", query: str | None = "s=1", method: str = "GET", scheme: str = "https") -> RequestView:
    return RequestView(
        method=method, scheme=scheme, authority=Authority("store.test", 443), path=path, query=query, headers=()
    )


@pytest.mark.parametrize(
    "seconds, life",
    [(None, timedelta(hours=1)), (60, timedelta(minutes=1)), (10**6, timedelta(hours=6))],
)
def test_a_lead_is_followed_while_it_lives(seconds: int | None, life: timedelta) -> None:
    """As long as the upstream says, an hour when it does not say, six hours at most."""
    book = LeadBook()
    book.remember("s", [lead(seconds=seconds)], NOW)
    assert book.find("s", view(), NOW + life - timedelta(seconds=1)) is not None
    assert book.find("s", view(), NOW + life) is None


def test_only_the_very_same_request_of_the_same_session_follows() -> None:
    """Another session, method, scheme, path or query was not led anywhere; an ended session neither."""
    book = LeadBook()
    book.remember("s", [lead()], NOW)
    others = [view(method="PUT"), view(scheme="http"), view("/other"), view(query=None), view(query="s=2")]
    assert [book.find("s", each, NOW) for each in others] == [None] * 5
    assert book.find("t", view(), NOW) is None
    assert book.find("s", view(), NOW) is not None
    book.forget("s")
    assert book.find("s", view(), NOW) is None


def test_the_newest_leads_are_kept() -> None:
    """A flood of batches forgets its own oldest URLs, not everything."""
    book = LeadBook()
    for batch in range(3):
        book.remember("s", [lead(f"/{batch}/{number}") for number in range(3_000)], NOW)
    assert book.find("s", view("/0/0", None), NOW) is None
    assert book.find("s", view("/1/0", None), NOW) is not None
    assert book.find("s", view("/2/2999", None), NOW) is not None


def test_a_lead_names_its_exchange() -> None:
    """The record of what follows says which answer led to it."""
    assert led_by(lead(), "f7").intent.facts["led_by"] == "f7"
