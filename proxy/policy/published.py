"""The JSON schema that editors complete and check rule files by, from the same models that load them."""

from copy import deepcopy
from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from proxy.policy.parse import Scopes
from proxy.policy.schema import RuleFileText

SCHEMA_ID: Final = "urn:jobgate:rules:1"
_DURATION: Final = {
    "type": "string",
    "pattern": "^[0-9]{1,7}[smhd]$",
    "description": "How long the credential may live, at most 12h. Default 15m; it is renewed while the job runs.",
    "examples": ["15m"],
}


def rule_schema(scopes: Scopes) -> dict[str, Any]:
    """Return the JSON schema (2020-12) of a rule file, with each connector's own block."""
    models: list[type[BaseModel]] = [RuleFileText, *(scopes[name] for name in sorted(scopes))]
    wanted: list[tuple[Any, Literal["validation"]]] = [(model, "validation") for model in models]
    references, shared = models_json_schema(wanted, ref_template="#/$defs/{model}")
    definitions: dict[str, Any] = deepcopy(shared["$defs"])
    document = definitions.pop("RuleFileText")
    connectors = {name: references[scopes[name], "validation"]["$ref"].rpartition("/")[2] for name in sorted(scopes)}
    for name in connectors.values():
        definitions[name].setdefault("properties", {}).setdefault("duration", _DURATION)
        definitions[name]["additionalProperties"] = False
    rule = definitions["RuleText"]["properties"]
    rule["credential"] = {
        "description": rule["credential"]["description"],
        "type": "object",
        "properties": {name: {"$ref": f"#/$defs/{model}"} for name, model in connectors.items()},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    whole: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "jobgate rules",
        **document,
        "$defs": definitions,
    }
    plain: dict[str, Any] = _without_null(whole)
    return plain


def _without_null(node: Any) -> Any:
    """Drop what pydantic says of absent keys: a key is given a value or left out, and titles only repeat names."""
    if isinstance(node, list):
        return [_without_null(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    choices = node.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        rest = [choice for choice in choices if choice != {"type": "null"}]
        node = {key: value for key, value in node.items() if key not in {"anyOf", "default"}}
        node |= rest[0] if len(rest) == 1 else {"anyOf": rest}
    return {key: _without_null(value) for key, value in node.items() if not (key == "title" and _is_generated(value))}


def _is_generated(title: Any) -> bool:
    return isinstance(title, str) and title != "jobgate rules"
