"""Audit data arrives where routes say: real clients through a sidecar, destinations that take, refuse and die."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fakes.collector import Collector, Reply, Sent
from tests.fakes.sidecar import OPEN, World, rule, wait_until

HOST = "collector.test"
ORIGIN = "agents/one"
TOKEN = "a-token-of-the-collector"
EVERYTHING = {"id": "everything", "why": "a test wants it", "to": ["central"]}


class Stage:
    """A sidecar with one sink, and what that sink sends to."""

    def __init__(self) -> None:
        self.world = World(rules=[OPEN, rule("private", "secret.test", tags={"data": "pii"})])
        self.collector = Collector(self.world.root.server_side("collector", (HOST,)))
        self.collector.start()
        self.token = self.world.folder / "collector-token"
        self.token.write_text(TOKEN)

    def start(self, sink: dict[str, Any], *routes: dict[str, Any], audit: dict[str, Any] | None = None) -> None:
        file = self.world.folder / "routes.yaml"
        file.write_text(json.dumps({"routes": routes or [EVERYTHING]}))
        self.world.places = {f"{HOST}:443": self.collector.place}
        self.world.settings = {
            "audit": {"origin": ORIGIN, **(audit or {})},
            "sinks": {"central": {"url": f"https://{HOST}", "linger": "0s", **sink}},
            "routes": str(file),
        }
        self.world.start()

    def make_flows(self, *paths: str, host: str = "origin.test") -> None:
        job = self.world.open()
        for path in paths:
            job.curl(f"https://{host}{path}")

    def trail(self) -> list[dict[str, Any]]:
        self.world.sidecar.stop(timeout=20)
        return self.world.sidecar.records()


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Nothing runs but the destination; `start` starts the sidecar."""
    made = Stage()
    try:
        yield made
    finally:
        made.world.stop()
        made.collector.stop()


def answers(*first: Reply, then: Reply = (200, {}, b"{}")) -> Callable[[Sent], Reply]:
    left = iter(first)
    return lambda _: next(left, then)


def test_plain_json_gets_the_whole_trail(stage: Stage) -> None:
    """Every record, in order, with its origin, to the last; by whom, and each batch under a key of its own."""
    stage.start({"kind": "http", "token": str(stage.token)})
    stage.make_flows("/a", "/b")
    trail = stage.trail()
    assert [event for sent in stage.collector.seen for event in sent.json] == [
        {**each, "origin": ORIGIN} for each in trail
    ]
    assert {sent.headers["authorization"] for sent in stage.collector.seen} == {f"Bearer {TOKEN}"}
    keys = [sent.headers["idempotency-key"] for sent in stage.collector.seen]
    assert len(set(keys)) == len(keys)
    assert TOKEN not in stage.world.sidecar.errors.read_text()


@pytest.mark.parametrize("form, field", [("ocsf", "class_uid"), ("cloudevents", "specversion")])
def test_forms_and_lines(stage: Stage, form: str, field: str) -> None:
    """One object a line, in the form that the route says."""
    stage.start({"kind": "http", "body": "ndjson"}, {**EVERYTHING, "form": form})
    stage.make_flows("/a")
    trail = stage.trail()
    events = [event for sent in stage.collector.seen for event in sent.rows]
    assert len(events) == len(trail)
    assert all(field in event for event in events)


def test_routes_choose_by_what_and_by_tag(stage: Stage) -> None:
    """Only what one of them picks, and the outcomes of what they picked."""
    routes = (
        {"id": "pii", "why": "the privacy team watches it", "to": "central", "where": {"tags": {"data": "pii"}}},
        {"id": "events", "why": "who comes and goes", "to": "central", "of": ["metadata"], "kinds": "session.*"},
    )
    stage.start({"kind": "http"}, *routes)
    stage.make_flows("/a")
    stage.make_flows("/b", host="secret.test")
    stage.trail()
    events = [event for sent in stage.collector.seen for event in sent.json]
    kinds = ["session.opened", "session.opened", "flow.decision", "flow.outcome", "session.closed", "session.closed"]
    assert [event["kind"] for event in events] == kinds
    assert events[2]["host"] == "secret.test"


