"""Real package managers under rules that speak of what they do: told apart by body, refused before anything leaves."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_packages import publish_package, publish_wheel
from tests.fakes.sidecar import OURS, Job, World
from tests.fakes.tools import RequireTool

pytestmark = pytest.mark.real

RULES = [
    {
        "id": "npm",
        "why": "the release step publishes one package",
        "job": OURS,
        "to": "origin.test",
        "intent": ["npm publish origin.test/@acme/ui", "npm read *"],
    },
    {"id": "pypi", "why": "installs are fine", "job": OURS, "to": "other.test", "intent": "pypi install *"},
]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A world whose rules speak of intents."""
    made = World(rules=RULES)
    made.start()
    yield made
    made.stop()


def make_package(job: Job, name: str) -> Path:
    folder = job.folder / "package"
    folder.mkdir()
    (folder / "package.json").write_text(json.dumps({"name": name, "version": "1.2.3"}))
    (folder / "index.js").write_text("module.exports = 42;\n")
    (folder / ".npmrc").write_text("registry=https://origin.test/\n//origin.test/:_authToken=placeholder\n")
    return folder


def npm(job: Job, require_tool: RequireTool, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[bytes]:
    tool = require_tool("npm")
    return job.run("sh", "-c", 'cd package && exec "$0" "$@"', tool, *words, code=code, seconds=90)


def test_npm_publishes_what_the_rule_names(job: Job, require_tool: RequireTool) -> None:
    """The publish is read from its body, allowed by package, recorded with version and digest, and sent unchanged."""
    origin = job.world.origin
    origin.files["/@acme%2fui"] = ("application/json", b"{}")
    make_package(job, "@acme/ui")

    npm(job, require_tool, "publish", "--access", "public")

    sent = [seen for seen in origin.seen if seen.method == "PUT"]
    assert len(sent) == 1
    decided = [record for record in job.world.records("flow.decision") if record.get("action") == "publish"]
    assert [(record["reason"], record["resource"], record["class"]) for record in decided] == [
        ("allowed", "origin.test/@acme/ui", "publish")
    ]
    assert decided[0]["facts"]["version"] == "1.2.3"
    assert len(decided[0]["facts"]["sha512"]) == 128


def test_npm_does_not_publish_another(job: Job, require_tool: RequireTool) -> None:
    """The same command for another package is a 403 that npm shows, and its tarball never leaves."""
    origin = job.world.origin
    make_package(job, "@acme/other")

    done = npm(job, require_tool, "publish", "--access", "public", code=1)

    assert b"403" in done.stderr
    assert not [seen for seen in origin.seen if "other" in seen.target and seen.method == "PUT"]
    flow = job.world.ended(path="/@acme%2fother", method="PUT")
    assert flow.reason == "no-rule"


@pytest.mark.parametrize("words", [("deprecate", "@acme/ui", "old"), ("dist-tag", "add", "@acme/ui@4.5.6", "beta")])
def test_npm_may_not_do_what_looks_alike(job: Job, require_tool: RequireTool, words: tuple[str, ...]) -> None:
    """Deprecating and tagging are writes to the same package; a rule that publishes does not mean them."""
    publish_package(job.world.origin, "@acme/ui", "4.5.6")
    make_package(job, "@acme/ui")
    before = len([seen for seen in job.world.origin.seen if seen.method == "PUT"])

    npm(job, require_tool, *words, code=1)

    assert len([seen for seen in job.world.origin.seen if seen.method == "PUT"]) == before


def test_npm_installs_where_reading_is_allowed(job: Job, require_tool: RequireTool) -> None:
    """An effect class is enough for installs, metadata and tarballs alike."""
    publish_package(job.world.origin, "gatelet", "4.5.6")
    make_package(job, "job")

    npm(job, require_tool, "install", "--no-audit", "--no-fund", "gatelet")

    assert (job.folder / "package" / "node_modules" / "gatelet" / "package.json").exists()
    flow = job.world.ended(path="/gatelet/-/gatelet-4.5.6.tgz")
    assert flow.status == 200


def test_pip_installs_and_cannot_upload(job: Job) -> None:
    """`pypi install` covers index and files; an upload, which every other index allows by POST, is refused."""
    publish_wheel(job.world.origin, "gatelet", "1.2.3")
    subprocess.run(
        [sys.executable, "-m", "venv", str(job.folder / "venv")], check=True, capture_output=True, timeout=90
    )
    job.run(
        job.folder / "venv" / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir",
        "--index-url", "https://other.test/simple/", "--target", "site", "gatelet", seconds=90,
    )  # fmt: skip
    assert (job.folder / "site" / "gatelet.py").exists()

    form = job.folder / "form"
    form.write_bytes(b"x")
    job.run(
        "curl", "-sS", "--fail", "-F", ":action=file_upload", "-F", "protocol_version=1", "-F", "name=gatelet",
        "-F", "version=9", "-F", "filetype=sdist", "-F", f"sha256_digest={'0' * 64}",
        "-F", f"content=@{form};filename=gatelet-9.tar.gz", "https://other.test/legacy/", code=22,
    )  # fmt: skip
    assert not [seen for seen in job.world.origin.seen if seen.target.startswith("/legacy")]
    assert job.world.ended(path="/legacy/").reason == "no-rule"
