"""XML bodies: one reading, or none."""

import pytest

from proxy.intents.aws_xml import MAX_DEPTH, MAX_ELEMENTS, read_xml
from proxy.model.errors import IntentError


def test_elements_have_names_texts_and_children() -> None:
    """Names lose their namespace, texts are whole, and one name gives one element."""
    root = read_xml(
        b'<?xml version="1.0" encoding="utf-8"?>\n<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        b'<Object a="b"><Key>a&amp;b<![CDATA[<c>]]></Key></Object><Object><Key>d&#233;</Key></Object>'
        b"</Delete>"
    )

    assert root.name == "Delete"
    assert [found.text for each in root.all("Object") if (found := each.one("Key")) is not None] == ["a&b<c>", "dé"]
    assert root.one("Quiet") is None
    assert [each.name for each in root.walk()] == ["Delete", "Object", "Key", "Object", "Key"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no xml",
        b"<a>",
        b"<a></b>",
        b"<a/><b/>",
        b"<!DOCTYPE a><a/>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b"<a>&b;</a>",
        b"<a>b<!-- c -->d</a>",
        b"<a><?php evil ?></a>",
        b'<?xml version="1.0" encoding="utf-16"?><a/>',
        b'<?xml version="1.0" encoding="iso-8859-1"?><a/>',
        b'<?xml version="1.1"?><a/>',
        "<a/>".encode("utf-16"),
        "<a/>".encode("utf-16-le"),
        b"<a>\xff</a>",
        b"<a>" * (MAX_DEPTH + 2) + b"</a>" * (MAX_DEPTH + 2),
        b"<a>" + b"<b/>" * (MAX_ELEMENTS + 1) + b"</a>",
    ],
)
def test_what_has_two_readings_is_refused(body: bytes) -> None:
    """Document types, entities, instructions, other encodings, depth and breadth are not read."""
    with pytest.raises(IntentError):
        read_xml(body)


def test_a_second_or_another_element_is_refused() -> None:
    """An element that may be there once is not there twice, and nothing stands beside those that may be there."""
    root = read_xml(b"<a><Key>1</Key><Key>2</Key><quiet/></a>")

    with pytest.raises(IntentError, match="twice"):
        root.one("Key")
    with pytest.raises(IntentError, match="something else"):
        root.only("Key", "Quiet")
    assert root.only("Key", "quiet") is root
