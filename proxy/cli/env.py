"""`jobgate env`: what a job must export; with `--open` or `--close`, its session too. Secrets go by stdin or file."""

import os
import sys
from pathlib import Path

import click

from proxy.cli.environment import FORMATS, job_environment
from proxy.config import Settings, control_place, load_settings
from proxy.control.client import ControlClient
from proxy.engine.presented import is_trace
from proxy.model.errors import ConfigError
from proxy.model.grant import Secret

AGENT = "BUILDKITE_AGENT_ACCESS_TOKEN"
SESSION_ID = "JOBGATE_SESSION_ID"
SESSION_SECRET = "JOBGATE_SESSION_SECRET"  # noqa: S105 - a variable's name


@click.command("env")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file [JOBGATE_CONFIG, ./jobgate.yaml].")
@click.option("--control", metavar="SOCKET|HOST:PORT", help="Where the control API is [.jobgate/control.sock].")
@click.option("--certs", type=click.Path(), help="Where the job finds the CA certificate [certs/].")
@click.option("--open", "token_file", metavar="FILE", help="Open a session with the token in FILE; - reads stdin.")
@click.option("--also", multiple=True, metavar="FILE", help="A token for another audience, for connectors; repeatable.")
@click.option("--agent", is_flag=True, help=f"Hand {AGENT} over and export a placeholder for it; with --open.")
@click.option("--close", is_flag=True, help=f"Close the session named by {SESSION_ID} and {SESSION_SECRET}.")
@click.option("--format", "style", type=click.Choice(sorted(FORMATS)), default="sh", help="What to print [sh].")
def command(**options: object) -> None:
    """Print what a job must export.

    Without `--open`, for sidecar mode, where clients need no password. With it, a session is opened and its password
    stands in the printed proxy URL. Use it as: eval "$(buildkite-agent oidc request-token ... | jobgate env --open -)"
    """
    config, control, certs = options["config"], options["control"], options["certs"]
    settings = load_settings(
        config if isinstance(config, Path) else None, os.environ, {"control": control, "certs": certs}
    )
    client = ControlClient(control_place(settings.control))
    if options["close"]:
        _close(client)
        return
    variables = _open(client, settings, options) if options["token_file"] else _own(settings)
    click.echo(FORMATS[str(options["style"])](variables), nl=False)


def _open(client: ControlClient, settings: Settings, options: dict[str, object]) -> dict[str, str]:
    also = options["also"]
    others = tuple(_read_token(str(name)) for name in (also if isinstance(also, tuple) else ()))
    agent = os.environ.get(AGENT) if options["agent"] else None
    if options["agent"] and not agent:
        raise ConfigError(f"{AGENT} is not set: --agent is for a Buildkite job, before its command starts")
    token = _read_token(str(options["token_file"]))
    trace = os.environ.get("TRACEPARENT", "")
    opened = client.open_session(
        token,
        others,
        agent_token=None if agent is None else Secret(agent),
        trace=trace if is_trace(trace) else None,
    )
    certs = settings.certs.absolute()
    variables = job_environment(str(opened["proxy_url"]), certs, is_mediated=agent is not None)
    return {**variables, SESSION_ID: str(opened["session"]), SESSION_SECRET: str(opened["secret"])}


def _own(settings: Settings) -> dict[str, str]:
    if settings.listen.port == 0:
        raise ConfigError("listen: the port is picked at start, so it cannot be printed; choose one")
    return job_environment(f"http://{settings.listen}", settings.certs.absolute())


def _close(client: ControlClient) -> None:
    name, secret = os.environ.get(SESSION_ID), os.environ.get(SESSION_SECRET)
    if not name or not secret:
        raise ConfigError(f"{SESSION_ID} and {SESSION_SECRET} are not set: no session was opened here")
    client.close_session(name, Secret(secret))


def _read_token(name: str) -> str:
    try:
        text = sys.stdin.read(65_536) if name == "-" else Path(name).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{name} cannot be read as a token") from None
    return text.strip()
