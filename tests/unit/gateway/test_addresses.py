"""Only globally reachable unicast is dialled; metadata services and ourselves never, whatever anybody allows."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.gateway.addresses import METADATA, AddressPolicy, Network
from proxy.model.errors import DialError
from proxy.model.reason import Reason

PUBLIC_V4 = ["1.1.1.1", "8.8.8.8", "93.184.215.14", "151.101.0.223", "223.255.255.254", "100.63.255.255", "172.32.0.1"]
PUBLIC_V6 = ["2606:4700:4700::1111", "2a00:1450:4001:80b::200e", "2001:4860:4860::8888", "2620:fe::fe"]
# Network by network, both ends and the middle of each are refused: RFC 6890 and what came after it.
CLOSED_V4 = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
]  # fmt: skip
CLOSED_V6 = [
    "::/128", "::1/128", "::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:2::/48", "2001:10::/28",
    "2001:20::/28", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20", "5f00::/16", "fc00::/7",
    "fd00::/8", "fe80::/10", "fec0::/10", "ff00::/8",
]  # fmt: skip
PRIVATE_V4 = ["10.0.0.1", "127.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "169.254.1.1", "0.0.0.1", "224.0.0.1"]
EVERYTHING: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def corners(text: str) -> list[str]:
    network = ip_network(text)
    size = network.num_addresses
    return [str(network[at]) for at in sorted({0, 1 % size, size // 3, size // 2, size - 1})]


def embeddings(inner: str) -> list[str]:
    """Every IPv6 spelling some translator unwraps to `inner`."""
    number = int(IPv4Address(inner))
    obfuscated = number ^ 0xFFFFFFFF
    return [
        str(IPv6Address(number | 0xFFFF << 32)),  # mapped
        str(IPv6Address(number)),  # compatible
        str(IPv6Address(number | 0xFFFF << 48)),  # translated (SIIT)
        str(IPv6Address(number | int(IPv6Address("64:ff9b::")))),  # NAT64
        str(IPv6Address(0x2002 << 112 | number << 80 | 1)),  # 6to4
        str(IPv6Address(0x20010000 << 96 | 0x01010101 << 64 | obfuscated)),  # Teredo client
        str(IPv6Address(0x20010000 << 96 | number << 64 | (0x01010101 ^ 0xFFFFFFFF))),  # Teredo server
    ]


CLOSED = [each for network in CLOSED_V4 + CLOSED_V6 for each in corners(network)]
WRAPPED = [each for inner in PRIVATE_V4 for each in embeddings(inner)]


def refusal(policy: AddressPolicy, address: str, port: int = 443) -> str | None:
    caught: DialError | None = None
    try:
        policy.check(address, port)
    except DialError as error:
        caught = error
    if caught is None:
        return None
    assert caught.reason is Reason.ADDRESS_REFUSED
    return str(caught)


@pytest.mark.parametrize("address", PUBLIC_V4 + PUBLIC_V6)
def test_public_addresses_are_dialled(address: str) -> None:
    """Globally reachable unicast needs nobody's permission."""
    assert refusal(AddressPolicy(), address) is None


@pytest.mark.parametrize("address", sorted(set(CLOSED + WRAPPED)))
def test_what_is_not_global_is_refused(address: str) -> None:
    """Private, reserved, multicast, documentation and embedding ranges are closed from end to end (A07)."""
    assert refusal(AddressPolicy(), address) is not None


@pytest.mark.parametrize("form", ["::ffff:{}", "64:ff9b::{}"])
@pytest.mark.parametrize("inner", PUBLIC_V4)
def test_a_public_address_behind_a_translator_is_dialled(form: str, inner: str) -> None:
    """A mapped or NAT64 address is judged by the IPv4 address inside it."""
    assert refusal(AddressPolicy(), form.format(inner)) is None


@pytest.mark.parametrize("metadata", sorted(METADATA, key=str), ids=str)
def test_metadata_is_never_dialled(metadata: IPv4Address | IPv6Address) -> None:
    """Not when every range is open, not by an operator's redirection, not in any wrapping (A08)."""
    policy = AddressPolicy(allowed=EVERYTHING)
    spellings = [str(metadata)] + (embeddings(str(metadata)) if metadata.version == 4 else [])
    for spelling in spellings:
        assert refusal(policy, spelling) == "a metadata service is never dialled"
        with pytest.raises(DialError, match="metadata"):
            policy.check_always(spelling, 80)


