"""`jobgate simulate`: in which order a pipeline runs, where each step could go under the rules, and what is wrong.

Exit codes: 0 no errors, 1 errors (with --strict: or warnings), 2 wrong usage, 3 a file cannot be read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from proxy.cli.asking import AskError, read_facts
from proxy.cli.places import PLACE
from proxy.cli.reading import IDENTITY
from proxy.cli.replay import read_history
from proxy.cli.simulation_forms import FORMS
from proxy.connectors.registry import connector_scopes
from proxy.model.errors import AuditError, RuleFileError
from proxy.model.identity import JobContext
from proxy.pipelines.conditionals import NAMES
from proxy.pipelines.pipeline import Pipeline
from proxy.pipelines.reading import PROVIDERS, facts_of, is_name, provider_of, read_files
from proxy.policy.compile import compile_rules
from proxy.policy.conditions import JOB_FIELDS
from proxy.policy.faults import suggest
from proxy.simulate.changes import compare
from proxy.simulate.findings import Level, worst
from proxy.simulate.replay import Flow, FlowReader
from proxy.simulate.simulation import Question, Simulation, simulate
from proxy.sources.rules import Documents, RuleFolder
from proxy.sources.yaml import MAX_BYTES, Located, load_yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What was written on the command line of the build: the same for the files now and those of before."""

    provider: str | None
    context: Mapping[str, str]
    environment: Mapping[str, str]
    protected: frozenset[str]
    flows: tuple[Flow, ...]


@click.command("simulate")
@click.argument("pipeline", type=click.Path(path_type=Path))
@click.option("--rules", "paths", multiple=True, type=click.Path(path_type=Path), help="The rules [rules/].")
@click.option("--context", "context", multiple=True, metavar="NAME=VALUE,...", help="What is known of the build.")
@click.option("--env", "variables", multiple=True, metavar="NAME=VALUE", help="A variable of the build; repeatable.")
@click.option(
    "--with", "others", multiple=True, type=click.Path(path_type=Path), help="A file that it uploads, calls, includes."
)
@click.option("--provider", type=click.Choice(PROVIDERS), help="Whose pipeline it is [told by the file].")
@click.option("--protected", multiple=True, metavar="ENVIRONMENT", help="One that a person must let a job deploy to.")
@click.option("--history", type=PLACE, help="A trail: what steps did before.")
@IDENTITY
@click.option(
    "--diff", "old", multiple=True, type=click.Path(path_type=Path), help="Rules or a pipeline of before: what changes."
)
@click.option("--format", "form", type=click.Choice(tuple(FORMS)), default="text", show_default=True)
@click.option("--strict", is_flag=True, help="Warnings fail too.")
@click.pass_context
def command(ctx: click.Context, /, pipeline: Path, form: str, strict: bool, **options: Any) -> None:  # noqa: FBT001 - click's signature
    """Say where each step of a PIPELINE file could go under the rules, and who stands before it.

    It reads Buildkite pipelines, GitHub Actions workflows and GitLab CI files.
    """
    asked = _Asked(
        provider=options["provider"],
        context=_pairs((pair for text in options["context"] for pair in text.split(",") if pair), "--context"),
        environment=_pairs(options["variables"], "--env"),
        protected=frozenset(options["protected"]),
        flows=(),
    )
    try:
        if options["history"] is not None:
            asked = replace(
                asked,
                flows=tuple(FlowReader().read(read_history(options["history"], "reading", options["identities"]))),
            )
        rules = RuleFolder(options["paths"] or (Path("rules"),), connector_scopes()).read()
        documents = {str(path): _load(path) for path in (pipeline, *options["others"])}
        found = _simulate(str(pipeline), documents, rules, asked)
        changes = None
        if options["old"]:
            before, then = _before(options["old"], str(pipeline), documents, rules)
            changes = compare(_simulate(str(pipeline), before, then, asked), found)
    except (RuleFileError, AuditError) as error:
        click.echo(str(error), err=True)
        ctx.exit(3)
    click.echo(FORMS[form](found, changes, {**documents, **rules.located}), nl=False)
    level = worst(found.findings)
    ctx.exit(1 if level is Level.ERROR or (strict and level is Level.WARNING) else 0)


def _load(path: Path) -> Located:
    try:
        with path.open("rb") as file:
            return load_yaml(file.read(MAX_BYTES + 1), str(path), is_ci=True)
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror}") from None


def _before(
    paths: Iterable[Path], name: str, documents: Mapping[str, Located], rules: Documents
) -> tuple[Mapping[str, Located], Documents]:
    """Return the files of before: rules take the place of the rules, another file that of the pipeline."""
    folders = [path for path in paths if path.is_dir() or _holds_rules(path)]
    files = [path for path in paths if path not in folders]
    if len(files) > 1:
        raise click.UsageError("--diff takes one pipeline of before")
    if folders:
        rules = RuleFolder(folders, connector_scopes()).read()
    return ({**documents, name: _load(files[0])} if files else documents), rules


def _holds_rules(path: Path) -> bool:
    value = _load(path).value
    return isinstance(value, dict) and "rules" in value and not value.keys() & {"steps", "jobs", "stages"}


def _simulate(name: str, documents: Mapping[str, Located], rules: Documents, asked: _Asked) -> Simulation:
    values = {each: located.value for each, located in documents.items()}
    provider = asked.provider or provider_of(values[name], name)
    job, given = _read_context(asked.context, provider)
    facts = facts_of(provider, job, given, asked.environment)
    pipeline: Pipeline = read_files(provider, name, values, facts)
    if job.pipeline is None and pipeline.name:
        job = replace(job, pipeline=pipeline.name)
    question = Question(facts=facts, job=job, now=datetime.now(UTC), protected=asked.protected, flows=asked.flows)
    return simulate(pipeline, compile_rules(rules.rules), question)


def _pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise click.BadParameter(f"write NAME=VALUE, not {text!r}", param_hint=option)
        found[name] = value
    return found


def _read_context(context: Mapping[str, str], provider: str) -> tuple[JobContext, dict[str, Any]]:
    """Return the job, and what expressions may ask beyond it, of `branch=main` or names such as `build.message`."""
    known: dict[str, Any] = {}
    given: dict[str, Any] = {}
    for name, value in context.items():
        if name in JOB_FIELDS:
            known[name] = {"build_number": _number, "protected": _flag}.get(name, str)(value)
        elif is_name(provider, name):
            given[name] = _typed(value)
        else:
            hint = suggest(name, [*JOB_FIELDS, *(NAMES if provider == "buildkite" else ())])
            message = f"`{name}` is nothing that is known of a {provider} build. {hint}".rstrip()
            raise click.BadParameter(message, param_hint="--context")
    try:
        return read_facts(known), given
    except AskError as error:
        raise click.BadParameter(str(error), param_hint="--context") from None


def _number(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def _flag(text: str) -> bool | str:
    return {"true": True, "false": False}.get(text, text)


def _typed(text: str) -> str | int | bool | None:
    return {"true": True, "false": False, "null": None}[text] if text in {"true", "false", "null"} else _number(text)
