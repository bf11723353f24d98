"""What is handed over beside a job's tokens: what its step declares, and the trace it belongs to."""

import re
from collections.abc import Sequence
from typing import Final

from proxy.model.errors import IntentError
from proxy.policy.declaring import check_declaration
from proxy.policy.patterns import PatternError

_TRACE: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def check_declared(lines: Sequence[str]) -> tuple[str, ...]:
    """Return what a step declares, in one spelling. Raises IntentError that says what is wrong with which line."""
    try:
        return check_declaration(tuple(lines))
    except PatternError as error:
        raise IntentError(str(error)) from None


def is_trace(text: str) -> bool:
    """Whether a text is a `traceparent` of version 00 (W3C Trace Context 3.2). It names a trace and decides nothing."""
    return _TRACE.fullmatch(text) is not None
