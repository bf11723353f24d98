"""Blocking work is done in order, off the loop, and its end is told to whoever still waits."""

import asyncio
import threading
from functools import partial

import pytest

from proxy.sinks.worker import Worker


async def test_work_is_done_elsewhere_and_in_order() -> None:
    """Results come back; the thread is not the loop's; what was given first is done first."""
    worker = Worker("test")
    order: list[int] = []

    def work(number: int) -> int:
        order.append(number)
        return threading.get_ident()

    names = await asyncio.gather(*(worker.run(partial(work, number)) for number in range(9)))

    assert order == list(range(9))
    assert set(names).isdisjoint({threading.get_ident()})
    worker.stop()


@pytest.mark.parametrize("fault", [OSError(28, "full"), ValueError("x"), SystemExit(3)], ids=repr)
async def test_a_fault_is_raised_where_it_is_waited_for(fault: BaseException) -> None:
    """Whatever the work raises reaches the waiter, and the thread goes on."""
    worker = Worker("test")

    def work() -> None:
        raise fault

    with pytest.raises(type(fault)):
        await worker.run(work)
    assert await worker.run(lambda: 1) == 1
    worker.stop()


async def test_giving_up_the_wait_does_not_give_up_the_work() -> None:
    """A cancelled wait leaves the work to be done."""
    worker = Worker("test")
    gate, done = threading.Event(), threading.Event()

    def work() -> None:
        gate.wait(10)
        done.set()

    waiting = asyncio.create_task(worker.run(work))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.set()

    assert await worker.run(done.is_set)
    worker.stop()


def test_a_loop_that_is_gone_is_no_fault() -> None:
    """Work that ends after its loop was closed ends quietly."""
    gate = threading.Event()
    kept: list[Worker] = []

    async def begin() -> None:
        worker = Worker("test")
        kept.append(worker)
        waiting = asyncio.create_task(worker.run(lambda: gate.wait(10)))
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(begin())
    kept[0].stop()
    gate.set()
    kept[0]._thread.join(10)
    assert not kept[0]._thread.is_alive()
