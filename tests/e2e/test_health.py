"""`jobgate health`: ready, not ready and not there are three different exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.fakes.sidecar import World


def run_health(*words: str, code: int) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("JOBGATE_")}
    command = [sys.executable, "-m", "proxy", "health", *words]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60, env=plain)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_a_ready_proxy_is_said_to_be_ready(world: World) -> None:
    """In words, and as /readyz has it."""
    config = str(world.sidecar.config)
    assert run_health("--config", config, code=0).stdout.startswith("ready")
    assert json.loads(run_health("--config", config, "--json", code=0).stdout)["status"] == "ready"


def test_a_proxy_that_is_not_there_cannot_be_asked(tmp_path: Path) -> None:
    """Exit code 3, at once or after the wait."""
    for words in ([], ["--wait", "0.5"]):
        assert run_health("--control", str(tmp_path / "none.sock"), *words, code=3).stderr.startswith("jobgate: ")
