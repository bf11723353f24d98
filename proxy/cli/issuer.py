"""`jobgate issuer`: the public documents of jobgate as an issuer, to be put where clouds can fetch them."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import click

from proxy.app.base import own_issuer
from proxy.config import connect_map, load_settings
from proxy.connectors.parts import ConnectorParts
from proxy.gateway.tls import upstream_context
from proxy.model.errors import ConfigError
from proxy.outbound import Outbound
from proxy.system import SystemClock


@click.command("issuer")
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Write them below DIR.")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file [JOBGATE_CONFIG, ./jobgate.yaml].")
def command(**options: Any) -> None:
    """Print, or write, what must stand at the issuer's URL: its discovery document and its keys.

    They hold no secret. Publish them before a key signs: clouds keep old ones for hours.
    """
    settings = load_settings(options["config"], os.environ, {})
    caller = Outbound(upstream_context(settings.upstream.trust), connect_map(settings))
    issuer = own_issuer(settings, ConnectorParts(caller=caller, clock=SystemClock()))
    if issuer is None:
        raise ConfigError("issuer: none is set; see docs/issuer.md")
    documents = asyncio.run(issuer.documents())
    if options["to"] is None:
        click.echo(json.dumps(documents, indent=2))
        return
    for path, document in documents.items():
        target = options["to"] / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.new")
        fresh.write_text(json.dumps(document, indent=2) + "\n")
        fresh.replace(target)
        click.echo(target)
