"""How long the pure decision takes: decode, look up, evaluate. No socket, no clock of its own, no audit."""

import gc
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from proxy.engine.decide import AccessQuestion, Verdict, decide
from proxy.model.authority import Authority
from proxy.model.decision import Effect
from proxy.model.identity import JobContext
from proxy.model.intent import RequestView
from proxy.policy.compile import RuleSet, compile_rules
from proxy.policy.parse import parse_rules

HOST = "origin.bench.test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Microseconds for one decision, over a set of `rules` rules."""

    rules: int
    p50: float
    p99: float


def make_rules(count: int) -> dict[str, list[dict[str, object]]]:
    """Return a rule file of `count` rules: one that is about the benchmark's host, the others about other hosts."""
    wanted: dict[str, object] = {
        "id": "bench-read",
        "why": "the benchmark reads from its origin",
        "job": {"organization": "acme", "pipeline": "payments-deploy", "branch": ["main", "release/*"]},
        "to": HOST,
        "path": ["/1k", "/bytes/**"],
        "when": "job.build_number > 0",
    }
    return {"rules": [wanted, *(_other(number) for number in range(count - 1))]}


def _other(number: int) -> dict[str, object]:
    return {
        "id": f"team-{number}",
        "why": "somebody else's rule, which must cost nothing here",
        "job": {"pipeline": f"pipeline-{number % 97}", "branch": "main"},
        "to": f"*.team-{number}.bench.test" if number % 5 == 0 else f"host-{number}.bench.test",
        "path": f"/area-{number}/**",
    }


def compile_document(document: object) -> RuleSet:
    """Compile a rule file as the proxy does."""
    parsed = parse_rules(document, "bench.yaml", {})
    if parsed.faults:
        raise ValueError(f"the benchmark's own rules are refused: {parsed.faults[0]}")
    return compile_rules(parsed.rules)


def measure(count: int, samples: int) -> Timing:
    """Time `samples` decisions, each on its own, over `count` rules."""
    ruleset = compile_document(make_rules(count))
    job = JobContext(organization="acme", pipeline="payments-deploy", step="upload", branch="main", build_number=7)
    view = RequestView(
        method="GET",
        scheme="https",
        authority=Authority(HOST, 443),
        path="/1k",
        query=None,
        headers=(("host", HOST), ("accept", "*/*"), ("user-agent", "bench")),
    )
    now = datetime(2026, 1, 1, tzinfo=UTC)
    verdict = decide(AccessQuestion(view, job, ruleset, now))
    if not isinstance(verdict, Verdict) or verdict.decision.effect is not Effect.ALLOW:
        raise ValueError("the benchmark's request is not allowed by its own rule")
    took = []
    clock = time.perf_counter_ns
    gc.collect()
    for _ in range(samples):
        start = clock()
        decide(AccessQuestion(view, job, ruleset, now))
        took.append(clock() - start)
    took.sort()
    return Timing(rules=count, p50=took[samples // 2] / 1e3, p99=took[samples * 99 // 100] / 1e3)
