"""From an allowed authority to a connection: resolved once, every address vetted, the vetted address dialled.

The name is used for the certificate and nothing else: nobody resolves it a second time (A09). A name of which any
address is refused is refused whole, because a resolver that mixes them is lying about one of them.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from proxy.gateway.addresses import AddressPolicy
from proxy.model.authority import Authority
from proxy.model.errors import DialError
from proxy.model.reason import Reason

type Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Name and port -> addresses as text, best first. Raises OSError when there are none."""

_STAGGER: Final = 0.25  # before the next address is tried beside a silent one (RFC 8305 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class DialLimits:
    """Seconds for the whole of resolving, connecting and shaking hands, and addresses tried of one name."""

    total: float = 10.0
    resolve: float = 5.0
    addresses: int = 8


async def resolve_by_system(host: str, port: int) -> list[str]:
    """Ask the system's resolver, off the loop."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Dialer:
    """Opens connections to upstreams; implements what `gateway.ports.Dialer` asks."""

    def __init__(
        self,
        policy: AddressPolicy,
        trust: ssl.SSLContext,
        *,
        connect_to: Mapping[str, Authority] | None = None,
        resolve: Resolve = resolve_by_system,
        limits: DialLimits | None = None,
    ) -> None:
        """`connect_to` maps `host:port` or `*.suffix:port` to where it is dialled; the certificate stays checked."""
        self._policy = policy
        self._trust = trust
        self._connect_to = dict(connect_to or {})
        self._resolve = resolve
        self._limits = limits or DialLimits()

    def use(self, policy: AddressPolicy) -> None:
        """Vet by `policy` from now on."""
        self._policy = policy

    def verify_by(self, trust: ssl.SSLContext) -> None:
        """Believe what `trust` believes from now on."""
        self._trust = trust

    async def connect[P: asyncio.BaseProtocol](
        self, authority: Authority, *, secure: bool, protocol_factory: Callable[[], P]
    ) -> tuple[asyncio.Transport, P, str]:
        """Return transport, protocol and the address dialled.

        Raises DialError: `address-refused`, `name-unresolved`, `upstream-unreachable`, `upstream-tls`,
        `upstream-timeout`.
        """
        try:
            async with asyncio.timeout(self._limits.total):
                return await self._connect(authority, secure=secure, protocol_factory=protocol_factory)
        except TimeoutError:
            raise DialError("the upstream did not accept in time", Reason.UPSTREAM_TIMEOUT) from None

    async def _connect[P: asyncio.BaseProtocol](
        self, authority: Authority, *, secure: bool, protocol_factory: Callable[[], P]
    ) -> tuple[asyncio.Transport, P, str]:
        place = self._redirected(authority)
        addresses = await self._vetted(place, is_redirected=place is not authority)
        address, connection = await self._open_first(addresses, place.port)
        try:
            transport, protocol = await asyncio.get_running_loop().create_connection(
                protocol_factory,
                sock=connection,
                ssl=self._trust if secure else None,
                server_hostname=authority.host if secure else None,
                ssl_handshake_timeout=self._limits.total if secure else None,
            )
        except BaseException as error:
            connection.close()
            if isinstance(error, (ssl.SSLError, OSError, UnicodeError)):
                raise _handshake_fault(error, secure=secure) from None
            raise
        return transport, protocol, str(Authority(address, place.port))

    def _redirected(self, authority: Authority) -> Authority:
        exact = self._connect_to.get(str(authority))
        if exact is not None:
            return exact
        parts = [] if authority.is_address else authority.host.split(".")
        for at in range(1, len(parts)):
            found = self._connect_to.get(f"*.{'.'.join(parts[at:])}:{authority.port}")
            if found is not None:
                return found
        return authority

    async def _vetted(self, place: Authority, *, is_redirected: bool) -> list[str]:
        """Return the addresses to dial, all of them allowed. An operator's own redirection opens its one target."""
        if place.is_address:
            addresses = [place.host]
        else:
            addresses = await self._lookup(place)
        for address in addresses:
            if is_redirected:
                self._policy.check_always(address, place.port)
            else:
                self._policy.check(address, place.port)
            if self._policy.listens_everywhere(place.port) and _is_ours(address):
                raise DialError("the proxy does not dial itself", Reason.ADDRESS_REFUSED)
        return addresses[: self._limits.addresses]

    async def _lookup(self, place: Authority) -> list[str]:
        try:
            async with asyncio.timeout(self._limits.resolve):
                addresses = list(await self._resolve(place.host, place.port))
        except TimeoutError:
            raise DialError("the name was not resolved in time", Reason.NAME_UNRESOLVED) from None
        except (OSError, UnicodeError):
            addresses = []
        if not addresses:
            raise DialError("the name does not resolve", Reason.NAME_UNRESOLVED)
        return addresses

    async def _open_first(self, addresses: Sequence[str], port: int) -> tuple[str, socket.socket]:
        """Connect to the first address that accepts, starting the next one a little later (RFC 8305)."""
        waiting = list(addresses)
        attempts: set[asyncio.Task[tuple[str, socket.socket]]] = set()
        try:
            while waiting or attempts:
                if waiting:
                    attempts.add(asyncio.ensure_future(_open(waiting.pop(0), port)))
                done, _ = await asyncio.wait(
                    attempts, timeout=_STAGGER if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    attempts.discard(task)
                    if task.exception() is None:
                        attempts |= done - {task}
                        return task.result()
        finally:
            for task in attempts:
                task.cancel()
                task.add_done_callback(_close_spare)
        raise DialError("the upstream refused the connection", Reason.UPSTREAM_UNREACHABLE)


async def _open(address: str, port: int) -> tuple[str, socket.socket]:
    connection = socket.socket(_family(address), socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(connection, (address, port))
    except BaseException:
        connection.close()
        raise
    return address, connection


def _close_spare(attempt: asyncio.Task[tuple[str, socket.socket]]) -> None:
    """Close what got through although another address was faster, or nobody waits any more."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result()[1].close()


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _is_ours(address: str) -> bool:
    """Whether this machine answers to `address`: the kernel would talk to it from itself. Nothing is sent."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))
        except OSError:
            return False  # no route: nothing can be dialled there either
        return bool(probe.getsockname()[0] == address)


def _handshake_fault(error: Exception, *, secure: bool) -> DialError:
    """Say what went wrong in our words; OpenSSL's reason is one of a fixed list of names."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"the upstream's certificate is not accepted: {error.verify_message}"
    elif isinstance(error, ssl.SSLError):
        why = f"TLS with the upstream failed: {error.reason or type(error).__name__}"
    else:
        why = f"the upstream closed while shaking hands: {type(error).__name__}"
    return DialError(why, Reason.UPSTREAM_TLS if secure else Reason.UPSTREAM_UNREACHABLE)
