"""What of a request's body is taken into memory before anything leaves: to be read by a decoder, or to be signed.

Taken bytes are payload, freed of the job's framing; what leaves later is framed by us. Memory is counted for the whole
worker, so that many jobs at once cannot take it all.
"""

from collections.abc import Callable

from proxy.gateway.framing import Decoder
from proxy.gateway.replies import CONTINUE
from proxy.gateway.wire import Wire
from proxy.model.errors import ProtocolError
from proxy.model.reason import Reason


class Budget:
    """Bytes of all bodies held in memory, in this worker."""

    __slots__ = ("_left",)

    def __init__(self, size: int) -> None:
        self._left = size

    def reserve(self, size: int) -> None:
        """Take `size` bytes. Raises ProtocolError (`overloaded`)."""
        if size > self._left:
            raise ProtocolError("too many bodies are held at once", Reason.OVERLOADED)
        self._left -= size

    def release(self, size: int) -> None:
        """Give `size` bytes back."""
        self._left += size


class HeldBody:
    """The beginning of one body, or all of it."""

    __slots__ = ("_budget", "_client", "_decoder", "_frozen", "_growing", "_reserved", "is_continued", "is_taking")

    def __init__(self, client: Wire, decoder: Decoder, budget: Budget) -> None:
        self._client = client
        self._decoder = decoder
        self._budget = budget
        self._growing = bytearray()
        self._frozen = b""
        self._reserved = 0
        self.is_taking = False
        self.is_continued = False
        """Whether the job was told to go on sending (RFC 9110 10.1.1); the upstream need not say so again."""

    @property
    def data(self) -> bytes:
        """What has been taken."""
        if self._growing:
            self._frozen += bytes(self._growing)
            self._growing.clear()
        return self._frozen

    @property
    def size(self) -> int:
        """Its length."""
        return len(self._frozen) + len(self._growing)

    @property
    def is_whole(self) -> bool:
        """Whether the body ended in what has been taken."""
        return self._decoder.done

    async def take(
        self, limit: int, enough: Callable[[bytes], bool] | None = None, *, asks_to_continue: bool = False
    ) -> None:
        """Take the body until it ends, `enough` is content with what was taken, or over `limit` bytes are.

        Raises ProtocolError when the client leaves inside its body, or the worker holds too much.
        """
        client, decoder = self._client, self._decoder
        if asks_to_continue and not client.buffer and not decoder.done:
            self.is_continued = True
            client.write(CONTINUE)
        if decoder.done:
            return
        self.is_taking = True
        try:
            await self._take(limit, enough)
        finally:
            self.is_taking = False
        client.detach(decoder.rest)

    async def _take(self, limit: int, enough: Callable[[bytes], bool] | None) -> None:
        client, judge_at = self._client, 0
        while self.size <= limit:
            # Judged again only once it has grown by a quarter: what comes byte by byte is not read at each byte.
            if enough is not None and self.size >= judge_at:
                if enough(self.data):
                    return
                judge_at = self.size + max(1, self.size // 4)
            if not client.buffer and not await client.more():
                raise ProtocolError("the client left inside its body", Reason.CLIENT_GONE)
            piece, client.buffer = client.buffer, b""
            payload = self._decoder.feed(piece)
            self._budget.reserve(len(payload))
            self._reserved += len(payload)
            self._growing += payload
            if self._decoder.done:
                return

    def release(self) -> None:
        """Give the memory back to the budget."""
        self._budget.release(self._reserved)
        self._reserved = 0
