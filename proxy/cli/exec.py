"""`jobgate exec -- CMD`: a proxy for one command, and an account of what the command did."""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import uvloop
from rich.console import Console

from proxy.app.sidecar import LocalJob, Sidecar, start_sidecar
from proxy.cli.audit_table import Row, make_table
from proxy.cli.environment import job_environment
from proxy.cli.options import read_settings, settings_options
from proxy.config import Settings, shipped_rules
from proxy.model.authority import Authority
from proxy.model.identity import JobContext
from proxy.model.record import Kind
from proxy.policy.declaring import read_declaration
from proxy.policy.patterns import PatternError
from proxy.sources.trail import read_lines
from proxy.system import harden_process

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_FACTS = {field.name: field for field in fields(JobContext) if field.name != "claims"}


@click.command("exec", context_settings={"ignore_unknown_options": True})
@settings_options
@click.option(
    "--job",
    "facts",
    multiple=True,
    metavar="NAME=VALUE",
    help="What the job is taken to be, unverified: pipeline=web, branch=main, ...; repeatable.",
)
@click.option(
    "--intent",
    "declared",
    multiple=True,
    metavar="LINE",
    help="What the job declares that it does, as in rules; repeatable. Also JOBGATE_INTENT, lines parted by `;`.",
)
@click.option(
    "--report", type=click.Choice(["table", "json", "none"]), default="table", help="What to print at the end."
)
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    arguments: tuple[str, ...], facts: tuple[str, ...], declared: tuple[str, ...], report: str, **options: Any
) -> int:
    """Start a proxy, run one command in it, print what it did.

    For trying rules by hand. The job is who `--job` says it is, on your word: records say `verified: false`. With an
    `identity:` in the settings file that identity is used instead. Exit code: the command's own.
    """
    if options["listen"] is None:
        options["listen"] = "127.0.0.1:0"
    if not options["rules"] and not Path("rules").is_dir():
        options["rules"] = (str(shipped_rules()),)
    settings = read_settings(options)
    stated: dict[str, Any] = dict(_read_fact(fact) for fact in facts)
    job = LocalJob(JobContext(**stated), _read_declared(declared or (os.environ.get("JOBGATE_INTENT", ""),)))
    inherited = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="jobgate-") as folder:
        settings = settings.model_copy(update=_defaults(settings, Path(folder)))
        harden_process(os.environ)
        code, shown = uvloop.run(_run(settings, job, arguments, inherited))
        _print_report(report, shown)
    return code


def _read_declared(texts: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return what was declared, None for nothing. Raises BadParameter."""
    if not any(text.strip() for text in texts):
        return None
    try:
        return read_declaration("\n".join(texts))
    except PatternError as error:
        raise click.BadParameter(str(error), param_hint="--intent or JOBGATE_INTENT") from None


def _defaults(settings: Settings, folder: Path) -> dict[str, Any]:
    """Keep in a folder of its own what nobody, by option, environment or file, asked to keep elsewhere."""
    plain = Settings()
    update: dict[str, Any] = {}
    if settings.control == plain.control:
        update["control"] = str(folder / "control.sock")
    if settings.certs == plain.certs:
        update["certs"] = folder / "certs"
    if settings.audit.directory == plain.audit.directory:
        update["audit"] = settings.audit.model_copy(update={"directory": folder / "audit"})
    return update


def _read_fact(fact: str) -> tuple[str, str | int | bool]:
    name, separator, value = fact.partition("=")
    if not separator or name not in _FACTS:
        raise click.BadParameter(f"{fact!r}: write NAME=VALUE with NAME one of {', '.join(_FACTS)}", param_hint="--job")
    kind = str(_FACTS[name].type)
    if "int" in kind:
        if not value.isdigit():
            raise click.BadParameter(f"{fact!r}: {name} is a whole number", param_hint="--job")
        return name, int(value)
    if "bool" in kind:
        if value not in {"true", "false"}:
            raise click.BadParameter(f"{fact!r}: {name} is true or false", param_hint="--job")
        return name, value == "true"
    return name, value


async def _run(
    settings: Settings, job: LocalJob, arguments: tuple[str, ...], inherited: dict[str, str]
) -> tuple[int, list[dict[str, Any]]]:
    if settings.identity is not None and job.declared is not None:
        own = settings.identity.model_copy(update={"intents": job.declared})
        settings = settings.model_copy(update={"identity": own})
    sidecar = await start_sidecar(settings, os.environ, local_job=job if settings.identity is None else None)
    try:
        await _until_ready(sidecar)
        code = await _run_child(sidecar, arguments, inherited)
    finally:
        await sidecar.stop()
    return code, [json.loads(line) for line in read_lines(settings.audit.directory)]


async def _until_ready(sidecar: Sidecar) -> None:
    for _ in range(150):
        if not sidecar.troubles():
            return
        await asyncio.sleep(0.1)
    fault = sidecar.own.fault if sidecar.own is not None else ""
    raise click.ClickException(f"the proxy did not become ready: {', '.join(sidecar.troubles())} {fault}".rstrip())


async def _run_child(sidecar: Sidecar, arguments: tuple[str, ...], inherited: dict[str, str]) -> int:
    program = shutil.which(arguments[0], path=inherited.get("PATH"))
    if program is None:
        raise click.ClickException(f"{arguments[0]}: no such command")
    place = sidecar.place
    local = Authority("127.0.0.1", place.port) if place.host in {"0.0.0.0", "::"} else place
    environment = inherited | job_environment(f"http://{local}", sidecar.settings.certs.absolute())
    environment.pop("AWS_SESSION_TOKEN", None)  # it would not belong to the placeholder keys
    environment.pop("AWS_PROFILE", None)
    child = await asyncio.create_subprocess_exec(program, *arguments[1:], env=environment)
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, child.send_signal, number)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # the terminal sends it to the command as well
    code = await child.wait()
    return code if code >= 0 else 128 - code


def _rows(records: Iterable[dict[str, Any]]) -> list[Row]:
    rows: dict[str, Row] = {}
    for record in records:
        if record["kind"] == Kind.DECISION:
            rows[record["flow"]] = Row(record)
        elif record["kind"] == Kind.OUTCOME and record["flow"] in rows:
            rows[record["flow"]].outcome = record
    return list(rows.values())


def _print_report(report: str, records: list[dict[str, Any]]) -> None:
    """Say on stderr what the command did: its own output stays its own."""
    if report == "json":
        flows = [{"decision": row.record, "outcome": row.outcome} for row in _rows(records)]
        click.echo(json.dumps(flows, indent=2), err=True)
    if report != "table":
        return
    rows = _rows(records)
    console = Console(file=sys.stderr, width=None if sys.stderr.isatty() else 200)
    allowed = sum(row.record.get("effect") == "allow" for row in rows)
    console.print(f"\njobgate: {len(rows)} flows, {allowed} allowed, {len(rows) - allowed} denied", highlight=False)
    if rows:
        table = make_table()
        for row in rows:
            table.add_row(*row.cells())
        console.print(table)
