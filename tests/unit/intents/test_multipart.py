"""A form has one reading, or none."""

import pytest

from proxy.intents import multipart
from proxy.intents.multipart import Part, reaches, read_parts
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import Headers, RequestView

BOUNDARY = b"b0undary"
NAMED = b'Content-Disposition: form-data; name="a"\r\n'


def form(*parts: bytes, end: bytes = b"--\r\n") -> bytes:
    """Join parts, each its headers and content, with the boundary."""
    return b"".join(b"--" + BOUNDARY + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + BOUNDARY + end


def part(content: bytes = b"x", headers: bytes = NAMED) -> bytes:
    return headers + b"\r\n" + content


def with_type(*values: str) -> RequestView:
    headers: Headers = tuple(("content-type", value) for value in values)
    return RequestView(
        method="POST", scheme="https", authority=Authority("x.example", 443), path="/", query=None, headers=headers
    )


@pytest.mark.parametrize(
    "value",
    [
        "multipart/form-data; boundary=b0undary",
        "multipart/form-data;boundary=b0undary",
        'multipart/form-data; boundary="b0undary"',
        "Multipart/Form-Data; Boundary=b0undary ",
    ],
)
def test_a_plain_boundary(value: str) -> None:
    """The boundary is a token or a quoted string."""
    assert multipart.read_boundary(with_type(value)) == BOUNDARY


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("multipart/form-data",),
        ("multipart/form-data; boundary=",),
        ("multipart/mixed; boundary=b",),
        ("application/x-www-form-urlencoded",),
        ("multipart/form-data; boundary=a; boundary=b",),
        ("multipart/form-data; charset=utf-16; boundary=b",),
        ("multipart/form-data; boundary=b; charset=utf-16",),
        ('multipart/form-data; boundary="a b"',),
        ('multipart/form-data; boundary="a\\"b"',),
        ("multipart/form-data; boundary=a,b",),
        ("multipart/form-data; boundary*=utf-8''b",),
        ("multipart/form-data; boundary=" + "b" * 71,),
        ("multipart/form-data; boundary=a", "multipart/form-data; boundary=b"),
    ],
)
def test_another_content_type_is_refused(values: tuple[str, ...]) -> None:
    """A second boundary, a charset or a quoting that readers take differently is denied."""
    with pytest.raises(IntentError):
        multipart.read_boundary(with_type(*values))


def test_parts_are_read_in_order() -> None:
    """Fields and files come with names and contents, empty ones and ones with line ends too."""
    body = form(
        part(b""),
        part(b"1\r\n\r\n2", b'content-disposition: form-data; name="b:c"; filename="f.whl"\r\nContent-Type: a/b\r\n'),
        part("é".encode(), b"Content-Disposition: form-data;name=d\r\nContent-Type: text/plain; charset=UTF-8\r\n"),
        part(b"z", b"Content-Disposition: form-data; name=e; filename=g.gz\r\n"),
    )

    assert [(each.name, each.filename, each.content) for each in read_parts(body, BOUNDARY)] == [
        ("a", None, b""),
        ("b:c", "f.whl", b"1\r\n\r\n2"),
        ("d", None, "é".encode()),
        ("e", "g.gz", b"z"),
    ]


def test_the_end_may_lack_its_line_end() -> None:
    """The last boundary ends the form with or without CRLF."""
    assert read_parts(form(part(), end=b"--"), BOUNDARY)[0].text == "x"


def test_a_file_may_be_named_twice_alike() -> None:
    """What .NET sends, the name also as RFC 5987 has it, is one name."""
    line = b"Content-Disposition: form-data; name=package; filename=a.nupkg; filename*=utf-8''a.nupkg\r\n"
    (found,) = read_parts(form(part(headers=line)), BOUNDARY)

    assert (found.name, found.filename) == ("package", "a.nupkg")
    for other in (b"b.nupkg", b"a%2Enupkg", b""):
        with pytest.raises(IntentError):
            read_parts(form(part(headers=line.replace(b"''a.nupkg", b"''" + other))), BOUNDARY)


def test_a_name_may_be_that_of_a_list() -> None:
    """A field that may be sent several times ends in brackets, and is told with them."""
    (found,) = read_parts(form(part(headers=NAMED.replace(b'"a"', b'"a[]"'))), BOUNDARY)

    assert found.name == "a[]"
    for other in (b'"a[b]"', b'"[]"', b'"a[][]"', b"a[]"):
        with pytest.raises(IntentError):
            read_parts(form(part(headers=NAMED.replace(b'"a"', other))), BOUNDARY)


