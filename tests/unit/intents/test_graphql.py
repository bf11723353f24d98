"""The operation that a server would run is the one that is read, or nothing is."""

import json

import pytest

from proxy.intents import graphql
from proxy.intents.graphql_text import parse_document
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, RequestView, Resource

JSON = ("content-type", "application/json")


def view(body: object, *headers: tuple[str, str], method: str = "POST", query: str | None = None) -> RequestView:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return RequestView(
        method=method,
        scheme="https",
        authority=Authority("api.example.com", 443),
        path="/graphql",
        query=query,
        headers=headers or (JSON,),
        body_length=len(content),
        body=BodyPrefix(data=content, is_whole=True),
    )


def read(body: object) -> graphql.Operation:
    operation = graphql.read_request(view(body))
    assert isinstance(operation, graphql.Operation)
    return operation


@pytest.mark.parametrize(
    "text, kind, names",
    [
        ("{ a b a }", "query", ("a", "b")),
        ("mutation { safe: mergePullRequest(input: {}) { x } }", "mutation", ("mergePullRequest",)),
        ("mutation { ...F } fragment F on Mutation { deleteRef ...G } fragment G on M { addComment ...F }",
         "mutation", ("deleteRef", "addComment")),
        ("mutation { ... on Mutation { ... on Mutation { deleteRef } } addStar }", "mutation", ("deleteRef",
         "addStar")),
        ("mutation { addStar @skip(if: true) ...F @include(if: false) } fragment F on M { deleteRef }",
         "mutation", ("addStar", "deleteRef")),
        ("{ __schema { types { name } } }", "query", ("__schema",)),
        ("{ a ...Unused } fragment Unused on Q { b } fragment Never on Mutation { c }", "query", ("a", "b")),
    ],
)  # fmt: skip
def test_the_root_is_read_through_fragments_and_aliases(text: str, kind: str, names: tuple[str, ...]) -> None:
    """An alias, a fragment or a condition hides no field."""
    operation = read({"query": text})
    assert (operation.kind, operation.names) == (kind, names)


def test_the_named_operation_is_chosen() -> None:
    """Of several operations the one that is named runs, and only that one is told."""
    text = "query Harmless { viewer } mutation Harmful { deleteRef }"
    assert read({"query": text, "operationName": "Harmful"}).names == ("deleteRef",)
    assert read({"query": text, "operationName": "Harmless"}).name == "Harmless"
    assert read({"query": "query A { b }", "operationName": "", "variables": None, "extensions": None}).name == "A"


def test_arguments_are_filled_from_variables() -> None:
    """Values are what the server will see: given, default, or null."""
    text = """mutation ($a: A!, $b: B = {deep: ["x", 1]}, $c: C, $d: D = "default") {
        m(input: {a: $a, list: [$a, $b], c: $c, d: $d, e: 1}) { x }
    }"""
    operation = read({"query": text, "variables": {"a": {"k": ["v"]}, "d": "given"}})
    given = {"k": ["v"]}
    assert operation.fields == (
        graphql.Field(
            name="m",
            arguments={
                "input": {"a": given, "list": [given, {"deep": ["x", 1]}], "c": None, "d": "given", "e": 1},
            },
        ),
    )


def test_a_large_variable_is_not_copied() -> None:
    """A variable that stands in many places costs no more than one that stands in one."""
    text = "query ($v: V) { " + " ".join(f"a{n}(v: [{' $v' * 100}])" for n in range(100)) + " }"
    variable = {str(n): n for n in range(1000)}
    fields = graphql.choose_operation(parse_document(text), None, {"v": variable}).fields
    assert all(value is variable for field in fields for value in field.arguments["v"])


def test_the_body_is_asked_for() -> None:
    """The head of a GraphQL request says nothing."""
    asked = view({"query": "{ a }"})
    unread = RequestView(
        method="POST",
        scheme="https",
        authority=asked.authority,
        path="/graphql",
        query=None,
        headers=(JSON,),
        body_length=None,
    )
    assert graphql.read_request(unread) == BodyWanted(limit=graphql.BODY_LIMIT)