@pytest.mark.parametrize(
    "opened, inside, outside",
    [
        ("10.1.0.0/16", ["10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3"], ["10.0.255.255", "10.2.0.0", "127.0.0.1"]),
        ("127.0.0.1/32", ["127.0.0.1"], ["127.0.0.2", "::1", "0.0.0.0"]),
        ("::1/128", ["::1"], ["::2", "127.0.0.1", "::"]),
        ("fd12::/16", ["fd12::1", "fd12:ffff::"], ["fd13::", "fc00::1"]),
        ("169.254.0.0/16", ["169.254.1.1"], ["169.254.169.254", "fe80::1"]),
        ("fd00::/8", ["fd00::1"], ["fd00:ec2::254", "fc00::1"]),
        ("64:ff9b::/96", [], ["64:ff9b::a00:1"]),
    ],
)
def test_a_range_opens_itself_and_nothing_else(opened: str, inside: list[str], outside: list[str]) -> None:
    """`allow_addresses` opens exactly its range; a wrapped address needs the range of what it wraps."""
    policy = AddressPolicy(allowed=(ip_network(opened),))
    assert [each for each in inside if refusal(policy, each) is not None] == []
    assert [each for each in outside if refusal(policy, each) is None] == []


@pytest.mark.parametrize(
    "own, address, port, refused",
    [
        (("127.0.0.1", 8080), "127.0.0.1", 8080, True),
        (("127.0.0.1", 8080), "::ffff:127.0.0.1", 8080, True),
        (("127.0.0.1", 8080), "127.0.0.1", 8081, False),
        (("127.0.0.1", 8080), "127.0.0.2", 8080, False),
        (("::1", 8080), "::1", 8080, True),
        (("0.0.0.0", 8080), "127.0.0.9", 8080, True),
        (("0.0.0.0", 8080), "::1", 8080, True),
        (("::", 8080), "127.0.0.1", 8080, True),
        (("::", 8080), "::1", 8080, True),
        (("::", 8080), "127.0.0.1", 8443, False),
        (("10.0.0.7", 8080), "10.0.0.7", 8080, True),
        (("10.0.0.7", 8080), "64:ff9b::a00:7", 8080, True),
        (("10.0.0.7", 8080), "10.0.0.8", 8080, False),
    ],
)
def test_the_proxy_never_dials_itself(own: tuple[str, int], address: str, port: int, refused: bool) -> None:  # noqa: FBT001 - a column
    """Our own listeners are refused even where their range is open; wildcard listeners are behind any loopback."""
    said = refusal(AddressPolicy(allowed=EVERYTHING, own=frozenset({own})), address, port)
    assert said == ("the proxy does not dial itself" if refused else None)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "::ffff:0.0.0.0", "64:ff9b::"])
def test_the_unspecified_address_is_no_destination(address: str) -> None:
    """The kernel dials loopback for it, so it would be a second name for our own listeners (A22)."""
    policy = AddressPolicy(allowed=EVERYTHING, own=frozenset({("127.0.0.1", 8080)}))
    assert refusal(policy, address, 8080) is not None
    with pytest.raises(DialError):
        policy.check_always(address, 8080)


@pytest.mark.parametrize(
    "text", ["fe80::1%eth0", "fe80::1%2", "1.1.1.1%0", "2606:4700::1%lo", "", "localhost", "1", "0x7f.1"]
)
def test_what_is_no_plain_address_is_refused(text: str) -> None:
    """Zones, names and short numbers are not read."""
    assert refusal(AddressPolicy(allowed=EVERYTHING), text) is not None


@given(st.ip_addresses())
def test_nothing_passes_that_python_calls_private(address: IPv4Address | IPv6Address) -> None:
    """Every dialled address is global, unicast and not reserved, or wraps one that is."""
    if refusal(AddressPolicy(), str(address)) is None:
        inner = ip_address(str(address))
        if isinstance(inner, IPv6Address) and inner in ip_network("64:ff9b::/96"):
            inner = IPv4Address(int(inner) & 0xFFFFFFFF)
        if isinstance(inner, IPv6Address) and inner.ipv4_mapped is not None:
            inner = inner.ipv4_mapped
        assert inner.is_global
        assert not inner.is_multicast
        assert not inner.is_reserved


@given(st.ip_addresses(v=4))
def test_a_wrapped_address_is_never_more_open_than_the_bare_one(address: IPv4Address) -> None:
    """No embedding opens what its IPv4 address does not."""
    bare = refusal(AddressPolicy(), str(address))
    if bare is not None:
        assert [each for each in embeddings(str(address)) if refusal(AddressPolicy(), each) is None] == []