def test_reading_stops_at_the_file() -> None:
    """A prefix is enough from the end of the file's headers on, and its content is not read."""
    file = b'Content-Disposition: form-data; name="content"; filename="f"\r\n\r\n'
    body = form(part(), file + b"1234")
    needed = body.index(b"1234")

    for length in range(needed):
        assert not reaches(body[:length], BOUNDARY, "content")
        with pytest.raises(IntentError):
            read_parts(body[:length], BOUNDARY, "content")
    for length in range(needed, len(body)):
        assert reaches(body[:length], BOUNDARY, "content")
        parts = read_parts(body[:length], BOUNDARY, "content")
        assert [each.name for each in parts] == ["a", "content"]
        assert parts[1] == Part(name="content", filename="f", content=None)


def test_reading_on_does_not_mend_a_broken_form() -> None:
    """What can only be refused is not waited for, nor a file that never comes."""
    assert reaches(b"preamble", BOUNDARY, "content")
    assert reaches(form(part()), BOUNDARY, "content")
    with pytest.raises(IntentError):
        read_parts(form(part()), BOUNDARY, "content")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"preamble\r\n" + form(part()),
        b"\r\n" + form(part()),
        form(part(), end=b""),
        form(part(), end=b"-"),
        form(part(), end=b"--\r\nmore"),
        form(part(), end=b"--\r\n" + form(part())),
        form(part(), end=b"  --\r\n"),
        form(part(), end=b" \r\n" + part() + b"\r\n--b0undary--\r\n"),
        form(part(b"x\n--b0undary\n" + part(b"y"))),
        form(part(b"x\r--b0undary\r\n" + part(b"y"))),
        form(part(b"--b0undary")),
        form(part(b"x --b0undary-- y")),
        form(part(b"x\r\n--b0undary \r\n" + part(b"y"))),
        form(part()).replace(b"\r\n", b"\n"),
        form(NAMED.replace(b"\r\n", b"\n") + b"\nx"),
        form(b"\r\nx"),
        form(part(headers=b"Content-Type: text/plain\r\n")),
        form(part(headers=NAMED + NAMED)),
        form(part(headers=NAMED + b"content-disposition: form-data; name=b\r\n")),
        form(part(headers=NAMED + b"broken\r\n")),
        form(part(headers=NAMED + b" folded: x\r\n")),
        form(part(headers=NAMED + b"Content-Transfer-Encoding: base64\r\n")),
        form(part(headers=NAMED + b"Content-Type: text/plain; charset=utf-16\r\n")),
        form(part(headers=NAMED + b"Content-Type: multipart/mixed; boundary=c\r\n")),
        form(part(headers=b"Content-Disposition: form-data; name=a; filename=f\r\nContent-Type: multipart/mixed\r\n")),
        form(part(headers=b'Content-Disposition: form-data; name="a"; name="b"\r\n')),
        form(part(headers=b'Content-Disposition: form-data; name="a"; filename="f"; filename*=utf-8\'\'g\r\n')),
        form(part(headers=b'Content-Disposition: form-data; name="a\\"b"\r\n')),
        form(part(headers=b'Content-Disposition: form-data; name="a%22"\r\n')),
        form(part(headers=b'Content-Disposition: form-data; name=""\r\n')),
        form(part(headers=b'Content-Disposition: form-data; name="_method"\r\n')),
        form(part(headers=b"Content-Disposition: form-data; name=_Charset_\r\n")),
        form(part(headers=b'Content-Disposition: attachment; name="a"\r\n')),
        form(part(headers=b'Content-Disposition: form-data; filename="a"\r\n')),
        form(part(headers=b"Content-Disposition: form-data; name=\xff\r\n")),
        form(part(headers=NAMED + b"X: " + b"x" * 5000 + b"\r\n")),
        b"--b0undary\r\n" + NAMED + b"x" * 5000,
        form(part(headers=b'Content-Disposition: form-data; name="\xd0\xb0"\r\n')),
        form(*[part()] * 4097),
    ],
)  # fmt: skip
def test_hostile_forms_are_refused(body: bytes) -> None:
    """Whatever a lenient reader could take for another form is denied."""
    with pytest.raises(IntentError):
        read_parts(body, BOUNDARY)


@pytest.mark.parametrize(
    "field",
    [
        Part(name="a", filename="f", content=b"x"),
        Part(name="a", filename=None, content=None),
        Part(name="a", filename=None, content=b"\xff"),
    ],
)
def test_only_a_plain_field_is_a_text(field: Part) -> None:
    """A file, or bytes that are no UTF-8, are no field's value."""
    with pytest.raises(IntentError):
        _ = field.text
