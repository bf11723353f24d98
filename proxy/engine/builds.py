"""What the CI's events said of builds: kept within bounds, late and incomplete by nature.

It can take away, as `event.*` in deny rules; and where a rule asks for it, say who unblocked a step. A restart
forgets it, and what is not known denies.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from proxy.model.event import CiEvent, Unblocked
from proxy.model.identity import JobContext

_BUILDS: Final = 10_000
_PER_BUILD: Final = 2_000
"""Jobs, and unblocked steps, of one build."""
_ENDED: Final = frozenset({"finished", "passed", "failed", "canceled", "timed_out", "skipped", "broken", "expired"})
"""States that a job does not leave: a retry is another job."""

type _Key = tuple[str, str, str]


@dataclass(slots=True)
class _Build:
    state: str | None = None
    branch: str | None = None
    commit: str | None = None
    is_fork: bool | None = None
    jobs: dict[str, str] = field(default_factory=dict)
    agents: dict[str, str] = field(default_factory=dict)
    unblocked: dict[str, Unblocked] = field(default_factory=dict)


class BuildBook:
    """Builds by CI, organization and what tells them apart there, the longest unheard of forgotten first."""

    def __init__(self, most: int = _BUILDS, per_build: int = _PER_BUILD) -> None:
        self._most, self._per_build = most, per_build
        self._builds: dict[_Key, _Build] = {}

    def note(self, event: CiEvent, at: datetime) -> None:
        """Keep what a verified event says. `at`: when it came in."""
        key = _key(event.source, event.organization, event)
        if key is None:
            return
        build = self._builds.pop(key, None) or _Build()
        self._builds[key] = build
        if len(self._builds) > self._most:
            del self._builds[next(iter(self._builds))]
        build.state = event.build_state or build.state
        build.branch = event.branch or build.branch
        build.commit = event.commit or build.commit
        build.is_fork = build.is_fork if event.is_fork is None else event.is_fork
        if event.job_id is not None:
            self._note_job(build, event, event.job_id)
        if event.unblocked is not None and event.step is not None and len(build.unblocked) < self._per_build:
            # A time of the future would make it good for longer than the rule says.
            told = min(event.unblocked.at or at, at)
            build.unblocked[event.step] = Unblocked(by=event.unblocked.by, at=told)

    def _note_job(self, build: _Build, event: CiEvent, job_id: str) -> None:
        if event.state is not None and (job_id in build.jobs or len(build.jobs) < self._per_build):
            if build.jobs.get(job_id) not in _ENDED:
                build.jobs[job_id] = event.state
            if event.agent_id is not None:
                build.agents[job_id] = event.agent_id

    def about(self, job: JobContext, source: str = "buildkite") -> Mapping[str, object]:
        """Return `event.*` for a job of one CI: what its build's events said, and where its token says otherwise."""
        build = self._find(job, source) if self._builds else None
        if build is None:
            return {}
        agent = None if job.job_id is None else build.agents.get(job.job_id)
        facts = {
            "build_state": build.state,
            "job_state": None if job.job_id is None else build.jobs.get(job.job_id),
            "agent_matches": None if agent is None or job.agent_id is None else agent == job.agent_id,
            # The token of a pull request's or a tag's job states no branch; its event does. That is no conflict.
            "branch_matches": None if build.branch is None or job.branch is None else build.branch == job.branch,
            "commit_matches": None if build.commit is None or job.commit is None else build.commit == job.commit,
            "fork": build.is_fork,
        }
        return {name: fact for name, fact in facts.items() if fact is not None}

    def unblocked(self, job: JobContext, step: str, source: str = "buildkite") -> Unblocked | None:
        """Return who unblocked a step of a job's build last."""
        build = self._find(job, source)
        return None if build is None else build.unblocked.get(step)

    def _find(self, job: JobContext, source: str) -> _Build | None:
        key = None if job.organization is None else _key(source, job.organization, job)
        return None if key is None else self._builds.get(key)


def _key(source: str, organization: str, about: CiEvent | JobContext) -> _Key | None:
    """Return what tells a build from all others: Buildkite's pipeline and number, elsewhere the id."""
    if source != "buildkite":
        return None if about.build_id is None else (source, organization, about.build_id)
    if about.pipeline is None or about.build_number is None:
        return None
    return source, organization, f"{about.pipeline}#{about.build_number}"
