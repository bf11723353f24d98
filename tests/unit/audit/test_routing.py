"""Which records a destination gets, whatever the order of its routes."""

from typing import Any

import pytest

from proxy.audit import routing
from proxy.audit.routing import TRAIL, Group, Picker, Route, group_of
from proxy.model.record import Kind


def route(**more: Any) -> Route:
    return Route(id="r", to=("s",), **more)


def record(kind: str = "flow.decision", **facts: Any) -> dict[str, Any]:
    return {"v": 1, "seq": 0, "prev": "", "at": "", "kind": kind, **facts}


ALLOWED = record(flow="f1", effect="allow", host="db.example", rules=["a", "b"], job={"pipeline": "web", "step": "x"})


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_the_trail_belongs_to_one_group_of_it(kind: Kind) -> None:
    """A copy of records, events and metadata is a copy of the trail: nothing falls between them."""
    assert group_of(kind) in (TRAIL if not kind.startswith("job.") else {Group.LOGS})


@pytest.mark.parametrize(
    "more, is_taken",
    [
        ({}, True),
        ({"of": frozenset({Group.EVENTS})}, False),
        ({"kinds": ("flow.*",)}, True),
        ({"kinds": ("session.*", "event.*")}, False),
        ({"where": {"effect": ("allow",)}}, True),
        ({"where": {"effect": ("deny",)}}, False),
        ({"where": {"host": ("*.example",), "pipeline": ("api", "w*")}}, True),
        ({"where": {"host": ("*.example",), "pipeline": ("api",)}}, False),
        ({"where": {"rule": ("b",)}}, True),
        ({"where": {"rule": ("c",)}}, False),
        ({"where": {"protocol": ("npm",)}}, False),
        ({"tags": {"data": ("pii",)}}, False),
    ],
)
def test_a_route_takes_what_it_says(more: dict[str, Any], is_taken: bool) -> None:  # noqa: FBT001 - parametrized
    """Every condition must hold, of several patterns one; what a record does not say matches nothing."""
    assert route(**more).picks(ALLOWED) is is_taken


def test_tags_are_matched_and_absent_facts_are_not() -> None:
    """Records without job, rules or tags are not taken by a route that asks for them."""
    assert route(tags={"data": ("p*",)}).picks({**ALLOWED, "tags": {"data": "pii"}})
    bare = record("connection.closed")
    assert not route(where={"pipeline": ("*",)}).picks(bare)
    assert not route(where={"rule": ("*",)}).picks(bare)
    assert route().picks(bare)


def test_an_outcome_goes_where_its_decision_went() -> None:
    """It does not repeat who and where; a second one with that flow is on its own."""
    picker = Picker([route(where={"pipeline": ("web",)})])
    assert picker.picks(ALLOWED)
    assert picker.picks(record("flow.outcome", flow="f1"))
    assert not picker.picks(record("flow.outcome", flow="f1"))
    assert not picker.picks(record("flow.outcome", flow="f2"))


def test_a_denied_flow_is_not_waited_for() -> None:
    """It has no outcome."""
    picker = Picker([route(where={"effect": ("deny",)})])
    assert picker.picks(record(flow="f1", effect="deny"))
    assert not picker.picks(record("flow.outcome", flow="f1"))


def test_waiting_is_bounded() -> None:
    """Flows that never end push out the oldest."""
    picker = Picker([route(where={"effect": ("allow",)})])
    for number in range(routing.MAX_OPEN + 1):
        picker.picks(record(flow=f"f{number}", effect="allow"))
    assert not picker.picks(record("flow.outcome", flow="f0"))
    assert picker.picks(record("flow.outcome", flow="f1"))


def test_a_whole_copy_is_one_of_everything() -> None:
    """By one route or several together; a condition anywhere makes it a part, unless another route takes the rest."""
    parts = [route(of=frozenset({Group.RECORDS})), route(of=frozenset({Group.EVENTS, Group.METADATA}))]
    assert Picker([route()]).is_whole
    assert Picker(parts).is_whole
    assert not Picker(parts[:1]).is_whole
    assert not Picker([route(kinds=("flow.*",))]).is_whole
    assert Picker([route(kinds=("flow.*",)), route()]).is_whole
    assert not Picker([]).is_whole
