"""What a job printed, as whoever handed it over says it was: the CI's agent, or the CI."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line, without its end. `at` of None: nobody says when."""

    text: str = field(repr=False)
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLog:
    """Consecutive lines of one job."""

    source: str
    """How they came: `otlp` from the agent, `api` from the CI."""
    job: Mapping[str, str | int]
    """The job's facts under the names that `JobContext` has; `job_id` at least. Said by the sender, not by a token."""
    lines: tuple[LogLine, ...]
    missing: str | None = None
    """Why there are no lines though there should be."""
