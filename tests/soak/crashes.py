"""`python -m tests.soak.crashes 1000`: kill -9 a sidecar so often, with 60 flows in flight, and hold its trail to what
the upstream and the clients saw.

Every request that the upstream saw has a durable decision (G20); whatever a client was told is on record (G21); every
chain verifies, every allowed flow has one outcome, in the end (G22). The trail is sealed, and its segments are small.
"""

import asyncio
import contextlib
import json
import random
import sys
import time
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pyrage

from proxy.sources.trail import find_segments, read_keys, read_lines, verify_trail
from tests.fakes.sidecar import OPEN, World

IN_FLIGHT = 60


@dataclass(slots=True)
class Tally:
    """What was seen over all runs."""

    runs: int = 0
    asked: int = 0
    answered: set[str] = field(default_factory=set)
    in_flight: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Client:
    """Asks for one unique path after the other on a connection of its own."""

    run: int
    number: int
    tally: Tally
    open: int = 0

    async def work(self, proxy_url: str) -> None:
        with contextlib.suppress(OSError, EOFError, ValueError, IndexError):
            await self._work(proxy_url)

    async def _work(self, proxy_url: str) -> None:
        place = urlsplit(proxy_url)
        who = b64encode(f"{place.username}:{place.password}".encode()).decode()
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        try:
            for step in range(100_000):
                path = f"/hello/{self.run}-{self.number}-{step}"
                self.tally.asked += 1
                self.open = 1
                lines = (
                    f"GET http://plain.test{path} HTTP/1.1",
                    "Host: plain.test",
                    f"Proxy-Authorization: Basic {who}",
                )
                writer.write("\r\n".join((*lines, "", "")).encode())
                answer = await reader.readuntil(b"\r\n\r\n")
                length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                if body == b"hello\n":
                    self.tally.answered.add(path)
                self.open = 0
        finally:
            writer.transport.abort()


def make_world() -> World:
    """A sidecar that seals all it writes, in small segments; paths stay clear so that they can be compared."""
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    seal = {"classes": {"all": {"recipients": [recipient]}}, "default": "all", "clear": ["path"]}
    return World(rules=[OPEN], settings={"audit": {"segment_bytes": 65_536, "seal": seal}})


async def crash(world: World, run: int, tally: Tally, after: float) -> None:
    """One run: load, and a kill in the middle of it."""
    token = world.token(world.issuer.add_job())
    session = await asyncio.to_thread(world.sidecar.open_session, token)
    clients = [Client(run, number, tally) for number in range(IN_FLIGHT)]
    tasks = [asyncio.create_task(client.work(session.proxy_url)) for client in clients]
    await asyncio.sleep(after)
    tally.in_flight.append(sum(client.open for client in clients))
    await asyncio.to_thread(world.sidecar.kill)
    await asyncio.gather(*tasks)
    tally.runs += 1
    await asyncio.to_thread(world.sidecar.start)


def check(world: World, tally: Tally, seen: set[str]) -> dict[str, Any]:
    """Hold the trail to what was seen; return figures. Raises AssertionError."""
    audit = world.sidecar.audit
    report = verify_trail(audit, read_keys(sorted(audit.glob("key-*.pub"))))
    assert report.is_intact, report.findings
    decided: dict[str, str] = {}
    outcomes: dict[str, int] = {}
    interrupted = 0
    for line in read_lines(audit):
        record = json.loads(line)
        if record["kind"] == "flow.decision" and record["effect"] == "allow":
            decided[record["path"]] = record["flow"]
        elif record["kind"] == "flow.outcome":
            outcomes[record["flow"]] = outcomes.get(record["flow"], 0) + 1
            interrupted += record["reason"] == "interrupted"
    unrecorded = seen - decided.keys()
    assert not unrecorded, f"{len(unrecorded)} requests reached the upstream without a record: {sorted(unrecorded)[:5]}"
    lost = tally.answered - decided.keys()
    assert not lost, f"{len(lost)} answered requests are not on record: {sorted(lost)[:5]}"
    wrong = {flow for flow in decided.values() if outcomes.get(flow) != 1}
    assert not wrong, f"{len(wrong)} allowed flows have no outcome, or two: {sorted(wrong)[:5]}"
    return {
        "runs": tally.runs,
        "asked": tally.asked,
        "answered": len(tally.answered),
        "seen upstream": len(seen),
        "on record": len(decided),
        "interrupted": interrupted,
        "records": report.records,
        "segments": len(find_segments(audit)),
        "in flight, median": sorted(tally.in_flight)[len(tally.in_flight) // 2],
    }


def soak(count: int, seed: int = 1) -> dict[str, Any]:
    """Crash so often, and check. Raises AssertionError."""
    world, tally, rng = make_world(), Tally(), random.Random(seed)
    try:
        world.start()

        async def run() -> None:
            for number in range(count):
                await crash(world, number, tally, 0.05 + rng.random() * 0.25)

        asyncio.run(run())
        time.sleep(0.2)
        world.sidecar.stop(timeout=20)
        seen = {urlsplit(each.target).path for each in world.plain.seen if "/hello/" in each.target}
        return check(world, tally, seen)
    finally:
        world.stop()


if __name__ == "__main__":
    began = time.monotonic()
    found = soak(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    sys.stdout.write(json.dumps({**found, "seconds": round(time.monotonic() - began)}, indent=1) + "\n")
