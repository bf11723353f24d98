"""twine and pip through a real sidecar to a real index: one package is published, and only what is named installed."""

import hashlib
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.index import HOST, PythonIndex
from tests.fakes.sidecar import Job, World, rule
from tests.fakes.wheels import sdist, wheel

pytestmark = pytest.mark.real
URL = f"https://{HOST}/"


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[World, PythonIndex]]:
    world = World()
    pair = b64encode(f"__token__:{world.secret}".encode()).decode()
    index = PythonIndex(world.folder / "index", world.root.server_side("index", (HOST,)), f"Basic {pair}")
    index.start()
    world.places[f"{HOST}:443"] = index.place
    world.rules = [
        rule("publish", HOST, credential=world.basic("__token__"), intent=f"pypi publish {HOST}/gatelet"),
        rule(
            "install",
            HOST,
            credential=world.basic("__token__"),
            intent=[f"pypi install {HOST}/gatelet", f"pypi search {HOST}"],
        ),
        {
            **rule("never", HOST, intent=f"pypi publish {HOST}/gatelet"),
            "effect": "deny",
            "when": "intent.facts['version'] == '6.6.6'",
        },
    ]
    world.start()
    yield world, index
    world.stop()
    index.stop()


@pytest.fixture(scope="module")
def pip(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("pip")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True, timeout=90)
    return str(folder / "bin" / "pip")


def upload(job: Job, file: str, content: bytes, code: int = 0) -> str:
    """Let twine upload a file with the placeholder that a job has."""
    (job.folder / file).write_bytes(content)
    twine = Path(sys.executable).with_name("twine")
    words = ("upload", "--non-interactive", "--disable-progress-bar", "--repository-url", URL)
    environment = {"TWINE_USERNAME": "__token__", "TWINE_PASSWORD": "placeholder", "HOME": str(job.folder)}
    done = job.run(str(twine), *words, file, code=code, environment=environment)
    return (done.stdout + done.stderr).decode()


@pytest.mark.parametrize(
    "file, content",
    [
        ("gatelet-1.2.3-py3-none-any.whl", wheel("gatelet", "1.2.3")),
        ("gatelet-1.2.3.tar.gz", sdist("gatelet", "1.2.3")),
    ],
)
def test_twine_publishes_what_the_rule_names(stage: tuple[World, PythonIndex], file: str, content: bytes) -> None:
    """A wheel and an sdist arrive, byte for byte; name, version and digest are on record."""
    world, index = stage
    upload(world.open(), file, content)
    assert (index.folder / file).read_bytes() == content
    record = [each for each in world.records("flow.decision") if each.get("action") == "publish"][-1]
    assert (record["effect"], record["resource"], record["class"]) == ("allow", f"{HOST}/gatelet", "publish")
    digest = hashlib.sha256(content).hexdigest()
    assert {"version": "1.2.3", "file": file, "sha256": digest}.items() <= record["facts"].items()


@pytest.mark.parametrize(
    "name, version, file, reason",
    [
        ("otherpack", "1.0", "otherpack-1.0-py3-none-any.whl", "no-rule"),
        ("gatelet", "6.6.6", "gatelet-6.6.6-py3-none-any.whl", "rule-denied"),
    ],
)
def test_twine_is_refused_anything_else(
    stage: tuple[World, PythonIndex], name: str, version: str, file: str, reason: str
) -> None:
    """Another package, and a version that a rule forbids, never reach the index; twine shows a 403."""
    world, index = stage
    before = len(index.asked)
    said = upload(world.open(), file, wheel(name, version), code=1)
    assert "403" in said
    assert file not in index.files
    assert len(index.asked) == before
    record = [each for each in world.records("flow.decision") if each.get("action") == "publish"][-1]
    assert (record["effect"], record["reason"], record["resource"]) == ("deny", reason, f"{HOST}/{name}")


def test_pip_installs_what_the_rule_names(stage: tuple[World, PythonIndex], pip: str) -> None:
    """pip finds and fetches the one package; another that the index has as well is not to be had."""
    world, index = stage
    (index.folder / "gatelet-2.0-py3-none-any.whl").write_bytes(wheel("gatelet", "2.0"))
    (index.folder / "otherpack-2.0-py3-none-any.whl").write_bytes(wheel("otherpack", "2.0"))
    job = world.open()
    words = ("--disable-pip-version-check", "--no-cache-dir", "--retries", "0", "--index-url", f"{URL}simple/")
    job.run(pip, "install", "--quiet", *words, "--target", "site", "gatelet==2.0", seconds=90)
    assert (job.folder / "site" / "gatelet.py").read_text() == "VERSION = '2.0'\n"
    kinds = {
        (each["resource"], each["facts"]["what"])
        for each in world.records("flow.decision")
        if "facts" in each and each["action"] == "install"
    }
    assert kinds == {(f"{HOST}/gatelet", "metadata"), (f"{HOST}/gatelet", "artifact")}
    job.run(pip, "download", *words, "--dest", "site", "otherpack", code=1, seconds=90)
    assert not any("otherpack" in asked for asked in index.asked)
