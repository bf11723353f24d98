"""XML bodies of requests, read strictly: UTF-8, no document type, no entities, bounded. Only what stands in elements.

A document type is where entities are declared, and an entity is a second text for the same bytes: refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NoReturn
from xml.parsers import expat

from proxy.model.errors import IntentError

MAX_DEPTH: Final = 32
MAX_ELEMENTS: Final = 100_000
_NAMESPACE: Final = " "


@dataclass(slots=True)
class Element:
    """One element: its name without a namespace, its own text, and the elements in it. Attributes are not kept."""

    name: str
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def all(self, name: str) -> list["Element"]:
        """Return the children of a name."""
        return [each for each in self.children if each.name == name]

    def one(self, name: str) -> "Element | None":
        """Return the only child of a name, None when there is none. Raises IntentError when there are two."""
        found = self.all(name)
        if len(found) > 1:
            raise IntentError(f"the XML body has {name!r} twice")
        return found[0] if found else None

    def only(self, *names: str) -> "Element":
        """Return this element. Raises IntentError when another is in it than those of these names."""
        if any(each.name not in names for each in self.children):
            raise IntentError(f"the XML body has something else in {self.name!r}")
        return self

    def walk(self) -> Iterator["Element"]:
        """Yield this element and everything in it."""
        pending = [self]
        while pending:
            element = pending.pop()
            yield element
            pending.extend(element.children)


class _Builder:
    """Builds the tree from expat's calls, and refuses what it must not see."""

    def __init__(self) -> None:
        self.root = Element("")
        self.open = [self.root]
        self.texts: list[list[str]] = [[]]
        self.count = 0

    def start(self, name: str, _: dict[str, str]) -> None:
        self.count += 1
        if len(self.open) > MAX_DEPTH or self.count > MAX_ELEMENTS:
            raise IntentError("the XML body is too deep or has too many elements")
        element = Element(name.rpartition(_NAMESPACE)[2])
        self.open[-1].children.append(element)
        self.open.append(element)
        self.texts.append([])

    def end(self, _: str) -> None:
        self.open.pop().text = "".join(self.texts.pop())

    def text(self, text: str) -> None:
        self.texts[-1].append(text)

    def declaration(self, version: str, encoding: str | None, _: int) -> None:
        if version != "1.0" or (encoding or "utf-8").lower() not in {"utf-8", "utf8"}:
            raise IntentError("the XML body is not UTF-8")

    def refuse(self, *_: object) -> NoReturn:
        raise IntentError("the XML body has a document type, an instruction or a comment")


def read_xml(body: bytes) -> Element:
    """Return the root element. Raises IntentError."""
    builder = _Builder()
    parser = expat.ParserCreate("UTF-8", _NAMESPACE)
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.XmlDeclHandler = builder.declaration
    parser.StartDoctypeDeclHandler = builder.refuse
    parser.ProcessingInstructionHandler = builder.refuse
    parser.CommentHandler = builder.refuse  # some readers end a text at a comment
    try:
        if "\0" in body.decode("utf-8"):  # UTF-16 in disguise: expat would guess it
            raise IntentError("the XML body is not UTF-8")
        parser.Parse(body, True)
    except (expat.ExpatError, UnicodeDecodeError):
        raise IntentError("the body is not well-formed XML in UTF-8") from None
    return builder.root.children[0]
