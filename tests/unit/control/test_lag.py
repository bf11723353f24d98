"""The event loop's lag: what blocks is seen, for a while."""

import asyncio
import time

from proxy.control.lag import LoopLag


async def test_a_blocked_loop_is_late() -> None:
    """A call that blocks the loop shows by what it took beyond the next look; before the first look there is none."""
    lag = LoopLag()
    assert lag.seconds == 0.0
    watching = asyncio.create_task(lag.watch())
    await asyncio.sleep(0)  # it begins to wait
    time.sleep(1.0)  # noqa: ASYNC251 - what must not be done
    while not lag.seconds:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.01)
    watching.cancel()
    assert lag.seconds > 0.4
