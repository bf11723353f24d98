"""An issuer of credentials in trouble: a denial with its reason in time, few calls meanwhile, and work soon after."""

import asyncio
import time
from typing import Any

import pytest

from tests.fakes.load_stage import LoadStage

KIND = "urn:ietf:params:oauth:token-type:access_token"
LIE = {"access_token": "issued-lie", "issued_token_type": KIND, "token_type": "Bearer"}
FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("slow", {"delay": 60.0}),
    ("throttling", {"instead": (429, {"error": "slow_down"})}),
    ("broken", {"instead": (503, {})}),
    ("ended before it began", {"instead": (200, {**LIE, "expires_in": 0})}),
    ("ended long ago", {"instead": (200, {**LIE, "expires_in": -900})}),
    ("garbled", {"instead": (200, {**LIE, "access_token": "two words", "expires_in": 900})}),
]


@pytest.mark.parametrize("name, fault", FAULTS)
async def test_an_issuer_in_trouble_denies_in_time_and_recovers(name: str, fault: dict[str, Any]) -> None:
    """Denied within five seconds, however many ask; the issuer is asked seldom; ten seconds after, it works."""
    stage = LoadStage()
    async with stage.running(1):
        (job,) = stage.sessions
        for field, value in fault.items():
            setattr(stage.exchange, field, value)
        began = time.monotonic()
        for _ in range(10):
            wire = await stage.connect(job)
            await stage.ask(job, wire, 0)
            wire[1].close()
            if name == "slow":
                break
        assert time.monotonic() - began < 5.5
        assert set(stage.statuses) <= {403, 502, 503}
        assert (stage.cut, stage.exchange.served) == (0, 0)
        assert stage.exchange.asked <= 4
        reasons = {record["reason"] for record in stage.world.records("flow.outcome")}
        assert reasons <= {"credential-unavailable", "credential-refused"}, reasons
        stage.exchange.delay, stage.exchange.instead = 0.0, None
        await recovered(stage, job)


async def recovered(stage: LoadStage, job: str) -> None:
    """Ask until it works. Raises TimeoutError after ten seconds."""
    async with asyncio.timeout(10):
        while 200 not in stage.statuses:
            await asyncio.sleep(0.25)
            wire = await stage.connect(job)
            await stage.ask(job, wire, 0)
            wire[1].close()
    assert (stage.exchange.wrong, stage.leaked) == ([], [])


async def test_an_issuer_that_is_gone_comes_back() -> None:
    """Nobody listens: denied at once; once it listens again, at the same place, it works."""
    stage = LoadStage()
    async with stage.running(1):
        (job,) = stage.sessions
        await stage.go_away()
        began = time.monotonic()
        wire = await stage.connect(job)
        await stage.ask(job, wire, 0)
        assert time.monotonic() - began < 5
        assert stage.statuses == {503: 1}
        assert stage.world.ended().reason == "credential-unavailable"
        wire[1].close()
        await stage.come_back()
        await recovered(stage, job)
