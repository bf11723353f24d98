"""An event says what it says, and nothing by default."""

from proxy.model.event import CiEvent


def test_an_event_states_no_more_than_it_was_told() -> None:
    """What a CI does not say is None; a build is not blocked unless it says so."""
    event = CiEvent(source="buildkite", name="ping", organization="acme")
    assert (event.pipeline, event.build_number, event.job_id, event.is_blocked) == (None, None, None, False)
