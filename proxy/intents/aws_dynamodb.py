"""DynamoDB's calls that do several things at once: batches, transactions and PartiQL, each item its own action.

Source: DynamoDB API Reference; Developer Guide, "PartiQL statements" and "IAM permissions" for it.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from proxy.intents.aws_members import Members
from proxy.model.errors import IntentError
from proxy.model.intent import EffectClass

type Step = tuple[str, str, EffectClass]
"""An action without its prefix, a table (or a table's index, `TABLE/index/NAME`), and what is done to it."""

MANY: Final = frozenset(
    {"BatchGetItem", "BatchWriteItem", "TransactGetItems", "TransactWriteItems"}
    | {"ExecuteStatement", "BatchExecuteStatement", "ExecuteTransaction"}
)
MAX_STATEMENT: Final = 8192
_TRANSACTED: Final = {
    "Get": ("GetItem", EffectClass.READ),
    "Put": ("PutItem", EffectClass.WRITE),
    "Update": ("UpdateItem", EffectClass.WRITE),
    "Delete": ("DeleteItem", EffectClass.DELETE),
    "ConditionCheck": ("ConditionCheckItem", EffectClass.READ),
}
_VERBS: Final = {
    "SELECT": ("PartiQLSelect", "FROM", EffectClass.READ),
    "EXISTS": ("PartiQLSelect", "FROM", EffectClass.READ),
    "INSERT": ("PartiQLInsert", "INTO", EffectClass.WRITE),
    "UPDATE": ("PartiQLUpdate", "UPDATE", EffectClass.WRITE),
    "DELETE": ("PartiQLDelete", "FROM", EffectClass.DELETE),
}
# Texts in single quotes and names in double quotes, each doubled inside; words; whatever else is one sign.
_TOKEN: Final = re.compile(r"\s*(?:'(?:[^']|'')*'|\"(?P<quoted>[^\"]+)\"|(?P<word>[A-Za-z_]\w*)|(?P<sign>\S))")
_TABLE: Final = re.compile(
    r"[A-Za-z0-9_.-]{1,255}|arn:[a-z0-9-]+:dynamodb:[a-z0-9-]+:[0-9]{12}:table/[A-Za-z0-9_.-]{1,255}"
)


def read_steps(operation: str, members: Members) -> list[Step]:
    """Return what each item does. Raises IntentError for a body that was not read, is empty, or names no table."""
    if not members.is_whole:
        raise IntentError("the items of the call are too long to be read")
    readers = {"RequestItems": _batched, "TransactItems": _transacted, "Statements": _statements}
    readers |= {"TransactStatements": _statements, "Statement": _statement}
    name = _MEMBERS[operation]
    value = members.at("body", name)
    found = list(dict.fromkeys(readers[name](operation, value)))
    if not found:
        raise IntentError(f"the call has no {name}")
    return found


_MEMBERS: Final = {
    "BatchGetItem": "RequestItems",
    "BatchWriteItem": "RequestItems",
    "TransactGetItems": "TransactItems",
    "TransactWriteItems": "TransactItems",
    "ExecuteStatement": "Statement",
    "BatchExecuteStatement": "Statements",
    "ExecuteTransaction": "TransactStatements",
}


def _batched(operation: str, value: object) -> Iterator[Step]:
    for table, requests in _mapping(value).items():
        _check_table(table)
        if operation == "BatchGetItem":
            yield operation, table, EffectClass.READ
            continue
        for request in _sequence(requests):
            kinds = set(_mapping(request))
            if not kinds or kinds - {"PutRequest", "DeleteRequest"}:
                raise IntentError("a batched request is neither a put nor a delete")
            if "PutRequest" in kinds:
                yield operation, table, EffectClass.WRITE
            if "DeleteRequest" in kinds:
                yield operation, table, EffectClass.DELETE


def _transacted(_: str, value: object) -> Iterator[Step]:
    for item in _sequence(value):
        for kind, content in _mapping(item).items():
            table = _mapping(content).get("TableName")
            if kind not in _TRANSACTED or not isinstance(table, str):
                raise IntentError("an item of the transaction is none of DynamoDB's")
            _check_table(table)
            action, effect = _TRANSACTED[kind]
            yield action, table, effect


def _statements(operation: str, value: object) -> Iterator[Step]:
    for item in _sequence(value):
        yield from _statement(operation, _mapping(item).get("Statement"))


def _statement(_: str, value: object) -> Iterator[Step]:
    """Read one PartiQL statement: its first word, and the name that stands behind the word before a table."""
    tokens = _cut(value if isinstance(value, str) else "")
    words = [(each["word"] or "").upper() for each in tokens]
    if not words or words[0] not in _VERBS:
        raise IntentError("a statement begins with no verb of PartiQL's")
    action, before, effect = _VERBS[words[0]]
    places = [at for at, word in enumerate(words) if word == before]
    if len(places) != 1:
        raise IntentError("a statement names no single table")
    names = [each["quoted"] or each["word"] or each["sign"] or "" for each in tokens[places[0] + 1 :]]
    table = names[0] if names else ""
    _check_table(table)
    if names[1:2] == ["."]:  # "TABLE"."INDEX"
        index = names[2] if len(names) > 2 else ""
        _check_table(index)
        table = f"{table}/index/{index}"
    yield action, table, effect


def _cut(text: str) -> list[re.Match[str]]:
    """Cut a statement into texts, names, words and signs. Raises IntentError for comments and loose quotes."""
    if len(text) > MAX_STATEMENT:
        raise IntentError("a statement is longer than DynamoDB takes")
    tokens = list(_TOKEN.finditer(text))
    signs = "".join(each["sign"] or " " for each in tokens)
    if signs.endswith(";"):
        tokens.pop()
        signs = signs[:-1]
    if any(each in signs for each in ("--", "/*", ";", "'", '"', "`")):
        raise IntentError("a statement is no single PartiQL statement without comments")
    return tokens


def _check_table(name: str) -> None:
    if _TABLE.fullmatch(name) is None:
        raise IntentError("a table's name is none of DynamoDB's")


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise IntentError("an item of the call is no object")
    return value


def _sequence(value: object) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise IntentError("the call has no items")
    return value
