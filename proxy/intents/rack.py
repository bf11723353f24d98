"""What GitHub, GitLab and Buildkite share: Rack applications, whose ways of reading a request twice are refused here.

Rack takes the method from a header or from the form field `_method` (Rack::MethodOverride, POST only), and its
frameworks mix the query's parameters with the body's into one map. What is decoded must be what they find in it.
"""

from collections.abc import Mapping
from typing import Any, Final

from proxy.intents.reading import media_type, member, parse_pairs, read_body, read_object
from proxy.model.authority import DEFAULT_PORTS
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, RequestView

JSON_LIMIT: Final = 1 << 20
"""The most of a JSON body that is read to decide."""
_OVERRIDES: Final = frozenset(
    {"x-http-method-override", "x-http-method", "x-method-override", "http-method-override", "x-original-method"}
)
_FORMS: Final = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
_BODILESS: Final = frozenset({"GET", "HEAD"})


def refuse_override(view: RequestView) -> None:
    """Raise IntentError where something may change the method, or where a read carries a body to hide fields in.

    A POST without a content type counts as a form to Rack (Rack::Request#form_data?).
    """
    for name, _ in view.headers:
        if name in _OVERRIDES:
            raise IntentError("a header asks for another method than the request line")
    if view.query and "_method" in view.query and "_method" in names_of_query(view):
        raise IntentError("a parameter asks for another method than the request line")
    if view.body_length == 0:
        return
    if view.method in _BODILESS:
        raise IntentError(f"a {view.method} with a body is not read; send the body with another method")
    if view.method == "POST" and (media := media_type(view)) in {*_FORMS, ""}:
        raise IntentError(f"a POST of {media or 'no content type'} may hold another method; send JSON")


def names_of_query(view: RequestView) -> frozenset[str]:
    """Return the names of the query's parameters as Rack nests them: `key[]` and `key[a]` are `key`."""
    if not view.query:
        return frozenset()
    return frozenset(name.partition("[")[0] for name, _ in parse_pairs(view.query))


def read_fields(view: RequestView, *names: str) -> Mapping[str, Any] | BodyWanted:
    """Return the body's members of these names; absent ones are None, an empty body has none.

    Raises IntentError where another reader could find another value: the body is not called JSON, a name is in the
    query too, or differs only in case.
    """
    if view.body_length == 0:
        found: Mapping[str, Any] = {}
    else:
        if media_type(view) != "application/json":
            raise IntentError("the body must be application/json to be read")
        body = read_body(view, JSON_LIMIT)
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
