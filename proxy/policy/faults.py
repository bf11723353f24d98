"""What is wrong with a rule file, in words that say what to write instead."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

type Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. `path` leads to it; `at_key` points at the key rather than at the value."""

    path: Path
    message: str
    hint: str = ""
    at_key: bool = False
    offset: tuple[int, int] | None = None
    """Line and column within the text of the value, from 1."""


_ALPHABET: Final = "Lower-case letters, digits, `.`, `_` and `-`; at most 63."
_SHAPES: Final = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "tuple_type": "a list (`- ...`)",
    "model_type": "a mapping (`key: value`)",
    "dict_type": "a mapping (`key: value`)",
}
# What people write, coming from other tools -> what it is called here.
_SYNONYMS: Final = {
    "name": "id",
    "description": "why",
    "reason": "why",
    "comment": "why",
    "host": "to",
    "hosts": "to",
    "destination": "to",
    "url": "to",
    "paths": "path",
    "intents": "intent",
    "does": "intent",
    "methods": "method",
    "verb": "method",
    "if": "when",
    "condition": "when",
    "action": "effect",
    "allow": "effect",
    "deny": "effect",
    "credentials": "credential",
    "jobs": "job",
    "who": "job",
    "org": "organization",
    "organization_slug": "organization",
    "pipeline_slug": "pipeline",
    "build_branch": "branch",
    "ref": "branch",
    "repo": "repository",
    "step_key": "step",
}


def suggest(word: str, known: Iterable[str]) -> str:
    """Return `Did you mean ...?`, or the list of what is known."""
    names = list(known)
    if _SYNONYMS.get(word) in names:
        return f"Did you mean `{_SYNONYMS[word]}`?"
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"Did you mean `{close[0]}`?" if close else f"Known here: {', '.join(names)}."


def explain_errors(error: ValidationError, model: type[BaseModel], prefix: Path = ()) -> list[Fault]:
    """Turn pydantic's findings into faults; `prefix` is where the validated part stands."""
    return [_explain(entry, model, prefix) for entry in error.errors(include_url=False)]


def _explain(entry: Mapping[str, Any], model: type[BaseModel], prefix: Path) -> Fault:
    loc: Path = tuple(entry["loc"])
    path, kind, value = (*prefix, *loc), entry["type"], entry["input"]
    name = str(path[-1]) if path else "the file"
    described = _describe_shape(kind, path, entry)
    if described is not None:
        return Fault(path=path, message=described[0], hint=described[1])
    match kind:
        case "extra_forbidden":
            hint = suggest(name, _known_at(model, loc[:-1]))
            return Fault(path=path, message=f"unknown key `{name}`", hint=hint, at_key=True)
        case "missing":
            return Fault(path=path[:-1], message=f"`{name}` is missing", hint=_described(model, loc))
        case "string_pattern_mismatch":
            # A connector's own fields say in their description what belongs there; ids and tags share one alphabet.
            hint = _described(model, loc) if "credential" in prefix else _ALPHABET
            return Fault(path=path, message=f"{_said(path)} cannot be {_shown(value)}", hint=hint)
        case "value_error":
            return Fault(path=path, message=f"{_shown(value)}: {entry['ctx']['error']}")
    return Fault(path=path, message=f"{_said(path)}: {entry['msg'][:1].lower()}{entry['msg'][1:]}")


def _describe_shape(kind: str, path: Path, entry: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return message and hint for a value of the wrong type or form, None when the kind is not one of those."""
    value, said = entry["input"], _said(path)
    if kind in _SHAPES:
        hint = _quoted(value) if kind == "string_type" else _unquoted(value)
        return f"{said} must be {_SHAPES[kind]}, not {_shown(value)}", hint
    match kind:
        case "literal_error":
            known = [part.strip(" '") for part in entry["ctx"]["expected"].replace(" or ", ",").split(",")]
            return f"{said} cannot be {_shown(value)}", suggest(str(value), known)
        case "empty" | "too_short" | "string_too_short":
            return f"{said} is empty or too short", "Fill it in, or leave the key out."
    return None


def _said(path: Path) -> str:
    names = [part for part in path if isinstance(part, str)]
    return f"`{names[-1]}`" if names else "the file"


def _shown(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return f"`{value[:80]}`"
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
    return f"the number {value}"


def _quoted(value: object) -> str:
    return f'Quote it: "{value}".' if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _unquoted(value: object) -> str:
    return "Remove the quotes." if isinstance(value, str) and (value.isdigit() or value in {"true", "false"}) else ""


def _known_at(model: type[BaseModel], loc: Path) -> list[str]:
    return list(_model_at(model, loc).model_fields)


def _described(model: type[BaseModel], loc: Path) -> str:
    entry = _model_at(model, loc[:-1]).model_fields.get(str(loc[-1]))
    return (entry.description if entry is not None else None) or ""


def _model_at(model: type[BaseModel], loc: Path) -> type[BaseModel]:
    """Follow a path through nested models; list indices and mapping keys lead no deeper."""
    for part in loc:
        entry = model.model_fields.get(part) if isinstance(part, str) else None
        model = (_inner_model(entry.annotation) if entry is not None else None) or model
    return model


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_inner_model(argument) for argument in get_args(annotation))
    return next((model for model in found if model is not None), None)
