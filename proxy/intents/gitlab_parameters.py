"""GitLab's parameters: Grape takes them from the query and from a body of JSON or either kind of form, mixed.

What is read is what each of them can only mean; a name in two places, or nested where a text belongs, is refused, and
so is the field `_method`, by which Rack changes a POST's method.
"""

from collections.abc import Mapping
from typing import Any, Final

from proxy.intents.multipart import read_boundary, read_parts
from proxy.intents.rack import is_form, refuse_head
from proxy.intents.reading import media_type, member, read_body, read_form, read_object, read_query
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, RequestView

LIMIT: Final = 4 << 20
"""A file's content stands in the same body as its branch."""


def refuse_override(view: RequestView) -> BodyWanted | None:
    """Raise IntentError where anything changes the method; return what to ask the lane for where a form may.

    JSON, and bodies of other kinds, hold no fields to Rack and are not asked for.
    """
    refuse_head(view)
    if not is_form(view):
        return None
    fields = _read_form_fields(view)
    return fields if isinstance(fields, BodyWanted) else None


def read_parameters(view: RequestView, *names: str) -> Mapping[str, Any] | BodyWanted:
    """Return parameters by name, None where absent. Raises IntentError for what has two readings."""
    asked = read_query(view) if view.query else {}
    given: Mapping[str, Any] = {}
    if view.body_length != 0:
        media = media_type(view)
        if media == "application/json":
            body = read_body(view, LIMIT)
            if isinstance(body, BodyWanted):
                return body
            given = read_object(body) if body else {}
        else:
            fields = _read_form_fields(view)
            if isinstance(fields, BodyWanted):
                return fields
            given = fields
    nested = {name.partition("[")[0] for name in (*asked, *given) if "[" in name}
    found: dict[str, Any] = {}
    for name in names:
        value = member(given, name)
        if name in nested or (name in asked and value is not None):
            raise IntentError(f"the parameter {name!r} is sent twice, or not as a text")
        found[name] = asked.get(name) if value is None else value
    return found


def _read_form_fields(view: RequestView) -> Mapping[str, str] | BodyWanted:
    """Return a form's plain fields, of either kind. Raises IntentError for another content type, and for `_method`."""
    media = media_type(view)
    if media not in {"", "application/x-www-form-urlencoded", "multipart/form-data"}:
        raise IntentError("the body must be JSON or a form to be read")
    body = read_body(view, LIMIT)
    if isinstance(body, BodyWanted):
        return body
    if media == "multipart/form-data":
        fields: dict[str, str] = {}
        for part in read_parts(body, read_boundary(view)):
            if part.name in fields:
                raise IntentError("a field of the form was sent twice")
            fields[part.name] = "" if part.filename is not None else part.text
    else:
        fields = read_form(body)
    for name in fields:
        if name.strip().partition("[")[0] == "_method":
            raise IntentError("a field of the form asks for another method than the request line")
    return fields
