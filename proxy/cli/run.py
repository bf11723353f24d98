"""`jobgate run`: start the proxy and serve until SIGTERM or SIGINT; SIGHUP reloads the rules and the roots."""

import asyncio
import os
import signal
import sys
from typing import Any

import click
import uvloop

from proxy.app.sidecar import start_sidecar
from proxy.cli.options import read_settings, settings_options
from proxy.config import Settings
from proxy.system import harden_process


@click.command("run")
@settings_options
@click.option("--quiet", is_flag=True, help="Say nothing unless something is wrong.")
def command(quiet: bool, **options: Any) -> None:  # noqa: FBT001 - click's signature
    """Start the proxy and serve until told to stop.

    SIGTERM and SIGINT drain: no new connections, exchanges in flight finish, every record is closed.
    """
    settings = read_settings(options)
    harden_process(os.environ)
    uvloop.run(serve(settings, quiet=quiet))


async def serve(settings: Settings, *, quiet: bool) -> None:
    """Run one sidecar until a signal arrives, then drain it."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    sidecar = await start_sidecar(settings, os.environ)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, sidecar.request_reload)
    try:
        if not quiet:
            _say(sidecar.describe())
        await stop.wait()
    finally:
        # A second signal while draining ends at once: the operator has waited long enough.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        await sidecar.stop()


def _say(lines: list[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr, flush=True)
