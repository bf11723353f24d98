"""What a step said it would do, and whether a request is that. Pure.

A declaration is `intent:` lines handed over with the session. Whoever writes the pipeline writes it, so it can only
take away: what a rule allows and the step did not declare is denied or marked, as the rule says.
"""

from enum import StrEnum
from functools import lru_cache
from typing import Final

from proxy.model.decision import Declared
from proxy.model.intent import Intent
from proxy.policy.intents import IntentTest, covers_all, read_intent
from proxy.policy.patterns import PatternError

MAX_LINES: Final = 64


class Stance(StrEnum):
    """What a rule does about a request that its step did not declare."""

    DENY = "deny"
    """Denied. A step that declared nothing is not held to anything."""
    FLAG = "flag"
    """Allowed, and marked on its record."""
    REQUIRED = "required"
    """Denied, and so is all that a step asks for which declared nothing."""


def read_declaration(text: str) -> tuple[str, ...]:
    """Read lines that stand below one another or are parted by `;`. Raises PatternError."""
    return check_declaration(tuple(part.strip() for line in text.splitlines() for part in line.split(";")))


def check_declaration(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return the lines that are not empty, in one spelling. Raises PatternError for one that is no intent."""
    tests = [read_intent(line) for line in lines if line]
    if not tests:
        raise PatternError("a declaration has at least one line; leave it out to declare nothing")
    if len(tests) > MAX_LINES:
        raise PatternError(f"a declaration has at most {MAX_LINES} lines; use wildcards")
    return tuple(test.text for test in tests)


def compare(declared: tuple[str, ...] | None, intent: Intent | None) -> Declared | None:
    """Say how a request stands to a declaration; None for no declaration. What was not read is beyond any."""
    if declared is None:
        return None
    if intent is not None and covers_all(_tests(declared), intent):
        return Declared.WITHIN
    return Declared.BEYOND


@lru_cache(maxsize=1024)
def _tests(declared: tuple[str, ...]) -> tuple[IntentTest, ...]:
    return tuple(read_intent(line) for line in declared)
