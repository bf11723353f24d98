"""Many jobs at once through one sidecar: one credential per job, never another's, and none of it anywhere.

`JOBGATE_MIXED_FLOWS=100000` asks for more than every gate can spend time on.
"""

import asyncio
import os
from itertools import count
from typing import Final

import pytest

from tests.fakes.canary import find_leaks, places_of
from tests.fakes.load_stage import LoadStage

FLOWS: Final = int(os.environ.get("JOBGATE_MIXED_FLOWS", "20000"))
WAYS: Final = 64
JOBS: Final = 20
pytestmark = pytest.mark.timeout(1200)


async def test_many_jobs_at_once_never_share_and_nothing_leaks() -> None:
    """Sixty-four ways, twenty jobs, upstreams that echo: one mint per job, no secret anywhere."""
    stage = LoadStage()
    async with stage.running(JOBS):
        numbers = count()
        await asyncio.gather(*[stage.work(numbers, FLOWS, seed) for seed in range(WAYS)])
        exchange = stage.exchange
        assert exchange.wrong == []
        assert stage.leaked == []
        assert exchange.minted == dict.fromkeys(stage.sessions, 1)
        assert exchange.served > FLOWS // 2
        assert stage.statuses[403] > FLOWS // 10
        assert stage.cut < FLOWS // 2
        assert await asyncio.to_thread(lambda: find_leaks(places_of(stage.world), exchange.tokens)) == []


async def test_parallel_requests_of_one_job_mint_once() -> None:
    """Five hundred at once, before the first credential is there: one mint, and all are served with it."""
    stage = LoadStage()
    async with stage.running(1):
        stage.exchange.delay = 0.5
        (job,) = stage.sessions
        wires = await asyncio.gather(*[stage.connect(job) for _ in range(500)])
        await asyncio.gather(*[stage.ask(job, wire, 0) for wire in wires])
        for _, writer in wires:
            writer.close()
        # 500 is one of the API's echoes; 502 what becomes of one that is compressed.
        assert sum(stage.statuses.values()) == stage.exchange.served == 500
        assert stage.statuses.keys() <= {200, 500, 502}
        assert stage.exchange.minted == {job: 1}
        assert (stage.exchange.wrong, stage.leaked) == ([], [])
