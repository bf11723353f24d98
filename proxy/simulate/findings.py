"""What a simulation finds wrong with a pipeline, its order, or where its steps could go."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from proxy.pipelines.pipeline import Place


class Level(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something a person should look at. `step` or `rule` names what it is about."""

    id: str
    level: Level
    message: str
    hint: str = ""
    step: str | None = None
    rule: str | None = None
    file: str = ""
    path: Place = ()


def worst(findings: Iterable[Finding]) -> Level | None:
    """Return the worst level among findings, None without any."""
    levels = {finding.level for finding in findings}
    return next((level for level in Level if level in levels), None)
