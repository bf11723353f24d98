"""From commit to artifact and back over a real sidecar's trail: what jobs put and got, and a statement of it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.fakes.sidecar import OPEN, World, wait_until

COMMIT = "c" * 40


def trace(*arguments: str | Path, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "audit", "trace", *map(str, arguments)],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + (done.stderr if code else "")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A job puts a release; another job gets it. The trail, and the release's digest."""
    world = World(rules=[OPEN])
    try:
        world.start()
        folder = tmp_path_factory.mktemp("release")
        release = folder / "release.tgz"
        release.write_bytes(os.urandom(4096))
        builder = world.open(build_commit=COMMIT, step_key="build")
        builder.curl("-T", str(release), "https://origin.test/digest/app.tgz", "-o", os.devnull)
        builder.curl("http://denied.test/x", "-o", os.devnull)
        other = world.open(build_commit="d" * 40, step_key="deploy", build_number=2)
        other.curl("https://origin.test/unrelated", "-o", os.devnull)
        wait_until(lambda: len(world.records("flow.outcome")) == 2)
        world.sidecar.stop(timeout=10)
        yield world.sidecar.audit, sha256(release.read_bytes()).hexdigest()
    finally:
        world.stop()


def test_a_commit_leads_to_what_was_made_of_it(made: tuple[Path, str]) -> None:
    """For people as a tree, for programs as JSON, for slides as a picture."""
    trail, digest = made
    said = trace(trail, COMMIT[:10])
    assert "published" in said
    assert "origin.test" in said
    assert f"sha256:{digest} (by its body)" in said
    assert "denied" in said
    (job,) = json.loads(trace(trail, COMMIT, "--json"))["jobs"]
    assert job["job"]["step"] == "build"
    assert trace(trail, COMMIT, "--mermaid").startswith("flowchart LR")


def test_an_artifact_leads_back_to_its_commit(made: tuple[Path, str], tmp_path: Path) -> None:
    """By its digest alone; the picture is well-formed and written once."""
    trail, digest = made
    (job,) = json.loads(trace(trail, f"sha256:{digest}", "--json"))["jobs"]
    assert job["job"]["commit"] == COMMIT
    picture = tmp_path / "trace.svg"
    trace(trail, digest, "--svg", picture)
    assert ET.parse(picture).getroot().tag.endswith("svg")
    assert "there already" in trace(trail, digest, "--svg", picture, code=2)
    assert "nothing in this trail" in trace(trail, "e" * 64, code=1)


def test_a_statement_is_signed_and_checked(made: tuple[Path, str], tmp_path: Path) -> None:
    """With a key made by openssl; altered, or by another key, it does not hold."""
    trail, digest = made
    key = tmp_path / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)], check=True, capture_output=True)
    key.chmod(0o600)
    file = tmp_path / "statement.json"
    trace(trail, digest, "--statement", file, "--sign-key", key)
    envelope = json.loads(file.read_bytes())
    public = tmp_path / "key.pub"
    public.write_text(envelope["signatures"][0]["keyid"] + "\n")
    said = trace("--check", file, "--key", public)
    assert digest in said
    assert COMMIT in said
    file.write_text(json.dumps({**envelope, "payload": envelope["payload"][:-8] + "AAAAAAA="}))
    assert "none of its signatures" in trace("--check", file, "--key", public, code=1)
    stranger = next(trail.glob("key-*.pub"))
    file.write_text(json.dumps(envelope))
    assert "none of its signatures" in trace("--check", file, "--key", stranger, code=1)


def test_wrong_usage_is_said(made: tuple[Path, str], tmp_path: Path) -> None:
    """Before anything is read or written."""
    trail, _ = made
    assert "name a trail" in trace(code=2)
    assert "go together" in trace(trail, COMMIT, "--statement", tmp_path / "x", code=2)
    key = tmp_path / "open.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)], check=True, capture_output=True)
    key.chmod(0o644)
    said = trace(trail, COMMIT, "--statement", tmp_path / "x", "--sign-key", key, code=3)
    assert "--sign-key: " in said
    assert "can be read by others" in said
