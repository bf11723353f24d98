"""CBOR bodies (RFC 8949) of Smithy's RPC v2, read strictly: one value, text keys, no key twice, bounded depth.

Numbers and tags are read past, not valued: a decision needs names, texts and structure. Source: Smithy 2.0, RPC v2.
"""

from typing import Any, Final

from proxy.model.errors import IntentError

MAX_DEPTH: Final = 64
MAX_VALUES: Final = 50_000
"""More are refused: they are read one by one, and everybody waits."""
_BREAK: Final = object()
_SIZES: Final = {24: 1, 25: 2, 26: 4, 27: 8}
_INDEFINITE: Final = 31


class _Reader:
    """A cursor over the bytes."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0
        self.count = 0

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.body):
            raise IntentError("the CBOR body ends early")
        taken = self.body[self.at : end]
        self.at = end
        return taken

    def head(self) -> tuple[int, int, bool]:
        """Return major type, argument, and whether the length is indefinite."""
        self.count += 1
        if self.count > MAX_VALUES:
            raise IntentError("the CBOR body has too many values")
        first = self.take(1)[0]
        major, low = first >> 5, first & 31
        if low < 24:
            return major, low, False
        if low in _SIZES:
            return major, int.from_bytes(self.take(_SIZES[low])), False
        if low == _INDEFINITE and major in {2, 3, 4, 5, 7}:
            return major, 0, True
        raise IntentError("the body is not CBOR")

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise IntentError("the CBOR body is nested too deeply")
        major, argument, is_open = self.head()
        if major <= 1:
            return argument if major == 0 else -1 - argument
        if major in {2, 3}:
            return self.text(major, argument, is_open=is_open)
        if major == 4:
            return self.items(argument, depth, is_open=is_open)
        if major == 5:
            return self.mapping(argument, depth, is_open=is_open)
        if major == 6:
            return self.value(depth + 1)
        return _BREAK if is_open else {20: False, 21: True}.get(argument)

    def text(self, major: int, size: int, *, is_open: bool) -> str | bytes:
        whole = self.chunks(major) if is_open else self.take(size)
        if major == 2:
            return whole
        try:
            return whole.decode("utf-8")
        except UnicodeDecodeError:
            raise IntentError("a text of the CBOR body is not UTF-8") from None

    def chunks(self, major: int) -> bytes:
        found: list[bytes] = []
        while True:
            kind, size, is_open = self.head()
            if kind == 7 and is_open:
                return b"".join(found)
            if kind != major or is_open:
                raise IntentError("a text of the CBOR body is torn")
            found.append(self.take(size))

    def items(self, count: int, depth: int, *, is_open: bool) -> list[Any]:
        found: list[Any] = []
        while is_open or len(found) < count:
            value = self.value(depth + 1)
            if value is _BREAK:
                if is_open:
                    break
                raise IntentError("a list of the CBOR body ends early")
            found.append(value)
        return found

    def mapping(self, count: int, depth: int, *, is_open: bool) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while is_open or len(found) < count:
            key = self.value(depth + 1)
            if key is _BREAK and is_open:
                break
            if not isinstance(key, str) or key in found:
                raise IntentError("a name of the CBOR body is no text, or appears twice")
            value = self.value(depth + 1)
            if value is _BREAK:
                raise IntentError("a map of the CBOR body ends early")
            found[key] = value
        return found


def read_cbor(body: bytes) -> dict[str, Any]:
    """Return the one map that a body is; an empty body is an empty map. Raises IntentError."""
    if not body:
        return {}
    reader = _Reader(body)
    value = reader.value(0)
    if reader.at != len(body) or not isinstance(value, dict):
        raise IntentError("the body is not one CBOR map")
    return value
