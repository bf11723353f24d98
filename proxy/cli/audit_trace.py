"""`jobgate audit trace`: from a commit, a build, a job or an artifact to what it leads to, and back; and a statement.

Exit codes: 0 found, 1 nothing found or a statement that does not hold, 2 wrong usage, 3 the trail cannot be read.
"""

import json
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from proxy.audit.checkpoint import Signer, read_verifier
from proxy.cli.audit_table import plain
from proxy.cli.places import PLACE
from proxy.cli.progress import show_progress
from proxy.cli.reading import IDENTITY, read_records
from proxy.model.errors import AuditError, ConfigError
from proxy.model.record import Kind
from proxy.reports.artifacts import Way
from proxy.reports.statement import make_statement, open_envelope, seal
from proxy.reports.trace_drawing import diagram, draw
from proxy.reports.tracing import Trace, TracedJob, read_target, trace
from proxy.sinks.keys import make_signer
from proxy.sources.trail import find_segments

_FILE = click.Path(path_type=Path, dir_okay=False)
_THERE = click.Path(path_type=Path, dir_okay=False, exists=True)
_MOST = 20


@click.command("trace")
@click.argument("place", type=PLACE, required=False)
@click.argument("target", required=False)
@click.option("--depth", type=click.IntRange(0, 10), default=1, show_default=True, help="Steps from job to job.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--mermaid", is_flag=True, help="Print a Mermaid flowchart.")
@click.option("--svg", type=_FILE, help="Draw it into a new file.")
@click.option("--statement", type=_FILE, help="Write what was published as a signed in-toto statement, to a new file.")
@click.option("--sign-key", type=_THERE, help="An Ed25519 key in PEM, for --statement; its owner alone may read it.")
@click.option("--check", type=_THERE, help="Check a statement with --key instead.")
@click.option("--key", type=_THERE, help="The public key for --check: a .pub file of ours.")
@IDENTITY
@click.pass_context
def command(ctx: click.Context, /, place: Path | None, target: str | None, **options: Any) -> None:
    """Follow TARGET in the trail at PLACE: a commit, sha256:DIGEST, pipeline#build, or an id (job, flow, build)."""
    if options["check"] is not None:
        _check(ctx, options["check"], options["key"])
        return
    if place is None or not target:
        raise click.UsageError("name a trail and what to follow in it")
    _check_options(options)
    try:
        found, origin = _trace(place, target, options["depth"], options["identities"])
        if options["statement"] is not None:
            _write_statement(found, origin, options["statement"], options["sign_key"])
    except (AuditError, ConfigError) as error:
        click.echo(str(error), err=True)
        ctx.exit(3)
    _show(found, options)
    if found.sealed:
        click.echo(f"{found.sealed} records are sealed: what they tell is missing here; give --identity", err=True)
    ctx.exit(0 if found.jobs else 1)


def _check_options(options: dict[str, Any]) -> None:
    if (options["statement"] is None) != (options["sign_key"] is None):
        raise click.UsageError("--statement and --sign-key go together")
    for file in (options["svg"], options["statement"]):
        if file is not None and file.exists():
            raise click.UsageError(f"{file} is there already; name a new file")


def _show(found: Trace, options: dict[str, Any]) -> None:
    if options["svg"] is not None:
        options["svg"].write_text(draw(found), encoding="utf-8")
        click.echo(f"written: {options['svg']}", err=True)
    if options["as_json"]:
        click.echo(json.dumps(as_json(found), indent=2))
    elif options["mermaid"]:
        click.echo(diagram(found), nl=False)
    else:
        _print(found)


def as_json(found: Trace) -> dict[str, Any]:
    """Return a trace for programs."""
    return {
        "target": {"about": found.target.about.value, "text": found.target.text},
        "records": found.size,
        "sealed": found.sealed,
        "jobs": [_job_as_json(job) for job in found.jobs],
    }


def _job_as_json(job: TracedJob) -> dict[str, Any]:
    counts = {name: dict(getattr(job, name)) for name in ("hosts", "rules", "revisions")}
    artifacts = [asdict(each) for each in job.artifacts]
    whole = {each.name: getattr(job, each.name) for each in fields(job)}
    return {"title": job.title, **whole, **counts, "artifacts": artifacts}


