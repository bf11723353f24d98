"""A build thought through: its order, where each step could go, and everything that is wrong with it. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from proxy.model.identity import JobContext
from proxy.pipelines.dag import Plan, plan
from proxy.pipelines.expressions import Facts
from proxy.pipelines.pipeline import Pipeline
from proxy.policy.compile import RuleSet
from proxy.simulate.findings import Finding, Level
from proxy.simulate.needs import unmet_history
from proxy.simulate.replay import Flow
from proxy.simulate.walk import Exit, walk


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is simulated: a build of which this is known, at this time, after flows that are on record.

    `protected` are the environments that a person must let a job deploy to.
    """

    facts: Facts
    job: JobContext
    now: datetime
    protected: frozenset[str] = frozenset()
    flows: Iterable[Flow] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What came of it: `exits` are those of each step that may run on an agent."""

    plan: Plan
    exits: dict[str, tuple[Exit, ...]]
    findings: tuple[Finding, ...]


def simulate(pipeline: Pipeline, rules: RuleSet, question: Question) -> Simulation:
    """Think a build of this pipeline through under these rules."""
    planned = plan(pipeline, question.facts)
    walked = walk(planned, rules, question.job, question.now, question.protected)
    history = unmet_history(question.flows, rules, planned, question.job)
    findings = (*_of_files(pipeline), *_of_order(planned), *walked.findings, *history)
    return Simulation(plan=planned, exits=walked.exits, findings=findings)


def _of_files(pipeline: Pipeline) -> Iterator[Finding]:
    for file, fault in pipeline.faults:
        yield Finding(
            id="pipeline", level=Level.ERROR, message=fault.message, hint=fault.hint, file=file, path=fault.path
        )
    for name in sorted(pipeline.unset):
        message = f"`${name}` is not given: it is empty here"
        yield Finding(id="unset-variable", level=Level.NOTE, message=message, hint=f"Give it: --env {name}=VALUE.")
    for name in sorted(pipeline.unseen):
        message = f"what comes of `{name}` is elsewhere, and not seen"
        yield Finding(id="unseen", level=Level.NOTE, message=message, hint="Its jobs are not part of this answer.")


def _of_order(planned: Plan) -> Iterator[Finding]:
    for each in planned.mistakes:
        yield Finding(
            id=each.id,
            level=Level.ERROR if each.is_error else Level.WARNING,
            message=each.message,
            hint=each.hint,
            file=each.file,
            path=each.path,
        )
