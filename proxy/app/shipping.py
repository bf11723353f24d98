"""Sinks, routes and anchors made from settings, and what drives them beside the flows."""

import asyncio
import logging
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from proxy.app.base import Base
from proxy.audit.routing import TRAIL, Group, Picker, Route
from proxy.config import Settings, read_token
from proxy.config.audit import Anchor, RetentionSettings
from proxy.config.routes import read_routes
from proxy.config.sinks import ElasticSink, HttpSink, NatsSink, ObjectLock, OtlpSink, S3Sink, SinkSettings, SplunkSink
from proxy.connectors.aws_own import SignedCaller, aws_host
from proxy.connectors.parts import ConnectorParts
from proxy.model.errors import AuditError, ConfigError
from proxy.model.grant import Secret
from proxy.model.record import AuditRecord, Fact, Kind
from proxy.sinks import anchors, http, nats, s3
from proxy.sinks.file import FileTrail
from proxy.sinks.port import Sink
from proxy.sinks.retention import Keeper, Retention
from proxy.sinks.shipping import Lane, Shipper
from proxy.system import SystemClock

log = logging.getLogger("jobgate")

_MEASURE: Final = 1.0
_PRUNE: Final = 60.0
_SHORTEST_TOKEN: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """A trail that is carried elsewhere. `limit`: bytes that may wait in it for the slowest sink."""

    trail: FileTrail
    directory: Path
    origin: str
    limit: int
    is_logs: bool = False
    """Whether jobs' logs stand in it, and not the audit trail: other routes are about it."""

    def routes(self, routes: Iterable[Route], name: str) -> list[Route]:
        """Return the routes that lead from this trail to a sink."""
        leading = [route for route in routes if name in route.to]
        if not self.is_logs:
            return [route for route in leading if route.of & TRAIL]
        # What the trail of logs says of itself goes with the logs.
        return [replace(route, of=frozenset(Group)) for route in leading if Group.LOGS in route.of]


