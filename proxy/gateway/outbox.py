"""Sends what many exchanges have to send in one go, at the end of a turn of the event loop.

A send wakes whoever waits at the other end, and the next one, a moment later, wakes it again. When many exchanges are
under way their heads and small bodies are gathered for the rest of the turn: the kernel, the encryption and the other
end then do all of them one after the other. With few exchanges a turn is not worth waiting for, and nothing waits.
"""

import asyncio
from typing import Final, Protocol

SMALL: Final = 16_384
"""Longer pieces are never held: a body that streams is its own crowd, and back-pressure must see it at once."""


class Sender(Protocol):
    """A wire that has something to send."""

    def send(self) -> None:
        """Hand it to the transport. Must not raise."""


class Outbox:
    """What waits for the end of the turn. One for each event loop."""

    __slots__ = ("_loop", "_waiting", "busy", "crowd")

    def __init__(self, loop: asyncio.AbstractEventLoop, crowd: int) -> None:
        self._loop = loop
        self.crowd: Final = crowd
        """Exchanges under way from which on gathering pays: then a small piece should wait."""
        self._waiting: list[Sender] = []
        self.busy = 0
        """How many exchanges are under way."""

    def add(self, sender: Sender) -> None:
        """Let a wire send at the end of this turn."""
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(sender)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for sender in waiting:
            sender.send()
