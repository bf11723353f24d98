"""Every kind of claim, read strictly."""

from typing import Any

import pytest

from proxy.identity.claims import (
    Claim,
    Profile,
    Reader,
    anything,
    boolean,
    boolean_text,
    digits,
    integer,
    read_claim,
    read_fields,
    text,
    text_or_integer,
)
from proxy.model.errors import TokenError
from proxy.model.reason import Reason


@pytest.mark.parametrize(
    "read,value,expected",
    [
        (text, "a b", "a b"),
        (text, "é", "é"),
        (text, "", None),
        (text, "x" * 1024, "x" * 1024),
        (integer, 0, 0),
        (integer, 7, 7),
        (digits, "007", 7),
        (digits, 7, 7),
        (text_or_integer, 7, "7"),
        (text_or_integer, "7", "7"),
        (boolean, False, False),
        (boolean_text, "true", True),
        (boolean_text, "false", False),
        (boolean_text, True, True),
        (anything, [1], None),
    ],
)
def test_values_of_the_right_type_are_read(read: Reader, value: Any, expected: object) -> None:
    """A value of the documented JSON type arrives as JobContext holds it."""
    assert read(value) == expected


REFUSED: list[tuple[Reader, list[object]]] = [
    (text, [1, True, None, [], {}, "x" * 1025, "a\nb", "a\0", "\x1b[0m", "\x7f", 1.5]),
    (integer, [True, False, -1, 1.0, "1", None, []]),
    (digits, ["", "-1", "1.0", "x", "9" * 19, "\u0661", " 1", True, 1.0, None]),
    (text_or_integer, [True, -1, 1.5, None, ["x"], "a\r"]),
    (boolean, ["true", 1, 0, None]),
    (boolean_text, ["True", "TRUE", "yes", "1", 1, 0, "", None, []]),
]


@pytest.mark.parametrize("read,value", [(read, value) for read, values in REFUSED for value in values])
def test_values_of_another_type_are_refused(read: Reader, value: Any) -> None:
    """Nothing is converted by guess: `1` is not `true`, a list is not its first member."""
    with pytest.raises(ValueError, match=r".+"):
        read(value)


PROFILE = Profile(
    provider="p",
    required={"a": Claim(read=text, field="pipeline"), "b": Claim(read=text, field="step", nullable=True)},
    optional={"c": Claim(read=integer, field="build_number"), "d": Claim(read=boolean)},
    ignored=frozenset({"e"}),
    ignored_prefixes=("x_",),
)


def test_tables_become_fields() -> None:
    """Required and optional claims fill their fields; a claim without a field is only checked."""
    assert read_fields(PROFILE, {"a": "A", "b": None, "d": True, "z": 1}) == {
        "pipeline": "A",
        "step": None,
        "build_number": None,
    }


@pytest.mark.parametrize(
    "claims,named",
    [
        ({"b": "B"}, "`a` is missing"),
        ({"a": "A"}, "`b` is missing"),
        ({"a": None, "b": "B"}, "`a` is empty"),
        ({"a": "", "b": "B"}, "`a` is empty"),
        ({"a": 1, "b": "B"}, "`a` is not a text"),
        ({"a": "A", "b": 1}, "`b` is not a text"),
        ({"a": "A", "b": "B", "c": "1"}, "`c` is not a whole number"),
        ({"a": "A", "b": "B", "d": "true"}, "`d` is not true or false"),
    ],
)
def test_missing_or_mistyped_claims_are_refused_by_name(claims: dict[str, object], named: str) -> None:
    """A claim that is not what its table says refuses the token, and the message names it."""
    with pytest.raises(TokenError, match=named) as caught:
        read_fields(PROFILE, claims)
    assert caught.value.reason is Reason.IDENTITY_CLAIMS


def test_known_claims_are_not_drift() -> None:
    """Registered, required, optional and ignored claims are known; the rest is not."""
    assert all(PROFILE.knows(name) for name in ("iss", "jti", "a", "c", "e", "x_team"))
    assert not any(PROFILE.knows(name) for name in ("z", "x", "A", "e_"))


def test_null_is_absence() -> None:
    """An optional claim of null states nothing."""
    assert read_claim("c", Claim(read=integer), None) is None
