"""Paths with more than one reading are refused; ordinary ones pass."""

import pytest

from proxy.gateway.paths import check_path, check_query
from proxy.model.errors import ProtocolError
from proxy.model.reason import Reason

NORMAL = [
    "/",
    "/simple/",
    "/a/b.tar.gz",
    "/acme/app.git/info/refs",
    "/@scope%2fname",
    "/scope%2fname",
    "/api/v4/projects/group%2Fsub%2Fapp/issues",
    "/a%2fb",
    "/a%2F.b",
    "/api/npm/@scope%2Fname/-/name-1.0.0.tgz",
    "/v2/library/alpine/manifests/sha256:abc",
    "/caf%C3%A9",
    "/a%20b",
    "/a%3Fb",
    "/a%23b",
    "/~user/(x)!$&'*+,=:@-_.",
    "/.well-known/openid-configuration",
    "/...",
    "/a..b",
]
REFUSED = [
    "",
    "a",
    "/a/../b",
    "/..",
    "/.",
    "/a/./b",
    "/a/.",
    "//a",
    "/a//b",
    "/a//",
    "/%2e%2e/b",
    "/%2E%2E/b",
    "/a/.%2E/b",
    "/%2F",
    "/%2Fb",
    "/a%2F%2Fb",
    "/a%2F",
    "/a%2F/b",
    "/a%2F../b",
    "/..%2Fb",
    "/a%2F.%2Fb",
    "/a%2F%2E%2E",
    "/a%2F%2e",
    "/a%2f;b",
    "/a%252Fb",
    "/a%5cb",
    "/a%5Cb",
    "/a\\b",
    "/%252e%252e/b",
    "/a%25b",
    "/..;x/b",
    "/a;params",
    "/a%3Bb",
    "/a#b",
    "/a%00b",
    "/a%0D%0Ab",
    "/a%7Fb",
    "/a%61",
    "/a%7Eb",
    "/a%2",
    "/a%",
    "/a%zz",
    "/caf%c3%a9",
    "/caf%C3",
    "/%FF",
    "/%C0%AF",
    "/%ED%A0%80",
    "/caf\u00e9",
    "/a b",
    "/a\tb",
    "/a\x00b",
    "/a\x7fb",
    '/a"b',
    "/a<b",
    "/a[b]",
    "/a{b}",
    "/a|b",
    "/a^b",
    "/a`b",
    "/@scope%2f..",
    "/@scope%252fname",
    "/@scope%2f",
    "/\uff0e\uff0e/b",
]


@pytest.mark.parametrize("path", NORMAL)
def test_a_normal_path_passes(path: str) -> None:
    """What package managers, registries and APIs ask for is let through."""
    check_path(path)


@pytest.mark.parametrize("path", REFUSED)
def test_a_path_with_two_readings_is_refused(path: str) -> None:
    """No dot segment, hidden separator, double encoding, parameter or stray byte passes (B01)."""
    with pytest.raises(ProtocolError) as caught:
        check_path(path)
    assert caught.value.reason is Reason.PATH_NOT_NORMAL


@pytest.mark.parametrize("octet", range(256))
def test_an_escaped_octet_passes_only_when_it_must_be_escaped(octet: int) -> None:
    """Of all 256 escapes only ASCII characters with no other spelling pass, and the slash, which is the engine's."""
    allowed = {ord(c) for c in " !\"#$&'()*+,/:<=>?@[]^`{|}"}
    path = f"/a%{octet:02X}b"
    if octet in allowed:
        check_path(path)
    else:
        with pytest.raises(ProtocolError):
            check_path(path)


@pytest.mark.parametrize("query", ["", "a=b&c", "q=%2e%2e%2f", "x=[1]|{2}", "a?b/../c"])
def test_a_printable_query_passes(query: str) -> None:
    """A query is kept as it is: its meaning is the decoders' to judge."""
    check_query(query)


@pytest.mark.parametrize("query", ["a#b", "a b", "\u00e9", "a\x00", "a\x7f", "\t"])
def test_an_unprintable_query_is_refused(query: str) -> None:
    """A fragment or a raw control never reaches an upstream."""
    with pytest.raises(ProtocolError):
        check_query(query)
