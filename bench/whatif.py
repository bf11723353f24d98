"""How fast recorded flows are decided again. A trail is made first; one process, one core."""

import gc
import json
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path

from bench.decision import compile_document, make_rules
from bench.parts import python
from proxy.audit.canonical import encode
from proxy.audit.chain import BEGINNING, link, read_record
from proxy.engine import records
from proxy.engine.decide import AccessQuestion, Verdict, decide
from proxy.engine.seam import Outcome
from proxy.model.authority import Authority
from proxy.model.identity import JobContext
from proxy.model.intent import RequestView
from proxy.model.reason import Reason
from proxy.model.record import AuditRecord, Fact, Kind
from proxy.policy.compile import RuleSet
from proxy.simulate.replay import FlowReader, decide_again
from proxy.sources.trail import read_lines

_START = datetime(2026, 1, 1, tzinfo=UTC)
_HOST = "origin.bench.test"
_PER_JOB = 100
_PATHS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What one run over a trail took."""

    flows: int
    seconds: float
    changes: int


def make_trail(folder: Path, flows: int, rules: RuleSet, segment_bytes: float = inf) -> Path:
    """Write a trail of so many flows, one a second, a session for each hundred, some denied; two records a flow.

    Returns the first segment.
    """
    (folder / "trail").mkdir()
    first = folder / "trail" / "trail-000000000000.jsonl"
    head = BEGINNING
    file, length = first.open("wb"), 0
    for record in _records(flows, rules):
        if length >= segment_bytes:
            file.close()
            file, length = (folder / "trail" / f"trail-{head.size:012}.jsonl").open("wb"), 0
        line, head = link(head, encode(record))
        length += file.write(line)
    file.close()
    return first


def _records(flows: int, rules: RuleSet) -> Iterator[AuditRecord]:
    for number in range(flows):
        session = number // _PER_JOB
        job = JobContext(
            organization="acme",
            pipeline="payments-deploy" if session % 3 else "storefront",
            step=f"step-{session % 7}",
            branch="main" if session % 2 else f"topic-{session % 11}",
            build_number=session + 1,
            job_id=f"job-{session}",
            claims={"organization_slug": "acme", "build_number": session + 1, "runner_environment": "self-hosted"},
        )
        at = _START + timedelta(seconds=number)
        name = f"session-{session}"
        if number % _PER_JOB == 0:
            facts = {"session": name, **records.identity_facts(job)}
            yield AuditRecord(kind=Kind.SESSION_OPENED, at=at, facts=facts)
        view = RequestView(
            method="GET",
            scheme="https",
            authority=Authority(_HOST, 443),
            path="/1k" if number % 3 else f"/bytes/{number % _PATHS}",
            query=None,
            headers=(),
        )
        verdict = decide(AccessQuestion(view, job, rules, at))
        assert isinstance(verdict, Verdict)
        parts: dict[str, Fact] = {"connection": f"c-{session}", "session": name, "job": records.job_facts(job)}
        parts |= {**records.request_facts(view), **records.intent_facts(verdict.intent)}
        yield records.decision_record(at, f"flow-{number}", parts, verdict.decision)
        if verdict.decision.is_allowed:
            outcome = Outcome(reason=Reason.ALLOWED, status=200, received_bytes=1024)
            yield records.outcome_record(at, f"flow-{number}", outcome, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggested:
    """What mining and proving a trail took."""

    flows: int
    seconds: float
    rss: int
    """Resident memory of the process at its highest, in bytes."""
    shown: int


def measure_suggest(folder: Path, flows: int) -> Suggested:
    """Run `jobgate suggest` as a process over a trail recorded under 1,000 rules, of which one says less since."""
    document = make_rules(1000)
    trail = make_trail(folder, flows, compile_document(document))
    document["rules"][0]["path"] = "/1k"
    rules = folder / "candidate.yaml"
    rules.write_text(json.dumps(document))
    command = python("-m", "proxy", "suggest", str(trail.parent), "--rules", str(rules), "--format", "json")
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=True)
    seconds = time.perf_counter() - start
    shutil.rmtree(trail.parent)
    rss = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    report = json.loads(done.stdout)
    return Suggested(flows=report["flows"], seconds=seconds, rss=rss, shown=len(report["suggestions"]))


def measure_replay(folder: Path, flows: int) -> Replayed:
    """Decide the trail's flows again by 1,000 rules, of which one has changed."""
    document = make_rules(1000)
    trail = make_trail(folder, flows, compile_document(document))
    document["rules"][0]["path"] = "/1k"
    rules = compile_document(document)
    gc.collect()
    start = time.perf_counter()
    reader = FlowReader()
    report = decide_again(reader.read(map(read_record, read_lines(trail))), rules)
    seconds = time.perf_counter() - start
    shutil.rmtree(trail.parent)
    return Replayed(flows=report.decided, seconds=seconds, changes=len(report.changes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """What one `jobgate simulate` took, with reading its files."""

    rules: int
    steps: int
    exits: int
    seconds: float


def measure_simulate(folder: Path, count: int, steps: int) -> Simulated:
    """Run `jobgate simulate` as a process; a tenth of the rules are about this pipeline, a twentieth about one step."""
    rules = folder / "rules"
    rules.mkdir()
    for start in range(0, count, 1000):
        document = {"rules": [_rule_of(number, steps) for number in range(start, min(start + 1000, count))]}
        (rules / f"rules-{start:06}.yaml").write_text(json.dumps(document))
    pipeline = folder / "pipeline.yml"
    pipeline.write_text(json.dumps({"steps": [_step(number) for number in range(steps)]}))
    words = ("--context", "pipeline=payments-deploy,branch=main", "--format", "json", "--rules", str(rules))
    start_at = time.perf_counter()
    done = subprocess.run(python("-m", "proxy", "simulate", str(pipeline), *words), capture_output=True, check=True)
    seconds = time.perf_counter() - start_at
    report = json.loads(done.stdout)
    shutil.rmtree(rules)
    exits = sum(len(step["exits"]) for step in report["steps"])
    return Simulated(rules=count, steps=len(report["steps"]), exits=exits, seconds=seconds)


def _rule_of(number: int, steps: int) -> dict[str, object]:
    step = {"step": f"step-{number % steps}"} if number % 20 == 0 else {}
    return {
        "id": f"rule-{number}",
        "why": "one of many",
        "job": {"pipeline": "payments-deploy", **step}
        if number % 10 == 0
        else {"pipeline": f"pipeline-{number % 97}", "branch": "main"},
        "to": f"host-{number}.bench.test",
        "path": f"/area-{number}/**",
    }


def _step(number: int) -> dict[str, object]:
    """A step that waits for two before it."""
    before = sorted({number // 2, number - 1} - {number, -1})
    return {"key": f"step-{number}", "command": "make", "depends_on": [f"step-{each}" for each in before]}
