"""`jobgate replay` on the trail of a running sidecar: its own rules change nothing, others exactly what they say."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.sidecar import World, rule, wait_until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    made.rules = [
        {**rule("echo", "secret.test", credential=made.bearer()), "path": ["/echo", "/forbidden"]},
        {**rule("on-main", "origin.test"), "job": {"branch": "main"}, "when": "job.claims.pipeline_slug != ''"},
    ]
    made.start()
    for branch in ("main", "topic"):
        job = made.open(build_branch=branch)
        job.curl("https://secret.test/echo")
        job.curl("https://secret.test/hello?a=b", "-o", "/dev/null")
        job.curl("https://origin.test/hello", "-o", "/dev/null", code=None)
        job.curl("https://denied.test/", code=56)
    made.open().curl("https://secret.test/forbidden")
    yield made
    made.stop()


def replay(world: World, rules: list[dict[str, Any]], *words: str) -> subprocess.CompletedProcess[str]:
    place = world.folder / "candidate.yaml"
    place.write_text(json.dumps({"rules": rules}))
    command = [sys.executable, "-m", "proxy", "replay", str(world.sidecar.audit), "--rules", str(place), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)


def test_its_own_rules_change_nothing(world: World) -> None:
    done = replay(world, world.rules)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing would change" in done.stdout


def test_what_other_rules_change_is_told(world: World) -> None:
    """For whom, how often, and by which rule; a program gets the flows' ids too."""
    echo, on_main = world.rules
    told = replay(world, [{**echo, "path": "/*"}, {**on_main, "job": {"branch": "topic"}}], "--format", "json")
    assert told.returncode == 1, told.stderr
    report = json.loads(told.stdout)
    assert report["changed"] == {
        "newly-denied": 1,
        "newly-allowed": 3,
        "newly-asked": 0,
        "no-longer-asked": 0,
        "other-credential": 0,
        "cannot-be-told": 0,
    }
    (denied,) = [each for each in report["changes"] if each["kind"] == "newly-denied"]
    assert (denied["job"]["branch"], denied["what"]) == ("main", "GET origin.test/hello")
    allowed = [each for each in world.records("flow.decision") if each["effect"] == "allow"]
    assert denied["flows"] == [each["flow"] for each in allowed if each["host"] == "origin.test"]
    text = replay(world, [echo]).stdout
    assert "newly-denied  1" in text
    assert "1 newly-denied" in text


def test_what_a_credential_lacked_is_on_record_without_it(world: World) -> None:
    """An upstream that says our credential back in its refusal puts it on no record."""
    told = wait_until(lambda: [each["shortfall"] for each in world.records("flow.outcome") if "shortfall" in each])
    assert told[0]["code"] == "insufficient_scope"
    assert told[0]["resource"].startswith("arn:aws:s3:::b/")
    assert world.secret not in json.dumps(told)


def test_another_credential_is_a_change(world: World) -> None:
    echo, on_main = world.rules
    done = replay(world, [{**echo, "credential": world.basic("other")}, on_main])
    assert done.returncode == 1
    assert "3 other-credential" in done.stdout


def test_what_cannot_be_read_is_said(world: World) -> None:
    """A rule file with a mistake, a trail that is none: exit 3, with the place."""
    broken = replay(world, [{"id": "x"}])
    assert broken.returncode == 3
    assert "candidate.yaml" in broken.stderr
    elsewhere = world.folder / "nothing"
    elsewhere.mkdir()
    (elsewhere / "trail-000000000000.jsonl").write_text("{}\n")
    command = [sys.executable, "-m", "proxy", "replay", str(elsewhere), "--rules", str(world.rule_file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 3, done.stdout
    assert "Traceback" not in done.stderr
