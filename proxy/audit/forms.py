"""A record in the forms that other systems want. What is sealed stays sealed in every form. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from proxy.audit.cloudevents import to_cloudevent
from proxy.audit.ocsf import to_ocsf
from proxy.audit.place import Place


def _as_it_is(record: Mapping[str, Any], place: Place) -> dict[str, Any]:
    return {**record, "origin": place.origin}


FORMS: Final[Mapping[str, Callable[[Mapping[str, Any], Place], dict[str, Any]]]] = {
    "record": _as_it_is,
    "ocsf": to_ocsf,
    "cloudevents": to_cloudevent,
}
"""Form by name. `record` is the record itself and where it comes from."""