@dataclass(slots=True)
class Shipping:
    """All that carries audit data elsewhere. `limit`: bytes that may wait in the trail for the slowest sink."""

    shippers: tuple[Shipper, ...]
    queues: tuple[anchors.AnchorQueue, ...]
    limit: int
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        """Begin to deliver."""
        for shipper in self.shippers:
            shipper.start()
        self._tasks = [asyncio.create_task(queue.run()) for queue in self.queues]
        if self.shippers:
            self._tasks.append(asyncio.create_task(self._measure()))

    def hold(self) -> str | None:
        """Return why nothing may be allowed: a destination is further behind than what may wait for it."""
        full = [shipper.name for shipper in self.shippers if shipper.behind > self.limit]
        return f"{', '.join(full)}: more than {self.limit} bytes wait to be delivered" if full else None

    def troubles(self) -> dict[str, str]:
        """Return what is wrong with each destination that is in trouble."""
        said = {each.name: each.failure for each in self.shippers} | {each.name: each.failure for each in self.queues}
        return {name: failure for name, failure in said.items() if failure is not None}

    def delivered(self) -> int:
        """Return how many records every sink has; with no sink, all."""
        return min((shipper.delivered for shipper in self.shippers), default=sys.maxsize)

    async def finish(self, within: float) -> None:
        """Deliver the rest, after the trail was closed, as far as that takes no longer than so many seconds."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(
            *(shipper.finish(within) for shipper in self.shippers), *(queue.finish(within) for queue in self.queues)
        )

    async def _measure(self) -> None:
        while True:
            for shipper in self.shippers:
                try:
                    await asyncio.to_thread(shipper.measure)
                except OSError as error:  # the last figure stands; a trail in such trouble takes no records either
                    log.warning("sink %s: how far it is behind cannot be told: %s", shipper.name, error.strerror)
            await asyncio.sleep(_MEASURE)


def audit_shipped(settings: Settings, base: Base) -> Shipped:
    """Return the audit trail as what is shipped."""
    audit = settings.audit
    return Shipped(trail=base.trail, directory=audit.directory, origin=audit.origin, limit=audit.spool_bytes)


def make_shipping(settings: Settings, base: Base, of: Shipped) -> Shipping:
    """Make everything that is set for one trail. Raises RuleFileError for the routes file, ConfigError for the rest."""
    routes = read_routes(settings)
    shippers: list[Shipper] = []
    given_anchors = () if of.is_logs else settings.audit.anchors
    queues = [_anchor(f"audit.anchors[{index}]", each, base) for index, each in enumerate(given_anchors)]
    for name, given in settings.sinks.items():
        if not (chosen := of.routes(routes, name)):
            continue
        picker = Picker(chosen)
        shown = f"{name}.logs" if of.is_logs else name
        sink = _make_sink(name, given, chosen[0].form, base, is_whole=picker.is_whole)
        lane = Lane(
            name=shown,
            origin=of.origin,
            directory=of.directory,
            head=lambda: of.trail.head.size,
            linger=given.linger.total_seconds(),
        )
        shippers.append(Shipper(lane, picker, sink, partial(_note_refusal, base, shown)))
        if isinstance(sink, s3.S3Sink) and picker.is_whole:
            queues.append(anchors.AnchorQueue(shown, sink))
    made = Shipping(tuple(shippers), tuple(queues), of.limit)
    for queue in queues:
        of.trail.on_checkpoint(queue.put)
    of.trail.hold_while(made.hold)
    return made


async def keep_only_wanted(given: RetentionSettings, of: Shipped, shipping: Shipping, clock: SystemClock) -> None:
    """Remove segments whose time is over, one after the other, until cancelled."""
    by_tag = {(tag, value): keep for tag, values in given.by_tag.items() for value, keep in values.items()}
    keeper = Keeper(of.directory, Retention(keep=given.keep, by_tag=by_tag), shipping.delivered)
    while True:
        try:
            gone = await asyncio.to_thread(keeper.find, clock.now())
            if gone is not None:
                facts: dict[str, Fact] = {"segment": gone.path.name, "first": gone.first, "last": gone.last}
                facts["held"] = {name: [*values] for name, values in gone.tags.items()}
                await of.trail.append(AuditRecord(kind=Kind.TRAIL_PRUNED, at=clock.now(), facts=facts))
                await asyncio.to_thread(keeper.remove, gone)
                continue
        except AuditError as error:
            log.warning("retention of %s: %s", of.directory, error)
        await asyncio.sleep(_PRUNE)


def _note_refusal(base: Base, name: str, number: int, said: str) -> None:
    facts: dict[str, Fact] = {"sink": name, "record": number, "detail": said}
    base.trail.post(AuditRecord(kind=Kind.SINK_REFUSED, at=base.clock.now(), facts=facts))


def _make_sink(name: str, given: SinkSettings, form: str, base: Base, *, is_whole: bool) -> Sink:
    match given:
        case S3Sink():
            return s3.S3Sink(_bucket(name, given, base), is_whole=is_whole)
        case NatsSink():
            return nats.NatsSink(_servers(name, given, form, base))
        case OtlpSink():
            return _make_otlp(name, given, base)
    scheme = {"http": "Bearer", "splunk": "Splunk", "elastic": "ApiKey"}[given.kind]
    headers = _bearer(f"sinks.{name}.token", scheme, given.token)
    to = _destination(name, given.url, base, headers=headers, form=form)
    match given:
        case HttpSink():
            return http.HttpSink(to, lines=given.body == "ndjson")
        case SplunkSink():
            return http.SplunkSink(to, index=given.index, acknowledges=given.acknowledge)
        case ElasticSink():
            return http.ElasticSink(to, index=given.index)


def _make_otlp(name: str, given: OtlpSink, base: Base) -> Sink:
    try:
        from proxy.sinks import otlp  # noqa: PLC0415 - it needs an extra
    except ImportError:
        raise ConfigError(f"sinks.{name}: needs the extra: pip install 'jobgate[otlp]'") from None
    headers = _files(given.headers, f"sinks.{name}.headers")
    return otlp.OtlpSink(_destination(name, given.url, base, headers=headers), given.signals)


def _bucket(name: str, given: S3Sink, base: Base) -> s3.Bucket:
    host = aws_host("s3", given.region)
    if given.endpoint is not None:
        url = f"{given.endpoint.rstrip('/')}/{given.bucket}"
    else:  # a name with dots does not match the wildcard certificate
        url = f"https://{host}/{given.bucket}" if "." in given.bucket else f"https://{given.bucket}.{host}"
    parts = ConnectorParts(caller=base.outbound, clock=base.clock)
    return s3.Bucket(
        name=name,
        base=url,
        prefix=given.prefix,
        call=SignedCaller(parts=parts, service="s3", region=given.region).call,
        now=base.clock.now,
        kms_key_id=given.kms_key_id,
        lock=None if given.lock is None else _lock(given.lock),
    )


def _lock(given: ObjectLock) -> s3.Lock:
    by_tag = {(tag, value): keep for tag, values in given.by_tag.items() for value, keep in values.items()}
    return s3.Lock(mode=given.mode, keep=given.keep, by_tag=by_tag)


def _servers(name: str, given: NatsSink, form: str, base: Base) -> nats.Servers:
    return nats.Servers(
        name=name,
        urls=given.servers,
        subject=given.subject,
        form=form,
        trust=None if given.plain else lambda: base.outbound.trust,
        credentials=given.credentials,
        token=None if given.token is None else read_token(f"sinks.{name}.token", given.token, _SHORTEST_TOKEN),
    )


def _anchor(setting: str, given: Anchor, base: Base) -> anchors.AnchorQueue:
    if given.kind == "file":
        return anchors.AnchorQueue(setting, anchors.FileAnchor(given.path))
    to = _destination(setting, given.url, base, headers=_bearer(f"{setting}.token", "Bearer", given.token))
    return anchors.AnchorQueue(setting, anchors.HttpAnchor(to))


def _destination(name: str, url: str, base: Base, *, headers: http.Headers, form: str = "record") -> http.Destination:
    return http.Destination(name=name, url=url.rstrip("/"), form=form, call=base.outbound.call, headers=headers)


def _bearer(setting: str, scheme: str, file: Path | None) -> http.Headers:
    """Return what reads a token file anew for each batch, having read it once. Raises ConfigError."""
    return _files({} if file is None else {"authorization": file}, setting, f"{scheme} ")


def _files(files: Mapping[str, Path], setting: str, scheme: str = "") -> http.Headers:
    def read() -> dict[str, Secret]:
        return {
            name: Secret(scheme + read_token(setting, file, _SHORTEST_TOKEN).reveal()) for name, file in files.items()
        }

    read()
    return read
