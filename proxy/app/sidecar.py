"""The composition root: Settings in, one wired and running sidecar out. The only place that knows every part."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from proxy import __version__
from proxy.app.base import Base, gateway_limits, lay_base, notices, own_issuer
from proxy.app.intake import empty_queue, event_server
from proxy.app.roots import RootsKeeper
from proxy.app.sealing import keep_turning
from proxy.app.shipping import Shipped, Shipping, audit_shipped, keep_only_wanted, make_shipping
from proxy.config import Settings, connect_map, control_place, operator_token, trusted_issuers
from proxy.connectors.minting import CredentialMinter
from proxy.connectors.own_issuer import OwnIssuer
from proxy.connectors.parts import ConnectorParts
from proxy.connectors.registry import build_connectors
from proxy.control.kill_file import KillFile, load_kills
from proxy.control.lag import LoopLag
from proxy.control.metrics import Metrics
from proxy.control.routes import ControlParts, Routes
from proxy.control.server import ControlServer
from proxy.engine.approvals import ApprovalBook, ApprovalDesk, Question
from proxy.engine.builds import BuildBook
from proxy.engine.events import EventDesk, EventParts
from proxy.engine.kills import KillDesk, KillParts, KillSwitch
from proxy.engine.pipeline import Engine, Parts
from proxy.engine.sessions import DeskLimits, DeskParts, SessionDesk
from proxy.gateway.addresses import AddressPolicy
from proxy.gateway.dialing import Dialer, DialLimits
from proxy.gateway.server import Gateway
from proxy.gateway.tls import LeafContexts, refuse_key_logging
from proxy.identity.profiles import DEFAULTS
from proxy.identity.sessions import PlaceholderBook
from proxy.model.authority import Authority
from proxy.model.errors import ConfigError
from proxy.model.grant import Credential
from proxy.model.identity import JobContext, TrustedIssuer
from proxy.model.kill import Kill
from proxy.model.reason import Reason
from proxy.model.record import AuditRecord, Fact, Kind
from proxy.own_identity import OwnIdentity
from proxy.sources.keys import JwksCache
from proxy.system import SystemEntropy, describe_process, trim_memory

if TYPE_CHECKING:
    from proxy.app.logs import Logs

log = logging.getLogger("jobgate")

_SWEEP: Final = 5.0
_FINISH: Final = 10.0
"""Seconds that a sink is given at the end to take the last records; what it has not got it gets at the next start."""


@dataclass(slots=True, kw_only=True)
class Sidecar:
    """Everything that runs. Made by `start_sidecar`; `stop` ends it in the order that loses nothing."""

    settings: Settings
    place: Authority
    control_place: Authority | Path
    base: "Base"
    keys: JwksCache
    desk: SessionDesk
    engine: Engine
    dialer: Dialer
    gateway: Gateway
    roots: RootsKeeper
    metrics: Metrics
    issuer: OwnIssuer | None
    own: OwnIdentity | None
    kills: KillDesk
    approvals: ApprovalDesk
    builds: BuildBook
    shipped: Shipped
    shipping: Shipping
    logs: "Logs | None" = None
    control: ControlServer | None = None
    events: ControlServer | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _stopping: bool = False

    def describe(self) -> list[str]:
        """Say what is running and where, for a person."""
        status = self.base.rules.status
        return [
            f"jobgate {__version__}",
            f"  proxy    http://{self.place}",
            f"  control  {self.control_place}",
            *([] if self.events is None else [f"  events   http://{self.events.address}/v1/events/"]),
            *([] if (server := self.log_server) is None else [f"  logs     http://{server.address}/v1/logs"]),
            f"  rules    {status.rules} from {', '.join(map(str, self.settings.rules))}, revision {status.revision}"
            + (", OBSERVING: what none allows is let through" if self.settings.mode == "observe" else ""),
            f"  CA       {self.settings.certs}/ca.pem, SHA-256 {self.base.ca.fingerprint[:16]}...",
            f"  audit    {self.settings.audit.directory}",
        ]

    @property
    def log_server(self) -> ControlServer | None:
        """What agents export logs to, where that is set."""
        return None if self.logs is None else self.logs.server

    def troubles(self) -> list[str]:
        """Return why the proxy is not ready to serve; empty when it is."""
        found = []
        if self._stopping:
            found.append(Reason.DRAINING.value)
        if not self.base.trail.is_writable():
            found.append(Reason.TRAIL_UNAVAILABLE.value)
        if self.own is not None and not self.own.is_held:
            found.append(Reason.IDENTITY_MISSING.value)
        return found

    def warnings(self) -> list[str]:
        """Return what an operator should mend though the proxy serves: an older rule set, an issuer that is down."""
        found = [Reason.RULES_UNAVAILABLE.value] if self.base.rules.status.problems else []
        found += [] if self.roots.problem is None else [self.roots.problem]
        found += [f"{name}: {said}" for name, said in self.shipping.troubles().items()]
        found += [] if self.logs is None else self.logs.troubles()
        return found + ([Reason.ISSUER_UNAVAILABLE.value] if self.keys.faults else [])

    def request_reload(self) -> None:
        """Read the rule files again, now, and the roots that upstreams are verified by."""
        self.spawn(self._reload())

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run something beside the flows until it ends or the sidecar does."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    async def stop(self) -> None:
        """Drain: no new connections, exchanges finish, sessions end, the last record is written, then the trail."""
        if self._stopping:
            return
        self._stopping = True
        await self.gateway.drain(self.settings.limits.drain.total_seconds())
        for server in (self.control, self.events, self.log_server):
            if server is not None:
                await server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.desk.close_all("shutdown")
        await self.keys.close()
        self.note(Kind.STOPPED, {"open_flows": self.engine.open_flows})
        try:
            await self.base.trail.close()
        finally:
            await self.shipping.finish(_FINISH)
            if self.logs is not None:
                await self.logs.close(_FINISH)
            if self.base.tee is not None:
                self.base.tee.close()

    def note(self, kind: Kind, facts: Mapping[str, Fact]) -> None:
        """Put something about the proxy itself on record."""
        self.base.trail.post(AuditRecord(kind=kind, at=self.base.clock.now(), facts=facts))

    async def _reload(self) -> None:
        await self.base.rules.reload()
        await self.roots.reload()

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # A background duty that died is a proxy that decides on old facts: say so, and stop being ready.
            log.error("a background task failed: %s", type(task.exception()).__name__)
            self._stopping = True


@dataclass(frozen=True, slots=True)
class LocalJob:
    """The job of `exec`, on the word of whoever started the command, and what it is said to do."""

    job: JobContext
    declared: tuple[str, ...] | None = None


async def start_sidecar(
    settings: Settings, environ: Mapping[str, str], *, local_job: LocalJob | None = None
) -> Sidecar:
    """Wire and start everything. `local_job` is `exec`'s: a session on the word of whoever started the command.

    Raises ConfigError, RuleFileError or AuditError, with nothing left running, when something cannot be had.
    """
    refuse_key_logging(environ)
    issuers = trusted_issuers(settings, DEFAULTS)
    if not issuers and local_job is None:
        raise ConfigError("issuers: none are trusted, so no job could be identified; see docs/identity.md")
    async with contextlib.AsyncExitStack() as undo:
        base = await lay_base(settings, undo)
        sidecar = await _build(settings, issuers, base, undo)
        await _begin(sidecar, local_job)
        undo.pop_all()
    trim_memory()
    return sidecar


@dataclass(frozen=True, slots=True, kw_only=True)
class _PathParts:
    """What the path stands on beside the base."""

    keys: JwksCache
    minter: CredentialMinter
    metrics: Metrics
    kills: KillSwitch
    placeholders: PlaceholderBook
    approvals: ApprovalBook
    builds: BuildBook
    tell: Callable[[Question], None]
    issued: Callable[[str, Credential], None]


def _lay_path(
    settings: Settings, issuers: tuple[TrustedIssuer, ...], base: Base, given: _PathParts
) -> tuple[SessionDesk, Engine]:
    """Make the desk and the engine, on the same clock, trail, minter and kill switch."""
    clock, trail, rules, entropy = base.clock, base.trail, base.rules, SystemEntropy()
    desk = SessionDesk(
        DeskParts(
            clock=clock,
            entropy=entropy,
            trail=trail,
            keys=given.keys,
            minter=given.minter,
            new_lock=asyncio.Lock,
            together=asyncio.gather,
            kills=given.kills,
            placeholders=given.placeholders,
        ),
        issuers,
        DeskLimits(ceiling=settings.session.ceiling, maximum=settings.session.maximum),
    )
    parts = Parts(
        clock=clock,
        entropy=entropy,
        trail=trail,
        minter=given.minter,
        meter=given.metrics,
        desk=desk,
        rules=lambda: rules.current,
        new_lock=asyncio.Lock,
        kills=given.kills,
        approvals=given.approvals,
        builds=given.builds,
        tell=given.tell,
        issued=given.issued,
        teams={team: frozenset(member.lower() for member in members) for team, members in settings.teams.items()},
    )
    return desk, Engine(parts)


async def _build(
    settings: Settings, issuers: tuple[TrustedIssuer, ...], base: Base, undo: contextlib.AsyncExitStack
) -> Sidecar:
    """Put the path on the base, and the gateway before it."""
    clock, trail = base.clock, base.trail
    switch = KillSwitch(load_kills(settings.kills))
    keys = JwksCache(base.outbound, issuers)
    placeholders = PlaceholderBook()
    parts = ConnectorParts(caller=base.outbound, clock=clock, find_secret=placeholders.find_secret)
    issuer = own_issuer(settings, parts)
    minter = CredentialMinter(build_connectors(replace(parts, issuer=issuer)), clock)
    metrics = Metrics()
    approvals, builds = ApprovalBook(), BuildBook()
    logs = await _open_logs(settings, base, undo)
    given = _PathParts(
        keys=keys,
        minter=minter,
        metrics=metrics,
        kills=switch,
        placeholders=placeholders,
        approvals=approvals,
        builds=builds,
        tell=notices(settings, base),
        issued=(lambda _, __: None) if logs is None else logs.watch.note,
    )
    desk, engine = _lay_path(settings, issuers, base, given)
    dialer = Dialer(
        AddressPolicy(),  # nothing private until our own places are known, see `_begin`
        base.roots.context,
        connect_to=connect_map(settings),
        limits=DialLimits(total=settings.limits.connect.total_seconds()),
    )
    gateway = Gateway(engine=engine, dialer=dialer, leaves=LeafContexts(base.ca), limits=gateway_limits(settings))
    host, port = await gateway.listen(settings.listen.host, settings.listen.port)
    undo.push_async_callback(gateway.drain, 0)

    shipped = audit_shipped(settings, base)
    return Sidecar(
        settings=settings,
        place=Authority(host, port),
        control_place=control_place(settings.control),
        base=base,
        keys=keys,
        desk=desk,
        engine=engine,
        dialer=dialer,
        gateway=gateway,
        roots=_keep_roots(base, dialer, gateway),
        metrics=metrics,
        issuer=issuer,
        own=None if settings.identity is None else OwnIdentity(settings.identity, desk),
        kills=KillDesk(
            switch, _kill_parts(settings, base, desk, lambda kill: gateway.close_flows(engine.flows_of(kill)))
        ),
        approvals=ApprovalDesk(book=approvals, clock=clock, trail=trail),
        builds=builds,
        shipped=shipped,
        shipping=make_shipping(settings, base, shipped),
        logs=logs,
    )


def _keep_roots(base: Base, dialer: Dialer, gateway: Gateway) -> RootsKeeper:
    def note(kind: Kind, facts: Mapping[str, Fact]) -> None:
        base.trail.post(AuditRecord(kind=kind, at=base.clock.now(), facts=facts))

    return RootsKeeper(
        base.roots, (dialer.verify_by, base.outbound.verify_by, lambda _: gateway.renew_upstreams()), note
    )


async def _open_logs(settings: Settings, base: Base, undo: contextlib.AsyncExitStack) -> "Logs | None":
    if settings.logs is None:
        return None
    try:
        from proxy.app.logs import open_logs  # noqa: PLC0415 - it needs an extra
    except ImportError:
        raise ConfigError("logs: needs the extra: pip install 'jobgate[otlp]'") from None
    return await open_logs(settings, settings.logs, base, undo)


def _kill_parts(settings: Settings, base: Base, desk: SessionDesk, cut: Callable[[Kill], None]) -> KillParts:
    return KillParts(
        clock=base.clock,
        entropy=SystemEntropy(),
        trail=base.trail,
        store=KillFile(settings.kills),
        sessions=desk,
        cut=cut,
        together=asyncio.gather,
    )


async def _begin(sidecar: Sidecar, local_job: LocalJob | None) -> None:
    """Open the doors that need the finished sidecar, and start what runs beside the flows."""
    desk, own = sidecar.desk, sidecar.own
    desk.on_close(sidecar.engine.forget_session)
    desk.on_close(sidecar.gateway.close_session)
    _publish_gauges(sidecar)
    if local_job is not None and own is None:
        await desk.open_local(local_job.job, local_job.declared)
    if own is not None:
        sidecar.spawn(own.keep())
    control = ControlServer(Routes(_control_parts(sidecar)), sidecar.control_place)
    await control.start()
    sidecar.control = control
    if sidecar.logs is not None:
        await sidecar.logs.begin(desk, sidecar.metrics, sidecar.spawn)
    _open_intake(sidecar)
    if sidecar.events is not None:
        await sidecar.events.start()
    if isinstance(control.address, Authority):
        sidecar.control_place = control.address
    sidecar.dialer.use(_address_policy(sidecar))
    sidecar.note(
        Kind.STARTED,
        {
            "version": __version__,
            "ca_sha256": sidecar.base.ca.fingerprint,
            "revision": sidecar.base.rules.current.revision,
            "listen": str(sidecar.place),
            **describe_process(),
        },
    )
    sidecar.shipping.start()
    if (retention := sidecar.settings.audit.retention) is not None:
        sidecar.spawn(keep_only_wanted(retention, sidecar.shipped, sidecar.shipping, sidecar.base.clock))
    sidecar.spawn(sidecar.base.rules.watch())
    sidecar.spawn(sidecar.roots.watch())
    sidecar.spawn(_sweep(desk))
    if sidecar.settings.audit.seal is not None:
        sidecar.spawn(_turn_keys(sidecar))
    if not sidecar.settings.issuers:
        return
    sidecar.spawn(sidecar.keys.warm())


async def _no_documents() -> Mapping[str, Mapping[str, Any]]:
    return {}


def _control_parts(sidecar: Sidecar) -> ControlParts:
    return ControlParts(
        desk=sidecar.desk,
        troubles=sidecar.troubles,
        warnings=sidecar.warnings,
        metrics=sidecar.metrics.render,
        approvals=sidecar.approvals,
        documents=_no_documents if sidecar.issuer is None else sidecar.issuer.documents,
        certificate=lambda: sidecar.base.ca.pem,
        proxy=sidecar.place,
        kills=sidecar.kills,
        operator_token=operator_token(sidecar.settings),
    )


def _address_policy(sidecar: Sidecar) -> AddressPolicy:
    """Return what may be dialled: never where this process listens, whatever an operator allows (A22)."""
    servers = (sidecar.events, sidecar.log_server)
    places = {sidecar.place, sidecar.control_place, *(each.address for each in servers if each is not None)}
    own = frozenset((place.host, place.port) for place in places if isinstance(place, Authority))
    return AddressPolicy(allowed=sidecar.settings.upstream.allow_addresses, own=own)


def _open_intake(sidecar: Sidecar) -> None:
    """Make what takes a CI's events, where that is set. Raises ConfigError."""
    given, base = sidecar.settings.events, sidecar.base
    if given is None:
        return
    parts = EventParts(
        clock=base.clock, trail=base.trail, sessions=sidecar.desk, together=asyncio.gather, builds=sidecar.builds
    )
    desk = EventDesk(parts)
    if sidecar.logs is not None:
        desk.on_event(sidecar.logs.fetcher(sidecar.spawn))
    sidecar.events = event_server(given, desk)
    if given.sqs is not None:
        reach = ConnectorParts(caller=base.outbound, clock=base.clock)
        sidecar.spawn(empty_queue(given.sqs, desk, reach))


