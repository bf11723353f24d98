"""The newest checkpoint gets to its anchor, whatever the anchor says in between."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from proxy.audit.chain import Head
from proxy.model.errors import ConfigError, JobgateError
from proxy.model.record import Checkpoint
from proxy.sinks.anchors import AnchorQueue, FileAnchor
from proxy.sinks.keys import make_signer
from proxy.sinks.port import SinkError

AT = datetime(2026, 1, 2, tzinfo=UTC)
SIGNER = make_signer("jobgate/test")


def checkpoint(size: int) -> Checkpoint:
    return SIGNER.sign(Head(size, "ab" * 32), AT)


@dataclass
class Place:
    """Keeps what it is given; raises first what a test says."""

    errors: list[JobgateError] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)

    async def keep(self, checkpoint: Checkpoint) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.kept.append(checkpoint.size)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a state of another task
            await asyncio.sleep(0.005)


async def test_failures_pass_and_the_newest_counts() -> None:
    """Refused, or a token that cannot be read: it is tried again, with what is newest by then."""
    place = Place(errors=[SinkError("down"), ConfigError("no token")])
    queue = AnchorQueue("a", place)
    running = asyncio.create_task(queue.run())
    queue.put(checkpoint(1))
    await until(lambda: queue.failure is not None)
    queue.put(checkpoint(5))
    await until(lambda: queue.size == 5)
    assert (place.kept, queue.failure) == ([5], None)
    queue.put(checkpoint(5))
    queue.put(checkpoint(7))
    await until(lambda: queue.size == 7)
    assert place.kept == [5, 7]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    queue.put(checkpoint(9))
    await queue.finish(5)
    assert place.kept == [5, 7, 9]


async def test_a_file_grows_and_one_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """Notes one after the other, as in the trail's own file."""
    anchor = FileAnchor(tmp_path / "notes")
    for size in (1, 2):
        await anchor.keep(checkpoint(size))
    assert (tmp_path / "notes").read_text() == f"{checkpoint(1).signed}\n{checkpoint(2).signed}\n"
    queue = AnchorQueue("b", FileAnchor(tmp_path / "missing" / "notes"))
    queue.put(checkpoint(3))
    await queue.finish(5)
    assert "No such file" in str(queue.failure)
