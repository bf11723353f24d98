"""DynamoDB's batches, transactions and PartiQL: each item on its own."""

from typing import Any

import pytest

from proxy.intents.aws_dynamodb import read_steps
from proxy.intents.aws_members import Members
from proxy.model.errors import IntentError
from proxy.model.intent import EffectClass

READ, WRITE, DELETE = EffectClass.READ, EffectClass.WRITE, EffectClass.DELETE
ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/t"


@pytest.mark.parametrize(
    "operation,body,steps",
    [
        (
            "BatchGetItem",
            {"RequestItems": {"a": {}, "b": {}}},
            [("BatchGetItem", "a", READ), ("BatchGetItem", "b", READ)],
        ),
        (
            "BatchWriteItem",
            {
                "RequestItems": {
                    "a": [{"PutRequest": {}}, {"DeleteRequest": {}}, {"PutRequest": {}}],
                    ARN: [{"DeleteRequest": {}}],
                }
            },
            [("BatchWriteItem", "a", WRITE), ("BatchWriteItem", "a", DELETE), ("BatchWriteItem", ARN, DELETE)],
        ),
        ("TransactGetItems", {"TransactItems": [{"Get": {"TableName": "a"}}]}, [("GetItem", "a", READ)]),
        (
            "TransactWriteItems",
            {
                "TransactItems": [
                    {"Put": {"TableName": "a"}},
                    {"Update": {"TableName": "b"}},
                    {"Delete": {"TableName": "c"}},
                    {"ConditionCheck": {"TableName": "d"}},
                ]
            },
            [
                ("PutItem", "a", WRITE),
                ("UpdateItem", "b", WRITE),
                ("DeleteItem", "c", DELETE),
                ("ConditionCheckItem", "d", READ),
            ],
        ),
        (
            "BatchExecuteStatement",
            {"Statements": [{"Statement": 'SELECT * FROM "a"'}, {"Statement": "INSERT INTO b VALUE {'k': 'v'}"}]},
            [("PartiQLSelect", "a", READ), ("PartiQLInsert", "b", WRITE)],
        ),
        (
            "ExecuteTransaction",
            {"TransactStatements": [{"Statement": 'DELETE FROM "a"'}]},
            [("PartiQLDelete", "a", DELETE)],
        ),
    ],
)
def test_each_item_is_a_step(operation: str, body: dict[str, Any], steps: list[tuple[str, str, EffectClass]]) -> None:
    """Every item of a call is its own action on its own table."""
    assert read_steps(operation, Members(body=body)) == steps


@pytest.mark.parametrize(
    "statement,step",
    [
        ('SELECT * FROM "a"', ("PartiQLSelect", "a", READ)),
        ("select * from a", ("PartiQLSelect", "a", READ)),
        ('  SELECT x, "FROM" FROM "a-b.c" WHERE y = \'it\'\'s FROM "z"\' ;', ("PartiQLSelect", "a-b.c", READ)),
        ('SELECT * FROM "a"."i" WHERE x = ?', ("PartiQLSelect", "a/index/i", READ)),
        ("SELECT * FROM a.i", ("PartiQLSelect", "a/index/i", READ)),
        (f'SELECT * FROM "{ARN}"', ("PartiQLSelect", ARN, READ)),
        ('EXISTS(SELECT * FROM "a" WHERE k = 1)', ("PartiQLSelect", "a", READ)),
        ("INSERT INTO \"a\" VALUE {'k': '-- no comment; /* none */'}", ("PartiQLInsert", "a", WRITE)),
        ('UPDATE "a" SET x = 1 WHERE k = 2', ("PartiQLUpdate", "a", WRITE)),
        ('DELETE FROM "a" WHERE k = 2', ("PartiQLDelete", "a", DELETE)),
    ],
)
def test_a_statement_names_verb_and_table(statement: str, step: tuple[str, str, EffectClass]) -> None:
    """The verb and the table of a PartiQL statement are read as DynamoDB's grammar has them."""
    assert read_steps("ExecuteStatement", Members(body={"Statement": statement})) == [step]


@pytest.mark.parametrize(
    "statement",
    [
        None,
        1,
        "",
        "DROP TABLE a",
        "SELECT 1",
        "SELECT * FROM",
        "SELECT * FROM 'a'",
        'SELECT * FROM "a" WHERE x IN (SELECT y FROM "b")',
        'SELECT * FROM "a" -- comment',
        'SELECT * /* FROM "b" */ FROM "a"',
        'SELECT * FROM "a"; DELETE FROM "b"',
        'SELECT * FROM "a" WHERE x = \'open',
        'SELECT * FROM "open',
        "SELECT * FROM `a`",
        'SELECT * FROM "a b"',
        'SELECT * FROM "a".',
        "SELECT * FROM a . ?",
        'UPDATE "a" UPDATE "b"',
        '"SELECT" * FROM a',
        "SELECT * FROM a WHERE b = '" + "c" * 8192 + "'",
    ],
)
def test_a_doubtful_statement_is_refused(statement: object) -> None:
    """Comments, second statements, subqueries, open quotes and other verbs are not read."""
    with pytest.raises(IntentError):
        read_steps("ExecuteStatement", Members(body={"Statement": statement}))


@pytest.mark.parametrize(
    "operation,body",
    [
        ("BatchGetItem", {}),
        ("BatchGetItem", {"RequestItems": {}}),
        ("BatchGetItem", {"RequestItems": []}),
        ("BatchGetItem", {"RequestItems": {"a/b": {}}}),
        ("BatchWriteItem", {"RequestItems": {"a": []}}),
        ("BatchWriteItem", {"RequestItems": {"a": [{}]}}),
        ("BatchWriteItem", {"RequestItems": {"a": [{"OtherRequest": {}}]}}),
        ("TransactWriteItems", {"TransactItems": [{"Truncate": {"TableName": "a"}}]}),
        ("TransactWriteItems", {"TransactItems": [{"Put": {}}]}),
        ("TransactWriteItems", {"TransactItems": [{"Put": {"TableName": "a"}}], "transactItems": []}),
        ("TransactWriteItems", {"TransactItems": [{}]}),
        ("TransactWriteItems", {"TransactItems": {"Put": {}}}),
        ("BatchExecuteStatement", {"Statements": []}),
        ("BatchExecuteStatement", {"Statements": ["SELECT"]}),
    ],
)
def test_a_call_without_readable_items_is_refused(operation: str, body: dict[str, Any]) -> None:
    """A call whose items are missing, empty or of another kind is not taken for a harmless one."""
    with pytest.raises(IntentError):
        read_steps(operation, Members(body=body))


def test_items_too_long_to_be_read_are_refused() -> None:
    """Nobody is allowed what nobody could read."""
    with pytest.raises(IntentError, match="long"):
        read_steps("BatchGetItem", Members(is_whole=False))
