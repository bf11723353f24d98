"""`jobgate check`: do the rule files load, and what in them is an obvious mistake.

Exit codes: 0 clean, 1 an error (with --strict: or a warning), 2 wrong usage, 3 a file cannot be read.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from proxy import __version__
from proxy.cli.ruletests import TestReport, find_test_files, run_tests
from proxy.config import load_settings
from proxy.config.routes import read_routes
from proxy.connectors.registry import connector_scopes
from proxy.model.errors import Problem, RuleFileError
from proxy.policy.compile import RuleSet, compile_rules
from proxy.policy.lint import Severity, lint
from proxy.policy.parse import Scopes
from proxy.policy.published import rule_schema
from proxy.sources.rules import Documents, RuleFolder

_UNREADABLE: Final = "cannot be read"
_SHOWN: Final = 20
_LEVELS: Final = {Severity.ERROR: "red", Severity.WARNING: "yellow"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """One line of the report."""

    id: str
    severity: Severity
    problem: Problem


@click.command("check")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["text", "json", "sarif"]), default="text", show_default=True)
@click.option("--strict", is_flag=True, help="Warnings fail too.")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings: their routes are checked too.",
)
@click.option("--coverage", type=click.IntRange(0, 100), metavar="PERCENT", help="Fail where rule tests reach fewer.")
@click.option("--print-schema", is_flag=True, help="Print the JSON schema of rule files and exit.")
@click.pass_context
def command(ctx: click.Context, /, paths: tuple[Path, ...], form: str, strict: bool, **more: Any) -> None:  # noqa: FBT001 - click's signature
    """Check rule files and folders [rules/]: errors, the obvious mistakes, and the tests in folders called `tests`."""
    scopes = connector_scopes()
    if more["print_schema"]:
        click.echo(json.dumps(rule_schema(scopes), indent=2))
        return
    chosen = paths or (Path("rules"),)
    missing = [path for path in chosen if not path.exists()]
    if missing:
        raise click.UsageError(f"{missing[0]}: no such file or folder")
    found = _examine(chosen, scopes)
    if more["config"] is not None:
        found.marks.extend(_check_routes(more["config"]))
    wanted = more["coverage"]
    if wanted is not None and found.ruleset is not None and found.percent < wanted:
        message = f"rule tests reach {found.percent} % of the rules, {wanted} % are wanted"
        problem = Problem(file=str(chosen[0]), line=1, column=1, message=message)
        found.marks.append(_Mark(id="rule-coverage", severity=Severity.ERROR, problem=problem))
    click.echo(_FORMS[form](found), nl=False)
    ctx.exit(_exit_code(found.marks, strict=strict))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What there is to say. `ruleset` is None where the files do not load; then no test was run."""

    marks: list[_Mark]
    ruleset: RuleSet | None = None
    tests: TestReport = field(default_factory=TestReport)

    @property
    def untested(self) -> list[str]:
        """The rules that no test has seen decide."""
        return [] if self.ruleset is None else self.tests.coverage.missing(self.ruleset)

    @property
    def percent(self) -> int:
        """The share of rules that some test has seen decide, rounded down."""
        count = 0 if self.ruleset is None else len(self.ruleset.rules)
        return (count - len(self.untested)) * 100 // count if count else 100


def _examine(paths: Iterable[Path], scopes: Scopes) -> _Found:
    """Return what is wrong, and the rules where they load."""
    try:
        documents = RuleFolder(tuple(paths), scopes).read()
    except RuleFileError as error:
        return _Found(marks=[_Mark(id="rule-file", severity=Severity.ERROR, problem=one) for one in error.problems])
    ruleset = compile_rules(documents.rules)
    tests = run_tests(find_test_files(paths), ruleset)
    marks = [_Mark(id=name, severity=Severity.ERROR, problem=problem) for name, problem in tests.problems]
    return _Found(marks=_lint(documents) + marks, ruleset=ruleset, tests=tests)


