"""The members of an operation's input, whatever protocol carried them: JSON, CBOR, XML, a form, a path and a query.

A member is looked for where its model says it is, for a server looks nowhere else. Names are exact; one that differs
only in case is refused, for some servers take either. Roles are looked for everywhere, so that no nesting hides one.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.intents.aws_cbor import read_cbor
from proxy.intents.aws_xml import Element, read_xml
from proxy.intents.reading import read_body, read_object
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, RequestView

BODY_LIMIT: Final = 1024 * 1024
"""Longer bodies are not read: what only they could say is then taken as anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """Labels of the path, parameters of the query, and the body as a tree.

    `is_whole` is False when the body was too long to be read. `is_rest` says that path and query are looked at.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    is_whole: bool = True
    is_rest: bool = False

    def at(self, place: str, name: str) -> Any:
        """Return the member of a name in a place of botocore's, None when absent. Raises IntentError."""
        found = {"uri": self.labels, "querystring": self.query}.get(place, self.body)
        folded = name.lower()
        if any(key != name and key.lower() == folded for key in found):
            raise IntentError(f"the input has a name that differs from {name!r} only in case")
        return found.get(name)

    def aside(self, name: str) -> str:
        """Return a text that goes with another member: of path and query where those are read, else of the body."""
        places = (self.labels, self.query) if self.is_rest else (self.body,)
        found = next((each[name] for each in places if name in each), "")
        return found if isinstance(found, str) else ""

    def named(self, names: frozenset[str]) -> Iterator[tuple[str, str]]:
        """Yield every text at or below a member of one of these lower-case names, at any depth, with that name."""
        pending: list[tuple[object, str]] = [(self.labels, ""), (self.query, ""), (self.body, "")]
        while pending:
            value, under = pending.pop()
            if isinstance(value, Mapping):
                pending.extend((child, key.lower() if key.lower() in names else under) for key, child in value.items())
            elif isinstance(value, list):
                pending.extend((child, under) for child in value)
            elif isinstance(value, str) and under:
                yield under, value


def as_texts(value: object) -> list[str]:
    """Return a member as the texts it holds: itself, a list's, or a form's list. Raises IntentError for others."""
    if value is None or isinstance(value, str):
        return [value] if value else []
    if isinstance(value, Mapping):  # `Names.member.1=a` of a form, or `Name.1=a`
        value = value.get("member", value)
        value = list(value.values()) if isinstance(value, Mapping) else [value]
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise IntentError("a member that names resources is neither a text nor a list of texts")
    return value


def read_tree(view: RequestView, kind: str) -> Mapping[str, Any] | BodyWanted | None:
    """Read a body that is `json`, `cbor` or `xml`; None for one that is too long to be read. Raises IntentError."""
    if view.body_length == 0:
        return {}
    if view.body_length is not None and view.body_length > BODY_LIMIT:
        return None
    body = read_body(view, BODY_LIMIT)
    if isinstance(body, BodyWanted):
        return body
    return _READERS[kind](body) if body.strip() else {}


def _xml_tree(body: bytes) -> Mapping[str, Any]:
    return {"": _branch(read_xml(body))}


def _branch(element: Element) -> Any:
    if not element.children:
        return element.text.strip()
    found: dict[str, list[Any]] = {}
    for child in element.children:
        found.setdefault(child.name, []).append(_branch(child))
    return found


_READERS: Final = {"json": read_object, "cbor": read_cbor, "xml": _xml_tree}


def form_tree(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Turn `A.member.1.B=c` into nested maps. Raises IntentError for a name sent twice, as a text or as a map."""
    root: dict[str, Any] = {}
    for name, value in pairs:
        *parents, last = name.split(".")
        place = root
        for part in parents:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise IntentError("a parameter is below one that has a value")
        if last in place:
            raise IntentError("a parameter was sent twice")
        place[last] = value
    return root