def test_nothing_is_lost_while_the_destination_fails(stage: Stage) -> None:
    """Refused, asked to wait, and cut off after the data was taken: everything arrives, in order, doubles by id."""
    wait = (503, {"retry-after": "1"}, b"")
    stage.collector.answer = answers((500, {}, b""), wait, (0, {}, b""), (401, {}, b""), (429, {}, b""))
    stage.start({"kind": "http"})
    stage.make_flows("/a", "/b", "/c")
    wait_until(lambda: len(stage.collector.seen) > 5, 40)
    trail = stage.trail()
    numbers = [event["seq"] for sent in stage.collector.seen for event in sent.json]
    assert list(dict.fromkeys(numbers)) == [each["seq"] for each in trail]
    health = stage.world.sidecar.errors.read_text()
    assert "sink central" in health
    assert "takes records again" in health


def test_a_crash_of_jobgate_loses_nothing(stage: Stage) -> None:
    """kill -9 while the destination is dead: the next start delivers what there was, and the interrupted ends."""
    stage.collector.answer = lambda _: (503, {}, b"")
    stage.start({"kind": "http"})
    stage.make_flows("/a", "/b")
    stage.world.sidecar.kill()
    stage.collector.seen.clear()
    stage.collector.answer = lambda _: (200, {}, b"")
    stage.world.sidecar.start()
    trail = stage.trail()
    assert [event["seq"] for sent in stage.collector.seen for event in sent.json] == list(range(len(trail)))


def test_a_full_spool_denies_and_recovers(stage: Stage) -> None:
    """More than `spool_bytes` undelivered: nothing is allowed; delivered: all is well, without a restart."""
    stage.collector.answer = lambda _: (503, {}, b"")
    stage.start(
        {"kind": "http"}, audit={"spool_bytes": 16 * 1024 * 1024, "durability": "write", "tags": {"p": "y" * 256}}
    )
    job = stage.world.open()
    script = """
import base64, os, socket, urllib.parse
at = urllib.parse.urlsplit(os.environ["http_proxy"])
who = "Basic " + base64.b64encode(f"{at.username}:{at.password}".encode()).decode()
head = f"Host: plain.test\\r\\nProxy-Authorization: {who}\\r\\nConnection: close\\r\\n"
for number in range(20000):
    with socket.create_connection((at.hostname, at.port)) as side:
        side.sendall(f"GET http://plain.test/{'p' * 1900} HTTP/1.1\\r\\n{head}\\r\\n".encode())
        if b" 503 " in side.makefile("rb").readline():
            print("denied")
            break
"""
    assert job.python(script, seconds=120).strip() == "denied"
    assert "trail-unavailable" in job.curl("http://plain.test/x")
    stage.collector.answer = lambda _: (200, {}, b"")
    wait_until(lambda: "trail-unavailable" not in job.curl("http://plain.test/x"), 90)


def test_splunk_gets_events_and_its_word_is_waited_for(stage: Stage) -> None:
    """Token, time, source and fields as HEC has them; with acknowledgement a batch counts once indexers have it."""
    asked: list[int] = []

    def answer(sent: Sent) -> Reply:
        if sent.path == "/services/collector/ack":
            asked.append(sent.json["acks"][0])
            return 200, {}, json.dumps({"acks": {str(asked[-1]): len(asked) > 1}}).encode()
        assert sent.path == "/services/collector/event"
        return 200, {}, b'{"text":"Success","code":0,"ackId":7}'

    stage.collector.answer = answer
    stage.start({"kind": "splunk", "token": str(stage.token), "index": "ci", "acknowledge": True})
    stage.make_flows("/a")
    trail = stage.trail()
    sent = [each for each in stage.collector.seen if each.path.endswith("/event")]
    assert {each.headers["authorization"] for each in sent} == {f"Splunk {TOKEN}"}
    assert len({each.headers["x-splunk-request-channel"] for each in stage.collector.seen}) == 1
    events = [event for each in sent for event in _concatenated(each.body.decode())]
    assert [event["event"]["seq"] for event in events] == [each["seq"] for each in trail]
    assert {(event["index"], event["source"], event["sourcetype"]) for event in events} == {("ci", ORIGIN, "jobgate")}
    assert asked[0] == 7


