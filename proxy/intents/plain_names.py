"""Member names of JSON objects as servers in Go read them.

`encoding/json` takes a name that differs in case for the one it looks for, and folds as Unicode does: U+017F is an `s`
to it and U+212A a `k`. What is read here must have plain names, so that `reading.member` sees every spelling.
"""

from collections.abc import Mapping
from typing import Any

from proxy.intents.reading import member
from proxy.model.errors import IntentError


def plain_object(value: object, what: str) -> Mapping[str, Any]:
    """Return `value` when it is an object whose names are all ASCII. Raises IntentError naming `what` it is not."""
    if not isinstance(value, dict):
        raise IntentError(f"{what} is not an object")
    if not all(name.isascii() for name in value):
        raise IntentError(f"{what} has a name that is not ASCII")
    return value


def inner_object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the member `name`, which must be there and be an object. Raises IntentError."""
    return plain_object(member(value, name), f"the body's {name!r}")


def text_of(value: Mapping[str, Any], name: str) -> str:
    """Return the member `name`, which must be there and be a text. Raises IntentError."""
    found = member(value, name)
    if not isinstance(found, str):
        raise IntentError(f"the body's {name!r} is not a text")
    return found
