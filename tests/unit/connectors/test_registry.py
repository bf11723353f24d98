"""The one list of connectors, and the page that describes it."""

import re
import ssl
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from pydantic import BaseModel

from proxy.connectors.ecr import EcrRole
from proxy.connectors.kubernetes import EksToken, ServiceAccountToken
from proxy.connectors.oauth_calls import ClientAuth
from proxy.connectors.oci import Login
from proxy.connectors.parts import ConnectorParts, ScopeModel
from proxy.connectors.registry import (
    CONNECTORS,
    GROUP,
    add_installed,
    build_connectors,
    connector_scopes,
    known_connectors,
)
from proxy.connectors.secret_sources import AwsParameter, AwsSecret, SecretSource
from proxy.connectors.vault import VaultSecret
from proxy.model.errors import ConfigError
from proxy.outbound import Outbound
from proxy.policy.lint import lint
from proxy.policy.parse import parse_rules
from proxy.sources.yaml import load_yaml
from proxy.system import SystemClock

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "connectors.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(rules:\n.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
MODELS: tuple[type[BaseModel], ...] = (
    *connector_scopes().values(),
    SecretSource,
    AwsSecret,
    AwsParameter,
    ClientAuth,
    EcrRole,
    EksToken,
    Login,
    ServiceAccountToken,
    VaultSecret,
)


def test_each_connector_is_built_under_its_own_name() -> None:
    """Rules name connectors; no two have one name, and each has its schema."""
    built = build_connectors(ConnectorParts(caller=Outbound(ssl.create_default_context()), clock=SystemClock()))
    assert {name: type(connector) for name, connector in built.items()} == {kind.name: kind for kind in CONNECTORS}
    assert connector_scopes() == {kind.name: kind.Scope for kind in CONNECTORS}
    assert list(built) == [kind.name for kind in CONNECTORS]
    assert len(built) == 15


class Fit:
    """What a third party's connector has at least."""

    name = "fit"
    Scope = ScopeModel

    def plan(self) -> None: ...
    def mint(self) -> None: ...
    def apply(self) -> None: ...


class Unplanned(Fit):
    name = "unplanned"
    plan = None  # type: ignore[assignment]


class Scopeless(Fit):
    name = "scopeless"
    Scope = dict  # type: ignore[assignment]


class Taken(Fit):
    name = "aws"


class Loud(Fit):
    name = "LOUD"


def entry(name: str, what: str) -> EntryPoint:
    return EntryPoint(name=name, value=f"{__name__}:{what}", group=GROUP)


def test_installed_connectors_stand_beside_ours() -> None:
    """What an entry point names is there under its name."""
    ours = known_connectors()
    assert add_installed(ours, [entry("fit", "Fit")]) == {**ours, "fit": Fit}


@pytest.mark.parametrize(
    "name, what, said",
    [
        ("aws", "Taken", "a connector of that name is there already"),
        ("other", "Fit", "no class whose `name` is 'other'"),
        ("LOUD", "Loud", "no class whose `name` is 'LOUD'"),
        ("fit", "entry", "no class whose `name`"),
        ("scopeless", "Scopeless", "its `Scope` is no pydantic model"),
        ("unplanned", "Unplanned", "it has no plan"),
        ("fit", "Missing", "cannot be imported .AttributeError"),
    ],
)
def test_what_is_no_connector_keeps_jobgate_from_starting(name: str, what: str, said: str) -> None:
    """The message names the entry point and what is wrong with it."""
    with pytest.raises(ConfigError, match=said) as caught:
        add_installed(known_connectors(), [entry(name, what)])
    assert str(caught.value).startswith(f"connector {name} of an unknown package ({__name__}:{what}): ")


@pytest.mark.parametrize("number", range(12))
def test_every_example_of_the_page_loads(number: int) -> None:
    """With the real connectors' schemas, and without a finding."""
    assert len(BLOCKS) == 12
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
