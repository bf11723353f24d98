"""`jobgate suggest` on the trail of a running sidecar: what is missing, what nobody uses, written and proved."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes.sidecar import World, rule

ROOT = Path(__file__).resolve().parents[2]
JOBS = 6


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    made.rules = [
        {**rule("echo", "secret.test", credential=made.bearer()), "path": ["/echo", "/forbidden", "/never"]},
        {**rule("theirs", "origin.test"), "job": {"pipeline": "another"}},
        rule("idle", "idle.test"),
    ]
    made.start()
    made.write_rules(yaml.safe_dump(json.loads(json.dumps({"rules": made.rules})), sort_keys=False))
    for number in range(JOBS):
        job = made.open()
        job.curl("https://secret.test/echo")
        job.curl("https://secret.test/hello", "-o", "/dev/null")
        if number < 4:
            job.curl("https://secret.test/forbidden", "-o", "/dev/null")
    yield made
    made.stop()


def suggest(world: World, *words: str, rules: Path | None = None, code: int = 0) -> subprocess.CompletedProcess[str]:
    place = str(rules or world.rule_file.parent)
    command = [sys.executable, "-m", "proxy", "suggest", str(world.sidecar.audit), "--rules", place, *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def found(world: World, *words: str) -> dict[str, dict[str, Any]]:
    told = json.loads(suggest(world, "--format", "json", *words).stdout)
    return {f"{each['topic']} {each['what']}": each for each in told["suggestions"]}


def test_what_is_suggested_has_evidence_and_proof(world: World) -> None:
    told = found(world)
    assert [each["topic"] for each in told.values()] == [
        "missing-permission",
        "credential-lacks",
        "unused-rule",
        "unused-entry",
    ]
    missing = next(each for each in told.values() if each["topic"] == "missing-permission")
    assert (missing["count"], missing["jobs"], missing["confidence"]) == (JOBS, JOBS, "high")
    assert missing["allows"] == {"GET secret.test/hello": JOBS}
    assert "+    path: /hello" in missing["patch"]
    assert "+      header:" in missing["patch"], "the credential that the step is given there"
    assert world.secret not in json.dumps(told)


def test_people_read_it_as_text(world: World) -> None:
    text = suggest(world).stdout
    assert "replay: newly allows 6 flows, denies none: GET secret.test/hello (6)" in text
    assert "replay: nothing recorded would be decided otherwise" in text
    assert "50% of the grants whose jobs ran are used by nobody" in text
    assert "unused-rule" not in suggest(world, "--topic", "missing-permission").stdout


def test_unused_grants_can_fail_a_check(world: World) -> None:
    assert "used by nobody" in suggest(world, "--check", code=1).stderr
    suggest(world, "--check", "--max-unused", "60%")
    suggest(world, "--max-unused", "lots", code=2)


def test_changes_are_written_and_hold(world: World, tmp_path: Path) -> None:
    """What was suggested is then in the files, comments kept; and nothing is left to suggest of it."""
    rules = tmp_path / "rules"
    shutil.copytree(world.rule_file.parent, rules)
    file = rules / world.rule_file.name
    file.write_text(f"# ours, of course\n{file.read_text()}")
    done = suggest(world, "--write", rules=rules)
    assert "written: " in done.stderr, done.stderr
    assert "/hello" in (rules / "suggested.yaml").read_text()
    again = suggest(world, rules=rules).stdout
    assert "missing-permission" not in again
    assert "unused-rule" not in again
    check = subprocess.run(
        [sys.executable, "-m", "proxy", "check", str(rules)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert check.returncode == 0, check.stdout
    assert "nothing to write" in suggest(world, "--write", rules=rules).stderr


def test_what_cannot_be_read_is_said(world: World, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("rules: [{id: x}]\n")
    assert "broken.yaml" in suggest(world, rules=tmp_path, code=3).stderr


def test_what_steps_did_before_counts_in_a_simulation(world: World, tmp_path: Path) -> None:
    """`jobgate simulate --history`: rules that no longer give a step what it did are found before it runs."""
    step = "release"
    (tmp_path / "pipeline.yml").write_text(f"steps: [{{key: {step}, command: make}}]\n", encoding="utf-8")
    (tmp_path / "rules.yaml").write_text("rules: [{id: other, why: a test, to: other.test}]\n", encoding="utf-8")
    command = [
        sys.executable, "-m", "proxy", "simulate", str(tmp_path / "pipeline.yml"), "--rules",
        str(tmp_path / "rules.yaml"), "--context", "pipeline=storefront", "--history",
        str(world.sidecar.audit), "--format", "json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    told = [each for each in json.loads(done.stdout)["findings"] if each["id"] == "missing-history"]
    assert f"`{step}` did GET secret.test/echo 6 times before, and would be denied" in [
        each["message"] for each in told
    ]
