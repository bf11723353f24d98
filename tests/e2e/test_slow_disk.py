"""A sidecar whose disk takes its time to sync: flows wait for it, no longer than they may, and none goes before it."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from proxy.sources.trail import read_keys, read_lines, verify_trail
from tests.fakes.sidecar import OPEN, World, wait_until

SLOW = Path(__file__).resolve().parents[1] / "fakes" / "slow_disk"


def test_nothing_leaves_before_a_slow_disk_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second to sync: allowed, and so late. Eight: 503, nothing upstream. Quick again: all goes on, unbroken."""
    dial = tmp_path / "seconds"

    def turn(seconds: str) -> None:
        """Set the disk's pace in one step: read half-written, it would be a disk that is broken, not slow."""
        fresh = dial.with_suffix(".new")
        fresh.write_text(seconds)
        fresh.replace(dial)

    turn("0")
    monkeypatch.setenv("SLOW_DISK", str(dial))
    monkeypatch.setenv("PYTHONPATH", str(SLOW))
    world = World(rules=[OPEN])
    try:
        world.start()
        job = world.open()

        def ask(name: str) -> str:
            return job.curl("-o", "/dev/null", "-w", "%{http_code}", f"http://plain.test/hello/{name}", code=None)

        assert ask("before") == "200"
        turn("0.5")
        began = time.monotonic()
        assert ask("late") == "200"
        assert time.monotonic() - began >= 0.5
        turn("8")
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(ask, ["never-1", "never-2", "never-3", "never-4"])) == ["503"] * 4
        turn("0")
        wait_until(lambda: ask("after") == "200", 30)
        world.sidecar.stop(timeout=30)
        audit = world.sidecar.audit
        assert verify_trail(audit, read_keys(sorted(audit.glob("key-*.pub")))).is_intact
        records = [json.loads(line) for line in read_lines(audit)]
        allowed = {each["path"]: each["flow"] for each in records if each.get("effect") == "allow"}
        ended = {each["flow"] for each in records if each["kind"] == "flow.outcome"}
        seen = {each.target for each in world.plain.seen if "/hello/" in each.target}
        assert seen == {"/hello/before", "/hello/late", "/hello/after"}
        assert seen <= allowed.keys()
        assert set(allowed.values()) <= ended
    finally:
        world.stop()
