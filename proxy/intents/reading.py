"""What every decoder reads with: strict JSON, forms, queries and bodies. One spelling per value, nothing repaired.

A server that reads a doubled parameter or a doubled name its own way is how a request gets to do something worse than
what was decoded; whatever two readers could take differently is an IntentError.
"""

import json
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn
from urllib.parse import unquote_to_bytes

from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, RequestView
from proxy.model.reason import Reason

MAX_DEPTH: Final = 64
"""Nesting of a JSON body."""
_BAD_TRIPLET: Final = re.compile(r"%(?![0-9a-fA-F]{2})")


def read_body(view: RequestView, limit: int, enough: Callable[[bytes], bool] | None = None) -> bytes | BodyWanted:
    """Return the body, plain, or what to ask the lane for. `enough` judges plain bytes and makes a prefix do.

    Understands `gzip` and `deflate` (RFC 9110 8.4.1) and inflates to `limit` at most. Raises IntentError.
    """
    coding = single_header(view, "content-encoding", "identity").lower()
    if coding not in {"identity", "gzip", "x-gzip", "deflate"}:
        raise IntentError(f"a request body in the coding {coding!r} cannot be read; send it without")
    inflate = None if coding == "identity" else coding
    if view.body is None:
        return BodyWanted(limit=limit, enough=None if enough is None else _judge(enough, inflate, limit))
    data, is_whole = view.body.data, view.body.is_whole
    if inflate is not None:
        data, ended = _inflate(data, inflate, limit)
        if is_whole and not ended and len(data) <= limit:
            raise IntentError("the compressed body ends early")
    if len(data) > limit:
        raise IntentError(f"the body is longer than the {limit} bytes read to decide", Reason.BODY_TOO_LARGE)
    if not is_whole and (enough is None or not enough(data)):
        raise IntentError(f"the body cannot be told from its first {len(data)} bytes", Reason.BODY_TOO_LARGE)
    return data


def _judge(enough: Callable[[bytes], bool], coding: str | None, limit: int) -> Callable[[bytes], bool]:
    if coding is None:
        return enough
    return lambda raw: enough(_inflate(raw, coding, limit)[0])


def _inflate(raw: bytes, coding: str, limit: int) -> tuple[bytes, bool]:
    """Return the plain bytes, one more than `limit` at most, and whether the stream ended with them."""
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS if coding == "deflate" else zlib.MAX_WBITS | 16)
    try:
        plain = stream.decompress(raw, limit + 1)
    except zlib.error:
        raise IntentError(f"the body is not {coding}") from None
    if stream.unused_data:
        raise IntentError("something follows the end of the compressed body")
    return plain, stream.eof


def single_header(view: RequestView, name: str, default: str = "") -> str:
    """Return the one value of a field. Raises IntentError when it was sent twice."""
    values = [value for key, value in view.headers if key == name]
    if len(values) > 1:
        raise IntentError(f"the field {name} was sent twice")
    return values[0] if values else default


def media_type(view: RequestView) -> str:
    """Return the content type in lower case without its parameters; empty when there was none."""
    return single_header(view, "content-type").partition(";")[0].strip().lower()


def read_query(view: RequestView) -> dict[str, str]:
    """Return the query's parameters, each named once. A name without `=` has the value ''. Raises IntentError."""
    return _once(parse_pairs(view.query or ""), "query")


def read_form(body: bytes) -> dict[str, str]:
    """Return an `application/x-www-form-urlencoded` body's parameters, each named once. Raises IntentError."""
    try:
        return _once(parse_pairs(body.decode("ascii")), "form")
    except UnicodeDecodeError:
        raise IntentError("the form is not percent-encoded") from None


def parse_pairs(text: str) -> list[tuple[str, str]]:
    """Cut `a=b&c` into decoded pairs, in order. Raises IntentError for a broken triplet, `;` in a name or no UTF-8."""
    if not text:
        return []
    pairs = [part.partition("=") for part in text.split("&") if part]
    if ";" in text and any(";" in name for name, _, _ in pairs):
        raise IntentError("a parameter's name holds a `;`, at which some readers cut")
    return [(_decode(name), _decode(value)) for name, _, value in pairs]


def _decode(text: str) -> str:
    if "%" not in text and "+" not in text:
        return text
    return decode_component(text.replace("+", " "))


def decode_component(text: str) -> str:
    """Decode percent-encoding, strictly (RFC 3986 2.1), to UTF-8. Raises IntentError."""
    if _BAD_TRIPLET.search(text) is not None:
        raise IntentError("a percent sign begins no encoding")
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise IntentError("a percent-encoded text is not UTF-8") from None


def _once(pairs: list[tuple[str, str]], where: str) -> dict[str, str]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise IntentError(f"a parameter of the {where} was sent twice")
    return found


def read_json(body: bytes) -> Any:
    """Parse one JSON text: UTF-8, no name twice, no NaN, bounded depth. Raises IntentError."""
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise IntentError("the body is not UTF-8") from None
    except (json.JSONDecodeError, RecursionError):
        raise IntentError("the body is not JSON") from None
    except ValueError as error:  # an integer of more digits than Python converts
        raise IntentError("a number of the body is too long") from error
    _check_depth(value)
    return value


def read_object(body: bytes) -> Mapping[str, Any]:
    """As `read_json`, for a body that must be an object."""
    value = read_json(body)
    if not isinstance(value, dict):
        raise IntentError("the body is not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise IntentError("a name of the JSON body appears twice")
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise IntentError(f"{text} is not JSON")


def _check_depth(root: object) -> None:
    """Walk without recursion: the depth is what is being checked."""
    pending: list[tuple[object, int]] = [(root, 1)]
    while pending:
        value, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise IntentError("the JSON body is nested too deeply")
        if isinstance(value, dict):
            pending.extend((child, depth + 1) for child in value.values())
        elif isinstance(value, list):
            pending.extend((child, depth + 1) for child in value)


def member(value: Mapping[str, Any], name: str) -> Any:
    """Return a member, None when absent. Raises IntentError when one differs only in case: some servers take either."""
    folded = name.casefold()  # as Go's encoding/json folds: U+017F is an `s` to it, U+212A a `k`
    if any(key != name and key.casefold() == folded for key in value):
        raise IntentError(f"the JSON body has a name that differs from {name!r} only in case")
    return value.get(name)
