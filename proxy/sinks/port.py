"""What a sink is: a destination that takes batches of durable records and says when it has them for good."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from proxy.model.errors import JobgateError
from proxy.model.reason import Reason
from proxy.outbound import Answer, Call

type Caller = Callable[[Call], Awaitable[Answer]]
"""Makes one of our own calls, as `Outbound.call` does. Raises OutboundError."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one trail that a route chose, in the trail's order. Not empty."""

    origin: str
    """The name the trail's checkpoints are signed under."""
    lines: tuple[bytes, ...]
    """As they stand in the trail, newlines included."""
    records: tuple[dict[str, Any], ...]
    """The same lines, read. Sealed ones as sealed."""


class SinkError(JobgateError):
    """A batch that the destination has not taken for good. The message names the destination, never a secret."""

    reason = Reason.TRAIL_UNAVAILABLE

    def __init__(self, message: str, *, after: float | None = None, is_final: bool = False) -> None:
        """`after`: seconds the destination asked to wait. `is_final`: it says that it will never take this batch."""
        super().__init__(message)
        self.after = after
        self.is_final = is_final


class Sink(Protocol):
    """A destination. One batch is under way at a time; the same record may come again after a failure."""

    async def send(self, batch: Batch) -> None:
        """Return once the destination has all of it for good. Raises SinkError."""

    async def close(self) -> None:
        """Let go of connections. Nothing is lost by it: what was not taken is sent again by the next start."""
