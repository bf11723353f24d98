"""`jobgate kill`: stop something at once; without an aim, list what is stopped."""

import json
import os
from pathlib import Path
from typing import Any

import click

from proxy.config import control_place, load_settings
from proxy.control.client import ControlClient
from proxy.model.errors import ConfigError
from proxy.model.grant import Secret
from proxy.model.kill import KillScope


def _aims(function: Any) -> Any:
    for scope in reversed(KillScope):
        function = click.option(f"--{scope.value}", metavar="NAME", help=f"Stop this {scope.value}.")(function)
    return function


@click.command("kill")
@_aims
@click.option("--why", metavar="TEXT", help="Why; it stands in the record and in the list.")
@click.option("--lift", metavar="ID", help="Let it go on.")
@click.option("--token", type=click.Path(path_type=Path), metavar="FILE", help="The operator's token.")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file [JOBGATE_CONFIG, ./jobgate.yaml].")
@click.option("--control", metavar="SOCKET|HOST:PORT", help="Where the control API is [.jobgate/control.sock].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(**options: Any) -> None:
    """Stop a job, step, pipeline, organization, rule, connector or host.

    It takes effect on the next request and on what is under way, and outlives a restart. Without an aim, list what is
    stopped. Letting something go on needs the operator's token.
    """
    settings = load_settings(options["config"], os.environ, {"control": options["control"]})
    client = ControlClient(control_place(settings.control))
    secret = read_operator_token(options["token"] or settings.session.operator_token)
    aims = [(scope.value, options[scope.value]) for scope in KillScope if options[scope.value] is not None]
    if len(aims) > 1 or (aims and options["lift"]):
        raise click.UsageError("aim at one thing at a time")
    if options["lift"]:
        client.lift(options["lift"], secret)
        return
    if not aims:
        _show(client.list_kills(secret), as_json=options["as_json"])
        return
    if not options["why"]:
        raise click.UsageError("say why, with --why TEXT")
    ((scope, value),) = aims
    _show([client.kill(scope, value, options["why"], secret)], as_json=options["as_json"])


def _show(kills: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(kills))
        return
    for kill in kills:
        click.echo(f"{kill['id']}  {kill['scope']} {kill['value']}  since {kill['at']}: {kill['why']}")
    if not kills:
        click.echo("nothing is stopped")


def read_operator_token(path: Path | None) -> Secret | None:
    """Return the operator's token, None where no file is named. Raises ConfigError."""
    if path is None:
        return None
    try:
        return Secret(path.read_text(encoding="ascii").strip())
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{path} cannot be read as a token") from None
