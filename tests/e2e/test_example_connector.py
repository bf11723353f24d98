"""The example of a third party's connector: installed by pip, found, checked, and used by a running sidecar."""

import hmac
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.sidecar import World, rule

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "docs" / "example-connector"
KEY = "shared-key-of-the-depot"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the package is installed, built without anything from outside."""
    folder = tmp_path_factory.mktemp("installed")
    words = ("install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", *words, "--target", str(folder), str(EXAMPLE)]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90, env=environment)
    assert done.returncode == 0, done.stderr
    return {"PYTHONPATH": str(folder)}


@pytest.fixture
def world(installed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in installed.items():
        monkeypatch.setenv(name, value)
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text(KEY)
    scope: dict[str, Any] = {"audience": "depot", "key": {"file": str(key)}, "duration": "10m"}
    made = World(rules=[rule("tickets", "origin.test", credential={"signed-ticket": scope})])
    made.start()
    yield made
    made.stop()


def test_a_job_gets_its_ticket(world: World) -> None:
    """The service sees a ticket that names the job and that its key verifies; the record names no secret."""
    job = world.open()
    job.curl("-H", "X-Ticket: the-jobs-own", "https://origin.test/hello")
    ticket = world.origin.site.seen[-1].headers["x-ticket"]
    text, _, seal = ticket.rpartition(":")
    assert seal == hmac.digest(KEY.encode(), f"depot\n{text}".encode(), "sha256").hex()
    (minted,) = world.records("credential.minted")
    assert text.split(":")[:2] == ["storefront", minted["job"]["job_id"]]
    assert (minted["connector"], minted["facts"]) == ("signed-ticket", {"audience": "depot"})
    assert seal not in str(world.sidecar.records())


def test_its_block_is_checked_as_ours_are(installed: dict[str, str], tmp_path: Path) -> None:
    """`jobgate check` knows its fields; without the package the connector is unknown."""
    rules = tmp_path / "rules.yaml"
    (example,) = re.findall(r"```yaml\n(.*?)```", (EXAMPLE / "README.md").read_text(), re.DOTALL)
    rules.write_text(example)

    def check(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "proxy", "check", str(rules)],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert check(installed).returncode == 0, check(installed).stdout
    assert "signed-ticket" in (alone := check({})).stdout + alone.stderr
    assert alone.returncode == 1
    rules.write_text(example.replace("audience: depot", "audience: DEPOT"))
    assert (refused := check(installed)).returncode == 1
    assert "audience" in refused.stdout + refused.stderr


def test_the_example_is_held_to_our_own_types() -> None:
    """What strangers copy passes the strict type check."""
    words = ("-m", "mypy", "--strict", "--no-error-summary", str(EXAMPLE / "jobgate_signed_ticket.py"))
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=110)
    assert done.stdout == ""