def _check_routes(config: Path) -> list[_Mark]:
    """Return what is wrong with the routes that a settings file names. Raises ConfigError for the settings."""
    try:
        read_routes(load_settings(config, {}, {}))
    except RuleFileError as error:
        return [_Mark(id="routes", severity=Severity.ERROR, problem=one) for one in error.problems]
    return []


def _lint(documents: Documents) -> list[_Mark]:
    marks = [
        _Mark(
            id=finding.id,
            severity=finding.severity,
            problem=documents.problem(finding.rule, finding.keys, finding.message, finding.fix),
        )
        for finding in lint(documents.rules)
    ]
    return sorted(marks, key=lambda mark: (mark.problem.file, mark.problem.line, mark.problem.column, mark.id))


def _exit_code(marks: list[_Mark], *, strict: bool) -> int:
    if any(mark.problem.message.startswith(_UNREADABLE) for mark in marks):
        return 3
    return int(any(strict or mark.severity is Severity.ERROR for mark in marks))


def _as_text(found: _Found) -> str:
    lines = []
    for mark in found.marks:
        problem = mark.problem
        severity = click.style(mark.severity.value, fg=_LEVELS[mark.severity], bold=True)
        lines.append(f"{problem.file}:{problem.line}:{problem.column}: {severity}: {problem.message} [{mark.id}]")
        lines += [f"    {line}" for line in problem.excerpt.splitlines()]
        lines += [f"  {problem.hint}"] if problem.hint else []
    lines += _summary(found)
    return "".join(f"{line}\n" for line in lines)


def _summary(found: _Found) -> list[str]:
    counts = Counter(mark.severity for mark in found.marks)
    told = ", ".join(f"{n} {kind.value}{'s' * (n > 1)}" for kind in Severity if (n := counts[kind])) or "no problems"
    if found.ruleset is None:
        return [told]
    count, tests = len(found.ruleset.rules), found.tests
    lines = [f"{count} rule{'s' * (count > 1)}, revision {found.ruleset.revision}: {told}"]
    if tests.count:
        failed = f"{tests.failed} failed" if tests.failed else "all passed"
        lines.append(
            f"{tests.count} test{'s' * (tests.count > 1)}: {failed}; {found.percent} % of the rules decided one"
        )
        if found.untested:
            lines.append(
                f"decided none: {', '.join(found.untested[:_SHOWN])}{', ...' * (len(found.untested) > _SHOWN)}"
            )
    return lines


def _as_json(found: _Found) -> str:
    marks, ruleset, tests = found.marks, found.ruleset, found.tests
    report = {
        "rules": 0 if ruleset is None else len(ruleset.rules),
        "revision": None if ruleset is None else ruleset.revision,
        "findings": [
            {
                "id": mark.id,
                "severity": mark.severity.value,
                "file": mark.problem.file,
                "line": mark.problem.line,
                "column": mark.problem.column,
                "message": mark.problem.message,
                "fix": mark.problem.hint,
            }
            for mark in marks
        ],
        "tests": {"passed": tests.passed, "failed": tests.failed, "percent": found.percent, "untested": found.untested},
    }
    return json.dumps(report, indent=2) + "\n"


def _as_sarif(found: _Found) -> str:
    """Write SARIF 2.1.0, which code hosts show beside the changed line."""
    marks = found.marks
    driver: dict[str, Any] = {
        "name": "jobgate",
        "version": __version__,
        "rules": [{"id": name} for name in sorted({mark.id for mark in marks})],
    }
    results = [
        {
            "ruleId": mark.id,
            "level": mark.severity.value,
            "message": {"text": " ".join(filter(None, (mark.problem.message + ".", mark.problem.hint)))},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": Path(mark.problem.file).as_posix()},
                        "region": {"startLine": mark.problem.line, "startColumn": mark.problem.column},
                    }
                }
            ],
        }
        for mark in marks
    ]
    report = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    }
    return json.dumps(report, indent=2) + "\n"


_FORMS: Final = {"text": _as_text, "json": _as_json, "sarif": _as_sarif}
