"""Addresses that hide another one, and those that lead back to us, whatever an operator has opened (A07, A08, A22)."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from proxy.gateway.addresses import METADATA, AddressPolicy
from proxy.model.errors import DialError
from proxy.model.reason import Reason

WIDE_OPEN = AddressPolicy(allowed=(ip_network("0.0.0.0/0"), ip_network("::/0")))
PRIVATE = ["0.0.0.0", "10.0.0.1", "127.0.0.1", "169.254.1.1", "172.17.0.2", "192.168.1.1", "224.0.0.1"]
PUBLIC = ["1.1.1.1", "151.101.0.223"]


def inside(prefix: str) -> Callable[[str], str]:
    """Put an IPv4 address into the last 32 bits under `prefix`."""
    return lambda address: str(IPv6Address(int(IPv6Address(prefix)) | int(IPv4Address(address))))


def in_local_nat64(address: str) -> str:
    """RFC 6052 2.2 for a /48 prefix: 16 bits, the zero byte, 16 bits."""
    number = int(IPv4Address(address))
    return str(IPv6Address(int(IPv6Address("64:ff9b:1::")) | number >> 16 << 64 | (number & 0xFFFF) << 40))


DISGUISES: dict[str, Callable[[str], str]] = {
    "mapped-dotted": lambda address: f"::ffff:{address}",
    "mapped-hex": inside("::ffff:0:0"),
    "local-nat64": inside("64:ff9b:1::"),
    "local-nat64-48": in_local_nat64,
    "isatap": inside("2a00:1450::5efe:0:0"),
    "isatap-global": inside("2a00:1450::200:5efe:0:0"),
    "isatap-unique-local": inside("fd00::5efe:0:0"),
}


def is_refused(policy: AddressPolicy, text: str, port: int = 443) -> bool:
    try:
        policy.check(text, port)
    except DialError as error:
        return error.reason is Reason.ADDRESS_REFUSED
    return False


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_private_address_is_seen_in_every_disguise(disguise: str) -> None:
    """An IPv4 address that may not be dialled may not be dialled inside an IPv6 one, least of all loopback."""
    dress = DISGUISES[disguise]
    assert [address for address in PRIVATE if not is_refused(AddressPolicy(), dress(address))] == []


@pytest.mark.parametrize("disguise", DISGUISES)
def test_metadata_is_seen_in_every_disguise(disguise: str) -> None:
    """Local NAT64 and ISATAP hide a metadata address from the ranges, not from us, even when all is open (A08)."""
    hidden = [DISGUISES[disguise](str(each)) for each in METADATA if each.version == 4]
    assert hidden
    assert [each for each in hidden if not is_refused(WIDE_OPEN, each)] == []


@pytest.mark.parametrize("disguise", ["mapped-dotted", "mapped-hex", "isatap"])
def test_a_public_address_stays_reachable(disguise: str) -> None:
    """Looking inside closes nothing that was open."""
    assert [each for each in PUBLIC if is_refused(AddressPolicy(), DISGUISES[disguise](each))] == []


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "localhost", "127.1", "127.0.1", "2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "127.0.0.01"),
        *("127.0.0.1.", "127.0.0.1:80", "[::1]", "::1%lo", "fe80::1%eth0", "fe80::1%25eth0", "1.1.1.1%x", "::g"),
        *("1.2.3.4/32", "１.1.1.1", "1。1。1。1", "1.1.1.1\x00", " 1.1.1.1", "1.1.1.1\n", "256.1.1.1", ":::"),
    ],
)
def test_what_is_no_plain_address_is_refused(text: str) -> None:
    """A resolver's answer is an address in plain form, without a zone, or it is refused, by an open policy too."""
    assert is_refused(AddressPolicy(), text)
    assert is_refused(WIDE_OPEN, text)


@pytest.mark.parametrize(
    "listener, ours, others",
    [
        ("127.0.0.1", ["127.0.0.1", "0.0.0.0", "::", "::ffff:0.0.0.0", "64:ff9b::7f00:1"], ["127.0.0.2", "::1"]),
        ("::1", ["::1", "0:0:0:0:0:0:0:1", "::", "0.0.0.0"], ["127.0.0.1"]),
        ("0.0.0.0", ["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::ffff:127.0.0.1"], ["10.0.0.1"]),
        ("::", ["127.0.0.1", "::1", "::", "::ffff:127.0.0.1"], ["fd00::1"]),
        ("10.0.0.5", ["10.0.0.5", "::ffff:10.0.0.5", "0.0.0.0"], ["10.0.0.6", "127.0.0.1"]),
    ],
)
def test_the_unspecified_address_is_this_machine(listener: str, ours: list[str], others: list[str]) -> None:
    """The kernel takes `0.0.0.0` and `::` for loopback, so they lead to our listeners too; other ports do not (A22)."""
    policy = AddressPolicy(allowed=WIDE_OPEN.allowed, own=frozenset({(listener, 8080), ("127.0.0.1", 9090)}))
    assert [each for each in ours if not is_refused(policy, each, 8080)] == []
    assert [each for each in others if is_refused(policy, each, 8080)] == []
    assert [each for each in [*ours, *others] if is_refused(policy, each, 8081)] == []
