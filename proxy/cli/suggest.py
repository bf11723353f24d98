"""`jobgate suggest`: what a trail says should change in the rules, each change proved by replay.

Exit codes: 0 done, 1 with --check and too many unused grants, 2 wrong usage, 3 trail or rules cannot be read.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from proxy.cli.audit_table import plain
from proxy.cli.llm import Model, ModelError, draft, reword
from proxy.cli.places import PLACE
from proxy.cli.proposal import Proposal
from proxy.cli.reading import IDENTITY
from proxy.cli.replay import read_history
from proxy.cli.rulebook import RuleBook, diff_of
from proxy.model.errors import AuditError, RuleFileError
from proxy.policy.compile import RuleSet
from proxy.simulate.excess import share_unused
from proxy.simulate.history import History
from proxy.simulate.suggest import at_least, keep_supported, mine
from proxy.simulate.suggestion import Confidence, Patch, Proof, Suggestion, Topic
from proxy.simulate.wording import Wording
from proxy.sources.patching import PatchError

_PERCENT: Final = re.compile(r"([0-9]{1,3})%?")
_STYLES: Final = {Confidence.HIGH: "green", Confidence.MEDIUM: "yellow", Confidence.LOW: "white"}
_TOLD: Final = 5
_SURE: Final = [each.value for each in Confidence]
_TOPICS: Final = [topic.value for topic in Topic]


@click.command("suggest")
@click.argument("trail", type=PLACE)
@click.option("--rules", "paths", multiple=True, type=click.Path(path_type=Path), help="The rules of now [rules/].")
@click.option("--confidence", type=click.Choice(_SURE), default="medium", show_default=True)
@click.option(
    "--topic",
    "topics",
    multiple=True,
    type=click.Choice(_TOPICS),
    help="Only these; repeatable.",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--write", is_flag=True, help="Change the rule files, where all changes together hold.")
@click.option("--check", is_flag=True, help="Fail when more grants than --max-unused are used by nobody.")
@click.option("--max-unused", default="0%", show_default=True, metavar="PERCENT")
@click.option("--llm", metavar="URL", help="An OpenAI-compatible endpoint, to word, group and rank [no model is used].")
@click.option("--model", metavar="NAME", help="The model there.")
@click.option("--draft", metavar="SENTENCE", help="Have the model draft a rule of a sentence: a patch to review.")
@IDENTITY
@click.pass_context
def command(ctx: click.Context, /, trail: Path, paths: tuple[Path, ...], **options: Any) -> None:
    """Say what the flows of TRAIL suggest: permissions that are missing, grants that nobody uses, wasteful routes."""
    limit = _read_percent(options["max_unused"])
    records = partial(_read, trail, options["identities"])
    model = _read_model(options)
    try:
        book = RuleBook(paths or (Path("rules"),))
        history, found = mine(records, book.ruleset)
        wanted = at_least(found, Confidence(options["confidence"]))
        wanted = [each for each in wanted if not options["topics"] or each.topic in options["topics"]]
        shown = keep_supported(records, book.ruleset, wanted, book.changed)
        written = list(_write(shown, book, records)) if options["write"] else []
    except (AuditError, RuleFileError) as error:
        click.echo(str(error), err=True)
        ctx.exit(3)
    unused = share_unused(history, book.ruleset)
    said = _Said(shown, Wording(tuple(each.id for each in shown)), None)
    if model is not None:
        said = _ask(model, said, book, records, options["draft"])
    if options["form"] == "json":
        click.echo(json.dumps(_as_json(said, history, book, unused), indent=2))
    else:
        _print(said, history, book, unused)
    for line in written:
        click.echo(line, err=True)
    if options["check"] and unused * 100 > limit:
        click.echo(f"{unused:.0%} of the grants whose jobs ran are used by nobody; at most {limit}% may be", err=True)
        ctx.exit(1)


type Records = Callable[[str], Iterable[Mapping[str, Any]]]
"""The trail from its beginning, each time anew, for what is said to be done."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What is shown, how, and what a model drafted."""

    shown: list[Suggestion]
    wording: Wording
    drafted: Proposal | None


def _read_model(options: Mapping[str, Any]) -> Model | None:
    if options["llm"] is None:
        if options["draft"] is not None:
            raise click.UsageError("--draft needs --llm and --model")
        return None
    if not options["model"]:
        raise click.UsageError("--llm needs --model")
    try:
        return Model.of(options["llm"], options["model"])
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--llm") from None


def _ask(model: Model, said: _Said, book: RuleBook, records: Records, sentence: str | None) -> _Said:
    """Ask a model. Without its answer everything is as without a model."""
    try:
        wording = reword(model, said.shown) if said.shown else said.wording
        drafted = None if sentence is None else draft(model, sentence, book, records)
    except ModelError as error:
        click.echo(f"the model was not used: {error}", err=True)
        return said
    places = {name: index for index, name in enumerate(wording.order)}
    return _Said(sorted(said.shown, key=lambda each: places[each.id]), wording, drafted)


def _read(trail: Path, identities: tuple[Path, ...], doing: str) -> Iterable[Mapping[str, Any]]:
    return read_history(trail, doing, identities)


def _read_percent(text: str) -> int:
    match = _PERCENT.fullmatch(text)
    if match is None or int(match[1]) > 100:
        raise click.BadParameter("write a percentage from 0% to 100%", param_hint="--max-unused")
    return int(match[1])


