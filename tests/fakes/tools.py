"""Programs that tests drive, asked for by name: skipped loudly where missing, a failure in CI."""

import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest


class MissingPartWarning(UserWarning):
    """A real client is not on this machine, so what it would prove is not proved here."""


RequireTool = Callable[[str], str]


def find_tool(name: str) -> str | None:
    """The program of that name: of this environment, else of the machine."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


def skip_loudly(reason: str) -> None:
    """Skip, and say so in the summary."""
    # A warning would be an error here (`filterwarnings = error`); skipping must stay visible all the same.
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(MissingPartWarning(reason), stacklevel=2)
    pytest.skip(f"MISSING PART: {reason}")
