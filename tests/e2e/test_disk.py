"""A sidecar whose disk fills up, or turns read-only: nothing reaches an upstream without a durable record.

Needs a file system of its own, which only root can mount; elsewhere the tests say that they were not run.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.sources.trail import read_keys, read_lines, verify_trail
from tests.fakes.sidecar import OPEN, Job, World, wait_until


def mount(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mount", *words], capture_output=True, text=True, check=False)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Eight MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = mount("-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", str(place))
    if done.returncode != 0:
        pytest.skip(f"NOT RUN: a small file system cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def world(disk: Path) -> Iterator[World]:
    made = World(rules=[OPEN], settings={"audit": {"directory": str(disk / "audit"), "segment_bytes": 4096}})
    made.start()
    try:
        yield made
    finally:
        made.stop()


def ask(job: Job, name: str) -> str:
    """Ask once; return the status."""
    return job.curl("-o", "/dev/null", "-w", "%{http_code}", f"http://plain.test/hello/{name}", code=None)


def check(world: World, allowed: set[str]) -> None:
    """Everything the upstream saw is on record, and what was allowed is what it saw."""
    world.sidecar.stop(timeout=20)
    audit = world.sidecar.audit
    report = verify_trail(audit, read_keys(sorted(audit.glob("key-*.pub"))))
    assert report.is_intact, report.findings
    records = [json.loads(line) for line in read_lines(audit)]
    decided = {each["path"] for each in records if each["kind"] == "flow.decision" and each["effect"] == "allow"}
    seen = {each.target for each in world.plain.seen if "/hello/" in each.target}
    assert seen <= decided
    assert {f"/hello/{name}" for name in allowed} == seen
    assert [each for each in records if each["kind"] == "trail.repaired"]


def test_a_full_disk_denies_and_recovers(world: World, disk: Path) -> None:
    """Full: 503, and the upstream sees nothing. Room again: all goes on, without a restart (G26)."""
    job = world.open()
    assert ask(job, "before") == "200"
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        try:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        except OSError:
            pass
    statuses = {ask(job, f"during-{number}") for number in range(40)}
    assert "503" in statuses
    during = {f"during-{number}" for number in range(40)}
    seen = {each.target.rpartition("/")[2] for each in world.plain.seen}
    assert world.sidecar.api.readiness() != ()
    ballast.unlink()
    wait_until(lambda: world.sidecar.api.readiness() == ())
    assert ask(job, "after") == "200"
    check(world, {"before", "after", *(seen & during)})


def test_a_read_only_disk_denies_and_recovers(world: World, disk: Path) -> None:
    """The same once no file can be begun: what is open may be written to its end, then nothing is allowed."""
    job = world.open()
    assert ask(job, "before") == "200"
    assert mount("--bind", str(disk), str(disk)).returncode == 0
    try:
        assert mount("-o", "remount,bind,ro", str(disk)).returncode == 0
        statuses = {f"during-{number}": ask(job, f"during-{number}") for number in range(30)}
        assert list(statuses.values())[-10:] == ["503"] * 10
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    wait_until(lambda: world.sidecar.api.readiness() == ())
    assert ask(job, "after") == "200"
    check(world, {"before", "after", *(name for name, status in statuses.items() if status == "200")})
