"""One spelling per value: strict base64url and strict JSON. Pure. What is not plain is refused, never repaired.

Two parsers that read one token differently are how a signature gets to cover something else than what is checked.
"""

import base64
import json
import math
import re
from typing import Any, Final, NoReturn

MAX_DEPTH: Final = 12
"""Nesting of arrays and objects in a token or a key set. Real ones have four."""

_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]*")
_INT64: Final = range(-(2**63), 2**63)


def decode_base64url(text: str) -> bytes:
    """Decode base64url as JWS writes it (RFC 7515 2): no padding, no line breaks, no stray bits in the last letter.

    Raises ValueError.
    """
    if _ALPHABET.fullmatch(text) is None:
        raise ValueError("not base64url without padding")
    if len(text) % 4 == 1:
        raise ValueError("not a whole number of bytes")
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii") != text:
        raise ValueError("stray bits after the last byte")
    return raw


def load_object(raw: bytes) -> dict[str, Any]:
    """Parse one JSON object: UTF-8, no duplicate names, no NaN or infinity, integers of 64 bits, bounded depth.

    Raises ValueError saying which of these does not hold.
    """
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_int=_bounded_integer,
            parse_float=_finite_number,
        )
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except json.JSONDecodeError:
        raise ValueError("not JSON") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - every fault of the text is a ValueError
    _check_values(value)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name appears twice")
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _bounded_integer(text: str) -> int:
    if len(text) > 20 or (number := int(text)) not in _INT64:
        raise ValueError("an integer does not fit 64 bits")
    return number


def _finite_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is not finite")
    return number


def _check_values(root: object) -> None:
    """Walk without recursion: the depth is what is being checked."""
    pending: list[tuple[object, int]] = [(root, 1)]
    while pending:
        value, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
        if isinstance(value, dict):
            pending.extend((child, depth + 1) for pair in value.items() for child in pair)
        elif isinstance(value, list):
            pending.extend((child, depth + 1) for child in value)
        elif isinstance(value, str):
            _check_text(value)


def _check_text(text: str) -> None:
    # A lone surrogate has no UTF-8 form: it would break whatever writes it later.
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("a text holds half a character")
