"""Upstream connections, kept for reuse by one session towards one authority, and never shared beyond that (B13)."""

import asyncio
from collections import defaultdict
from time import monotonic
from typing import Final

from proxy.gateway.limits import Limits
from proxy.gateway.ports import Dialer
from proxy.gateway.wire import Shared, Wire
from proxy.model.authority import Authority
from proxy.model.errors import DialError, JobgateError
from proxy.model.reason import Reason

type Key = tuple[str, str, int, bool]
"""Session id, host, port, and whether TLS is spoken."""


class Upstream:
    """One connection to an upstream. While it is kept it reads itself.

    A byte nobody asked for, or the end, and the connection is gone: that is how responses are smuggled.
    """

    __slots__ = ("_pool", "address", "generation", "idle_since", "key", "reused", "wire")

    def __init__(self, key: Key, wire: Wire, address: str, pool: "Pool", generation: int) -> None:
        self._pool = pool
        self.generation: Final = generation
        self.key: Final = key
        self.wire: Final = wire
        self.address: Final = address
        self.idle_since = 0.0
        self.reused = False

    def feed(self, _: bytes) -> None:
        """Drop the connection."""
        self._pool.forget(self)

    def end(self) -> None:
        """Drop the connection."""
        self._pool.forget(self)


class Pool:
    """Dials, keeps and forgets."""

    def __init__(self, dialer: Dialer, limits: Limits, shared: Shared) -> None:
        self._shared = shared
        self._dialer = dialer
        self._limits = limits
        self._kept: defaultdict[Key, list[Upstream]] = defaultdict(list)
        self._count = 0
        self._generation = 0

    @property
    def kept(self) -> int:
        """How many connections are idle."""
        return self._count

    def take(self, key: Key) -> Upstream | None:
        """Return the connection used last, if one is kept and still open."""
        line = self._kept.get(key)
        while line:
            upstream = line.pop()
            self._count -= 1
            if not line:
                del self._kept[key]
            wire = upstream.wire
            wire.detach()
            if not wire.eof and not wire.buffer and not wire.transport.is_closing():
                upstream.reused = True
                return upstream
            wire.abort()
        return None

    async def dial(self, key: Key, *, half_close: bool = False) -> Upstream:
        """Open a new connection. Raises DialError."""
        _, host, port, secure = key
        authority, generation = Authority(host, port), self._generation

        def make_wire() -> Wire:
            wire = Wire(self._shared)
            wire.half_close = half_close
            return wire

        try:
            async with asyncio.timeout(self._limits.connect):
                transport, wire, address = await self._dialer.connect(
                    authority, secure=secure, protocol_factory=make_wire
                )
        except TimeoutError:
            raise DialError("the upstream could not be reached in time", Reason.UPSTREAM_TIMEOUT) from None
        except JobgateError:
            raise
        except OSError:
            raise DialError("the upstream cannot be reached") from None
        if not wire.lost and wire.transport is not transport:
            wire.use(transport)
        return Upstream(key, wire, address, self, generation)

    def keep(self, upstream: Upstream) -> None:
        """Keep a connection whose last exchange is complete; too many, and it is closed instead."""
        wire = upstream.wire
        wire.source = None
        line = self._kept[upstream.key]
        is_welcome = upstream.generation == self._generation and len(line) < self._limits.upstream_kept
        if wire.eof or wire.buffer or not is_welcome or self._is_full():
            if not line:
                del self._kept[upstream.key]
            wire.close()
            return
        upstream.idle_since = monotonic()
        line.append(upstream)
        self._count += 1
        wire.attach(upstream)

    def forget(self, upstream: Upstream) -> None:
        """Close a kept connection."""
        line = self._kept.get(upstream.key)
        if line and upstream in line:
            line.remove(upstream)
            self._count -= 1
            if not line:
                del self._kept[upstream.key]
        upstream.wire.abort()

    def sweep(self, now: float) -> None:
        """Close what has been idle too long."""
        for line in list(self._kept.values()):
            for upstream in list(line):
                if now - upstream.idle_since > self._limits.upstream_idle:
                    self.forget(upstream)

    def close_session(self, session_id: str) -> None:
        """Close what a session has kept; call it when the session ends."""
        for key in [key for key in self._kept if key[0] == session_id]:
            for upstream in list(self._kept[key]):
                self.forget(upstream)

    def renew(self) -> None:
        """Use no connection again that was opened until now: by what was believed then, others may not be any more."""
        self._generation += 1
        self.close()

    def close(self) -> None:
        """Close everything kept."""
        for line in list(self._kept.values()):
            for upstream in list(line):
                self.forget(upstream)

    def _is_full(self) -> bool:
        return self._count >= self._limits.upstream_kept_total
