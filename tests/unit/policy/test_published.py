import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from proxy.policy.parse import parse_rules
from proxy.policy.published import rule_schema
from proxy.policy.schema import JobText, RuleText
from tests.fakes.policy import SCOPES, a_rule

SCHEMA = rule_schema(SCOPES)
VALIDATOR = Draft202012Validator(SCHEMA)


def test_the_schema_is_a_schema() -> None:
    """What is published is valid JSON Schema 2020-12 and plain JSON."""
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


def test_every_key_has_hover_text() -> None:
    """Editors can say what each key of a rule means, and show an example of most."""
    for model in (RuleText, JobText):
        for name, entry in SCHEMA["$defs"][model.__name__]["properties"].items():
            assert entry.get("description"), name


def test_null_is_never_a_value() -> None:
    """A key is given a value or left out, in the schema as in the loader."""
    assert '"null"' not in json.dumps(SCHEMA)


ODD: list[Any] = [None, True, 1, 1.5, "", "x", [], ["x"], [None], {}, {"x": "y"}, "main", "any", "GET", "/a", "deny"]
VALUES = st.sampled_from(
    [*ODD, ["GET", "PUT"], {"branch": "main"}, {"branch": []}, {"build_number": 3}, {"protected": True}]
)
PLACES = st.sampled_from(["x.example", 5, [], ["x.example"]])
DOCUMENTS = st.fixed_dictionaries(
    {"id": st.sampled_from(["a", "A", 1, "a b"]), "why": st.sampled_from(["because", "", 3]), "to": PLACES},
    optional={name: VALUES for name in [*RuleText.model_fields, "unknown"] if name not in {"id", "why", "to"}},
)


@settings(max_examples=500, deadline=None)
@given(rule=DOCUMENTS)
def test_the_schema_refuses_nothing_that_loads(rule: dict[str, Any]) -> None:
    """Whatever the loader accepts is valid for an editor too."""
    if not parse_rules({"rules": [rule]}, "x.yaml", SCOPES).faults:
        assert list(VALIDATOR.iter_errors({"rules": [rule]})) == []


SHAPES: list[dict[str, Any]] = [
    a_rule(id=None),
    a_rule(why=None),
    a_rule(to=None),
    a_rule(to=[]),
    a_rule(id="A"),
    a_rule(unknown=1),
    a_rule(intent="x"),
    a_rule(effect="perhaps"),
    a_rule(job={"nope": "x"}),
    a_rule(job={"branch": 1}),
    a_rule(job={"branch": []}),
    a_rule(job={"claims": {}}),
    a_rule(job={"claims": {"x": [None]}}),
    a_rule(method="get"),
    a_rule(method=["GET", "NOPE"]),
    a_rule(path="a"),
    a_rule(path="/a?b"),
    a_rule(to="a/b"),
    a_rule(when=""),
    a_rule(inspect="no"),
    a_rule(credential={}),
    a_rule(credential={"nope": {}}),
    a_rule(credential={"aws": {}}),
    a_rule(credential={"aws": {"role": "r", "x": 1}}),
    a_rule(credential={"aws": {"role": "r", "duration": "soon"}}),
    a_rule(credential={"aws": {"role": "r"}, "header": {"file": "f"}}),
    a_rule(tags={"a": ""}),
    a_rule(tags={"a": 1}),
]


@pytest.mark.parametrize("rule", SHAPES, ids=range(len(SHAPES)))
def test_the_schema_refuses_what_is_wrong_in_shape(rule: dict[str, Any]) -> None:
    """A mistake of shape is underlined while it is typed, not only when it is checked."""
    assert list(VALIDATOR.iter_errors({"rules": [rule]})) != []
    assert parse_rules({"rules": [rule]}, "x.yaml", SCOPES).faults != ()


def test_a_whole_rule_is_valid_for_both() -> None:
    """A rule that uses every key is accepted by the editor and by the loader."""
    rule = a_rule(
        effect="allow",
        job={"branch": ["main", "release/*"], "build_number": 3, "protected": True, "claims": {"a": ["x", 1, True]}},
        method=["GET", "PUT"],
        path="/a/**",
        when="job.build_number > 0",
        inspect=True,
        credential={"aws": {"role": "r", "actions": ["s3:GetObject"], "duration": "15m"}},
        tags={"retention": "400d"},
    )
    assert list(VALIDATOR.iter_errors({"rules": [rule]})) == []
    assert parse_rules({"rules": [rule]}, "x.yaml", SCOPES).faults == ()
