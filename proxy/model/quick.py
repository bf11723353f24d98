"""Frozen values that cost little to make. For the ones that every flow makes: there they are a tenth of its work.

A frozen dataclass sets each field by `object.__setattr__`, which looks its name up every time. Here its `__init__` is
made anew, to hand each value to the slot itself. What is made is as frozen as before.
"""

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Any


def quick[T](kind: type[T]) -> type[T]:
    """Give a frozen dataclass with slots a quicker `__init__`. Decorate with it above `@dataclass(...)`.

    Raises TypeError for what it cannot stand for: no slots, `__post_init__`, fields without `init`, `InitVar`.
    """
    given = fields(kind)  # type: ignore[arg-type] # any other class is refused here, with the same error
    setters = [getattr(getattr(kind, each.name, None), "__set__", None) for each in given]
    if hasattr(kind, "__post_init__") or not all(each.init for each in given) or len(_parameters(kind)) != len(given):
        raise TypeError(f"{kind.__name__} does more at its start than to fill its fields")
    if None in setters:
        raise TypeError(f"{kind.__name__} has no slots")
    names: dict[str, object] = {"_MISSING": MISSING}
    for each, setter in zip(given, setters, strict=True):
        names[f"_set_{each.name}"] = setter
        names[f"_default_{each.name}"] = each.default if each.default_factory is MISSING else each.default_factory
    plain = [_parameter(each) for each in given if not each.kw_only]
    named = [_parameter(each) for each in given if each.kw_only]
    head = ", ".join(["self", *plain, *(["*", *named] if named else [])])
    body = "\n".join(f"        {_fill(each)}" for each in given) or "        pass"
    source = f"def make({', '.join(names)}):\n    def __init__({head}):\n{body}\n    return __init__"
    scope: dict[str, Any] = {}
    exec(source, {}, scope)  # noqa: S102 - as dataclasses itself does: of field names alone, which are identifiers
    made: Callable[..., None] = scope["make"](**names)
    made.__qualname__ = f"{kind.__qualname__}.__init__"
    made.__annotations__ = kind.__dict__["__init__"].__annotations__
    kind.__init__ = made  # type: ignore[method-assign]
    return kind


def _parameters(kind: type) -> set[str]:
    return {name for name in kind.__dict__["__init__"].__annotations__ if name != "return"}


def _parameter(each: "Field[Any]") -> str:
    if each.default_factory is not MISSING:
        return f"{each.name}=_MISSING"
    return each.name if each.default is MISSING else f"{each.name}=_default_{each.name}"


def _fill(each: "Field[Any]") -> str:
    if each.default_factory is MISSING:
        return f"_set_{each.name}(self, {each.name})"
    return f"_set_{each.name}(self, _default_{each.name}() if {each.name} is _MISSING else {each.name})"
