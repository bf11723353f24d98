"""`python -m tests.soak.endings 100000`: flows that end in every way there is, and a terminal record for each (G24).

Well; with the client gone before the answer, in the middle of it, or of its own body; reset; with an upstream that is
not there, hangs up, or answers nonsense; malformed; with TLS that is none. In the end every allowed flow has one
outcome, every connection one record, and nothing is open.
"""

import asyncio
import contextlib
import json
import random
import socket
import struct
import sys
import threading
import time
from base64 import b64encode
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

from proxy.sources.trail import read_keys, read_lines, verify_trail
from tests.fakes.sidecar import World, rule, wait_until

AT_ONCE = 40
WAYS = (
    *("well", "leaves early", "leaves in the answer", "leaves in its body", "resets", "no upstream", "upstream leaves"),
    *("upstream talks nonsense", "malformed", "no TLS", "denied", "half closed"),
)


class Rude:
    """An upstream that hangs up at once, or answers what is no HTTP."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.place = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                side, _ = self._listener.accept()
            except OSError:
                return
            with side, contextlib.suppress(OSError):
                side.recv(4096)
                side.sendall(self._answer)

    def stop(self) -> None:
        self._listener.close()


def make_world(gone: Rude, nonsense: Rude) -> World:
    hosts = ["http://plain.test", "http://dead.test", "http://gone.test", "http://nonsense.test", "origin.test"]
    world = World(rules=[rule("open", hosts)], settings={"audit": {"durability": "write"}})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{probe.getsockname()[1]}"
    world.places = {"dead.test:80": dead, "gone.test:80": gone.place, "nonsense.test:80": nonsense.place}
    return world


async def end(way: str, place: tuple[str, int], who: str) -> None:
    """Make one connection that ends in one way."""
    reader, writer = await asyncio.open_connection(*place)
    host = {"no upstream": "dead.test", "upstream leaves": "gone.test", "upstream talks nonsense": "nonsense.test"}.get(
        way, "unknown.test" if way == "denied" else "plain.test"
    )
    path = "/bytes/200000" if way == "leaves in the answer" else "/hello"
    lines = [f"GET http://{host}{path} HTTP/1.1", f"Host: {host}", f"Proxy-Authorization: Basic {who}"]
    if way == "leaves in its body":
        lines = [lines[0].replace("GET", "PUT", 1), *lines[1:], "Content-Length: 100000"]
    elif way == "malformed":
        lines = [*lines, "Content-Length: 1", "Content-Length: 2"]
    elif way == "no TLS":
        lines = ["CONNECT origin.test:443 HTTP/1.1", "Host: origin.test:443", lines[2]]
    try:
        writer.write("\r\n".join((*lines, "", "")).encode() + (b"x" * 100 if way == "leaves in its body" else b""))
        if way == "no TLS":
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"this is no client hello at all\r\n\r\n")
        if way == "half closed":
            writer.write_eof()
        if way == "leaves in the answer":
            await reader.read(1000)
        elif way == "resets":
            side = writer.get_extra_info("socket")
            side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif way not in {"leaves early", "leaves in its body"}:
            await reader.read(65536)
    finally:
        writer.transport.abort()


async def run(count: int, world: World, seed: int) -> Counter[str]:
    token = world.token(world.issuer.add_job())
    session = await asyncio.to_thread(world.sidecar.open_session, token)
    url = urlsplit(session.proxy_url)
    who = b64encode(f"{url.username}:{url.password}".encode()).decode()
    place = (str(url.hostname), int(url.port or 0))
    rng, done = random.Random(seed), Counter[str]()
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            way = rng.choice(WAYS)
            done[way] += 1
            with contextlib.suppress(OSError, EOFError):
                async with asyncio.timeout(30):
                    await end(way, place, who)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return done


def check(world: World, count: int) -> dict[str, Any]:
    """Hold the trail to what was done; return figures. Raises AssertionError."""
    audit = world.sidecar.audit
    report = verify_trail(audit, read_keys(sorted(audit.glob("key-*.pub"))))
    assert report.is_intact, report.findings
    assert report.open_flows == (), report.open_flows[:5]
    allowed: set[str] = set()
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    connections = 0
    for line in read_lines(audit):
        record = json.loads(line)
        if record["kind"] == "flow.decision" and record["effect"] == "allow":
            allowed.add(record["flow"])
        elif record["kind"] == "flow.outcome":
            outcomes[record["flow"]] += 1
            reasons[record["reason"]] += 1
        connections += record["kind"] == "connection.closed"
    assert outcomes.keys() == allowed, "an allowed flow without an outcome, or an outcome of none"
    assert set(outcomes.values()) == {1}, "a flow with two outcomes"
    assert connections == count, (connections, count)
    return {"flows": count, "allowed": len(allowed), "reasons": dict(reasons.most_common())}


def soak(count: int, seed: int = 1) -> dict[str, Any]:
    """End so many flows, and check. Raises AssertionError."""
    gone, nonsense = Rude(b""), Rude(b"SSH-2.0-none\r\n\r\n")
    world = make_world(gone, nonsense)
    try:
        world.start()
        done = asyncio.run(run(count, world, seed))
        wait_until(lambda: b"jobgate_connections 0.0" in world.sidecar.api.call("GET", "/metrics").body, 60)
        world.sidecar.stop(timeout=30)
        return {"ways": dict(done), **check(world, count)}
    finally:
        world.stop()
        gone.stop()
        nonsense.stop()


if __name__ == "__main__":
    began = time.monotonic()
    found = soak(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
    sys.stdout.write(json.dumps({**found, "seconds": round(time.monotonic() - began)}, indent=1) + "\n")
