"""What one GraphQL request asks for: the operation that runs, and the fields of its root with their arguments.

Fragments are followed and aliases dropped, so that a mutation cannot hide behind either. Refused: documents that do
not parse, several operations without a chosen one, lists of requests, persisted documents whose text is elsewhere.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from proxy.intents.graphql_text import Document, OperationText, Value, Variable, parse_document
from proxy.intents.rack import names_of_query
from proxy.intents.reading import media_type, read_body, read_object
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, EffectClass, Intent, RequestView, Resource

BODY_LIMIT: Final = 4 << 20
"""Files travel inside the variables of a mutation (GitHub's createCommitOnBranch)."""
_MEMBERS: Final = frozenset({"query", "operationName", "variables", "extensions"})
_EXTENSIONS: Final = frozenset({"clientLibrary"})
_MAX_FIELDS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of the root by its real name. Arguments hold plain values: variables are filled in."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """The operation that runs. `kind` is query, mutation or subscription; `name` is empty when it has none."""

    kind: str
    name: str
    fields: tuple[Field, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The fields' names, each once, in order."""
        return tuple(dict.fromkeys(field.name for field in self.fields))


def read_request(view: RequestView) -> Operation | BodyWanted:
    """Return what a POST of JSON asks for. Raises IntentError for every other way to ask.

    A second way of asking in the same request - in the query, under a name in another case, as a list below `_json`,
    by the digest of a document that the server keeps - is refused, since some server may prefer it.
    """
    if view.method != "POST":
        raise IntentError("GraphQL is read from a POST only")
    if media_type(view) != "application/json":
        raise IntentError("GraphQL must be sent as application/json to be read")
    if names_of_query(view):
        raise IntentError("GraphQL with parameters in the query is not read")
    body = read_body(view, BODY_LIMIT)
    if isinstance(body, BodyWanted):
        return body
    asked = read_object(body)
    unknown = asked.keys() - _MEMBERS
    if unknown:
        raise IntentError("a GraphQL request holds query, operationName, variables and extensions, nothing else")
    extensions = asked.get("extensions") or {}
    if not isinstance(extensions, dict) or extensions.keys() - _EXTENSIONS:
        raise IntentError("persisted GraphQL documents are not read; send the text only")
    text, name, variables = asked.get("query"), asked.get("operationName"), asked.get("variables")
    if not isinstance(text, str):
        raise IntentError("the GraphQL request holds no document")
    if not isinstance(name, str | None) or not isinstance(variables, dict | None):
        raise IntentError("operationName must be text, and variables an object")
    return choose_operation(parse_document(text), name, variables or {})


def choose_operation(document: Document, name: str | None, variables: Mapping[str, Any]) -> Operation:
    """Return the operation that a server runs. Raises IntentError when none or more than one could be meant."""
    operations = document.operations
    if name:
        operations = tuple(one for one in operations if one.name == name)
    if len(operations) != 1:
        raise IntentError("operationName must choose one operation of the GraphQL document")
    chosen = operations[0]
    return Operation(kind=chosen.kind, name=chosen.name, fields=tuple(_collect(document, chosen, variables)))


def describe(
    operation: Operation, protocol: str, resource: Resource, effect_of: Callable[[str], EffectClass]
) -> tuple[Intent, ...]:
    """Return an intent for each thing an operation does: one for a query, one for each mutation.

    `effect_of` says how harmful a mutation is; `resource` is what all of it acts on, as far as the text can tell.
    """
    facts = {"fields": ",".join(operation.names)[:512]}
    if operation.name:
        facts["operation"] = operation.name[:128]
    if operation.kind == "mutation":
        actions = [(f"graphql.{name}", effect_of(name)) for name in operation.names]
    else:
        effect = EffectClass.READ if operation.kind == "query" else EffectClass.UNKNOWN
        actions = [(f"graphql.{operation.kind}", effect)]
    return tuple(
        Intent(protocol=protocol, action=action, resource=resource, effect=effect, exact=True, facts=facts)
        for action, effect in actions
    )


def _collect(document: Document, chosen: OperationText, variables: Mapping[str, Any]) -> list[Field]:
    """Gather the root's fields through every fragment, each visited once: a fragment twice adds nothing new."""
    known = {**{name: _fill(value, {}) for name, value in chosen.defaults.items()}, **variables}
    fields: list[Field] = []
    pending, seen = [chosen.root], set[str]()
    while pending:
        selection = pending.pop()
        fields += [Field(name=one.name, arguments=_fill(one.arguments, known)) for one in selection.fields]
        for spread in selection.spreads:
            if spread not in document.fragments:
                raise IntentError("the GraphQL document uses a fragment that it does not hold")
            if spread not in seen:
                seen.add(spread)
                pending.append(document.fragments[spread])
    if not 0 < len(fields) <= _MAX_FIELDS:
        raise IntentError(f"a GraphQL operation is read with 1 to {_MAX_FIELDS} fields at its root")
    return fields


def _fill(value: Value, known: Mapping[str, Any]) -> Any:
    """Return a value with its variables replaced; one that was given nowhere is null."""
    if isinstance(value, Variable):
        return known.get(value.name)
    if isinstance(value, tuple):
        return [_fill(item, known) for item in value]
    if isinstance(value, Mapping):
        return {name: _fill(item, known) for name, item in value.items()}
    return value