async def _turn_keys(sidecar: Sidecar) -> None:
    base = sidecar.base

    async def parts() -> ConnectorParts:
        return ConnectorParts(caller=base.outbound, clock=base.clock)

    await keep_turning(sidecar.settings.audit, base.encoding, base.trail, parts)


async def _sweep(desk: SessionDesk) -> None:
    while True:
        await asyncio.sleep(_SWEEP)
        await desk.sweep()


def _publish_gauges(sidecar: Sidecar) -> None:
    watch, lag = sidecar.metrics.watch, LoopLag()
    sidecar.spawn(lag.watch())
    watch("loop_lag_seconds", "The longest wait for the event loop in half a minute.", lambda: lag.seconds)
    watch("sessions", "Open sessions.", lambda: float(len(sidecar.desk.sessions)))
    watch("connections", "Open client connections.", lambda: float(sidecar.gateway.open_connections))
    watch("open_flows", "Allowed exchanges without an outcome yet.", lambda: float(sidecar.engine.open_flows))
    watch("trail_pending", "Records waiting for the disk.", lambda: float(sidecar.base.trail.pending))
    watch("trail_lost", "Records that could not be written. 0, or an alarm.", lambda: float(sidecar.base.trail.lost))
    watch("trail_writable", "1 while the trail takes records.", lambda: float(sidecar.base.trail.is_writable()))
    watch("rules", "Rules in force.", lambda: float(sidecar.base.rules.status.rules))
    shippers = (*sidecar.shipping.shippers, *(() if sidecar.logs is None else sidecar.logs.shipping.shippers))
    each = sidecar.metrics.watch_each
    if shippers:
        done = lambda: {one.name: float(one.delivered) for one in shippers}  # noqa: E731
        each("sink_delivered", "Records of the trail that a sink has, or was not to get.", "sink", done)
        each("sink_behind_bytes", "Bytes that wait.", "sink", lambda: {one.name: float(one.behind) for one in shippers})
    if queues := sidecar.shipping.queues:
        kept = lambda: {one.name: float(one.size) for one in queues}  # noqa: E731
        each("anchored", "Records covered by the last checkpoint kept there.", "anchor", kept)
    refused = lambda: float(bool(sidecar.base.rules.status.problems))  # noqa: E731
    watch("rules_amber", "1 while the rule files on disk are not those in force.", refused)
    watch("warnings", "What /readyz warns of.", lambda: float(len(sidecar.warnings())))
