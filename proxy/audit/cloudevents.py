"""A record as a CloudEvent in JSON, structured mode (CloudEvents 1.0.2, JSON event format). Pure."""

from collections.abc import Mapping
from typing import Any, Final

from proxy.audit.place import Place

TYPE: Final = "dev.jobgate"
"""What stands before the record's kind in the event's type."""

_SUBJECTS: Final = ("flow", "session", "connection", "approval", "kill", "key")


def to_cloudevent(record: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """Return the event. `source` and `id` together are the record's own id: what comes twice has them again."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(record["seq"]),
        "source": f"urn:jobgate:{place.origin}",
        "type": f"{TYPE}.{record['kind']}",
        "time": record["at"],
        "datacontenttype": "application/json",
        "data": {**record},
    }
    subject = next((record[name] for name in _SUBJECTS if isinstance(record.get(name), str)), None)
    return event if subject is None else {**event, "subject": subject}
