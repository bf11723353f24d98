"""What GitHub, GitLab and Buildkite share: Rack applications, whose ways of reading a request twice are refused here.

Rack takes the method from a header or from the form field `_method` (Rack::MethodOverride, POST only), and its
frameworks mix the query's parameters with the body's into one map. What is decoded must be what they find in it.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from proxy.intents.reading import media_type, member, parse_pairs, read_body, read_json, read_object
from proxy.model.authority import DEFAULT_PORTS
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, RequestView

JSON_LIMIT: Final = 1 << 20
"""The most of a JSON body that is read to decide."""
_OVERRIDES: Final = frozenset(
    {"x-http-method-override", "x-http-method", "x-method-override", "http-method-override", "x-original-method"}
)
_FORMS: Final = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
_FORM_BREAK: Final = re.compile(rb"[&;]")
_BODILESS: Final = frozenset({"GET", "HEAD"})


def refuse_override(view: RequestView) -> None:
    """Raise IntentError where something may change the method, or where a read carries a body to hide fields in.

    A POST without a content type counts as a form to Rack (Rack::Request#form_data?).
    """
    refuse_head(view)
    if is_form(view):
        raise IntentError(f"a POST of {media_type(view) or 'no content type'} may hold another method; send JSON")


def refuse_forms(view: RequestView, limit: int) -> BodyWanted | None:
    """Refuse as `refuse_override` does, but let pass what curl's `-d` sends: JSON that is called a form.

    Returns what to ask the lane for when the body must be seen, None when the request may be read on.
    """
    refuse_head(view)
    if not is_form(view):
        return None
    if media_type(view) == "multipart/form-data":
        raise IntentError("a multipart form may hold another method; send JSON")
    body = read_body(view, limit)
    if isinstance(body, BodyWanted):
        return body
    if body:
        read_json(body)
    for part in _FORM_BREAK.split(body):
        if unquote_to_bytes(part.partition(b"=")[0]).strip().startswith(b"_method"):
            raise IntentError("a field of the form asks for another method than the request line")
    return None


def is_form(view: RequestView) -> bool:
    """Whether Rack looks for form fields in the body. Without a content type it does, of a POST."""
    return view.method == "POST" and view.body_length != 0 and media_type(view) in {*_FORMS, ""}


def refuse_head(view: RequestView) -> None:
    """Raise IntentError where the head alone may change the method. A POST's body may do so too: `is_form`."""
    for name, _ in view.headers:
        if name in _OVERRIDES:
            raise IntentError("a header asks for another method than the request line")
    if view.query and "_method" in view.query and "_method" in names_of_query(view):
        raise IntentError("a parameter asks for another method than the request line")
    if view.body_length != 0 and view.method in _BODILESS:
        raise IntentError(f"a {view.method} with a body is not read; send the body with another method")


def names_of_query(view: RequestView) -> frozenset[str]:
    """Return the names of the query's parameters as Rack nests them: `key[]` and `key[a]` are `key`."""
    if not view.query:
        return frozenset()
    return frozenset(name.partition("[")[0] for name, _ in parse_pairs(view.query))


def read_fields(
    view: RequestView, *names: str, limit: int = JSON_LIMIT, any_type: bool = False
) -> Mapping[str, Any] | BodyWanted:
    """Return the body's members of these names; absent ones are None, an empty body has none.

    Raises IntentError where another reader could find another value: the body is not called JSON (unless the server
    reads JSON whatever it is called: `any_type`), a name is in the query too, or differs only in case.
    """
    if view.body_length == 0:
        found: Mapping[str, Any] = {}
    else:
        if media_type(view) != "application/json" and not any_type:
            raise IntentError("the body must be application/json to be read")
        body = read_body(view, limit)
        if isinstance(body, BodyWanted):
            return body
        found = read_object(body) if body else {}
    asked = names_of_query(view)
    for name in names:
        if name in asked:
            raise IntentError(f"{name!r} belongs into the body, not into the query")
    return {name: member(found, name) for name in names}


def read_text(fields: Mapping[str, Any], name: str) -> str | None:
    """Return a field that is text without control characters, None when absent or null. Raises IntentError."""
    value = fields[name]
    if value is None:
        return None
    if not isinstance(value, str) or not value.isprintable() or len(value) > 1024:
        raise IntentError(f"{name!r} is not a plain text")
    return value


def read_site(view: RequestView) -> str:
    """Return the host as ids begin with it: with its port when that is not the scheme's."""
    authority = view.authority
    return authority.host if authority.port == DEFAULT_PORTS.get(view.scheme) else str(authority)
