"""Buildkite's webhooks at a running sidecar: what they end, what they cannot, and what may come in their place."""

import hmac
import http.client
import json
import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest

from proxy.sources.trail import read_keys, verify_trail
from tests.fakes.sidecar import Job, World, rule, wait_until

TOKEN = "the-webhooks-token-0123456789"
AGENT = "cccccccc-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    place = made.folder / "webhook"
    place.touch(mode=0o600)
    place.write_text(f"{TOKEN}\n")
    made.settings = {"events": {"listen": "127.0.0.1:0", "buildkite": {"organization": "acme", "token": str(place)}}}
    made.settings["teams"] = {"leads": ["Ann@Acme.test"]}
    made.rules = [
        rule("plain", ["origin.test", "secret.test"]),
        rule("fork", "secret.test", effect="deny", when="'fork' in event.stated && event.fork"),
        rule("released", "other.test", approval={"within": "5m", "unblocked": {"step": "release", "by": "leads"}}),
    ]
    made.start()
    yield made
    made.stop()


def port_of(world: World) -> int:
    """Where the sidecar says that it listens for events."""
    said = wait_until(lambda: re.search(rb"events +http://127.0.0.1:([0-9]+)/", world.sidecar.errors.read_bytes()))
    return int(said[1])


def deliver(
    world: World,
    told: Any,
    *,
    token: str = TOKEN,
    off: int = 0,
    method: str = "POST",
    path: str = "/v1/events/buildkite",
    **fields: str,
) -> tuple[int, dict[str, Any]]:
    """Send a delivery as Buildkite does, signed `off` seconds from now."""
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    stamp = str(int(time.time()) + off)
    signature = hmac.new(token.encode(), stamp.encode() + b"." + body, sha256).hexdigest()
    headers = {
        "Host": "hooks.example.com",
        "Content-Type": "application/json",
        "User-Agent": "Buildkite-Request",
        "X-Buildkite-Signature": f"timestamp={stamp},signature={signature}",
    }
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    connection = http.client.HTTPConnection("127.0.0.1", port_of(world), timeout=10)
    connection.request(method, path, body, headers | named)
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    return answer.status, json.loads(said) if said else {}


def open_job(world: World) -> tuple[Job, dict[str, Any]]:
    """A job with a session, and what events say of it."""
    known = world.issuer.add_job(pipeline_slug="storefront")
    job = world.job(world.sidecar.open_session(world.token(known)))
    assert job.curl("-o", "/dev/null", "-w", "%{http_code}", "https://origin.test/hello") == "200"
    event = {
        "event": "job.finished",
        "job": {"id": known.job_id, "state": "finished"},
        "build": {"number": known.build_number, "state": "running"},
        "pipeline": {"slug": "storefront"},
    }
    return job, event


def is_open(job: Job) -> bool:
    return job.curl("-o", "/dev/null", "-w", "%{http_code}", "https://origin.test/hello", code=None) == "200"


def closings(world: World, job: Job) -> list[dict[str, Any]]:
    assert job.session is not None
    name = job.session.id
    return [record for record in world.records("session.closed") if record["session"] == name]


def test_a_finished_job_has_no_session(world: World) -> None:
    """The next request is refused, the record says that an event ended it; a repetition does nothing."""
    job, event = open_job(world)
    assert deliver(world, event)[0] == 204
    assert not is_open(job)
    assert [record["why"] for record in closings(world, job)] == ["event"]
    received = world.records("event.received")[-1]
    assert job.session is not None
    assert (received["event"], received["ended"]) == ("job.finished", [job.session.id])
    count = len(world.records("event.received"))
    assert deliver(world, event, off=1)[0] == 204
    assert len(world.records("event.received")) == count + 1


