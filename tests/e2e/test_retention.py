"""A sidecar removes what its settings let go: on record first, the rest verifies, and what a sink has not got stays."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from proxy.model.record import AuditRecord, Kind
from proxy.sinks.file import FileTrail, TrailSettings
from proxy.sinks.keys import make_signer
from proxy.sources.trail import find_segments, read_keys, verify_trail
from tests.fakes.collector import Collector
from tests.fakes.sidecar import OPEN, World, wait_until


async def write_old(directory: Path) -> None:
    """A closed trail of a hundred days ago, in several segments."""
    at = datetime.now(UTC) - timedelta(days=100)
    settings = TrailSettings(directory=directory, reserve=0, segment_bytes=4096)
    trail = await FileTrail.open(settings, make_signer("agents/one"), lambda: at)
    for number in range(40):
        await trail.append(AuditRecord(kind=Kind.CONNECTION, at=at, facts={"name": f"n{number}", "padding": "x" * 300}))
    await trail.close()


def test_old_segments_go_once_they_are_delivered() -> None:
    """While the sink is down all stay; then they go, one record each, and the rest verifies by its checkpoint."""
    world = World(rules=[OPEN])
    collector = Collector(world.root.server_side("collector", ("collector.test",)))
    collector.answer = lambda _: (503, {}, b"")
    collector.start()
    try:
        audit = world.folder / "old"
        asyncio.run(write_old(audit))
        before = [segment.start for segment in find_segments(audit)]
        assert len(before) > 3
        routes = world.folder / "routes.yaml"
        routes.write_text(json.dumps({"routes": [{"id": "all", "why": "a test", "to": "central"}]}))
        world.places = {"collector.test:443": collector.place}
        world.settings = {
            "audit": {"origin": "agents/one", "directory": str(audit), "retention": {"keep": "10d"}},
            "sinks": {"central": {"kind": "http", "url": "https://collector.test", "linger": "0s"}},
            "routes": str(routes),
        }
        world.start()
        wait_until(lambda: len(collector.seen) > 1)
        assert find_segments(audit)[0].start == 0
        world.sidecar.stop(timeout=20)
        collector.answer = lambda _: (200, {}, b"")
        world.sidecar.start()
        wait_until(lambda: len(world.sidecar.records()) > 0 and _delivered(audit) > before[-1])
        world.sidecar.stop(timeout=20)
        world.sidecar.start()  # it looks at each start, and then every minute
        pruned = wait_until(lambda: world.records("trail.pruned")[len(before) - 1 :], 20)
        assert pruned
        assert [each["first"] for each in world.records("trail.pruned")] == before
        world.sidecar.stop(timeout=20)
        assert find_segments(audit)[0].start > before[-1]
        report = verify_trail(audit, read_keys(sorted(audit.glob("key-*.pub"))), partial=True)
        assert report.is_intact, report.findings
    finally:
        world.stop()
        collector.stop()


def _delivered(audit: Path) -> int:
    cursor = audit / "cursor-central"
    return int(json.loads(cursor.read_text())["next"]) if cursor.exists() else 0
