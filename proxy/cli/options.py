"""Options that several commands share, and the settings they add up to."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from proxy.config import Settings, load_settings

_SETTINGS = (
    click.option("--config", type=click.Path(path_type=Path), help="Settings file [JOBGATE_CONFIG, ./jobgate.yaml]."),
    click.option("--listen", metavar="HOST:PORT", help="Where jobs reach the proxy [127.0.0.1:8080]."),
    click.option("--control", metavar="SOCKET|HOST:PORT", help="Where sessions are opened [.jobgate/control.sock]."),
    click.option("--rules", multiple=True, type=click.Path(), help="Rule file or folder; may be repeated [rules/]."),
    click.option(
        "--mode",
        type=click.Choice(["enforce", "observe"]),
        help="`observe`: what no rule allows is let through without a credential, and marked on record [enforce].",
    ),
    click.option("--certs", type=click.Path(), help="Where the CA certificate is written [certs/]."),
    click.option("--audit", type=click.Path(), help="Where the audit trail is written [audit/]."),
    click.option(
        "--allow-address",
        multiple=True,
        metavar="CIDR",
        help="A private range that upstreams may be in; metadata addresses never.",
    ),
)


def settings_options[F: Callable[..., Any]](function: F) -> F:
    """Add the options every command that starts a proxy takes."""
    for option in reversed(_SETTINGS):
        function = option(function)
    return function


def read_settings(options: dict[str, Any]) -> Settings:
    """Turn parsed options, the environment and the settings file into Settings. Raises ConfigError."""
    arguments = {
        "listen": options["listen"],
        "control": options["control"],
        "rules": list(options["rules"]) or None,
        "mode": options["mode"],
        "certs": options["certs"],
        "audit.directory": options["audit"],
        "upstream.allow_addresses": list(options["allow_address"]) or None,
    }
    return load_settings(options["config"], os.environ, arguments)
