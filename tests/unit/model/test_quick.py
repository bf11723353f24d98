"""A quick value is the frozen dataclass it was, made in less time; what cannot be made so is refused at once."""

import inspect
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, InitVar, dataclass, field, fields, replace
from typing import Any

import pytest

from proxy.model.quick import quick


@dataclass(frozen=True, slots=True)
class Plain:
    first: int
    second: str = "b"
    third: Mapping[str, int] = field(default_factory=dict, kw_only=True)
    fourth: bool = field(default=False, kw_only=True, repr=False)


@quick
@dataclass(frozen=True, slots=True)
class Quick:
    first: int
    second: str = "b"
    third: Mapping[str, int] = field(default_factory=dict, kw_only=True)
    fourth: bool = field(default=False, kw_only=True, repr=False)


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((1,), {}),
    ((1, "x"), {}),
    ((), {"first": 1, "second": "y", "third": {"a": 1}, "fourth": True}),
    ((1,), {"third": {"b": 2}}),
]


@pytest.mark.parametrize("given, named", CALLS)
def test_it_holds_what_the_plain_one_holds(given: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Positions, names, defaults and factories."""
    plain, made = Plain(*given, **named), Quick(*given, **named)

    assert [getattr(made, each.name) for each in fields(made)] == [getattr(plain, each.name) for each in fields(plain)]
    assert repr(made) == repr(plain).replace("Plain", "Quick")
    assert made == Quick(*given, **named)
    assert replace(made, first=9).first == 9


def test_each_one_has_its_own_default() -> None:
    """A factory is called for every value."""
    assert Quick(1).third is not Quick(1).third


@pytest.mark.parametrize("given, named", [((), {}), ((1, "b", {}), {}), ((1,), {"fifth": 1}), ((1,), {"first": 1})])
def test_it_refuses_what_the_plain_one_refuses(given: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Missing, unknown, twice, and by position what has a name only."""
    for kind in (Plain, Quick):
        with pytest.raises(TypeError):
            kind(*given, **named)


def test_it_is_frozen() -> None:
    """Nothing can be set or deleted."""
    made = Quick(1)
    with pytest.raises(FrozenInstanceError):
        made.first = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del made.first


def test_its_signature_is_the_same() -> None:
    """For tools that ask, such as the type checker of whoever reads it at run time."""
    assert list(inspect.signature(Quick).parameters) == list(inspect.signature(Plain).parameters)
    assert Quick.__init__.__annotations__ == Plain.__init__.__annotations__
    assert Quick.__init__.__qualname__ == "Quick.__init__"


def test_one_without_fields() -> None:
    """It can be made."""

    @quick
    @dataclass(frozen=True, slots=True)
    class Empty:
        pass

    assert Empty() == Empty()


def test_what_does_more_at_its_start_is_refused() -> None:
    """`__post_init__`, a field that is not given, no slots."""

    @dataclass(frozen=True, slots=True)
    class After:
        first: int

        def __post_init__(self) -> None:
            raise AssertionError

    @dataclass(frozen=True, slots=True)
    class Hidden:
        first: int = field(init=False, default=1)

    @dataclass(frozen=True)
    class Open:
        first: int = 1

    @dataclass(frozen=True)
    class OpenBare:
        first: int

    @dataclass(frozen=True, slots=True)
    class Once:
        first: int
        second: InitVar[int]

    for kind in (After, Hidden, Open, OpenBare, Once):
        with pytest.raises(TypeError):
            quick(kind)
