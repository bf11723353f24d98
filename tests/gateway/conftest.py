"""Every test of the wire runs on the loop the gateway runs on."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from tests.gateway.stage import Stage


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A running stage whose every flow and connection ended exactly once."""
    stage = await Stage().start()
    yield stage
    await stage.stop()
    assert stage.engine.unbalanced() == []
