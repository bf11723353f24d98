"""Which addresses may be dialled. Judged on what a name resolved to, so no spelling of a name can get around it.

Only globally reachable unicast is dialled, unless an operator opens a private range. Metadata services and our own
listeners are refused whatever an operator or a rule says (A07, A08, A22).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from proxy.model.errors import DialError
from proxy.model.reason import Reason

type Address = IPv4Address | IPv6Address
type Network = IPv4Network | IPv6Network

METADATA: Final[frozenset[Address]] = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",  # AWS, GCP, Azure, OpenStack, DigitalOcean, Oracle
            "169.254.169.253",  # the AWS resolver beside it
            "169.254.170.2",  # ECS task credentials
            "169.254.170.23",  # EKS pod identity
            "169.254.0.23",  # Tencent
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure wire server
            "192.0.0.192",  # Oracle, older
            "fd00:ec2::254",  # AWS over IPv6
            "fd00:ec2::253",
            "fd00:ec2::23",  # EKS pod identity over IPv6
            "fd20:ce::254",  # GCP over IPv6
            "fe80::a9fe:a9fe",  # OpenStack over IPv6
        ),
    )
)
# What `is_global` of the standard library leaves open but no build step has business with (RFC 6890 and successors).
_NEVER_GLOBAL: Final[tuple[Network, ...]] = tuple(
    map(
        ip_network,
        (
            "192.88.99.0/24",  # 6to4 relays, deprecated
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.175.48.0/24",  # AS112
            "64:ff9b:1::/48",  # local NAT64: only the translator knows what is behind it
            "2001::/23",  # IETF protocol assignments: Teredo, ORCHID, benchmarking
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
            "5f00::/16",  # segment routing
            "fec0::/10",  # site-local, deprecated
        ),
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
_LOCAL_NAT64: Final = IPv6Network("64:ff9b:1::/48")
_COMPATIBLE: Final = IPv6Network("::/96")
_TRANSLATED: Final = IPv6Network("::ffff:0:0:0/96")
# ISATAP keeps an IPv4 address in any prefix's interface identifier (RFC 5214 6.1).
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})
_UNSPECIFIED: Final = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressPolicy:
    """What may be dialled. `allowed` opens ranges that are not global; `own` are our listeners' sockets."""

    allowed: tuple[Network, ...] = ()
    own: frozenset[tuple[str, int]] = field(default_factory=frozenset)

    def check(self, text: str, port: int) -> None:
        """Raise DialError (`address-refused`) unless `text`, an address as a resolver gave it, may be dialled."""
        for form in self.check_always(text, port):
            if not self._may_dial(form):
                raise _refused("the address is not globally reachable, and `upstream.allow_addresses` does not name it")

    def check_always(self, text: str, port: int) -> tuple[Address, ...]:
        """Refuse what nobody may open: metadata services and ourselves. Return the address and those it embeds."""
        if "%" in text:
            raise _refused("an address with a zone belongs to this machine's links")
        try:
            address = ip_address(text)
        except ValueError:
            raise _refused("the resolver answered with something that is no address") from None
        forms = _forms(address)
        if not METADATA.isdisjoint(forms):
            raise _refused("a metadata service is never dialled")
        if any(self._is_own(form, port) for form in forms):
            raise _refused("the proxy does not dial itself")
        return forms

    def listens_everywhere(self, port: int) -> bool:
        """Whether every address of this machine leads back to us on `port`."""
        return any((wild, port) in self.own for wild in _UNSPECIFIED)

    def _may_dial(self, address: Address) -> bool:
        return _is_public(address) or any(
            address.version == network.version and address in network for network in self.allowed
        )

    def _is_own(self, address: Address, port: int) -> bool:
        if (str(address), port) in self.own:
            return True
        if address.is_unspecified:  # the kernel takes it for loopback
            return any(port == ours for _, ours in self.own)
        return address.is_loopback and self.listens_everywhere(port)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and _is_wrapper(address):
        return True  # judged by the IPv4 address inside, which `_forms` adds
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return not any(address.version == network.version and address in network for network in _NEVER_GLOBAL)


def _is_wrapper(address: IPv6Address) -> bool:
    return address.ipv4_mapped is not None or address in _NAT64


def _forms(address: Address) -> tuple[Address, ...]:
    """Return the address and every IPv4 address it embeds: some translator on the way may unwrap it."""
    if isinstance(address, IPv4Address):
        return (address,)
    if int(address) <= 1:
        return (address,)  # `::` and `::1` lie inside `::/96` and yet hold no IPv4 address (RFC 4291 2.5.5.1)
    return (address, *map(IPv4Address, _embedded(address)))


def _embedded(address: IPv6Address) -> Iterator[int | IPv4Address]:
    number = int(address)
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if any(address in network for network in (_NAT64, _LOCAL_NAT64, _COMPATIBLE, _TRANSLATED)):
        yield number & 0xFFFFFFFF
    if address in _LOCAL_NAT64:  # RFC 6052 2.2: a /48 prefix keeps it around the byte that is always zero
        yield (number >> 64 & 0xFFFF) << 16 | number >> 40 & 0xFFFF
    if number >> 32 & 0xFFFFFFFF in _ISATAP:
        yield number & 0xFFFFFFFF


def _refused(why: str) -> DialError:
    return DialError(why, Reason.ADDRESS_REFUSED)