def test_elastic_conflicts_are_taken_and_busy_ones_sent_again(stage: Stage) -> None:
    """Each record by its id: one that is there already is fine, one that was turned away comes again."""
    kept: dict[str, Any] = {}
    busy = iter([True, True])

    def answer(sent: Sent) -> Reply:
        conflict, rejected = "version_conflict_engine_exception", "es_rejected_execution_exception"
        items = []
        for action, event in zip(sent.rows[::2], sent.rows[1::2], strict=True):
            name = action["create"]["_id"]
            if name in kept:
                items.append({"create": {"_id": name, "status": 409, "error": {"type": conflict}}})
            elif event["kind"] == "flow.decision" and next(busy, False):
                items.append({"create": {"_id": name, "status": 429, "error": {"type": rejected}}})
            else:
                kept[name] = event
                items.append({"create": {"_id": name, "status": 201}})
        return 200, {}, json.dumps({"errors": True, "items": items}).encode()

    stage.collector.answer = answer
    stage.start({"kind": "elastic", "index": "jobgate-audit", "token": str(stage.token)})
    stage.make_flows("/a", "/b")
    wait_until(lambda: len([each for each in kept.values() if each["kind"] == "flow.outcome"]) == 2, 30)
    trail = stage.trail()
    assert sorted(kept) == sorted(f"{ORIGIN}-{each['seq']}" for each in trail)
    assert {sent.headers["authorization"] for sent in stage.collector.seen} == {f"ApiKey {TOKEN}"}
    assert all("@timestamp" in each for each in kept.values())


def test_what_elastic_cannot_take_is_on_record_and_holds_nothing(stage: Stage) -> None:
    """A record that does not fit the mapping is left out, alone, and the trail says so."""

    def answer(sent: Sent) -> Reply:
        rows = list(zip(sent.rows[::2], sent.rows[1::2], strict=True))
        bad = {"status": 400, "error": {"type": "document_parsing_exception", "reason": "secret text"}}
        items = [{"create": bad if event["kind"] == "session.opened" else {"status": 201}} for _, event in rows]
        return 200, {}, json.dumps({"items": items}).encode()

    stage.collector.answer = answer
    stage.start({"kind": "elastic", "index": "jobgate-audit"})
    stage.make_flows("/a")
    refused = wait_until(lambda: stage.world.records("sink.refused"))
    (opened,) = stage.world.records("session.opened")
    assert refused[0]["record"] == opened["seq"]
    assert "document_parsing_exception" in refused[0]["detail"]
    assert "secret text" not in json.dumps(refused)


def test_checkpoints_are_kept_elsewhere(stage: Stage) -> None:
    """By file and by POST: each note as it was signed, and the last covers the whole trail."""
    elsewhere = stage.world.folder / "elsewhere" / "checkpoints"
    elsewhere.parent.mkdir()
    anchors = [
        {"kind": "file", "path": str(elsewhere)},
        {"kind": "http", "url": f"https://{HOST}/notes", "token": str(stage.token)},
    ]
    stage.start({"kind": "http"}, audit={"anchors": anchors})
    stage.make_flows("/a")
    trail = stage.trail()
    notes = [sent.body.decode() for sent in stage.collector.seen if sent.path == "/notes"]
    assert notes[-1].splitlines()[:2] == [ORIGIN, str(len(trail))]
    assert elsewhere.read_text().endswith(f"{notes[-1]}\n")
    local = (stage.world.sidecar.audit / "checkpoints").read_text()
    assert all(note in local for note in notes)


def _concatenated(text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    at = 0
    while at < len(text):
        event, at = decoder.raw_decode(text, at)
        yield event
