"""The one list of connectors. Adding one of ours: a new file, its tests, one line here.

Others' are found through the entry point `jobgate.connectors`; docs/example-connector is one, whole.
"""

import re
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from pydantic import BaseModel

from proxy.connectors.aws import AwsConnector
from proxy.connectors.azure import AzureConnector
from proxy.connectors.buildkite import BuildkiteConnector
from proxy.connectors.gcp import GcpConnector
from proxy.connectors.github_app import GitHubAppConnector
from proxy.connectors.header import HeaderConnector
from proxy.connectors.kubernetes import KubernetesConnector
from proxy.connectors.oauth_client import OAuthClientConnector
from proxy.connectors.oci import OciConnector
from proxy.connectors.parts import Connector, ConnectorParts
from proxy.connectors.publishing import CratesConnector, NpmConnector, PypiConnector, RubyGemsConnector
from proxy.connectors.token_exchange import TokenExchangeConnector
from proxy.connectors.vault import VaultConnector
from proxy.model.errors import ConfigError

CONNECTORS: tuple[type[Any], ...] = (
    AwsConnector,
    AzureConnector,
    BuildkiteConnector,
    CratesConnector,
    GcpConnector,
    GitHubAppConnector,
    KubernetesConnector,
    NpmConnector,
    OAuthClientConnector,
    OciConnector,
    PypiConnector,
    RubyGemsConnector,
    TokenExchangeConnector,
    VaultConnector,
    HeaderConnector,
)
GROUP: Final = "jobgate.connectors"
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")
_MEMBERS: Final = ("plan", "mint", "apply")


def build_connectors(parts: ConnectorParts) -> dict[str, Connector]:
    """Return one connector of each kind, by the name rules use. Raises ConfigError where an installed one is none."""
    return {name: kind(parts) for name, kind in known_connectors().items()}


def connector_scopes() -> dict[str, type[BaseModel]]:
    """Return the schema of every connector's `credential:` block, by the connector's name. Raises ConfigError."""
    return {name: kind.Scope for name, kind in known_connectors().items()}


@cache
def known_connectors() -> dict[str, type[Any]]:
    """Return our connectors and those that are installed, by name. Raises ConfigError."""
    return add_installed({kind.name: kind for kind in CONNECTORS}, sorted(entry_points(group=GROUP)))


def add_installed(known: dict[str, type[Any]], entries: list[EntryPoint]) -> dict[str, type[Any]]:
    """Return the connectors with those that `entries` name. Raises ConfigError that names package and fault."""
    found = dict(known)
    for entry in entries:
        kind = _load(entry)
        if kind.name in found:
            raise ConfigError(f"{_origin(entry)}: a connector of that name is there already; uninstall one of them")
        found[kind.name] = kind
    return found


def _load(entry: EntryPoint) -> type[Any]:
    try:
        kind = entry.load()
    except Exception as error:  # noqa: BLE001 - somebody else's module: whatever it raises, it is no connector
        raise ConfigError(f"{_origin(entry)}: it cannot be imported ({type(error).__name__}: {error})") from None
    name, scope = getattr(kind, "name", None), getattr(kind, "Scope", None)
    if not isinstance(kind, type) or not isinstance(name, str) or _NAME.fullmatch(name) is None or name != entry.name:
        raise ConfigError(f"{_origin(entry)}: it is no class whose `name` is {entry.name!r}")
    if not isinstance(scope, type) or not issubclass(scope, BaseModel):
        raise ConfigError(f"{_origin(entry)}: its `Scope` is no pydantic model")
    missing = [member for member in _MEMBERS if not callable(getattr(kind, member, None))]
    if missing:
        raise ConfigError(f"{_origin(entry)}: it has no {', '.join(missing)}; see docs/example-connector")
    return kind


def _origin(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist is not None else "an unknown package"
    return f"connector {entry.name} of {package} ({entry.value})"
