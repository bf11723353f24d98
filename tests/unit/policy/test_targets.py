import pytest

from proxy.model.authority import Authority
from proxy.policy.patterns import PatternError
from proxy.policy.targets import parse_target, target_covers, targets_overlap

PLACES = [
    # to, scheme, host, port, is it an allow rule's place
    ("example.com", "https", "example.com", 443, True),
    ("example.com", "http", "example.com", 80, False),
    ("example.com", "https", "example.com", 8443, False),
    ("example.com", "https", "evilexample.com", 443, False),
    ("example.com", "https", "a.example.com", 443, False),
    ("http://example.com", "http", "example.com", 80, True),
    ("http://example.com", "https", "example.com", 443, False),
    ("example.com:8443", "https", "example.com", 8443, True),
    ("https://example.com:8443", "https", "example.com", 8443, True),
    ("http://example.com:8080", "http", "example.com", 8080, True),
    ("*.example.com", "https", "a.example.com", 443, True),
    ("*.example.com", "https", "a.b.example.com", 443, False),
    ("*.example.com", "https", "example.com", 443, False),
    ("*.example.com", "https", "aexample.com", 443, False),
    ("**.example.com", "https", "a.b.example.com", 443, True),
    ("**.example.com", "https", "a.example.com", 443, True),
    ("**.example.com", "https", "example.com", 443, False),
    ("*.0.0.example", "https", "10.0.0.1", 443, False),
    ("10.0.0.1", "https", "10.0.0.1", 443, True),
    ("[fd00::1]:8443", "https", "fd00::1", 8443, True),
    ("[fd00::1]", "https", "fd00::1", 443, True),
]


@pytest.mark.parametrize("to, scheme, host, port, expected", PLACES)
def test_an_allow_rule_names_https_and_its_port_unless_spelled_out(
    to: str, scheme: str, host: str, port: int, *, expected: bool
) -> None:
    """Wildcards are whole leading labels, and what an allow rule leaves out is https on port 443."""
    assert parse_target(to, is_deny=False).matches(scheme, Authority(host, port)) is expected


@pytest.mark.parametrize(
    "to, scheme, port, expected",
    [
        ("example.com", "http", 80, True),
        ("example.com", "https", 9999, True),
        ("example.com:53", "https", 53, True),
        ("example.com:53", "https", 443, False),
        ("http://example.com", "http", 80, True),
        ("http://example.com", "https", 80, False),
        ("http://example.com", "http", 8080, False),
    ],
)
def test_a_deny_rule_names_any_scheme_and_port_it_leaves_out(
    to: str, scheme: str, port: int, *, expected: bool
) -> None:
    """A denied host is denied on every port and scheme that the rule does not spell out."""
    assert parse_target(to, is_deny=True).matches(scheme, Authority("example.com", port)) is expected


@pytest.mark.parametrize(
    "to, port, expected", [("[::1]", 8443, True), ("[::1]:443", 8443, False), ("[::1]:443", 443, True)]
)
def test_an_ipv6_address_is_not_mistaken_for_a_port(to: str, port: int, *, expected: bool) -> None:
    """The colons of an address say nothing about its port: denied without one, it is denied on all."""
    assert parse_target(to, is_deny=True).matches("http", Authority("::1", port)) is expected


def test_a_wildcard_never_matches_an_address() -> None:
    """An address is not a name below another, however its digits read."""
    assert not parse_target("*.example.com", is_deny=False).names(Authority("10.0.0.1", 443))


REFUSED = [
    ("*", "not a plain host name|whole leading labels"),
    ("**", "whole leading labels"),
    ("*.com", "fix at least two labels, as in `\\*.example.com`"),
    ("**.internal", "fix at least two labels"),
    ("*.co.uk", "public suffix"),
    ("**.com.au", "public suffix"),
    ("a.*.com", "whole leading labels only"),
    ("a*.example.com", "whole leading labels only"),
    ("*.10.0.0.1", "an address has no wildcard"),
    ("Example.com", "write `example.com`"),
    ("münchen.example", "write `xn--mnchen-3ya.example`"),
    ("ex\u200bample.com", "write `example.com`"),
    ("\u3002", "A-labels"),
    ("https://example.com/path", "write `example.com` and put the rest in `path`"),
    ("example.com/path", "put the rest in `path`"),
    ("example.com?x", "put the rest in `path`"),
    ("user@example.com", "not a URL"),
    ("ftp://example.com", "not a scheme"),
    ("example.com.", "trailing dot"),
    ("example.com.:443", "trailing dot"),
    ("example.com:", "port"),
    ("example.com:0443", "port"),
    ("example.com:99999", "port"),
    ("fd00::1", "brackets"),
    ("[fd00::1", "port|IPv6"),
    ("0x7f.1", "dotted-quad"),
    ("2130706433", "dotted-quad"),
    ("", "host name"),
    ("exa mple.com", "not a URL"),
]


@pytest.mark.parametrize("to, why", REFUSED)
def test_a_loose_or_odd_place_is_refused_with_the_right_spelling(to: str, why: str) -> None:
    """An allow rule's place is one plain spelling of hosts somebody owns, or an error that says how to write it."""
    with pytest.raises(PatternError, match=why):
        parse_target(to, is_deny=False)


def test_a_deny_rule_may_be_as_wide_as_a_top_level_domain() -> None:
    """Denying everything below a suffix is narrow, not loose."""
    assert parse_target("**.internal", is_deny=True).matches("http", Authority("a.b.internal", 80))


TARGETS = ("example.com", "a.example.com", "a.b.example.com", "*.example.com", "**.example.com", "*.b.example.com")
HOSTS = ("example.com", "a.example.com", "b.example.com", "a.b.example.com", "c.b.example.com", "x.y.b.example.com")


@pytest.mark.parametrize("left", TARGETS)
@pytest.mark.parametrize("right", TARGETS)
def test_overlap_and_cover_agree_with_matching(left: str, right: str) -> None:
    """Two places overlap, or one covers the other, exactly when the hosts they name say so."""
    one, other = parse_target(left, is_deny=False), parse_target(right, is_deny=False)
    mine = {host for host in HOSTS if one.names(Authority(host, 443))}
    theirs = {host for host in HOSTS if other.names(Authority(host, 443))}

    assert targets_overlap(one, other) is bool(mine & theirs)
    assert target_covers(one, other) is (theirs <= mine)


@pytest.mark.parametrize(
    "wide, narrow, expected",
    [
        ("example.com", "example.com", True),
        ("example.com", "http://example.com", True),
        ("http://example.com", "example.com", False),
        ("example.com:53", "example.com", False),
        ("**.example", "10.0.0.1", False),
        ("**.example.com", "[fd00::1]", False),
    ],
)
def test_a_deny_covers_by_scheme_and_port_too(wide: str, narrow: str, *, expected: bool) -> None:
    """A deny rule covers an allow rule's place only with its scheme and port."""
    assert target_covers(parse_target(wide, is_deny=True), parse_target(narrow, is_deny=False)) is expected


def test_places_on_different_ports_do_not_overlap() -> None:
    """A host on two ports is two places."""
    one, other = (parse_target(f"example.com:{port}", is_deny=False) for port in (1, 2))
    assert not targets_overlap(one, other)
