"""Reads `multipart/form-data` (RFC 7578) strictly: one reading of every boundary, header and name, or none.

Lenient readers take a bare LF before a boundary, padding behind it, a charset of a part's own or a name in two
spellings; whatever they could take differently is an IntentError. A body may be read up to the headers of one named
part, the file, so that it need not be held: what follows is then the reader's own risk, and the decoder says why.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from proxy.intents.reading import single_header
from proxy.model.errors import IntentError
from proxy.model.intent import RequestView

_MAX_PARTS: Final = 4096
_MAX_HEADERS: Final = 4096
_BOUNDARY: Final = re.compile(
    r"""multipart/form-data[ \t]*;[ \t]*boundary=(?:"([0-9A-Za-z'()+_,./:=?-]{1,70})"|([0-9A-Za-z'+_.-]{1,70}))""",
    re.IGNORECASE,
)
_DISPOSITION: Final = re.compile(
    r"""form-data;[ ]?name=(?:"([A-Za-z0-9_:.-]{1,64}(?:\[\])?)"|([A-Za-z0-9_:.-]{1,64}))"""
    r"""(?:;[ ]?filename=(?:"([^"\\\r\n%]{1,255})"|([A-Za-z0-9_.+-]{1,255}))"""
    # .NET says the name twice, the second time as RFC 5987 has it: harmless where both are the same plain text.
    r"""(?:;[ ]?filename\*=utf-8''([A-Za-z0-9_.+-]{1,255}))?)?""",
    re.IGNORECASE,
)
_TEXT: Final = re.compile(
    r"text/[a-z]+(?:;[ ]?charset=\"?(?:utf-8|us-ascii)\"?)?|application/octet-stream", re.IGNORECASE
)
_REFUSED: Final = frozenset({"_method", "_charset_"})
"""Fields that change the method (Rack) or the encoding (WHATWG) of the form they stand in."""
_FILE: Final = re.compile(r"(?!multipart/|message/)[a-z]+/[a-z0-9.+-]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part. `filename` is None for a plain field; `content` is None where reading stopped at its headers."""

    name: str
    filename: str | None
    content: bytes | None = field(repr=False)

    @property
    def text(self) -> str:
        """A plain field's value. Raises IntentError for a file, or what is not UTF-8."""
        if self.filename is not None or self.content is None:
            raise IntentError(f"the field {self.name} is sent as a file")
        try:
            return self.content.decode("utf-8")
        except UnicodeDecodeError:
            raise IntentError(f"the field {self.name} is not UTF-8") from None


def read_boundary(view: RequestView) -> bytes:
    """Return the boundary. Raises IntentError unless the content type is multipart/form-data with nothing besides."""
    found = _BOUNDARY.fullmatch(single_header(view, "content-type").strip())
    if found is None:
        raise IntentError("the content type is not multipart/form-data with a plain boundary and nothing else")
    return (found[1] or found[2]).encode("ascii")


def reaches(body: bytes, boundary: bytes, name: str) -> bool:
    """Whether a prefix holds the headers of the part `name`; also where reading on would not mend what is broken."""
    try:
        return any(part.name == name for part in _walk(body, boundary, name))
    except _CutError:
        return False
    except IntentError:
        return True


def read_parts(body: bytes, boundary: bytes, until: str | None = None) -> list[Part]:
    """Return the parts, in order; with `until`, only those up to the part of that name, whose content is not read.

    Raises IntentError; also when `until` never comes, or the body ends early.
    """
    return list(_walk(body, boundary, until))


class _CutError(IntentError):
    """The bytes end within a part."""


def _walk(body: bytes, boundary: bytes, until: str | None) -> Iterator[Part]:
    delimiter = b"--" + boundary
    if not body.startswith(delimiter[: len(body)]):
        raise IntentError("the form does not begin with its boundary")
    at = len(delimiter)
    for _ in range(_MAX_PARTS):
        after = body[at : at + 2]
        if after == b"--" and until is None:
            if body[at + 2 :] not in {b"", b"\r\n"}:
                raise IntentError("something follows the end of the form")
            return
        if len(after) < 2:
            raise _CutError("the form ends early")
        if after != b"\r\n":
            raise IntentError("a boundary of the form is not on a line of its own")
        begin, name, filename = _read_headers(body, at + 2)
        if name == until:
            yield Part(name=name, filename=filename, content=None)
            return
        end = body.find(b"\r\n" + delimiter, begin)
        if body.find(delimiter, begin, len(body) if end < 0 else end) >= 0:
            raise IntentError("a boundary stands within a part of the form")
        if end < 0:
            raise _CutError("the form ends early")
        yield Part(name=name, filename=filename, content=body[begin:end])
        at = end + 2 + len(delimiter)
    raise IntentError(f"the form has more than {_MAX_PARTS} parts")


def _read_headers(body: bytes, begin: int) -> tuple[int, str, str | None]:
    """Return where the content begins, the part's name and its file name."""
    end = body.find(b"\r\n\r\n", begin, begin + _MAX_HEADERS)
    if end < 0:
        if len(body) - begin < _MAX_HEADERS:
            raise _CutError("the form ends early")
        raise IntentError("the headers of a part are too long")
    headers: dict[str, str] = {}
    try:
        for line in body[begin:end].decode("utf-8").split("\r\n"):
            name, colon, value = line.partition(":")
            if not colon or name.lower() in headers:
                raise IntentError("a header of a part is broken or sent twice")
            headers[name.lower()] = value.strip(" ")
    except UnicodeDecodeError:
        raise IntentError("a header of a part is not UTF-8") from None
    if not headers.keys() <= {"content-disposition", "content-type"}:
        raise IntentError("a part has headers that readers take differently")
    name, filename = _read_disposition(headers.get("content-disposition", ""))
    if "content-type" in headers and (_TEXT if filename is None else _FILE).fullmatch(headers["content-type"]) is None:
        raise IntentError("a part has a content type that readers take differently")
    return end + 4, name, filename


def _read_disposition(text: str) -> tuple[str, str | None]:
    """Return the part's name and its file name."""
    found = _DISPOSITION.fullmatch(text)
    if found is None:
        raise IntentError("a part does not say its name plainly")
    name, filename = found[1] or found[2], found[3] or found[4]
    if name.lower() in _REFUSED:
        raise IntentError("a field changes how the form is read")
    if found[5] not in {None, filename}:
        raise IntentError("a part has two different file names")
    return name, filename