def test_a_stream_under_way_is_cut(world: World) -> None:
    """What the job is receiving stops with its session."""
    job, event = open_job(world)
    stream = subprocess.Popen(
        ["curl", "-sS", "https://origin.test/slow"],
        cwd=job.folder,
        env=job.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert world.origin.waiting.wait(20)
    assert deliver(world, event)[0] == 204
    out, _ = stream.communicate(timeout=10)
    world.origin.gate.set()
    assert out == b"first."
    assert world.ended(path="/slow").reason == "session-expired"
    assert not is_open(job)


def test_a_finished_build_ends_its_jobs_unless_it_waits(world: World) -> None:
    """Buildkite calls a build that waits at a block step finished."""
    job, event = open_job(world)
    build = {**event, "event": "build.finished", "job": None, "build": {**event["build"], "blocked": True}}
    assert deliver(world, build)[0] == 204
    assert is_open(job)
    assert deliver(world, {**build, "build": {**event["build"], "blocked": False}})[0] == 204
    assert not is_open(job)


def test_a_deny_rule_asks_what_events_said(world: World) -> None:
    """A build that turns out to be a fork's loses what the rule takes, at once, and the record says why."""
    job, event = open_job(world)
    place = "https://secret.test/hello"
    assert job.curl("-o", "/dev/null", "-w", "%{http_code}", place) == "200"
    told = {
        "event": "build.running",
        "build": {**event["build"], "pull_request": {"repository": "https://github.com/eve/storefront"}},
        "pipeline": {"slug": "storefront", "repository": "git@github.com:acme/storefront.git"},
    }
    assert deliver(world, told)[0] == 204
    job.curl("-o", "/dev/null", place, code=None)
    denied = world.records("flow.decision")[-1]
    assert (denied["reason"], denied["rules"]) == ("rule-denied", ["fork"])
    assert denied["events"] == {"build_state": "running", "fork": True}
    assert is_open(job)


def test_a_step_that_a_lead_unblocked_lets_the_job_go_on(world: World) -> None:
    """Denied until the signed event comes; another's unblocking, or of another step, does not count."""
    job, event = open_job(world)
    place = "https://other.test/hello"

    def ask() -> str:
        return job.curl("-w", "%{http_code}", place)

    def unblock(step: str, email: str) -> None:
        person = {"id": AGENT, "email": email}
        told = {**event, "event": "job.activated", "job": {"step_key": step, "unblocked_by": person}}
        assert deliver(world, told)[0] == 204

    assert "no event says that it was" in ask()
    unblock("release", "eve@acme.test")
    assert "who did is not in the team" in ask()
    unblock("other", "ann@acme.test")
    assert "who did is not in the team" in ask()
    unblock("release", "ann@acme.test")
    assert ask().endswith("200")
    assert world.records("event.received")[-1]["unblocked_by"] == ["ann@acme.test", AGENT]
    assert is_open(job)


def test_other_jobs_are_left_alone(world: World) -> None:
    """Another id, another pipeline, an event that ends nothing."""
    job, event = open_job(world)
    for other in (
        {**event, "job": {"id": "aaaaaaaa-0000-4000-8000-000000000000"}},
        {**event, "event": "job.started"},
        {"event": "build.finished", "build": event["build"], "pipeline": {"slug": "other"}},
        {"event": "agent.lost", "agent": {"id": AGENT}},
        {"event": "ping"},
    ):
        assert deliver(world, other)[0] == 204
    assert is_open(job)


@pytest.mark.parametrize(
    "changes",
    [
        {"token": "another"},
        {"off": -301},
        {"off": 301},
        {"X_Buildkite_Signature": ""},
        {"X_Buildkite_Signature": "timestamp=1,signature=" + "0" * 64},
        {"X_Buildkite_Token": TOKEN},
    ],
    ids=str,
)
def test_what_is_not_buildkites_ends_nothing(world: World, changes: dict[str, Any]) -> None:
    """A wrong, old, future or missing signature: one answer for all, the reason on record only."""
    job, event = open_job(world)
    status, said = deliver(world, event, **changes)
    assert (status, said["error"]) == (401, "not-authentic")
    assert is_open(job)
    assert world.records("event.refused")[-1]["reason"].startswith("identity-")


def test_a_signature_of_another_body_is_none(world: World) -> None:
    """Somebody on the way changed the delivery."""
    job, event = open_job(world)
    stamp = str(int(time.time()))
    signed = hmac.new(TOKEN.encode(), f"{stamp}.{{}}".encode(), sha256).hexdigest()
    status, _ = deliver(world, event, X_Buildkite_Signature=f"timestamp={stamp},signature={signed}")
    assert status == 401
    assert is_open(job)


@pytest.mark.parametrize(
    "told, status",
    [(b"{", 400), (b"[]", 400), ({"event": 7}, 400), (b" " * (1024 * 1024 + 1), 413), (b"", 400)],
    ids=["torn", "list", "nameless", "huge", "empty"],
)
def test_what_is_no_event_is_refused(world: World, told: Any, status: int) -> None:
    """Authentic or not, it changes nothing, and the sidecar serves on."""
    assert deliver(world, told)[0] == status
    assert world.sidecar.api.readiness() == ()


def test_nothing_else_is_there(world: World) -> None:
    """No control API under this address, and no other method."""
    assert deliver(world, {}, path="/v1/sessions")[0] == 404
    assert deliver(world, {}, path="/metrics", method="GET")[0] == 404
    assert deliver(world, {}, method="GET")[0] == 405


def test_a_flood_of_nonsense_fills_no_disk(world: World) -> None:
    """Sixty refusals a minute are on record, however many there are; a real event is still served."""
    before = len(world.records("event.refused"))
    for _ in range(200):
        assert deliver(world, {"event": "ping"}, token=secrets.token_hex(8))[0] == 401
    assert len(world.records("event.refused")) - before <= 120
    job, event = open_job(world)
    assert deliver(world, event)[0] == 204
    assert not is_open(job)
    audit = world.sidecar.audit
    keys = read_keys(sorted(audit.glob("key-*.pub")))
    wait_until(lambda: verify_trail(audit, keys).open_flows == ())
    assert verify_trail(audit, keys).is_intact
