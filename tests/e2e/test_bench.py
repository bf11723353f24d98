"""The benchmark runs. What it measures is nobody's promise here: machines differ, and nothing is asserted on time."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIGURES = (
    "flows/s, jobgate",
    "flows/s, stock mitmdump",
    "flows/s against stock mitmdump",
    "decision with 10,000 rules, p99",
    "ready after start",
    "RSS when idle",
    "RSS growth, denied",
    "upload",
    "download",
)


@pytest.mark.timeout(180)
def test_every_figure_comes_out() -> None:
    """`python -m bench --quick` prints every figure the README states, whatever they are on this machine."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick"], capture_output=True, text=True, timeout=170, check=False, cwd=ROOT
    )

    assert done.returncode == 0, done.stdout + done.stderr
    for figure in FIGURES:
        assert figure in done.stdout, done.stdout
    assert "could not be measured" not in done.stdout
