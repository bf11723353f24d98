"""`jobgate audit evidence`: a pack for an auditor, from a trail and the rules' repository, with a manifest to check it.

Exit codes: 0 written, or the pack is as it was; 1 trail not intact, or pack altered; 2 wrong usage; 3 unreadable.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import click

from proxy import __version__
from proxy.audit.canonical import format_time
from proxy.audit.checkpoint import read_verifier
from proxy.audit.verify import Report
from proxy.cli.places import DIRECTORY
from proxy.cli.progress import show_progress
from proxy.cli.reading import IDENTITY, read_records
from proxy.connectors.registry import connector_scopes
from proxy.model.errors import AuditError, ConfigError, RuleFileError
from proxy.reports.evidence import CRITERIA, Evidence, Window, gather
from proxy.reports.evidence_page import render
from proxy.reports.statement import open_envelope, seal
from proxy.sinks.keys import make_signer
from proxy.sources.rules import RuleFolder
from proxy.sources.trail import find_segments, read_keys, verify_trail

_FILES: Final = ("evidence.json", "evidence.html")
_MANIFEST: Final = "manifest.json"
_SIGNED: Final = "manifest.dsse.json"
_COMMITS: Final = 500
_THERE = click.Path(path_type=Path, dir_okay=False, exists=True)


class Day(click.ParamType[datetime]):
    """A day, or a time with a zone."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the moment in UTC; of a day its beginning."""
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            self.fail("write a day like 2026-01-31, or a time with a zone", param, ctx)
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).astimezone(UTC)


