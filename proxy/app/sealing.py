"""How a trail is written, made from settings: its tags, and the data keys of what is sealed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

from proxy.audit.encoding import Encoding
from proxy.audit.sealing import DataKey, Sealer, SealPlan
from proxy.audit.tagging import Tagger
from proxy.config.audit import AuditSettings, SealClass
from proxy.connectors.kms import KmsKey, make_data_key
from proxy.connectors.parts import ConnectorParts
from proxy.model.errors import ConfigError, CredentialError
from proxy.sinks.age import make_age_key
from proxy.sinks.file import FileTrail
from proxy.system import SystemClock

type Parts = Callable[[], Awaitable[ConnectorParts]]
"""What a KMS is asked with; only waited for where one is."""

log = logging.getLogger("jobgate")


async def make_encoding(audit: AuditSettings, parts: Parts) -> Encoding:
    """Return a trail's way of writing; a data key is made for each class. Raises ConfigError when one cannot be had."""
    tagger = Tagger(audit.tags, audit.job_tags)
    seal = audit.seal
    if seal is None:
        return Encoding(tagger)
    plan = SealPlan(tag=seal.tag, default=seal.default, clear=frozenset(seal.clear))
    try:
        keys = [await _make_key(name, given, parts) for name, given in seal.classes.items()]
    except CredentialError as error:
        raise ConfigError(f"audit.seal: no data key can be made: {error}") from None
    return Encoding(tagger, Sealer(plan, keys))


async def keep_turning(audit: AuditSettings, encoding: Encoding, trail: FileTrail, parts: Parts) -> None:
    """Give every class a new data key each time `rotate` has passed. Where none can be had, the old one goes on."""
    seal, clock = audit.seal, SystemClock()
    while seal is not None:
        await asyncio.sleep(seal.rotate.total_seconds())
        for name, given in seal.classes.items():
            try:
                key = await _make_key(name, given, parts)
            except CredentialError as error:
                log.warning("audit.seal.classes.%s: the data key is not changed: %s", name, error)
                continue
            turn_key(encoding, trail, key, clock.now())


def turn_key(encoding: Encoding, trail: FileTrail, key: DataKey, now: datetime) -> None:
    """Announce a key and use it, with nothing encoded between; not while a trail in trouble may lose the first."""
    if trail.is_writable():
        trail.post(encoding.turn_key(key, now))


async def _make_key(name: str, given: SealClass, parts: Parts) -> DataKey:
    if given.kms is None:
        return make_age_key(name, given.recipients)
    key = KmsKey(key_id=given.kms.key_id, region=given.kms.region)
    secret, wrapped = await make_data_key(await parts(), key, {"jobgate:class": name})
    return DataKey(classification=name, recipients=(f"kms:{key.key_id}",), wrapped=wrapped, secret=secret)
