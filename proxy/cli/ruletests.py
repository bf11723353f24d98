"""Runs rule tests, `tests/*.yaml` in a folder of rules, for `jobgate check`: each request decided as in the proxy."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from proxy.cli.asking import AskError, decide_as_asked, read_claims, read_facts, read_headers, read_view
from proxy.engine.decide import AccessQuestion
from proxy.model.errors import Problem, RuleFileError
from proxy.model.identity import JobContext
from proxy.policy.compile import RuleSet
from proxy.policy.declaring import check_declaration
from proxy.policy.patterns import PatternError
from proxy.simulate.ruletests import Coverage, ParsedTests, RuleTestText, asks_time, judge, parse_tests
from proxy.sources.yaml import MAX_BYTES, Located, load_yaml


@dataclass(slots=True)
class TestReport:
    """What came of the tests. `problems`: files that are none, and tests that failed, with their places."""

    passed: int = 0
    failed: int = 0
    problems: list[tuple[str, Problem]] = field(default_factory=list)
    coverage: Coverage = field(default_factory=Coverage)

    @property
    def count(self) -> int:
        """How many tests were run."""
        return self.passed + self.failed


def find_test_files(paths: Iterable[Path]) -> list[Path]:
    """Return the files of rule tests below folders of rules: `*.yaml` in whatever folder is called `tests`."""
    found: dict[Path, None] = {}
    for folder in paths:
        for file in sorted(folder.rglob("tests/**/*.yaml")):
            if not any(part.startswith(".") for part in file.relative_to(folder).parts):
                found[file] = None
    return list(found)


def run_tests(files: Iterable[Path], ruleset: RuleSet) -> TestReport:
    """Run the tests of these files against the rules."""
    report = TestReport()
    for file in files:
        try:
            with file.open("rb") as content:
                document = load_yaml(content.read(MAX_BYTES + 1), str(file))
        except OSError as error:
            problem = Problem(file=str(file), line=1, column=1, message=f"cannot be read: {error.strerror}")
            report.problems.append(("rule-test-file", problem))
            continue
        except RuleFileError as error:
            report.problems += (("rule-test-file", problem) for problem in error.problems)
            continue
        parsed = parse_tests(document.value)
        for fault in parsed.faults:
            problem = document.problem(fault.path, fault.message, fault.hint, key=fault.at_key)
            report.problems.append(("rule-test-file", problem))
        if not parsed.faults:
            _run_file(parsed, document, ruleset, report)
    return report


def _run_file(parsed: ParsedTests, document: Located, ruleset: RuleSet, report: TestReport) -> None:
    for index, test in enumerate(parsed.tests):
        wrong = list(_run(test, parsed.jobs, ruleset, report.coverage))
        if not wrong:
            report.passed += 1
            continue
        report.failed += 1
        for keys, message in wrong:
            problem = document.problem(("tests", index, *keys), f"{test.name}: {message}")
            report.problems.append(("rule-test", problem))


def _run(
    test: RuleTestText, jobs: Mapping[str, Mapping[str, Any]], ruleset: RuleSet, coverage: Coverage
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Run one test; give out what is wrong, and at which key of it."""
    try:
        job = _read_job(test, jobs)
        declared = None if test.declared is None else check_declaration(test.declared)
    except AskError as error:
        yield ("job" if test.claims is None else "claims",), str(error)
        return
    except PatternError as error:
        yield ("declared",), str(error)
        return
    for index, text in enumerate(test.request):
        method, url = text.split()
        place = ("request", index) if len(test.request) > 1 else ("request",)
        shown = f"{text}: " if len(test.request) > 1 else ""
        try:
            body = None if test.body is None else test.body.encode()
            view = read_view(method, url, read_headers(test.headers), body)
            at = test.at or datetime.now(UTC)
            verdict = decide_as_asked(AccessQuestion(view, job, ruleset, at, declared))
        except AskError as error:
            yield place, f"{shown}{error}{'; write it as `body`' if error.about == 'body' else ''}"
            continue
        if test.at is None and asks_time(ruleset, (step.rule_id for step in verdict.decision.steps)):
            yield place, f"{shown}a rule for this host asks for the time; write `at`, or the test fails one day"
            continue
        coverage.add(verdict)
        yield from ((("expect",), f"{shown}{each}") for each in judge(test.expect, verdict))


def _read_job(test: RuleTestText, jobs: Mapping[str, Mapping[str, Any]]) -> JobContext:
    if test.claims is not None:
        job = read_claims(test.claims, test.provider, {})
    else:
        facts = jobs[test.job] if isinstance(test.job, str) else test.job
        job = read_facts(facts or {})
    return replace(job, events=dict(test.events)) if test.events else job
