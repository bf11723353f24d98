"""Listeners, the connections they accept, the clock that ends slow ones, and the drain that ends them all."""

import asyncio
import secrets
import socket
from pathlib import Path as FilePath
from time import monotonic

from proxy.engine.seam import ConnectionEnd, Denial, Peer
from proxy.gateway.front import Connection, FrontParts
from proxy.gateway.guard import Guard
from proxy.gateway.held import Budget
from proxy.gateway.lane import LaneParts
from proxy.gateway.limits import Limits
from proxy.gateway.pool import Pool
from proxy.gateway.ports import Dialer, Leaves, Path
from proxy.gateway.replies import write_denial
from proxy.gateway.wire import Shared, Wire
from proxy.model.reason import Reason


class Gateway:
    """The data path's front door. One per worker."""

    def __init__(self, *, engine: Path, dialer: Dialer, leaves: Leaves, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._path = engine
        self._shared = Shared(asyncio.get_running_loop(), self._limits)
        self._pool = Pool(dialer, self._limits, self._shared)
        lane = LaneParts(
            guard=Guard(engine, self._limits.decision),
            pool=self._pool,
            limits=self._limits,
            budget=Budget(self._limits.buffered_total),
            outbox=self._shared.outbox,
            is_draining=lambda: self._draining,
        )
        self._front = FrontParts(path=engine, leaves=leaves, lane=lane)
        self._servers: list[asyncio.Server] = []
        self._tasks: dict[asyncio.Task[None], Connection] = {}
        self._draining = False
        self._names = f"c{secrets.token_hex(4)}"
        self._accepted = 0
        self._clock: asyncio.TimerHandle | None = None

    @property
    def open_connections(self) -> int:
        """How many client connections are open."""
        return len(self._tasks)

    @property
    def is_draining(self) -> bool:
        """Whether no new connection is accepted."""
        return self._draining

    async def listen(self, host: str, port: int, *, reuse_port: bool = False) -> tuple[str, int]:
        """Accept connections on `host:port` and return the address bound; `reuse_port` lets workers share it."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._make_wire, host, port, reuse_port=reuse_port or None, backlog=1024)
        self._servers.append(server)
        self._tick()
        bound = server.sockets[0].getsockname()
        return bound[0], bound[1]

    async def listen_unix(self, path: FilePath) -> None:
        """Accept connections on a Unix socket; who may use it is what the directory's mode says."""
        server = await asyncio.get_running_loop().create_unix_server(self._make_wire, str(path), backlog=1024)
        self._servers.append(server)
        self._tick()

    def close_session(self, session_id: str) -> None:
        """End what a session that has ended still has under way, and close the upstream connections kept for it."""
        for connection in list(self._tasks.values()):
            connection.end_session(session_id)
        self._pool.close_session(session_id)

    def renew_upstreams(self) -> None:
        """Use no upstream connection again that was verified until now; an exchange under way ends on its own."""
        self._pool.renew()

    def close_flows(self, flow_ids: frozenset[str]) -> None:
        """End these flows."""
        for connection in list(self._tasks.values()):
            connection.end_flows(flow_ids)

    async def drain(self, seconds: float) -> None:
        """Stop accepting, let what was asked be answered for at most `seconds`, then end the rest, on record."""
        self._draining = True
        for server in self._servers:
            server.close()
        for connection in list(self._tasks.values()):
            connection.close_idle()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=seconds)
        for task, connection in list(self._tasks.items()):
            connection.wire.abort()
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=self._limits.decision + 1)
        self._pool.close()
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
        self._servers.clear()

    def _make_wire(self) -> Wire:
        wire = Wire(self._shared)
        wire.on_connected = self._accept
        return wire

    def _accept(self, wire: Wire) -> None:
        self._accepted += 1
        peer = Peer(connection_id=f"{self._names}-{self._accepted:x}", address=_peer_address(wire))
        if self._draining or len(self._tasks) >= self._limits.connections:
            self._turn_away(wire, peer)
            return
        connection = Connection(self._front, wire, peer)
        task = asyncio.get_running_loop().create_task(connection.run())
        self._tasks[task] = connection
        task.add_done_callback(self._ended)

    def _turn_away(self, wire: Wire, peer: Peer) -> None:
        reason = Reason.DRAINING if self._draining else Reason.OVERLOADED
        wire.write(write_denial(Denial(reason=reason, flow_id=""), keep=False))
        wire.close()
        self._path.close_connection(
            ConnectionEnd(
                peer=peer,
                authority=None,
                session_id=None,
                requests=0,
                bytes_in=0,
                bytes_out=wire.bytes_out,
                reason=reason,
            )
        )

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if not task.cancelled():
            task.exception()

    def _tick(self) -> None:
        """Look at every connection's clock. One timer for all: a timer per request would cost more than the request."""
        if self._clock is not None:
            self._clock.cancel()
        now = monotonic()
        try:
            for task, connection in list(self._tasks.items()):
                self._look_at(task, connection, now)
            self._pool.sweep(now)
        finally:
            self._clock = asyncio.get_running_loop().call_later(self._period(), self._tick)

    @staticmethod
    def _look_at(task: asyncio.Task[None], connection: Connection, now: float) -> None:
        try:
            connection.check(now)
        except Exception:  # noqa: BLE001 - a clock that fails stops no other; its connection may not go on without one
            connection.wire.abort()
            task.cancel()

    def _period(self) -> float:
        limits = self._limits
        shortest = min(limits.head, limits.idle, limits.body, limits.stalled, limits.linger, limits.response)
        return min(1.0, max(0.02, shortest / 4))


def _peer_address(wire: Wire) -> str:
    name = wire.transport.get_extra_info("peername")
    if isinstance(name, tuple):
        return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
    end = wire.transport.get_extra_info("socket")
    # A TCP client that is gone before it is met has no name any more; only a Unix socket's never had one.
    return "unix" if end is not None and end.family == socket.AF_UNIX else "unknown"
