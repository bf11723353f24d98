"""`jobgate demo` as a stranger runs it."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.tools import RequireTool

pytestmark = pytest.mark.real
ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "proxy", "demo"]


@pytest.fixture(autouse=True)
def _tools(require_tool: RequireTool) -> None:
    for name in ("git", "curl"):
        require_tool(name)


def test_everything_holds() -> None:
    """It ends with 0, shows what was allowed and denied, and says that everything held; no colour when not asked."""
    done = subprocess.run(COMMAND, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything held" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stdout.count("  ✓ ") == 14
    assert "✗" not in done.stdout
    assert len(re.findall(r"^ +denied ", done.stdout, re.MULTILINE)) == 4


def test_what_differs_is_said_and_counts(tmp_path: Path) -> None:
    """With a rule taken away the demo ends with 1 and names what was not as expected."""
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "proxy", copy / "proxy", ignore=shutil.ignore_patterns("__pycache__"))
    rules = copy / "proxy" / "demo" / "rules" / "storefront.yaml"
    rules.write_text(rules.read_text().replace("branch: main", "branch: trunk"))
    done = subprocess.run(COMMAND, cwd=copy, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "NOT AS EXPECTED" in done.stdout
    assert "did not hold" in done.stdout


def test_keep_leaves_it_running(tmp_path: Path) -> None:
    """--keep prints lines to paste; they work; an interrupt ends everything and leaves nothing behind."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    running = subprocess.Popen(
        [*COMMAND, "--keep", "--no-color"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    with running, running.stdout:
        lines = []
        for line in running.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        printed = [line.strip() for line in lines]
        enter = next(line for line in printed if line.startswith(". ") and "main.env" in line)
        denied = next(line for line in printed if line.startswith("curl "))
        tried = subprocess.run(
            ["bash", "-c", f"{enter} && {denied}"], capture_output=True, text=True, check=False, timeout=30
        )
        running.send_signal(signal.SIGINT)
        running.wait(30)
    assert "no-rule" in tried.stdout, tried.stderr
    assert list(tmp_path.glob("jobgate-demo-*")) == []
