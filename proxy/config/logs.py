"""Settings of what becomes of jobs' logs."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from proxy.config.audit import RetentionSettings, TagName, TagValue
from proxy.config.sections import Listener, Section


class LogFetch(Section):
    """Fetches a log from Buildkite when its job is over and no line has come. `token`: a file with an API token."""

    organization: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,99}$")
    token: Path
    bytes: int = Field(16 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024)


class LogSettings(Section):
    """Where agents export jobs' logs to, over OTLP/HTTP, and where they are kept: a trail of its own."""

    listen: Listener | None = None
    token: Path | None = None
    fetch: LogFetch | None = None
    directory: Path = Path("logs")
    tags: dict[TagName, TagValue] = Field(default_factory=dict)
    retention: RetentionSettings | None = None
    spool_bytes: int = Field(1024 * 1024 * 1024, ge=16 * 1024 * 1024)

    @model_validator(mode="after")
    def _some_way_in(self) -> Self:
        if (self.listen is None) != (self.token is None):
            raise ValueError("`listen` and `token` belong together: whoever has the token may hand over logs")
        if self.listen is None and self.fetch is None:
            raise ValueError("say how logs come in: `listen` and `token`, or `fetch`")
        return self
