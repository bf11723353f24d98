"""A stream of NATS JetStream. Each record is published with its own id, so that the server drops what comes twice.

Records go one after the other: the next is published when the server has stored the one before, as only so a failure
in between cannot change their order. Source: NATS documentation, "JetStream model deep dive", message deduplication.
"""

import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from proxy.audit.forms import FORMS
from proxy.model.errors import ConfigError
from proxy.model.grant import Secret
from proxy.sinks.http import digests
from proxy.sinks.port import Batch, SinkError

_TIMEOUT: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Where to publish. Without `trust` connections are not encrypted."""

    name: str
    urls: tuple[str, ...]
    subject: str
    form: str
    trust: Callable[[], ssl.SSLContext] | None
    credentials: Path | None = None
    token: Secret | None = field(default=None, repr=False)


class NatsSink:
    """Publishes to `<subject>.<kind>`; a stream must take those subjects."""

    def __init__(self, to: Servers) -> None:
        """Take the library. Raises ConfigError without it."""
        try:
            import nats  # noqa: PLC0415 - an extra
        except ImportError:
            raise ConfigError(f"sinks.{to.name}: needs the extra: pip install 'jobgate[nats]'") from None
        self._library: Any = nats
        self._to = to
        self._client: Any = None
        self._stream: Any = None

    async def send(self, batch: Batch) -> None:
        """Return when the stream has stored every record. Raises SinkError."""
        make = FORMS[self._to.form]
        try:
            stream = await self._connected()
            for record, place in zip(batch.records, digests(batch), strict=True):
                await self._publish(stream, batch.origin, record, make(record, place))
        except (self._library.errors.Error, OSError, TimeoutError) as error:
            raise SinkError(f"{self._to.name}: {self._explain(error)}") from None

    async def close(self) -> None:
        """Let go of the connection."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _publish(self, stream: Any, origin: str, record: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        await stream.publish(
            f"{self._to.subject}.{record['kind']}",
            json.dumps(event, separators=(",", ":")).encode(),
            timeout=_TIMEOUT,
            headers={"Nats-Msg-Id": f"{origin}-{record['seq']}"},
        )

    async def _connected(self) -> Any:
        if self._client is None or not self._client.is_connected:
            await self.close()
            to = self._to
            options: dict[str, Any] = {"allow_reconnect": False, "connect_timeout": _TIMEOUT, "name": "jobgate"}
            if to.trust is not None:
                options["tls"] = to.trust()
            if to.credentials is not None:
                options["user_credentials"] = str(to.credentials)
            if to.token is not None:
                options["token"] = to.token.reveal()
            self._client = await self._library.connect(servers=list(to.urls), error_cb=_ignore, **options)
            self._stream = self._client.jetstream()
        return self._stream

    def _explain(self, error: Exception) -> str:
        if isinstance(error, self._library.js.errors.NoStreamResponseError):
            return f"no stream takes `{self._to.subject}.>`: make one that does"
        return type(error).__name__


async def _ignore(_: Exception) -> None:
    """Say nothing here: every failure also ends a publish, and is told there."""