def _write(shown: list[Suggestion], book: RuleBook, records: Records) -> Iterator[str]:
    """Make all the changes in the working tree, if replay bears out their sum; give out what was done."""
    after = RuleBook(book.paths)
    made = []
    for suggestion in shown:
        if suggestion.patch is not None:
            try:
                after.apply(suggestion.patch)
            except (PatchError, RuleFileError):
                yield f"left out, it does not fit beside the others: {suggestion.id}"
                continue
            made.append(suggestion)
    if not made:
        yield "nothing to write"
        return
    if not _holds(made, book, after.ruleset, records):
        yield "nothing written: together the changes do more than each of them; write fewer, with --topic"
        return
    for file, text in after.texts.items():
        if book.texts.get(file) != text:
            Path(file).write_text(text, encoding="utf-8")
            yield f"written: {file}"


def _holds(made: Iterable[Suggestion], book: RuleBook, together: RuleSet, records: Records) -> bool:
    """Whether every change still does what it says, and no more, with all the others made."""
    trials = [
        Suggestion(
            topic=each.topic,
            who=each.who,
            what=each.what,
            said=each.said,
            seen=each.seen,
            confidence=each.confidence,
            patch=each.patch,
            about=frozenset().union(*(other.about for other in made)),
            hosts=each.hosts,
        )
        for each in made
    ]
    change: Callable[[Patch], RuleSet | None] = lambda _: together  # noqa: E731 - one and the same for all
    keep_supported(records, book.ruleset, trials, change)
    return not any(each.proof is None or each.proof.denies or each.proof.strays or each.proof.others for each in trials)


def _as_json(said: _Said, history: History, book: RuleBook, unused: float) -> dict[str, Any]:
    more: dict[str, Any] = {}
    if said.wording.groups:
        more["groups"] = [{"title": title, "ids": list(ids)} for title, ids in said.wording.groups]
    if said.drafted is not None:
        more["draft"] = said.drafted.as_json()
    return {
        "revision": book.ruleset.revision,
        "flows": history.flows,
        "sessions": history.sessions,
        "from": history.first,
        "to": history.last,
        "left_out": history.left_out,
        "unused": round(unused, 4),
        "suggestions": [
            {
                "id": each.id,
                "topic": each.topic.value,
                "confidence": each.confidence.value,
                "who": None if each.who is None else each.who._asdict(),
                "what": each.what,
                "said": each.said,
                "count": each.seen.count,
                "jobs": len(each.seen.jobs),
                "first": each.seen.first,
                "last": each.seen.last,
                "flows": each.seen.flows,
                "patch": None if each.patch is None else diff_of(each.patch, book),
                "allows": {} if each.proof is None else each.proof.allows,
                **({"model_says": said.wording.words[each.id]} if each.id in said.wording.words else {}),
            }
            for each in said.shown
        ],
        **more,
    }


def _print(said: _Said, history: History, book: RuleBook, unused: float) -> None:
    titles = {name: title for title, names in said.wording.groups for name in names}
    for each in said.shown:
        head = f"{each.id} {each.topic.value}, {each.confidence.value} confidence"
        click.echo(click.style(head, fg=_STYLES[each.confidence], bold=True))
        click.echo(f"  {each.said}")
        if each.id in said.wording.words or each.id in titles:
            group = f"[{titles[each.id]}] " if each.id in titles else ""
            click.echo(f"  the model says: {group}{said.wording.words.get(each.id, '')}".rstrip())
        click.echo(f"  {_evidence(each)}")
        if each.patch is not None:
            click.echo("".join(f"    {line}\n" for line in diff_of(each.patch, book).splitlines()), nl=False)
            click.echo(f"  replay: {_say_proof(each.proof)}")
        click.echo()
    if said.drafted is not None:
        _print_draft(said.drafted)
    period = f"from {history.first[:19]} to {history.last[:19]}" if history.flows else "of no time"
    click.echo(f"{history.flows} flows of {history.sessions} sessions {period}: {len(said.shown)} suggestions")
    click.echo(f"{unused:.0%} of the grants whose jobs ran are used by nobody")
    if history.left_out:
        click.echo(f"{history.left_out} flows were left out: too many different ones")


def _print_draft(drafted: Proposal) -> None:
    click.echo(click.style("drafted by the model, to be reviewed", bold=True))
    for problem in drafted.problems:
        click.echo(f"  refused: {plain(problem)}")
    for warning in drafted.warnings:
        click.echo(f"  warning: {plain(warning)}")
    if not drafted.problems:
        click.echo("".join(f"    {plain(line)}\n" for line in drafted.patch.splitlines()), nl=False)
        denied = sum(drafted.proof.denies.values())
        click.echo(f"  replay: newly allows {sum(drafted.proof.allows.values())} flows, newly denies {denied}")
    click.echo()


def _evidence(suggestion: Suggestion) -> str:
    seen = suggestion.seen
    times = f"{seen.count} times in {len(seen.jobs)} jobs" if seen.count else f"in {len(seen.jobs)} jobs"
    period = f", {seen.first[:19]} to {seen.last[:19]}" if seen.first else ""
    flows = f"; flows {', '.join(seen.flows)}" if seen.flows else ""
    return f"{times}{period}{flows}"


def _say_proof(proof: Proof | None) -> str:
    if proof is None or proof.is_silent:
        return "nothing recorded would be decided otherwise"
    told = [f"{what} ({count})" for what, count in proof.allows.items()]
    more = f" and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    return f"newly allows {sum(proof.allows.values())} flows, denies none: {', '.join(told[:_TOLD])}{more}"
