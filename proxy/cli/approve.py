"""`jobgate approve`: a person's answer to a request that waits for one; without an id, list what waits."""

import getpass
import json
import os
from pathlib import Path
from typing import Any

import click

from proxy.cli.kill import read_operator_token
from proxy.config import control_place, load_settings
from proxy.control.client import ControlClient


@click.command("approve")
@click.argument("question", required=False)
@click.option("--deny", is_flag=True, help="Say no.")
@click.option("--why", metavar="TEXT", help="Why; it stands in the record.")
@click.option("--by", metavar="NAME", help="Who says so [the user].")
@click.option("--token", type=click.Path(path_type=Path), metavar="FILE", help="The operator's token.")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file [JOBGATE_CONFIG, ./jobgate.yaml].")
@click.option("--control", metavar="SOCKET|HOST:PORT", help="Where the control API is [.jobgate/control.sock].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(**options: Any) -> None:
    """Say yes, or no, to the request that asks by QUESTION. Without one, list what waits.

    A yes is good once, for the very request that was asked about. It needs the operator's token.
    """
    settings = load_settings(options["config"], os.environ, {"control": options["control"]})
    client = ControlClient(control_place(settings.control))
    secret = read_operator_token(options["token"] or settings.session.operator_token)
    if options["question"] is None:
        _show(client.list_approvals(secret), as_json=options["as_json"])
        return
    if not options["why"]:
        raise click.UsageError("say why, with --why TEXT")
    answer = {
        "decision": "no" if options["deny"] else "yes",
        "by": options["by"] or getpass.getuser(),
        "why": options["why"],
    }
    client.approve(options["question"], answer, secret)


def _show(questions: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(questions))
        return
    for each in questions:
        job = each.get("job") or {}
        who = "/".join(str(job[name]) for name in ("organization", "pipeline", "step", "build_number") if name in job)
        click.echo(
            f"{each['id']}  {each['method']} https://{each['host']}{each['path']}  {who}  since {each['asked_at']}"
        )
        if each.get("ask"):
            click.echo(f"    {each['ask']}")
