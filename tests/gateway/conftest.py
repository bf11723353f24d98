"""Every test of the wire runs on the loop the gateway runs on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
import uvloop

from proxy.gateway.limits import Limits
from tests.gateway.stage import MakeStage, Stage


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def make_stage(request: pytest.FixtureRequest) -> AsyncIterator[MakeStage]:
    """Start stages with limits of the test's own; each is stopped, and every flow and connection ended exactly once.

    With `IN_A_CROWD` what is small is sent at the end of a turn, as when many exchanges are under way.
    """
    stages: list[Stage] = []
    crowd = 0 if getattr(request, "param", "few") == "crowd" else Limits().crowd

    async def make(limits: Limits | None = None) -> Stage:
        stages.append(Stage(replace(limits or Limits(), crowd=crowd)))
        return await stages[-1].start()

    yield make
    for stage in stages:
        await stage.stop()
    assert [stage.engine.unbalanced() for stage in stages] == [[] for _ in stages]


@pytest.fixture
async def stage(make_stage: MakeStage) -> Stage:
    """A running stage with the default limits."""
    return await make_stage()
