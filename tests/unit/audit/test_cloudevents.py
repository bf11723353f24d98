"""A record as a CloudEvent: the attributes that CloudEvents 1.0.2 requires, and an id that stays the record's."""

from proxy.audit.cloudevents import to_cloudevent
from proxy.audit.place import Place

PLACE = Place("agents/one", "d" * 64)
RECORD = {"v": 1, "seq": 7, "prev": "p", "at": "2026-01-02T03:04:05.000000Z", "kind": "flow.decision", "flow": "f1"}


def test_required_attributes_are_there_and_the_record_is_the_data() -> None:
    """`id`, `source`, `specversion` and `type` are non-empty; the flow is what it is about."""
    event = to_cloudevent(RECORD, PLACE)
    assert event == {
        "specversion": "1.0",
        "id": "7",
        "source": "urn:jobgate:agents/one",
        "type": "dev.jobgate.flow.decision",
        "time": "2026-01-02T03:04:05.000000Z",
        "datacontenttype": "application/json",
        "data": RECORD,
        "subject": "f1",
    }


def test_what_is_about_nothing_in_particular_has_no_subject() -> None:
    """An empty attribute is not allowed; it is left out."""
    assert "subject" not in to_cloudevent({**RECORD, "flow": None}, PLACE)
