"""One spelling of every host. What is not plain is refused, never repaired: a repaired name is a second opinion.

Lower-cased and without one trailing dot; everything else must arrive as it is meant (RFC 3986 3.2.2, RFC 1123 2.1).
Internationalised names arrive as A-labels, as every HTTP client sends them; raw Unicode is refused (A11).
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from proxy.model.errors import ProtocolError
from proxy.model.reason import Reason

DEFAULT_PORTS = {"http": 80, "https": 443}

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}")
# A last label that is a number in any base is an address to some resolver (WHATWG URL "ends in a number"): A07.
_NUMERIC = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)")
_PORT = re.compile(r"[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True)
class Authority:
    """A canonical host and port. Two authorities name the same place exactly when they are equal."""

    host: str
    port: int

    @property
    def is_address(self) -> bool:
        """Whether the host is an IP literal rather than a name."""
        return ":" in self.host or self.host.rpartition(".")[2].isdigit()

    def __str__(self) -> str:
        """`host:port`, IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@lru_cache(maxsize=4096)
def parse_host(text: str) -> str:
    """Return the canonical spelling of a host.

    Raises ProtocolError (`authority-invalid`) for anything that is not a plain name, a dotted-quad or a bracketed IPv6
    address in full or compressed form.
    """
    if text.startswith("["):
        return _parse_ipv6(text)
    host = text.lower().removesuffix(".")
    if not host.isascii() or len(host) > 253 or _NAME.fullmatch(host) is None:
        raise _invalid("not a plain host name")
    if _NUMERIC.fullmatch(host.rpartition(".")[2]):
        try:
            return str(IPv4Address(host))
        except AddressValueError:
            raise _invalid("a numeric host must be a dotted-quad IPv4 address") from None
    return host


def _parse_ipv6(text: str) -> str:
    if not text.endswith("]") or "%" in text:
        raise _invalid("an IPv6 host needs closing brackets and no zone")
    try:
        return str(IPv6Address(text[1:-1]))
    except AddressValueError:
        raise _invalid("not an IPv6 address") from None


@lru_cache(maxsize=4096)
def parse_authority(text: str, default_port: int | None) -> Authority:
    """Read `host[:port]`.

    `default_port` fills in a missing port; None makes the port mandatory, as in CONNECT (RFC 9110 9.3.6).
    Raises ProtocolError (`authority-invalid`); userinfo, empty ports and spellings like `:0443` are refused.
    """
    host, colon, port = text, "", ""
    if not text.endswith("]"):
        head, separator, tail = text.rpartition(":")
        if separator:
            host, colon, port = head, separator, tail
    if ":" in host and not host.startswith("["):
        raise _invalid("an IPv6 host needs brackets")
    if not colon:
        if default_port is None:
            raise _invalid("the port is missing")
        return Authority(parse_host(host), default_port)
    if _PORT.fullmatch(port) is None or int(port) > 65535:
        raise _invalid("the port is not a plain number from 1 to 65535")
    return Authority(parse_host(host), int(port))


def _invalid(why: str) -> ProtocolError:
    return ProtocolError(f"authority refused: {why}", Reason.AUTHORITY_INVALID)
