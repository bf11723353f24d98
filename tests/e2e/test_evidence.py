"""An evidence pack from a real sidecar's trail and its rules in git: the commits that were in force, and a manifest."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.fakes.sidecar import OPEN, World, rule, wait_until

TODAY = datetime.now(UTC).date()
SPAN = ("--from", str(TODAY - timedelta(days=1)), "--to", str(TODAY + timedelta(days=1)))


def evidence(*arguments: str | Path, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "audit", "evidence", *map(str, arguments)],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=pat", "-c", "user.email=pat@example.com")
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[Path, Path, list[str]]]:
    """A trail over two commits of the rules, with an allowed and a denied flow."""
    world = World(rules=[OPEN])
    try:
        world.write_rules(world.rules)
        folder = world.rule_file.parent
        git(folder, "init", "-q")
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", "first")
        commits = [git(folder, "rev-parse", "HEAD")]
        world.start()
        job = world.open()
        job.curl("https://origin.test/hello", "-o", os.devnull)
        job.curl("http://denied.test/x", "-o", os.devnull)
        wait_until(lambda: len(world.records("flow.outcome")) == 1)
        world.write_rules([OPEN, rule("more", "secret.test", tags={"data": "pii"})])
        git(folder, "commit", "-qam", "second")
        commits.append(git(folder, "rev-parse", "HEAD"))
        wait_until(lambda: len(world.records("rules.loaded")) == 2)
        job.curl("https://origin.test/hello", "-o", os.devnull)
        wait_until(lambda: len(world.records("flow.outcome")) == 2)
        world.sidecar.stop(timeout=10)
        yield world.sidecar.audit, folder, commits
    finally:
        world.stop()


def test_a_pack_shows_who_could_and_who_did(made: tuple[Path, Path, list[str]], tmp_path: Path) -> None:
    """Rules by commit, flows, sessions, denials, verification; the page is complete by itself."""
    trail, rules, commits = made
    evidence(trail, *SPAN, "--output", tmp_path / "pack", "--rules", rules)
    pack = json.loads((tmp_path / "pack" / "evidence.json").read_text())
    assert pack["verification"]["intact"]
    assert pack["flows"] == {"allow": 2, "deny": 1}
    assert pack["sessions"] == {"opened": 1, "closed": 1}
    assert [(each["commit"], each["in_force"]) for each in pack["commits"]] == [(commits[1], True), (commits[0], True)]
    assert {each["rule"] for each in pack["who_could"]} == {"open", "more"}
    assert "acme/storefront -> origin.test" in pack["reach"]["open"]
    page = (tmp_path / "pack" / "evidence.html").read_text()
    assert commits[0] in page
    assert "CC6.1" in page


def test_a_pack_can_be_checked(made: tuple[Path, Path, list[str]], tmp_path: Path) -> None:
    """By its manifest, and by who signed that; an altered one is found; nothing is overwritten."""
    trail, _, _ = made
    key, pack = tmp_path / "key.pem", tmp_path / "pack"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)], check=True, capture_output=True)
    key.chmod(0o600)
    evidence(trail, *SPAN, "--output", pack, "--sign-key", key)
    assert "as the manifest has it" in evidence("--check", pack)
    assert "which is signed" in evidence("--check", pack, "--key", pack / "signer.pub")
    assert "none of its signatures" in evidence("--check", pack, "--key", next(trail.glob("key-*.pub")), code=1)
    assert "is not empty" in evidence(trail, *SPAN, "--output", pack, code=2)
    page = pack / "evidence.html"
    page.write_text(page.read_text().replace("allow", "Allow", 1))
    assert "evidence.html is not as the manifest has it" in evidence("--check", pack, code=1)
    manifest = pack / "manifest.json"
    forged = json.loads(manifest.read_text())
    forged["files"]["evidence.html"] = {"sha256": "0" * 64, "bytes": 1}
    manifest.write_text(json.dumps(forged))
    evidence("--check", pack, code=1)
    manifest.unlink()
    assert "is no evidence pack" in evidence("--check", pack, code=1)


def test_a_broken_trail_gives_a_marked_pack(made: tuple[Path, Path, list[str]], tmp_path: Path) -> None:
    """It is written, says so on its first page, and the command fails."""
    copy = tmp_path / "audit"
    shutil.copytree(made[0], copy)
    segment = min(copy.glob("trail-*"))
    segment.write_bytes(segment.read_bytes().replace(b"origin.test", b"Origin.test", 1))
    assert "NOT INTACT" in evidence(copy, *SPAN, "--output", tmp_path / "pack", code=1)
    assert "NOT INTACT" in (tmp_path / "pack" / "evidence.html").read_text()


def test_an_empty_window_and_wrong_usage(made: tuple[Path, Path, list[str]], tmp_path: Path) -> None:
    """An empty window is a pack of nothing; what is missing or no date is said."""
    trail, _, _ = made
    evidence(trail, "--from", "2001-01-01", "--to", "2001-01-31", "--output", tmp_path / "none")
    assert json.loads((tmp_path / "none" / "evidence.json").read_text())["records"] == 0
    assert "say of which trail" in evidence(trail, code=2)
    assert "write a day" in evidence(trail, "--from", "x", "--to", "y", "--output", tmp_path / "x", code=2)
    not_git = tmp_path / "rules"
    not_git.mkdir()
    (not_git / "a.yaml").write_text(json.dumps({"rules": [OPEN]}))
    said = evidence(trail, *SPAN, "--output", tmp_path / "y", "--rules", not_git, code=3)
    assert "is not in a git work tree" in said
