"""How late the event loop is. Whatever blocks it, a connector that waits the wrong way, holds up all flows (T48)."""

import asyncio
from collections import deque
from time import monotonic
from typing import Final

_EVERY: Final = 0.5
_LOOKS: Final = 60


class LoopLag:
    """Looks twice a second and remembers half a minute, which is longer than Prometheus usually takes to come back."""

    def __init__(self) -> None:
        self._late: deque[float] = deque(maxlen=_LOOKS)

    @property
    def seconds(self) -> float:
        """The longest that anything had to wait for its turn lately."""
        return max(self._late, default=0.0)

    async def watch(self) -> None:
        """Look for ever."""
        while True:
            due = monotonic() + _EVERY
            await asyncio.sleep(_EVERY)
            self._late.append(max(0.0, monotonic() - due))
