"""Terraform's `http` state backend, its own methods included, by a rule that lets a plan read and an apply write."""

import json
from collections.abc import Iterator

import pytest

from tests.fakes.recorder import Recorder
from tests.fakes.sidecar import Job, World, rule

HOST = "state.test"
SHOP = f"https://{HOST}/shop"


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[World, Recorder]]:
    world = World()
    backend = Recorder(world.root.server_side("state", (HOST,)))
    backend.start()
    world.places[f"{HOST}:443"] = backend.place
    apply = [f"tf {action} {HOST}/shop" for action in ("state.get", "state.lock", "state.unlock", "state.write")]
    world.rules = [
        rule("apply", HOST, method="any", credential=world.bearer(), intent=apply),
    ]
    world.start()
    yield world, backend
    world.stop()
    backend.stop()


def ask(job: Job, method: str, url: str, *words: str) -> str:
    """What Terraform's backend/remote-state/http sends, by curl: the status that comes back."""
    return job.curl("-o", "/dev/null", "-w", "%{http_code}", "-X", method, *words, url)


def test_an_apply_locks_writes_and_unlocks(stage: tuple[World, Recorder]) -> None:
    """LOCK and UNLOCK arrive as such, with the backend's own credential; each is on record for what it does."""
    world, backend = stage
    job = world.open()
    lock = json.dumps({"ID": "7c1e", "Operation": "OperationTypeApply"})
    sent = [
        ask(job, "LOCK", SHOP, "-H", "Content-Type: application/json", "-d", lock),
        ask(job, "GET", SHOP),
        ask(job, "POST", f"{SHOP}?ID=7c1e", "-H", "Content-Type: application/json", "-d", "{}"),
        ask(job, "UNLOCK", SHOP, "-H", "Content-Type: application/json", "-d", lock),
    ]
    assert sent == ["200"] * 4
    told = [(each["method"], each["action"]) for each in world.records("flow.decision") if each["method"] != "CONNECT"]
    assert told == [
        ("LOCK", "state.lock"),
        ("GET", "state.get"),
        ("POST", "state.write"),
        ("UNLOCK", "state.unlock"),
    ]
    seen = backend.arrived().content
    assert seen.count(b" /shop HTTP/1.1") == 3
    assert b"UNLOCK /shop HTTP/1.1" in seen
    assert world.secret.encode() in seen


@pytest.mark.parametrize(
    "method, url",
    [("DELETE", SHOP), ("LOCK", f"https://{HOST}/other"), ("PROPFIND", SHOP), ("TRACE", SHOP)],
)
def test_what_the_rule_does_not_name_is_refused(stage: tuple[World, Recorder], method: str, url: str) -> None:
    """The state cannot be removed, another one not be locked, and other methods are not forwarded at all."""
    world, backend = stage
    before = backend.arrived().content
    assert ask(world.open(), method, url) in {"403", "405"}
    assert backend.arrived().content == before
