"""The one list of connectors, and the page that describes it."""

import re
import ssl
from pathlib import Path

import pytest
from pydantic import BaseModel

from proxy.connectors.parts import ConnectorParts
from proxy.connectors.registry import CONNECTORS, build_connectors, connector_scopes
from proxy.connectors.secret_sources import AwsParameter, AwsSecret, SecretSource
from proxy.connectors.token_exchange import ClientAuth
from proxy.outbound import Outbound
from proxy.policy.lint import lint
from proxy.policy.parse import parse_rules
from proxy.sources.yaml import load_yaml
from proxy.system import SystemClock

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "connectors.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
MODELS: tuple[type[BaseModel], ...] = (*connector_scopes().values(), SecretSource, AwsSecret, AwsParameter, ClientAuth)


def test_each_connector_is_built_under_its_own_name() -> None:
    """Rules name connectors; no two have one name, and each has its schema."""
    built = build_connectors(ConnectorParts(caller=Outbound(ssl.create_default_context()), clock=SystemClock()))
    assert {name: type(connector) for name, connector in built.items()} == {kind.name: kind for kind in CONNECTORS}
    assert connector_scopes() == {kind.name: kind.Scope for kind in CONNECTORS}
    assert list(built) == ["aws", "github-app", "token-exchange", "header"]


@pytest.mark.parametrize("number", range(4))
def test_every_example_of_the_page_loads(number: int) -> None:
    """With the real connectors' schemas, and without a finding."""
    assert len(BLOCKS) == 4
    parsed = parse_rules(load_yaml(BLOCKS[number], "connectors.md").value, "connectors.md", connector_scopes())
    assert parsed.faults == ()
    assert [finding for finding in lint(parsed.rules) if finding.severity == "error"] == []


@pytest.mark.parametrize(
    "field", sorted({field.alias or name for model in MODELS for name, field in model.model_fields.items()})
)
def test_every_field_is_on_the_page(field: str) -> None:
    """What a block may hold is described."""
    assert f"`{field}`" in PAGE


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_has_a_description(model: type[BaseModel]) -> None:
    """Editors show it while a rule is written."""
    assert [name for name, field in model.model_fields.items() if not field.description] == []