@click.command("evidence")
@click.argument("place", type=DIRECTORY, required=False)
@click.option("--from", "start", type=Day(), help="First day, in UTC.")
@click.option("--to", "end", type=Day(), help="Last day, in UTC; or a time, up to which.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="A new directory for the pack.")
@click.option("--rules", type=click.Path(path_type=Path, exists=True), help="The rules, in their git work tree.")
@click.option("--key", "keys", multiple=True, type=_THERE, help="Believe this public key only; may be repeated.")
@click.option("--sign-key", type=_THERE, help="An Ed25519 key in PEM that signs the manifest.")
@click.option("--check", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Check a pack instead.")
@IDENTITY
@click.pass_context
def command(ctx: click.Context, /, place: Path | None, **options: Any) -> None:
    """Gather what the trail at PLACE shows of a span of time, mapped to the criteria of SOC 2."""
    if options["check"] is not None:
        ctx.exit(_check(options["check"], options["keys"]))
    if place is None or None in (options["start"], options["end"], options["output"]):
        raise click.UsageError("say of which trail, --from when --to when, and the --output directory")
    output: Path = options["output"]
    if output.exists() and any(output.iterdir()):
        raise click.UsageError(f"{output} is not empty; name a new directory")
    try:
        pack = _gather(place, options)
    except (AuditError, ConfigError) as error:
        click.echo(str(error), err=True)
        ctx.exit(3)
    _write(output, pack, options["sign_key"])
    click.echo(f"written: {output}", err=True)
    if not pack["verification"]["intact"]:
        click.echo("THE TRAIL IS NOT INTACT; the pack says so on its first page", err=True)
        ctx.exit(1)


def _gather(place: Path, options: dict[str, Any]) -> dict[str, Any]:
    start, end = options["start"], options["end"]
    if end == end.replace(hour=0, minute=0, second=0, microsecond=0):
        end += timedelta(days=1)  # a day is meant with all of it
    window = Window(format_time(start), format_time(end))
    total = sum(segment.path.stat().st_size for segment in find_segments(place))
    keys = list(options["keys"]) or sorted(place.glob("key-*.pub"))
    with show_progress(total) as advance:
        report = verify_trail(place, read_keys(keys), advance=advance)
    with show_progress(total, "gathering") as advance:
        found = gather(read_records(place, options["identities"], advance), window)
    return {
        "window": {"from": window.start, "to": window.end},
        "verification": _verification(report, pinned=bool(options["keys"])),
        "criteria": [asdict(each) for each in CRITERIA],
        **_facts(found),
        **_rules_part(options["rules"], found, start, end),
    }


def _facts(found: Evidence) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for each in fields(found):
        value = getattr(found, each.name)
        if each.name != "window":
            plain[each.name] = (
                {str(k): dict(v) if isinstance(v, dict) else v for k, v in value.items()}
                if isinstance(value, dict)
                else value
            )
    return plain


def _plain(value: Any) -> Any:
    return {str(name): _plain(each) for name, each in value.items()} if isinstance(value, dict) else value


def _verification(report: Report, *, pinned: bool) -> dict[str, Any]:
    return {
        "intact": report.is_intact,
        "records": report.head.size,
        "head": report.head.digest,
        "first_at": report.first_at,
        "last_at": report.last_at,
        "signed_heads": report.checkpoints,
        "records_under_a_signed_head": report.covered,
        "keys": "given by whoever made this pack"
        if pinned
        else "found beside the trail: they prove no more than it does",
        "findings": [str(finding) for finding in report.findings],
    }


def _rules_part(folder: Path | None, found: Evidence, start: datetime, end: datetime) -> dict[str, Any]:
    """Return who could reach what by the rules of now, and the commits that revisions in force came from."""
    if folder is None:
        return {"who_could": [], "commits": []}
    try:
        rules = RuleFolder((folder,), connector_scopes()).load()
    except RuleFileError as error:
        raise ConfigError(f"--rules: {error}") from None
    could = [
        {
            "rule": rule.id,
            "effect": rule.effect.value,
            "why": rule.why,
            "who": "; ".join(f"{test.name}: {', '.join(test.wanted)}" for test in rule.tests) or "every job",
            "to": ", ".join(target.text for target in rule.targets),
            "credential": rule.grant.connector if rule.grant is not None else "",
            "tags": dict(rule.tags),
        }
        for rule in rules.rules
    ]
    wanted = {revision for revision in found.revisions if revision}
    return {"who_could": could, "commits": list(_commits(folder, wanted, start, end))}


def _commits(folder: Path, wanted: set[str], start: datetime, end: datetime) -> Iterator[dict[str, Any]]:
    """Give out the commits of the rules whose revision was in force, and all that changed them in the window."""
    log = _git(folder, "log", f"-{_COMMITS}", "--format=%H%x09%cI%x09%an", "--", ".")
    for line in log.splitlines():
        commit, at, author = line.split("\t", 2)
        revision = _revision_at(folder, commit)
        is_in_window = start <= datetime.fromisoformat(at) < end
        if revision in wanted or is_in_window:
            yield {"commit": commit, "at": at, "by": author, "revision": revision, "in_force": revision in wanted}


def _revision_at(folder: Path, commit: str) -> str | None:
    """Return the revision of the rules as they were at a commit; None where they did not load."""
    prefix = _git(folder, "rev-parse", "--show-prefix").strip()
    names = _git(folder, "ls-tree", "-r", "--name-only", "-z", commit, "--", ".")
    with tempfile.TemporaryDirectory(prefix="jobgate-") as scratch:
        for name in filter(None, names.split("\0")):
            path = Path(scratch, name)
            if not path.name.endswith(".yaml") or not path.resolve().is_relative_to(Path(scratch).resolve()):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_git(folder, "cat-file", "blob", f"{commit}:{prefix}{name}"), encoding="utf-8")
        try:
            return RuleFolder((Path(scratch),), connector_scopes()).load().revision
        except RuleFileError:
            return None


def _git(folder: Path, *arguments: str) -> str:
    where = folder if folder.is_dir() else folder.parent
    try:
        done = subprocess.run(  # noqa: S603 - git, with arguments of ours
            ["git", "-C", str(where), *arguments],  # noqa: S607 - the one on the path
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        raise ConfigError("--rules: git is not there, so commits cannot be read") from None
    if done.returncode != 0:
        raise ConfigError(f"--rules: {folder} is not in a git work tree: {done.stderr.strip()[:200]}")
    return done.stdout


def _write(output: Path, pack: dict[str, Any], sign_key: Path | None) -> None:
    output.mkdir(parents=True, exist_ok=True, mode=0o700)
    (output / _FILES[0]).write_text(json.dumps(pack, indent=1) + "\n", encoding="utf-8")
    (output / _FILES[1]).write_text(render(pack, pack["criteria"]), encoding="utf-8")
    manifest = {
        "jobgate": __version__,
        "window": pack["window"],
        "head": {"records": pack["verification"]["records"], "digest": pack["verification"]["head"]},
        "files": {name: _describe(output / name) for name in _FILES},
    }
    text = json.dumps(manifest, indent=1) + "\n"
    (output / _MANIFEST).write_text(text, encoding="utf-8")
    if sign_key is not None:
        signer = make_signer("jobgate-evidence", sign_key, setting="--sign-key")
        statement = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": _MANIFEST, "digest": {"sha256": sha256(text.encode()).hexdigest()}}],
            "predicateType": "urn:jobgate:evidence:v1",
            "predicate": manifest,
        }
        (output / _SIGNED).write_text(json.dumps(seal(statement, signer.key, signer.verifier.name), indent=1) + "\n")
        (output / "signer.pub").write_text(signer.verifier.to_file())


def _describe(path: Path) -> dict[str, Any]:
    body = path.read_bytes()
    return {"sha256": sha256(body).hexdigest(), "bytes": len(body)}


def _check(folder: Path, keys: tuple[Path, ...]) -> int:
    """Compare a pack with its manifest, and the manifest with its signature where a key is given."""
    try:
        raw = (folder / _MANIFEST).read_bytes()
        manifest = json.loads(raw)
        wrong = [name for name, said in manifest["files"].items() if _describe(folder / Path(name).name) != said]
    except (OSError, ValueError, KeyError, AttributeError):
        click.echo(f"{folder} is no evidence pack, or a file of it is missing", err=True)
        return 1
    for name in wrong:
        click.echo(f"{name} is not as the manifest has it: altered", err=True)
    if wrong or {*manifest["files"]} != {*_FILES}:
        return 1
    for key in keys:
        try:
            statement = open_envelope(json.loads((folder / _SIGNED).read_bytes()), read_verifier(key.read_text()).key)
        except (AuditError, OSError, ValueError) as error:
            click.echo(f"{_SIGNED}: {error}", err=True)
            return 1
        if statement["subject"][0]["digest"]["sha256"] != sha256(raw).hexdigest():
            click.echo(f"{_MANIFEST} is not the one that was signed", err=True)
            return 1
    click.echo("as the manifest has it" + (", which is signed" if keys else "; give --key to check who signed it"))
    return 0
