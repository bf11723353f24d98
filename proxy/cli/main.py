"""`jobgate`: one file per command, imported only when it is called, so that `--help` and completion stay quick.

Exit codes: 0 done, 1 a finding or a denial, 2 wrong usage or settings, 3 something of this machine is missing.
"""

import importlib
import os
import sys
from typing import NoReturn

import click

from proxy import __version__
from proxy.model.errors import ConfigError, JobgateError
from proxy.system import is_compiled

# command -> what it is for; the module is proxy.cli.<command>, the click command in it carries the same name.
COMMANDS = {
    "run": "Start the proxy and serve until told to stop.",
    "exec": "Start a proxy, run one command in it, print what it did.",
    "env": "Print what a job must export; open or close its session.",
    "demo": "Show everything at work on this machine, without any account.",
    "check": "Check rule files: errors, and the obvious mistakes.",
    "explain": "Say how one request would be decided, and why.",
    "replay": "Decide recorded flows again by other rules: what would change.",
    "simulate": "Say where a pipeline could go under the rules, before it runs.",
    "suggest": "Say what a trail suggests: missing permissions, unused grants, wasteful routes.",
    "mcp": "Let an assistant ask about a trail and rules; read-only.",
    "kill": "Stop a job, pipeline, rule, connector or host at once; list and lift what is stopped.",
    "issuer": "Print or write what clouds must know of jobgate as an issuer.",
    "approve": "Say yes or no to a request that waits for a person; list what waits.",
    "audit": "Verify and read the audit trail.",
    "health": "Ask a running proxy whether it is ready.",
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and imports each on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the commands in reading order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import and return one command, None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"proxy.cli.{cmd_name}")
        command = getattr(module, "command", None)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup)
@click.version_option(__version__ + (" (compiled)" if is_compiled() else ""), prog_name="jobgate")
def entry() -> None:
    """jobgate: an identity-aware forwarding proxy for build jobs."""


def main() -> NoReturn:
    """Run a command; errors of ours become one clear message, never a traceback with values in it."""
    try:
        code = entry.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ConfigError as error:
        click.echo(f"jobgate: {error}", err=True)
        sys.exit(2)
    except JobgateError as error:
        click.echo(f"jobgate: {error}", err=True)
        sys.exit(3)
    except BrokenPipeError:
        # The reader left (`| head`); its wish, not our failure. Point stdout away so that Python's own flush is quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)
