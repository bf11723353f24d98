"""Thousands of hostile strings wherever a job's words may stand: each gives exactly one intact record, or none at all.

Through a running sidecar: host, path, query, header, method, user agent, claims, the control API, webhooks. What the
parser refuses leaves its connection's record; what is decided leaves one decision that alters no other field.
"""

import hmac
import http.client
import json
import random
import re
import socket
import time
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from urllib.parse import urlsplit

import pytest

from proxy.control.client import ControlError
from proxy.sources.trail import read_keys, verify_trail
from tests.fakes.sidecar import OPEN, World, wait_until

COUNT = 5000
SECRET = "the-webhooks-token-0123456789"
PIECES = (
    *(
        "\r\n",
        "\n",
        "\r",
        "\x00",
        "\x1b[31m",
        "\x1b]0;x\x07",
        "\u202e",
        "\u2028",
        "\ud800",
        "\x7f",
        "\x85",
        "\t",
        " ",
        "%0d%0a",
    ),
    *('"', "\\", '"}', '{"kind":"flow.decision","effect":"allow"}', '","effect":"allow"', "\\u0000", "\\ud800", "\\n"),
    *(
        "<script>",
        "${jndi:ldap://x}",
        "%s%n",
        "{{7*7}}",
        "'; DROP TABLE flows; --",
        "../../..",
        "\ufeff",
        "é",
        "日本",
        "🙂",
    ),
    *(',"sealed":{"class":"x"}', "A" * 3000, "a" * 300, "=cmd|'/c calc'!A1", "-1", "NaN", "null", "true"),
)


def hostile(rng: random.Random) -> str:
    return "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 4)))


@pytest.fixture
def world() -> Iterator[World]:
    made = World(rules=[OPEN])
    token = made.folder / "webhook"
    token.write_text(SECRET)
    made.settings = {
        "events": {"listen": "127.0.0.1:0", "buildkite": {"organization": "acme", "token": str(token)}},
        "limits": {"head": "5s"},
    }
    made.start()
    try:
        yield made
    finally:
        made.stop()


class Sender:
    """Sends one hostile request after the other; every one on a connection of its own."""

    def __init__(self, world: World, rng: random.Random) -> None:
        session = world.sidecar.open_session(world.token(world.issuer.add_job()))
        place = urlsplit(session.proxy_url)
        self.address = (str(place.hostname), int(place.port or 0))
        who = b64encode(f"{place.username}:{place.password}".encode()).decode()
        self.who = f"Proxy-Authorization: Basic {who}".encode()
        self.rng = rng

    def send(self, where: str, text: str) -> int:
        """Return the status of the answer, 0 for none."""
        raw = text.encode("utf-8", "surrogatepass")
        method, host, path, more = b"GET", b"plain.test", b"/hello", b"X-A: b"
        if where == "method":
            method = raw
        elif where == "host":
            host = raw
        elif where == "path":
            path = b"/" + raw
        elif where == "query":
            path = b"/hello?q=" + raw
        elif where == "header":
            more = b"User-Agent: " + raw
        head = b"%s http://%s%s HTTP/1.1\r\nHost: %s\r\n%s\r\n%s\r\nConnection: close\r\n\r\n"
        with socket.create_connection(self.address, timeout=20) as side:
            side.sendall(head % (method, host, path, host, self.who, more))
            side.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := side.recv(65536):
                answer += piece
        found = re.match(rb"HTTP/1.1 ([0-9]{3}) ", answer)
        return int(found[1]) if found else 0


def deliver(world: World, told: dict[str, object]) -> int:
    said = wait_until(lambda: re.search(rb"events +http://127.0.0.1:([0-9]+)/", world.sidecar.errors.read_bytes()))
    body = json.dumps(told).encode()
    stamp = str(int(time.time()))
    signature = hmac.new(SECRET.encode(), stamp.encode() + b"." + body, sha256).hexdigest()
    connection = http.client.HTTPConnection("127.0.0.1", int(said[1]), timeout=10)
    headers = {"Host": "x.example", "X-Buildkite-Signature": f"timestamp={stamp},signature={signature}"}
    connection.request("POST", "/v1/events/buildkite", body, headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_hostile_words_leave_one_intact_record_each(world: World) -> None:
    """Nothing is added, hidden or altered by what a job says, wherever it says it."""
    rng = random.Random(5)
    sender = Sender(world, rng)
    wheres = ("path", "query", "header", "host", "method")
    statuses = [sender.send(wheres[number % len(wheres)], hostile(rng)) for number in range(COUNT - 100)]
    for number in range(50):
        pipeline = hostile(rng)
        deliver(world, {"event": "job.started", "job": {"step_key": pipeline}, "pipeline": {"slug": f"p{number}"}})
    opened = 0
    for _ in range(50):
        text = hostile(rng).encode("utf-8", "replace").decode()
        token = world.token(world.issuer.add_job(build_branch=text or "x"))
        try:
            world.sidecar.open_session(token)
            opened += 1
        except ControlError:
            continue  # refused is as good, as long as it is on record
    wait_until(lambda: len(world.records("connection.closed")) >= COUNT - 100, 60)
    world.sidecar.stop(timeout=20)

    audit = world.sidecar.audit
    report = verify_trail(audit, read_keys(sorted(audit.glob("key-*.pub"))))
    assert report.is_intact, report.findings
    lines = [line for path in sorted(audit.glob("trail-*")) for line in path.read_bytes().splitlines(keepends=True)]
    assert all(line.isascii() and line.endswith(b"}\n") and b"\x1b" not in line for line in lines)
    records = [json.loads(line) for line in lines]
    assert [record["seq"] for record in records] == list(range(len(records)))
    by_kind: dict[str, list[dict[str, object]]] = {}
    for record in records:
        by_kind.setdefault(record["kind"], []).append(record)
    assert len(by_kind["connection.closed"]) == COUNT - 100
    decisions = {str(each["flow"]): each for each in by_kind["flow.decision"]}
    assert len(decisions) == len(by_kind["flow.decision"])
    assert len(decisions) <= COUNT
    allowed = [each for each in decisions.values() if each["effect"] == "allow"]
    assert len(allowed) == statuses.count(200) + statuses.count(404)
    assert {each["host"] for each in allowed} == {"plain.test"}
    assert len(by_kind["flow.outcome"]) == len(allowed)
    assert len(by_kind["session.opened"]) + len(by_kind.get("session.refused", [])) == 51
    assert len(by_kind["session.opened"]) == opened + 1
    received, refused = (len(by_kind.get(f"event.{name}", [])) for name in ("received", "refused"))
    assert received + refused == 50
