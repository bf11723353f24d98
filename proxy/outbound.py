"""Our own calls: to issuers, token endpoints and clouds. One set of limits, nothing from the environment.

https only, no redirects, no proxies, no cookies, one connection per call, never to a metadata service; size and time
are bounded; headers are never logged. The trust store is given: the public roots or an operator's, never the CA that
jobs trust. HTTP is h11's.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

import h11

from proxy.model.authority import Authority, parse_authority
from proxy.model.errors import JobgateError, ProtocolError
from proxy.model.grant import Secret
from proxy.model.reason import Reason

_USER_AGENT: Final = "jobgate"
_PIECE: Final = 64 * 1024
_CONNECTIONS: Final = 64
# Besides everything link-local, which is where nearly all of them are.
_METADATA: Final = frozenset(
    map(
        ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::23", "fd00:ec2::254", "fd20:ce::254")
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
_NO_BODY: Final = frozenset({"GET", "HEAD", "DELETE"})


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


@dataclass(frozen=True, slots=True)
class _Target:
    authority: Authority
    path: str


class Outbound:
    """Makes calls. Use it on one event loop."""

    def __init__(self, trust: ssl.SSLContext, connect_to: Mapping[str, Authority] | None = None) -> None:
        """`connect_to` maps `host:port` to where it is dialled instead; the certificate is still the host's."""
        self._trust = trust
        self._connect_to = dict(connect_to or {})
        self._slots = asyncio.Semaphore(_CONNECTIONS)

    @property
    def trust(self) -> ssl.SSLContext:
        """What others are verified by."""
        return self._trust

    def verify_by(self, trust: ssl.SSLContext) -> None:
        """Believe what `trust` believes from now on."""
        self._trust = trust

    async def call(self, call: Call) -> Answer:
        """Return the answer. Raises OutboundError."""
        target = _read_url(call.url)
        host = target.authority.host
        try:
            async with asyncio.timeout(call.timeout), self._slots:
                return await self._call(call, target)
        except TimeoutError:
            raise OutboundError(f"{host} did not answer in time") from None
        except h11.RemoteProtocolError:
            raise OutboundError(f"{host} did not answer in HTTP") from None
        except ssl.SSLCertVerificationError as error:
            raise OutboundError(f"{host}: its certificate is not accepted ({error.verify_message})") from None
        except (h11.LocalProtocolError, UnicodeError):
            raise OutboundError(f"{host}: the call cannot be put as HTTP") from None
        except (OSError, EOFError) as error:
            raise OutboundError(f"{host} cannot be reached: {type(error).__name__}") from None

    async def _call(self, call: Call, target: _Target) -> Answer:
        place = self._connect_to.get(str(target.authority), target.authority)
        reader, writer = await self._open(place, target.authority.host)
        try:
            connection = h11.Connection(our_role=h11.CLIENT)
            writer.write(_compose(connection, call, target))
            await writer.drain()
            return await _receive(connection, reader, call, target.authority.host)
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _open(self, place: Authority, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Resolve once, vet every address, and dial what was vetted, in the resolver's order."""
        addresses = [place.host] if place.is_address else await _resolve(place)  # an address needs no resolver's thread
        if not addresses or any(_is_metadata(address) for address in addresses):
            raise OutboundError(f"{name} leads to an address that is never called")
        for address in addresses[:-1]:
            try:
                return await self._dial(address, place.port, name)
            except ssl.SSLError:
                raise
            except OSError:
                continue
        return await self._dial(addresses[-1], place.port, name)

    async def _dial(self, address: str, port: int, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(address, port, ssl=self._trust, server_hostname=name)


def _is_metadata(text: str) -> bool:
    """Whether an address is a metadata service's, by itself or inside another (A07, A08)."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or (IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None)
        address = inner or address
    return address.is_link_local or address in _METADATA


async def _resolve(place: Authority) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _compose(connection: h11.Connection, call: Call, target: _Target) -> bytes:
    authority = target.authority
    headers = {
        "host": authority.host if authority.port == 443 else str(authority),
        "user-agent": _USER_AGENT,
        "accept-encoding": "identity",
        "connection": "close",
    }
    if call.body or call.method not in _NO_BODY:
        headers["content-length"] = str(len(call.body))
    headers |= {name.lower(): _text(value) for name, value in call.headers.items()}
    request = h11.Request(
        method=call.method, target=target.path, headers=[(name, value) for name, value in headers.items()]
    )
    return b"".join(
        connection.send(event) or b""
        for event in (request, *([h11.Data(data=call.body)] if call.body else []), h11.EndOfMessage())
    )


async def _receive(connection: h11.Connection, reader: asyncio.StreamReader, call: Call, host: str) -> Answer:
    response: h11.Response | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_PIECE))
        elif isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > call.limit:
                raise OutboundError(f"{host} answered with more than {call.limit} bytes")
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            break
    if response is None:
        raise EOFError
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
    return Answer(status=response.status_code, headers=headers, body=bytes(body))


def _read_url(url: str) -> _Target:
    try:
        parts = urlsplit(url)
        authority = parse_authority(parts.netloc, 443)
    except ProtocolError as error:
        raise OutboundError(f"not a URL that can be called: {error}") from None
    except ValueError:
        raise OutboundError("not a URL that can be called: its host has no form") from None
    if parts.scheme != "https":
        raise OutboundError(f"{authority.host}: only https is called")
    path = parts.path or "/"
    return _Target(authority, f"{path}?{parts.query}" if parts.query else path)


def _text(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value
