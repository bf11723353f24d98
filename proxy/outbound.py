"""Our own calls: to issuers, token endpoints and clouds. One client, one set of limits, nothing from the environment.

https only, no redirects, no proxies, no cookies; size and time are bounded; headers are never logged. The trust store
is given: the public roots or an operator's, never the CA that jobs trust.
"""

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore2

from proxy.model.authority import Authority, parse_authority
from proxy.model.errors import JobgateError, ProtocolError
from proxy.model.grant import Secret
from proxy.model.reason import Reason

_USER_AGENT: Final = "jobgate"
_IDLE: Final = 30.0
_CONNECTIONS: Final = 64


class OutboundError(JobgateError):
    """A call that got no HTTP answer within its limits. The message names the host, never headers or a body."""

    reason = Reason.UPSTREAM_UNREACHABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request. `timeout` in seconds for all of it; `limit` in bytes for the answer's body."""

    method: str
    url: str
    headers: Mapping[str, str | Secret] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    timeout: float = 5.0
    limit: int = 262_144


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer, whatever its status. Header names are lower case; of repeated fields the last counts."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class Outbound:
    """Makes calls over connections it keeps. Use it on one event loop; `close` it."""

    def __init__(self, trust: ssl.SSLContext, connect_to: Mapping[str, Authority] | None = None) -> None:
        """`connect_to` maps `host:port` to where it is dialled instead; the certificate is still the host's."""
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=trust,
            max_connections=_CONNECTIONS,
            keepalive_expiry=_IDLE,
            network_backend=_Redirecting(dict(connect_to or {})),
        )

    async def call(self, call: Call) -> Answer:
        """Return the answer. Raises OutboundError."""
        host = _https_host(call.url)
        try:
            async with asyncio.timeout(call.timeout):
                return await self._call(call)
        except TimeoutError:
            raise OutboundError(f"{host} did not answer in time") from None
        except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError, OSError) as error:
            raise OutboundError(f"{host} cannot be reached: {_describe(error)}") from None
        except (ValueError, TypeError, httpcore2.UnsupportedProtocol):
            raise OutboundError(f"{host}: the call cannot be put as HTTP") from None

    async def close(self) -> None:
        """Close every kept connection."""
        await self._pool.aclose()

    async def _call(self, call: Call) -> Answer:
        headers = {"user-agent": _USER_AGENT, "accept-encoding": "identity", "content-length": str(len(call.body))}
        if call.method in {"GET", "HEAD", "DELETE"} and not call.body:
            del headers["content-length"]
        headers |= {name.lower(): _text(value) for name, value in call.headers.items()}
        async with self._pool.stream(
            call.method,
            call.url,
            headers=[(k.encode(), v.encode("latin-1")) for k, v in headers.items()],
            content=call.body,
        ) as response:
            fields = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            body = bytearray()
            async for piece in response.aiter_stream():
                body += piece
                if len(body) > call.limit:
                    raise OutboundError(f"{_https_host(call.url)} answered with more than {call.limit} bytes")
        return Answer(status=response.status, headers=fields, body=bytes(body))


class _Redirecting(httpcore2.AsyncNetworkBackend):
    """Dials elsewhere where the operator said so; names and certificates stay those of the URL."""

    def __init__(self, connect_to: Mapping[str, Authority]) -> None:
        self._connect_to = connect_to
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface's own signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to where `host:port` is to be found."""
        place = self._connect_to.get(f"{host}:{port}", Authority(host, port))
        return await self._inner.connect_tcp(place.host, place.port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


def _https_host(url: str) -> str:
    parts = urlsplit(url)
    try:
        authority = parse_authority(parts.netloc, 443)
    except ProtocolError as error:
        raise OutboundError(f"not a URL that can be called: {error}") from None
    if parts.scheme != "https":
        raise OutboundError(f"{authority.host}: only https is called")
    return authority.host


def _text(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def _describe(error: Exception) -> str:
    cause = error.__cause__ or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({cause.verify_message})"
    return type(error).__name__
