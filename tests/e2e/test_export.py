"""`jobgate audit export` and `schema`: a real trail in each form, filtered, into a file once."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.sidecar import DENIED, OPEN, World, wait_until


def run(*arguments: str | Path, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "audit", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + (done.stderr if code else "")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World(rules=[OPEN], settings={"audit": {"origin": "agents/one"}})
    try:
        made.start()
        job = made.open()
        job.curl("https://origin.test/hello")
        job.curl(f"http://{DENIED}/x")
        wait_until(lambda: len(made.records("flow.outcome")) == 1)
        made.sidecar.stop(timeout=10)
        yield made
    finally:
        made.stop()


@pytest.mark.parametrize("form, name", [("ocsf", "class_uid"), ("cloudevents", "specversion"), ("record", "origin")])
def test_every_record_has_the_form(world: World, form: str, name: str) -> None:
    """One line each, in order, with the trail's origin."""
    lines = run("export", world.sidecar.audit, "--form", form).splitlines()
    assert len(lines) == len(world.sidecar.records())
    assert all(name in json.loads(line) for line in lines)
    assert all("agents/one" in line for line in lines)


def test_only_what_is_wanted_into_a_new_file(world: World, tmp_path: Path) -> None:
    """Filters as `show` has them; nothing is overwritten."""
    output = tmp_path / "denied.jsonl"
    run("export", world.sidecar.audit, "--effect", "deny", "--output", output)
    (line,) = output.read_text().splitlines()
    assert json.loads(line)["action"] == "Denied"
    assert "is there already" in run("export", world.sidecar.audit, "--output", output, code=2)


def test_the_schema_is_the_published_one() -> None:
    """As in docs/record.schema.json."""
    published = Path(__file__).resolve().parents[2] / "docs" / "record.schema.json"
    assert json.loads(run("schema")) == json.loads(published.read_text())
