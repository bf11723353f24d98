"""What takes jobs' logs in, made from settings: a trail of their own, what looks through them, where they come from."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from proxy.app.base import Base, open_trail
from proxy.app.sealing import keep_turning, make_encoding
from proxy.app.shipping import Shipped, Shipping, keep_only_wanted, make_shipping
from proxy.audit.encoding import Encoding
from proxy.config import Settings, read_token
from proxy.config.logs import LogFetch, LogSettings
from proxy.connectors.buildkite_log import fetch_log
from proxy.connectors.parts import ConnectorParts
from proxy.control.log_routes import MAX_EXPORT, LogRoutes
from proxy.control.server import ControlLimits, ControlServer
from proxy.engine.exposure import SecretWatch
from proxy.engine.logs import LogDesk, LogParts
from proxy.engine.ports import Meter
from proxy.engine.sessions import SessionDesk
from proxy.model.errors import AuditError, CredentialError
from proxy.model.event import CiEvent
from proxy.model.grant import Secret
from proxy.model.log import JobLog

log = logging.getLogger("jobgate")

_SETTLE: Final = 5.0
"""Seconds after a job's end before its log is fetched: it may still be on its way, to the CI or to us."""
_WAITS: Final = (10.0, 60.0)
"""Seconds between tries."""
_AT_ONCE: Final = 2
"""Logs that are fetched at the same time."""
_EXPORTS: Final = 4
"""Requests that are read at the same time: each may be large."""
_SHORTEST_TOKEN: Final = 16


type Spawn = Callable[[Coroutine[Any, Any, Any]], None]
"""Runs something beside the flows, as `Sidecar.spawn` does."""


@dataclass(slots=True, kw_only=True)
class Logs:
    """Everything about jobs' logs. Made by `open_logs`; `begin` once there is a desk."""

    settings: Settings
    given: LogSettings
    base: Base
    encoding: Encoding
    shipped: Shipped
    shipping: Shipping
    watch: SecretWatch = field(default_factory=SecretWatch)
    server: ControlServer | None = None
    _desk: LogDesk | None = None

    async def begin(self, sessions: SessionDesk, meter: Meter, spawn: Spawn) -> None:
        """Take logs from now on. Raises ConfigError."""
        base, given = self.base, self.given
        sessions.on_close(lambda session_id: self.watch.end_session(session_id, base.clock.now()))
        desk = self._desk = LogDesk(
            LogParts(
                clock=base.clock,
                audit=base.trail,
                logs=self.shipped.trail,
                sessions=sessions,
                watch=self.watch,
                meter=meter,
                together=asyncio.gather,
                pause=partial(asyncio.sleep, 0),
            )
        )
        if given.listen is not None and given.token is not None:
            routes = LogRoutes(desk, read_token("logs.token", given.token, _SHORTEST_TOKEN))
            limits = ControlLimits(
                body=MAX_EXPORT, connections=_EXPORTS, is_public=True, welcome=routes.is_welcome, request=60.0
            )
            self.server = ControlServer(routes, given.listen, limits)
            await self.server.start()
        self.shipping.start()
        if given.retention is not None:
            spawn(keep_only_wanted(given.retention, self.shipped, self.shipping, base.clock))
        if self.settings.audit.seal is not None:
            spawn(keep_turning(self.settings.audit, self.encoding, self.shipped.trail, _parts(base)))

    def fetcher(self, spawn: Spawn) -> Callable[[CiEvent], None]:
        """Return what fetches the log of a job when an event says that it has ended. Raises ConfigError."""
        fetch, desk = self.given.fetch, self._desk
        if fetch is None or desk is None:
            return lambda _: None
        token = read_token("logs.fetch.token", fetch.token, _SHORTEST_TOKEN)
        turn = asyncio.Semaphore(_AT_ONCE)

        def hear(event: CiEvent) -> None:
            is_ours = event.source == "buildkite" and event.organization == fetch.organization
            if is_ours and event.name == "job.finished" and event.job_id is not None:
                spawn(_Fetching(self.base, desk, fetch, token).run(event, turn))

        return hear

    def troubles(self) -> list[str]:
        """Return what is wrong with what logs are kept in and where they go."""
        found = [f"{name}: {said}" for name, said in self.shipping.troubles().items()]
        return found if self.shipped.trail.is_writable() else ["logs: their trail takes no lines", *found]

    async def close(self, within: float) -> None:
        """Write what is left and deliver it, as far as that takes no longer than so many seconds."""
        try:
            await self.shipped.trail.close()
        finally:
            await self.shipping.finish(within)


async def open_logs(settings: Settings, given: LogSettings, base: Base, undo: contextlib.AsyncExitStack) -> Logs:
    """Open the trail of logs. Raises ConfigError or AuditError."""
    origin = f"{settings.audit.origin}/logs"
    audit = settings.audit.model_copy(update={"tags": {**settings.audit.tags, **given.tags}})
    encoding = await make_encoding(audit, _parts(base))
    trail = await open_trail(settings, base.clock, encoding, directory=given.directory, origin=origin)
    undo.push_async_callback(trail.close)
    shipped = Shipped(trail=trail, directory=given.directory, origin=origin, limit=given.spool_bytes, is_logs=True)
    return Logs(
        settings=settings,
        given=given,
        base=base,
        encoding=encoding,
        shipped=shipped,
        shipping=make_shipping(settings, base, shipped),
    )


def _parts(base: Base) -> Callable[[], Awaitable[ConnectorParts]]:
    async def parts() -> ConnectorParts:
        return ConnectorParts(caller=base.outbound, clock=base.clock)

    return parts


@dataclass(frozen=True, slots=True)
class _Fetching:
    """One job's log on its way."""

    base: Base
    desk: LogDesk
    fetch: LogFetch
    token: Secret = field(repr=False)

    async def run(self, event: CiEvent, turn: asyncio.Semaphore) -> None:
        """Fetch unless the agent has exported it; what cannot be had is put on record as missing."""
        job: dict[str, str | int] = {"organization": event.organization, "job_id": str(event.job_id)}
        nothing = JobLog(source="api", job=job, lines=(), missing="jobgate stopped before it was fetched")
        try:
            await asyncio.sleep(_SETTLE)
            if self.desk.has_seen(str(event.job_id)):
                return
            async with turn:
                found = await self._try(event, nothing)
            await self._keep(found)
        except asyncio.CancelledError:
            self.desk.note_missing(nothing)
            raise

    async def _try(self, event: CiEvent, nothing: JobLog) -> JobLog:
        said = ""
        for wait in (*_WAITS, None):
            try:
                return await fetch_log(self.base.outbound, event, self.token, self.fetch.bytes)
            except CredentialError as error:
                said = str(error)
            if wait is not None:
                await asyncio.sleep(wait)
        log.warning("logs.fetch: job %s: %s", event.job_id, said)
        return replace(nothing, missing=said)

    async def _keep(self, found: JobLog) -> None:
        for wait in (*_WAITS, None):
            try:
                await self.desk.receive([found])
            except AuditError as error:
                log.warning("logs: job %s: %s", found.job["job_id"], error)
            else:
                return
            if wait is not None:
                await asyncio.sleep(wait)
