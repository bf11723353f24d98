"""The name of an object that is created: it stands in the body. Read from JSON; nobody's in any other encoding.

An API server takes protobuf, CBOR and YAML too. What is created there is known by kind and place, and its name is told
as `-`, which a rule that names one object does not match.
"""

import re
from typing import Any, Final

from proxy.intents.reading import media_type, member, read_body, read_object
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, RequestView

BODY_LIMIT: Final = 3 << 20
"""The largest request an API server takes (etcd's limit, twice)."""
_JSON: Final = frozenset({"application/json", ""})
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,252}")


def read_name(view: RequestView) -> str | BodyWanted:
    """Return `metadata.name`, empty where it is not told. Raises IntentError for a body with two readings."""
    if media_type(view) not in _JSON or view.body_length == 0:
        return ""
    body = read_body(view, BODY_LIMIT)
    if isinstance(body, BodyWanted):
        return body
    metadata: Any = member(read_object(body), "metadata") if body else None
    name = member(metadata, "name") if isinstance(metadata, dict) else None
    if name is None or name == "":
        return ""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise IntentError("the object has a name that nothing in a cluster has")
    return name
