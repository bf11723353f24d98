"""What an operator has stopped, for whom, and why."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

_VALUE: Final = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")
_HOST: Final = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[?[0-9a-f:.]+\]?")


class KillScope(StrEnum):
    """What a kill is aimed at."""

    ORGANIZATION = "organization"
    PIPELINE = "pipeline"
    STEP = "step"
    JOB = "job"
    RULE = "rule"
    CONNECTOR = "connector"
    HOST = "host"


JOB_SCOPES: Final = frozenset({KillScope.ORGANIZATION, KillScope.PIPELINE, KillScope.STEP, KillScope.JOB})
"""Aimed at jobs: their sessions end and none is opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One thing that is stopped until it is lifted. `value` is compared as it is; a host may begin with `*.`."""

    id: str
    scope: KillScope
    value: str
    why: str
    at: datetime


def check_kill(scope: str, value: str, why: str) -> tuple[KillScope, str, str]:
    """Return the parts of a kill, checked. Raises ValueError that says what is wrong with which."""
    if scope not in set(KillScope):
        raise ValueError(f"a kill is aimed at one of {', '.join(KillScope)}")
    if _VALUE.fullmatch(value) is None:
        raise ValueError(f"the {scope} is 1 to 255 characters of ASCII")
    if scope == KillScope.HOST and _HOST.fullmatch(value) is None:
        raise ValueError("the host is a name in lower case such as api.example.com or *.example.com, or an address")
    if _VALUE.fullmatch(why) is None:
        raise ValueError("say why, in 1 to 255 characters of ASCII")
    return KillScope(scope), value, why
