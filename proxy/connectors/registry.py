"""The one list of connectors. Adding one: a new file, its tests, one line here."""

from typing import Any

from pydantic import BaseModel

from proxy.connectors.aws import AwsConnector
from proxy.connectors.github_app import GitHubAppConnector
from proxy.connectors.header import HeaderConnector
from proxy.connectors.parts import Connector, ConnectorParts
from proxy.connectors.token_exchange import TokenExchangeConnector

CONNECTORS: tuple[type[Any], ...] = (AwsConnector, GitHubAppConnector, TokenExchangeConnector, HeaderConnector)


def build_connectors(parts: ConnectorParts) -> dict[str, Connector]:
    """Return one connector of each kind, by the name rules use."""
    return {kind.name: kind(parts) for kind in CONNECTORS}


def connector_scopes() -> dict[str, type[BaseModel]]:
    """Return the schema of every connector's `credential:` block, by the connector's name."""
    return {kind.name: kind.Scope for kind in CONNECTORS}
