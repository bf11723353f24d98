"""One spelling of every host, or none (A07, A11)."""

import pytest

from proxy.model.authority import Authority, parse_authority, parse_host
from proxy.model.errors import ProtocolError
from proxy.model.reason import Reason


@pytest.mark.parametrize(
    "text,host",
    [
        ("example.com", "example.com"),
        ("EXAMPLE.com", "example.com"),
        ("example.com.", "example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("my_bucket.s3.amazonaws.com", "my_bucket.s3.amazonaws.com"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[2001:DB8:0:0:0:0:0:1]", "2001:db8::1"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
    ],
)
def test_canonical_hosts(text: str, host: str) -> None:
    """Case and one trailing dot are the only freedom a name has; IPv6 is compressed."""
    assert parse_host(text) == host


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "example..com",
        ".example.com",
        "example.com..",
        "exa mple.com",
        "-a.example",
        "a-.example",
        "a" * 64 + ".example",
        ".".join(["abcdefg"] * 40),
        "bücher.example",
        "ｅxample.com",
        "example。com",
        "exam\u00adple.com",
        "exam\u200bple.com",
        "example.com\x00.evil",
        "example.com\r\n",
        "user@example.com",
        "example.com/",
        "example.com#x",
        "example.com?x",
        "exa%6dple.com",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "127.0.0.01",
        "127.0.0.256",
        "0",
        "0x",
        "foo.0x7f",
        "foo.1",
        "１２７.0.0.1",
        "[::1",
        "::1]",
        "[::1%25lo]",
        "[fe80::1%lo]",
        "[::ffff:1.2.3.4.5]",
        "[]",
        "[v1.x]",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    """A host that some resolver could read as another host is no host at all."""
    with pytest.raises(ProtocolError) as caught:
        parse_host(text)

    assert caught.value.reason is Reason.AUTHORITY_INVALID


@pytest.mark.parametrize(
    "text,default,authority",
    [
        ("example.com:443", None, Authority("example.com", 443)),
        ("example.com", 80, Authority("example.com", 80)),
        ("example.com:8080", 80, Authority("example.com", 8080)),
        ("[::1]:443", None, Authority("::1", 443)),
        ("[::1]", 443, Authority("::1", 443)),
        ("10.0.0.1:1", None, Authority("10.0.0.1", 1)),
    ],
)
def test_authorities(text: str, default: int | None, authority: Authority) -> None:
    """Host and port; the port may be missing only where a default is given."""
    assert parse_authority(text, default) == authority


@pytest.mark.parametrize(
    "text,default",
    [
        ("example.com", None),
        ("example.com:", 80),
        ("example.com:0", None),
        ("example.com:0443", None),
        ("example.com:65536", None),
        ("example.com:+443", None),
        ("example.com: 443", None),
        ("example.com:443:443", None),
        ("::1:443", None),
        ("::1", 80),
        ("user:pw@example.com:443", None),
        ("example.com:44３", None),
        (":443", None),
        ("[::1]443", None),
    ],
)
def test_bad_authorities(text: str, default: int | None) -> None:
    """A port in any but its plain spelling is refused."""
    with pytest.raises(ProtocolError):
        parse_authority(text, default)


def test_text_and_kind() -> None:
    """IPv6 is written in brackets; addresses are told from names."""
    assert str(Authority("::1", 443)) == "[::1]:443"
    assert str(Authority("example.com", 443)) == "example.com:443"
    assert Authority("::1", 443).is_address
    assert Authority("10.0.0.1", 443).is_address
    assert not Authority("example.com", 443).is_address
