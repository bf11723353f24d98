"""What a CI says happened: verified, and still only a hint: late, repeated or lost. It takes away.

The one thing it gives is what a rule asks for by name: that a person unblocked a step.
"""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Unblocked:
    """That a person let a build go on past a block step."""

    by: frozenset[str]
    """The person: id and email address, in lower case, as far as the event says."""
    at: datetime | None = None
    """None: the event does not say when."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CiEvent:
    """One event of a CI, its facts under the names that `JobContext` has. None: the event does not say."""

    source: str
    """Which CI: `buildkite`, `github` or `gitlab`."""
    name: str
    """As the CI calls it: `job.finished`, `build.finished`, `agent.lost`, ..."""
    organization: str
    """Whose events these are, by the setting that holds the secret; never by what the event says."""
    repository: str | None = None
    pipeline: str | None = None
    attempt: int | None = None
    """Which attempt at the build, where an id is used for several (GitHub's runs)."""
    build_id: str | None = None
    build_number: int | None = None
    job_id: str | None = None
    agent_id: str | None = None
    step: str | None = None
    state: str | None = None
    """The job's, else the build's."""
    build_state: str | None = None
    branch: str | None = None
    commit: str | None = None
    is_fork: bool | None = None
    """Whether it builds a pull request from another repository; None where that cannot be told."""
    unblocked: Unblocked | None = None
    is_blocked: bool = False
    """A build that waits at a block step: it is said to be finished, and is not."""
