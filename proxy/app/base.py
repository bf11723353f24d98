"""What everything else stands on: the clock, the trail, the rules, the CA and our own calls, made from settings."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.app.sealing import make_encoding
from proxy.audit.encoding import Encoding
from proxy.config import Settings, connect_map, read_token
from proxy.connectors.kms import KmsKey
from proxy.connectors.own_issuer import OwnIssuer, OwnIssuerSettings
from proxy.connectors.parts import ConnectorParts
from proxy.connectors.registry import connector_scopes
from proxy.control.notices import Notices
from proxy.engine.approvals import Question
from proxy.gateway.limits import Limits
from proxy.gateway.tls import CertificateAuthority, Roots
from proxy.model.errors import RuleFileError
from proxy.model.record import AuditRecord, Fact, Kind
from proxy.outbound import Outbound
from proxy.policy.compile import RuleSet
from proxy.sinks.file import FileTrail, TrailSettings
from proxy.sinks.keys import make_signer
from proxy.sinks.stdout import StreamTee
from proxy.sources.rules import RuleFolder, RuleReloader
from proxy.system import SystemClock

log = logging.getLogger("jobgate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What everything else stands on."""

    clock: SystemClock
    tee: StreamTee | None
    encoding: Encoding
    trail: FileTrail
    rules: RuleReloader
    ca: CertificateAuthority
    roots: Roots
    outbound: Outbound


async def lay_base(settings: Settings, undo: contextlib.AsyncExitStack) -> Base:
    """Take the audit directory, load the rules, make the CA. The slow part, its key, is made meanwhile."""
    clock = SystemClock()
    reaching = asyncio.ensure_future(_reach(settings))
    undo.push_async_callback(_settle, reaching)
    # Only data keys from a KMS are asked for before there is a trail; else the CA's slow key is made meanwhile.
    encoding = await make_encoding(settings.audit, lambda: _parts(reaching, clock))
    tee = StreamTee(sys.stdout.buffer) if settings.audit.stdout else None
    trail = await open_trail(settings, clock, encoding, tees=() if tee is None else (tee,))
    undo.push_async_callback(trail.close)
    rules = _load_rules(settings, trail, clock)
    reach = await reaching
    return Base(
        clock=clock,
        tee=tee,
        encoding=encoding,
        trail=trail,
        rules=rules,
        ca=reach.ca,
        roots=reach.roots,
        outbound=reach.outbound,
    )


async def _parts(reaching: "asyncio.Future[_Reach]", clock: SystemClock) -> ConnectorParts:
    return ConnectorParts(caller=(await reaching).outbound, clock=clock)


@dataclass(frozen=True, slots=True)
class _Reach:
    """The CA that jobs trust, and what we call others with, which never trusts that CA."""

    ca: CertificateAuthority
    roots: Roots
    outbound: Outbound


async def _reach(settings: Settings) -> _Reach:
    ca = await asyncio.to_thread(_make_ca, settings)
    roots = await asyncio.to_thread(Roots, settings.upstream.trust, ca)
    return _Reach(ca, roots, Outbound(roots.context, connect_map(settings)))


def own_issuer(settings: Settings, parts: ConnectorParts) -> OwnIssuer | None:
    """Return jobgate as an issuer, where one is set."""
    given = settings.issuer
    if given is None:
        return None
    kms = None if given.kms is None else KmsKey(key_id=given.kms.key_id, region=given.kms.region)
    key = given.key or kms
    assert key is not None  # noqa: S101 - the settings want exactly one
    return OwnIssuer(OwnIssuerSettings(url=given.url, key=key, lifetime=given.lifetime, also=given.also), parts)


def _make_ca(settings: Settings) -> CertificateAuthority:
    chosen = settings.ca
    ca = (
        CertificateAuthority.generate() if chosen is None else CertificateAuthority.load(chosen.certificate, chosen.key)
    )
    ca.write_certificate(settings.certs)
    return ca


async def _settle(task: asyncio.Future[Any]) -> None:
    await asyncio.gather(task, return_exceptions=True)


async def open_trail(
    settings: Settings,
    clock: SystemClock,
    encoding: Encoding,
    *,
    directory: Path | None = None,
    origin: str | None = None,
    tees: tuple[StreamTee, ...] = (),
) -> FileTrail:
    """Open the audit trail, or another one in a directory and under an origin of its own. Raises AuditError."""
    audit = settings.audit
    wanted = TrailSettings(
        directory=directory or audit.directory,
        durability=audit.durability,
        segment_bytes=audit.segment_bytes,
        segment_age=audit.segment_age.total_seconds(),
    )
    signer = make_signer(origin or audit.origin, audit.checkpoint_key)
    return await FileTrail.open(wanted, signer, clock.now, encoding=encoding, tees=tees)


def _load_rules(settings: Settings, trail: FileTrail, clock: SystemClock) -> RuleReloader:
    def note(kind: Kind, facts: dict[str, Fact]) -> None:
        trail.post(AuditRecord(kind=kind, at=clock.now(), facts=facts))

    def loaded(rules: RuleSet) -> None:
        note(Kind.RULES_LOADED, {"revision": rules.revision, "rules": len(rules.rules)})

    def refused(error: RuleFileError) -> None:
        lines: list[Fact] = [str(problem) for problem in error.problems[:10]]
        note(Kind.RULES_REFUSED, {"problems": lines})
        log.warning("the rules were not reloaded, the old ones stay in force:\n%s", error)

    folder = RuleFolder(settings.rules, connector_scopes(), observes=settings.mode == "observe")
    return RuleReloader(folder, on_loaded=loaded, on_refused=refused)


def gateway_limits(settings: Settings) -> Limits:
    """Return the gateway's bounds, in seconds and bytes."""
    chosen = settings.limits
    return Limits(
        connections=chosen.connections,
        head=chosen.head.total_seconds(),
        idle=chosen.idle.total_seconds(),
        decision=chosen.decision.total_seconds(),
        connect=chosen.connect.total_seconds() + 5.0,
        buffered_body=chosen.signed_body,
    )


def notices(settings: Settings, base: Base) -> Callable[[Question], None]:
    """Return what tells the operators' service of a question, where one is set."""
    given = settings.approvals
    if given is None:
        return lambda _: None
    key = read_token("approvals.key", given.key, 16)
    return Notices(url=given.notify, key=key, call=base.outbound.call, clock=base.clock).tell