def _trace(place: Path, text: str, depth: int, identities: tuple[Path, ...]) -> tuple[Trace, str]:
    total = sum(segment.path.stat().st_size for segment in find_segments(place))
    origin = ""

    def records() -> Any:
        nonlocal origin
        with show_progress(total, "tracing") as advance:
            for record in read_records(place, identities, advance):
                if record["kind"] == Kind.TRAIL_OPENED:
                    origin = str(record.get("origin"))
                yield record

    return trace(records, read_target(text), depth), origin


def _write_statement(found: Trace, origin: str, file: Path, key_file: Path) -> None:
    publishing = [job for job in found.jobs if job.moved(Way.PUBLISHED)]
    if len(publishing) != 1:
        named = ", ".join(job.key for job in publishing[:_MOST]) or "none"
        raise AuditError(f"a statement is about one job that published something; these did: {named}")
    signer: Signer = make_signer(origin or "jobgate", key_file, setting="--sign-key")
    envelope = seal(make_statement(found, publishing[0], origin), signer.key, signer.verifier.name)
    file.write_text(json.dumps(envelope, indent=1) + "\n", encoding="ascii")
    click.echo(f"written: {file}, signed by {signer.verifier.name}", err=True)


def _check(ctx: click.Context, file: Path, key: Path | None) -> None:
    if key is None:
        raise click.UsageError("--check needs --key: the public key that you trust")
    try:
        statement = open_envelope(_read_json(file), read_verifier(key.read_text("ascii")).key)
    except (AuditError, UnicodeDecodeError) as error:
        click.echo(f"{file}: {error}", err=True)
        ctx.exit(1)
    subjects = ", ".join(plain(each.get("name")) for each in statement["subject"])
    click.echo(f"signed by {key}: {subjects}")
    click.echo(json.dumps(statement, indent=2))


def _read_json(file: Path) -> object:
    try:
        found: object = json.loads(file.read_bytes())
    except ValueError:
        raise AuditError("not JSON") from None
    return found


def _print(found: Trace) -> None:
    console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 160)
    tree = Tree(Text(f"{found.target.about.value} {plain(found.target.text)}", "bold"))
    if not found.jobs:
        tree.add(Text("nothing in this trail leads to it, or from it", "yellow"))
    for job in found.jobs:
        _add_job(tree, found, job)
    console.print(tree)


def _add_job(tree: Tree, found: Trace, job: TracedJob) -> None:
    branch = tree.add(Text(plain(job.title), "bold"))
    facts = job.job
    source = " ".join(plain(facts[name]) for name in ("repository", "branch", "commit") if facts.get(name))
    branch.add(Text(f"commit   {source}"))
    branch.add(Text(f"job      {plain(job.key)}, {job.opened or '?'} to {job.closed or 'still open'}"))
    branch.add(
        Text(f"flows    {job.allowed} allowed, {job.denied} denied; rules {plain(', '.join(job.rules)) or 'none'}")
    )
    hosts = ", ".join(f"{plain(host)} ({count})" for host, count in job.hosts.most_common(_MOST))
    branch.add(Text(f"reached  {hosts}"))
    for credential in job.credentials[:_MOST]:
        said = f"{plain(credential.get('connector'))} {plain(credential.get('credential'))}"
        branch.add(Text(f"used     {said}, {plain(credential.get('fate', 'still held'))}"))
    others = found.others(job)
    for way in Way:
        for artifact in job.moved(way)[: _MOST if way is Way.FETCHED else None]:
            leaf = branch.add(
                Text(f"{way.value:<9}{plain(artifact.name)} {artifact.digest} (by its {artifact.proof.value})")
            )
            for other, theirs in others.get(artifact.digest, ()):
                leaf.add(Text(f"{theirs.way.value} by {plain(other.title)}, {plain(other.key)}"))
    for denial in job.denials[:_MOST]:
        what = denial.get("resource") or f"{denial.get('host')}{denial.get('path', '')}"
        branch.add(Text(f"denied   {plain(what)}: {plain(denial.get('reason'))}", "red"))
    for event in job.events[:_MOST]:
        branch.add(Text(f"event    {plain(event.get('event'))} {plain(event.get('state', ''))}".rstrip(), "dim"))
