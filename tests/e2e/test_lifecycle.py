"""Starting, reloading, draining, crashing and running out of disk, with traffic flowing."""

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.demo.tls import StageRoot
from proxy.sources.trail import read_keys, verify_trail
from tests.fakes.sidecar import OPEN, Job, World, rule, wait_until
from tests.fakes.tools import skip_loudly

MakeWorld = Callable[..., World]
HELLO = "https://origin.test/hello"
STATUS = ("-o", "/dev/null", "-w", "%{http_code} %{http_connect}")


def background(job: Job, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        ["curl", "-sS", *arguments], cwd=job.folder, env=job.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def verified(world: World) -> Any:
    audit = world.sidecar.audit
    report = verify_trail(audit, read_keys(sorted(audit.glob("key-*.pub"))))
    assert report.is_intact, report.findings
    return report


def test_sigterm_drains(make_world: MakeWorld) -> None:
    """SIGTERM: no new connection, the exchange in flight finishes, every record is closed, exit code 0."""
    world = make_world()
    job = world.open()
    client = background(job, "https://origin.test/slow")
    assert world.origin.waiting.wait(20)
    world.sidecar.drain()
    wait_until(lambda: job.curl(*STATUS, HELLO, code=None).split()[0] in {"000", "503"})
    assert client.poll() is None
    world.origin.gate.set()
    out, _ = client.communicate(timeout=20)
    assert out == b"first.second"
    assert world.sidecar.stop() == 0
    report = verified(world)
    assert report.open_flows == ()
    assert report.covered == report.records
    assert [record["status"] for record in world.records("flow.outcome") if "status" in record][-1] == 200


def test_rules_are_reloaded_while_traffic_flows(make_world: MakeWorld) -> None:
    """SIGHUP swaps the rules in one step: no request meets none or half of them, a bad file keeps the old set."""
    world = make_world()
    job = world.open()
    seen: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            seen.append(job.curl(*STATUS, HELLO, code=None))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for text in ("rules: [", [OPEN, rule("more", "bearer.test")], "rules: []", [OPEN]):
            loaded = len(world.records("rules.loaded")) + len(world.records("rules.refused"))
            world.write_rules(text)
            os.kill(world.sidecar.pid, signal.SIGHUP)
            wait_until(
                lambda before=loaded: len(world.records("rules.loaded")) + len(world.records("rules.refused")) > before  # type: ignore[misc]
            )
        wait_until(lambda: len(seen) > 8)
    finally:
        stop.set()
        asking.join()
    assert set(seen) == {"200 200"}
    assert len(world.records("rules.refused")) == 2
    assert world.sidecar.api.readiness() == ()


def test_a_new_rule_takes_effect_and_an_old_one_ends(make_world: MakeWorld) -> None:
    """After a reload the next request is decided by the new rules, on an open connection too."""
    world = make_world()
    job = world.open()
    assert job.curl(*STATUS, HELLO) == "200 200"
    world.write_rules([rule("other", "other.test")])
    os.kill(world.sidecar.pid, signal.SIGHUP)
    wait_until(lambda: len(world.records("rules.loaded")) == 2)
    assert job.curl(*STATUS, HELLO, code=56) == "000 403"
    assert job.curl(*STATUS, "https://other.test/hello") == "200 200"
    revisions = {record["revision"] for record in world.records("flow.decision")}
    assert len(revisions) == 2


def test_a_rotated_ca_needs_no_restart(make_world: MakeWorld, tmp_path: Path) -> None:
    """What `upstream.trust` no longer names is believed no more, kept or not; a file that is none changes nothing."""
    world = make_world()
    job, trust = world.open(), world.root.certificate
    ours, others = trust.read_bytes(), StageRoot(_made(tmp_path / "others")).certificate.read_bytes()

    def answer() -> str:
        return job.curl("-o", "/dev/null", "-w", "%{http_code}", HELLO)

    def warnings() -> Any:
        return world.sidecar.api.call("GET", "/readyz").json().get("warnings", [])

    assert answer() == "200"
    trust.write_bytes(others)
    wait_until(lambda: len(world.records("roots.loaded")) == 1)
    assert answer() == "502"
    assert world.ended(reason="upstream-tls").status == 502

    trust.write_bytes(b"no certificate")
    wait_until(lambda: any("upstream.trust" in said for said in warnings()))
    time.sleep(2.5)
    assert answer() == "502"
    assert len(world.records("roots.refused")) == 1

    trust.write_bytes(ours)
    os.kill(world.sidecar.pid, signal.SIGHUP)
    wait_until(lambda: len(world.records("roots.loaded")) == 2)
    assert answer() == "200"
    assert warnings() == []
    assert len({record["sha256"] for record in world.records("roots.loaded")}) == 2


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_every_metric_is_explained(make_world: MakeWorld) -> None:
    """What `/metrics` shows of jobgate stands in docs/operating.md, and what stands there is shown."""
    world = make_world()
    world.open().curl(*STATUS, HELLO)
    shown = world.sidecar.api.call("GET", "/metrics").body.decode()
    page = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
    families = set(re.findall(r"^# TYPE (jobgate_[a-z_]+) ", shown, re.MULTILINE))
    named = set(re.findall(r"`(jobgate_[a-z_]+)", page))
    assert {"jobgate_loop_lag_seconds", "jobgate_warnings", "jobgate_decisions_total"} <= families
    assert families <= named
    assert named - families == {"jobgate_sink_delivered", "jobgate_sink_behind_bytes", "jobgate_anchored"}  # none here


@pytest.mark.parametrize(
    "change, says",
    [
        ({"rules": ["nowhere"]}, "nowhere"),
        ({"issuers": [{"provider": "buildkite", "audience": "a"}]}, "bound"),
        ({"surprise": 1}, "surprise"),
        ({"upstream": {"trust": "nowhere.pem"}}, "nowhere.pem"),
    ],
)
def test_wrong_settings_do_not_start(make_world: MakeWorld, change: dict[str, Any], says: str) -> None:
    """A proxy whose settings are wrong does not start, and says in one message what is."""
    world = make_world(start=False)
    world.settings |= change
    with pytest.raises(Exception, match=says):
        world.start()


def test_kill_and_restart(make_world: MakeWorld) -> None:
    """After a kill -9 the next start repairs, closes what was open, and the chain verifies over both lives."""
    world = make_world()
    job = world.open()
    for _ in range(3):
        assert job.curl(*STATUS, HELLO) == "200 200"
    client = background(job, "https://origin.test/slow")
    assert world.origin.waiting.wait(20)
    world.sidecar.kill()
    client.communicate(timeout=20)
    world.origin.gate.set()
    asked = len(world.origin.seen)
    world.sidecar.start()
    assert world.open().curl(*STATUS, HELLO) == "200 200"
    assert world.sidecar.stop() == 0
    report = verified(world)
    assert report.open_flows == ()
    assert len([flow for flow in world.flows(effect="allow") if flow.method != "CONNECT"]) == asked + 1
    assert "interrupted" in {record.get("reason") for record in world.records("flow.outcome")}


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    place = tmp_path / "tiny"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", str(place)], capture_output=True, check=False
    )
    if made.returncode != 0:
        skip_loudly("a tmpfs cannot be mounted here: full disks are not proved")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def test_a_full_disk(make_world: MakeWorld, tiny_disk: Path) -> None:
    """When the trail cannot be written: 503, nothing reaches the origin, health says so; and it recovers by itself."""
    world = make_world(start=False)
    world.settings["audit"] = {"directory": str(tiny_disk / "audit")}
    world.start()
    job = world.open()
    assert job.curl(*STATUS, HELLO) == "200 200"
    ballast = tiny_disk / "ballast"
    fill(ballast)
    said = wait_until(lambda: refused(job))
    assert json.loads(said)["reason"] == "trail-unavailable"
    before = len(world.plain.seen)
    for _ in range(5):
        assert refused(job)
    assert len(world.plain.seen) == before
    assert "trail-unavailable" in world.sidecar.api.readiness()
    ballast.unlink()
    wait_until(lambda: job.curl("-w", "%{http_code}", "http://plain.test/hello") == "hello\n200")
    wait_until(lambda: world.sidecar.api.readiness() == ())
    assert world.sidecar.stop() == 0
    verified(world)


def fill(ballast: Path) -> None:
    """Write until nothing more fits, then again after what was freed in between."""
    with ballast.open("ab", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                time.sleep(0.01)


def refused(job: Job) -> str:
    """The body of a 503, empty when the request was let through."""
    said = job.curl("-w", "%{http_code}", "http://plain.test/hello")
    return said[:-3] if said.endswith("503") else ""
