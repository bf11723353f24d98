"""`jobgate health`: is a running proxy ready? The image's health check, and a script's way to wait."""

import json
import os
import time
from pathlib import Path

import click

from proxy.config import control_place, load_settings
from proxy.control.client import ControlClient, ControlError

_POLL = 0.2


@click.command("health")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file [JOBGATE_CONFIG, ./jobgate.yaml].")
@click.option("--control", metavar="SOCKET|HOST:PORT", help="Where the control API is [.jobgate/control.sock].")
@click.option("--wait", type=float, default=0.0, metavar="SECONDS", help="Keep asking for at most this long.")
@click.option("--json", "as_json", is_flag=True, help="Print what /readyz says.")
def command(config: Path | None, control: str | None, wait: float, *, as_json: bool) -> int:
    """Ask a running proxy whether it is ready. Exit code 0 when it is, 1 when it is not, 3 when it cannot be asked."""
    settings = load_settings(config, os.environ, {"control": control})
    client = ControlClient(control_place(settings.control), seconds=5.0)
    deadline = time.monotonic() + wait
    while True:
        try:
            answer = client.call("GET", "/readyz")
        except ControlError:
            if time.monotonic() >= deadline:
                raise
        else:
            if answer.status == 200 or time.monotonic() >= deadline:
                break
        time.sleep(_POLL)
    state = answer.json()
    if as_json:
        click.echo(json.dumps(state))
    else:
        reasons = [*state.get("reasons", []), *(f"warning: {each}" for each in state.get("warnings", []))]
        click.echo(": ".join([str(state.get("status", "unready")), *([", ".join(reasons)] if reasons else [])]))
    return 0 if answer.status == 200 else 1
