"""Settings of the audit trail."""

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field

from proxy.config.sections import Duration, Section


class AuditSettings(Section):
    """Where the trail goes and how durable a record is before anything leaves."""

    directory: Path = Path("audit")
    durability: Literal["fsync", "write"] = "fsync"
    segment_bytes: int = Field(64 * 1024 * 1024, ge=4096)
    segment_age: Duration = timedelta(hours=1)
    checkpoint_key: Path | None = None
    stdout: bool = False