def test_a_client_may_name_its_library() -> None:
    """Apollo's clients tell their version; it chooses nothing."""
    extensions = {"clientLibrary": {"name": "@apollo/client", "version": "4.0.0"}}
    assert read({"query": "{ a }", "extensions": extensions}).names == ("a",)


@pytest.mark.parametrize(
    "body",
    [
        [],
        [{"query": "{ a }"}],
        {},
        {"query": None},
        {"query": ["{ a }"]},
        {"query": ""},
        {"query": "{ a"},
        {"query": "query A { a } mutation B { b }"},
        {"query": "query A { a } mutation B { b }", "operationName": ""},
        {"query": "query A { a } mutation B { b }", "operationName": "C"},
        {"query": "query A { a }", "operationName": "a"},
        {"query": "{ a }", "operationName": "A"},
        {"query": "query A { a } query A { b }", "operationName": "A"},
        {"query": "{ a }", "operationName": 1},
        {"query": "{ a }", "variables": "{}"},
        {"query": "{ a }", "variables": []},
        {"query": "{ a }", "_json": [{"query": "mutation { b }"}]},
        {"query": "{ a }", "Query": "mutation { b }"},
        {"query": "{ a }", "operation_name": "B"},
        {"query": "{ a }", "operationId": "client/1"},
        {"id": "0123"},
        {"documentId": "sha256:0123"},
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0"}}},
        {"query": "{ a }", "extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0"}}},
        {"query": "{ a }", "extensions": ["persistedQuery"]},
        {"query": "{ ...F }"},
        {"query": "{ a ...F } fragment F on Q { ...G }"},
        {"query": "{ ...F } fragment F on Q { ...F }"},
        {"query": "{" + " a" * 201 + "}"},
        b'{"query": "{ a }", "query": "mutation { b }"}',
        b"query=mutation",
        b"",
    ],
)
def test_what_could_run_something_else_is_refused(body: object) -> None:
    """Lists, persisted documents, unclear choices and doubled members leave it open what runs."""
    with pytest.raises(IntentError):
        graphql.read_request(view(body))


@pytest.mark.parametrize(
    "asked",
    [
        view({"query": "{ a }"}, method="GET"),
        view({"query": "{ a }"}, method="PUT"),
        view({"query": "{ a }"}, query="query=mutation+{+b+}"),
        view({"query": "{ a }"}, query="operationName=B"),
        view(b"{ a }", ("content-type", "application/graphql")),
        view({"query": "{ a }"}, ("content-type", "text/plain")),
        view({"query": "{ a }"}, ("accept", "*/*")),
        view(b"--x", ("content-type", "multipart/form-data; boundary=x")),
    ],
)
def test_another_way_to_ask_is_refused(asked: RequestView) -> None:
    """Only a POST of JSON has one reading."""
    with pytest.raises(IntentError):
        graphql.read_request(asked)


@pytest.mark.parametrize(
    "text, actions, facts",
    [
        ("{ a b }", [("graphql.query", EffectClass.READ)], {"fields": "a,b"}),
        ("query Q { a }", [("graphql.query", EffectClass.READ)], {"fields": "a", "operation": "Q"}),
        ("subscription { a }", [("graphql.subscription", EffectClass.UNKNOWN)], {"fields": "a"}),
        ("mutation { x: m n y: m }", [("graphql.m", EffectClass.WRITE), ("graphql.n", EffectClass.ADMIN)],
         {"fields": "m,n"}),
    ],
)  # fmt: skip
def test_each_mutation_is_an_intent(text: str, actions: list[tuple[str, EffectClass]], facts: dict[str, str]) -> None:
    """A query reads; of mutations each is told by its real name, once; a subscription's effect is not known."""
    resource = Resource(type="t", id="i")

    found = graphql.describe(
        read({"query": text}), "p", resource, lambda name: EffectClass.WRITE if name == "m" else EffectClass.ADMIN
    )

    assert [(intent.action, intent.effect) for intent in found] == actions
    assert {(intent.protocol, intent.resource.id) for intent in found} == {("p", "i")}
    assert all(intent.facts == facts for intent in found)
