"""One thread for work that blocks, called from one event loop. Work is done in the order it was given.

A thread pool's futures cost more than a batch of records does; and unlike a pool's, this thread never holds up the end
of the process: a disk that hangs must not keep jobgate from stopping.
"""

import asyncio
import contextlib
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

type _Job = tuple[asyncio.Future[Any], Callable[[], Any]]


class Worker:
    """A thread that works for the running event loop until it is told to stop."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    async def run[R](self, work: Callable[[], R]) -> R:
        """Do `work` on the thread and return what it returns, or raise what it raises.

        Cancelling gives up the wait, not the work.
        """
        done: asyncio.Future[R] = self._loop.create_future()
        self._jobs.put((done, work))
        return await done

    def stop(self) -> None:
        """Let the thread end once it has done what it was given. Does not wait for it."""
        self._jobs.put(None)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            done, work = job
            result, fault = None, None
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - whoever waits is told, whatever it was
                fault = error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(_settle, done, result, fault)


def _settle(done: asyncio.Future[Any], result: Any, fault: BaseException | None) -> None:
    if done.done():
        return
    if fault is None:
        done.set_result(result)
    else:
        done.set_exception(fault)
