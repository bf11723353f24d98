"""Where: `to:` patterns, matched on the canonical Authority. A wildcard is whole leading labels, never a piece of one.

In an allow rule what is left out is `https` and its port; in a deny rule what is left out is any scheme and any port.
"""

import re
from dataclasses import dataclass
from typing import Final

from proxy.model.authority import DEFAULT_PORTS, Authority, parse_authority, parse_host
from proxy.model.errors import ProtocolError
from proxy.policy.patterns import PatternError

# Second-level names under which registries sell names (publicsuffix.org); enough to refuse `*.co.uk`.
_REGISTRY_LABELS: Final = {"ac", "co", "com", "edu", "gob", "gov", "mil", "ne", "net", "nom", "or", "org", "sch"}
_WILDCARD: Final = re.compile(r"(\*\*?)\.(.+)")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One place or family of places. `depth` is 0 for one host, 1 for `*.`, None for `**.` (one label or more).

    `scheme` and `port` of None mean any; only deny rules have them so.
    """

    text: str
    host: str
    depth: int | None = 0
    scheme: str | None
    port: int | None

    def matches(self, scheme: str, authority: Authority) -> bool:
        """Whether a request to `authority` goes there."""
        return (
            (self.scheme is None or self.scheme == scheme)
            and (self.port is None or self.port == authority.port)
            and self.names(authority)
        )

    def names(self, authority: Authority) -> bool:
        """Whether the host alone is one this target names."""
        if self.depth == 0:
            return authority.host == self.host
        if authority.is_address or not authority.host.endswith(f".{self.host}"):
            return False
        return self.depth is None or "." not in authority.host[: -len(self.host) - 1]


def parse_target(text: str, *, is_deny: bool) -> Target:
    """Read one `to:` pattern. Raises PatternError with the spelling that would be right."""
    scheme, rest = _split_scheme(text)
    if any(sign in rest for sign in "/?#@ "):
        raise PatternError(
            f"`to` names a host, not a URL; write `{re.split('[/?#]', rest)[0]}` and put the rest in `path`"
        )
    if rest.isascii() and rest != rest.lower():
        raise PatternError(f"host names are lower case here; write `{text.lower()}`")
    if not rest.isascii():
        raise PatternError(f"internationalised names are written as they are sent{_a_label(rest)}")
    wildcard = _WILDCARD.fullmatch(rest)
    stars, name = (wildcard[1], wildcard[2]) if wildcard is not None else ("", rest)
    if "*" in name:
        raise PatternError("a wildcard stands for whole leading labels only, as in `*.example.com` or `**.example.com`")
    authority, has_port = _read_place(name, scheme or "https")
    if stars:
        _check_wildcard(stars, authority, is_deny=is_deny)
    port = authority.port if has_port or scheme is not None or not is_deny else None
    return Target(
        text=text,
        host=authority.host,
        depth={"": 0, "*": 1, "**": None}[stars],
        scheme=scheme or (None if is_deny else "https"),
        port=port,
    )


def _split_scheme(text: str) -> tuple[str | None, str]:
    match = _SCHEME.fullmatch(text)
    if match is None:
        return None, text
    if match[1] not in DEFAULT_PORTS:
        raise PatternError(
            f"`{match[1]}` is not a scheme jobgate forwards; write `https://` or `http://`, or leave it out"
        )
    return match[1], match[2]


def _read_place(name: str, scheme: str) -> tuple[Authority, bool]:
    try:
        authority = parse_authority(name, DEFAULT_PORTS[scheme])
    except ProtocolError as error:
        hint = "; put an IPv6 address in brackets" if name.count(":") > 1 and "[" not in name else ""
        raise PatternError(f"{str(error).partition(': ')[2]}{hint}") from None
    if name.rpartition(":")[0].endswith(".") or name.endswith("."):
        raise PatternError(f"leave the trailing dot out; write `{authority.host}`")
    return authority, ":" in name and not name.endswith("]")


def _check_wildcard(stars: str, authority: Authority, *, is_deny: bool) -> None:
    """Refuse what only an address, or no one owner, could be behind. A deny rule may be as wide as it likes."""
    if authority.is_address:
        raise PatternError("an address has no wildcard; write each address")
    if is_deny:
        return
    labels = authority.host.split(".")
    if len(labels) < 2:
        right = f"`{stars}.example.{labels[0]}`"
        raise PatternError(
            f"`{stars}.{authority.host}` covers everyone's names; fix at least two labels, as in {right}"
        )
    if len(labels) == 2 and len(labels[1]) == 2 and labels[0] in _REGISTRY_LABELS:
        raise PatternError(
            f"`{authority.host}` is a public suffix; fix the name below it, as in `{stars}.example.{authority.host}`"
        )


def _a_label(host: str) -> str:
    try:
        return f"; write `{parse_host(host.encode('idna').decode('ascii').lower())}`"
    except (UnicodeError, ProtocolError):
        return ", as A-labels (xn--...)"


def target_covers(wide: Target, narrow: Target) -> bool:
    """Whether every place `narrow` names is one that `wide` names."""
    if wide.scheme not in {None, narrow.scheme} or wide.port not in {None, narrow.port}:
        return False
    if wide.host == narrow.host and wide.depth == narrow.depth:
        return True
    if wide.depth == 0 or narrow.host.replace(".", "").isdigit() or ":" in narrow.host:
        return False
    below = narrow.host.removesuffix(f".{wide.host}") if narrow.host.endswith(f".{wide.host}") else None
    if wide.depth == 1:
        return narrow.depth == 0 and below is not None and "." not in below
    return below is not None or (wide.host == narrow.host and narrow.depth == 1)


def targets_overlap(left: Target, right: Target) -> bool:
    """Whether some place is named by both."""
    for one, other in ((left.scheme, right.scheme), (left.port, right.port)):
        if one is not None and other is not None and one != other:
            return False
    if left.depth == 0 or right.depth == 0:
        exact, other_target = (left, right) if left.depth == 0 else (right, left)
        return other_target.names(Authority(exact.host, 1))
    if left.depth == 1 and right.depth == 1:
        return left.host == right.host
    if left.depth == 1 or right.depth == 1:
        one_label, any_labels = (left, right) if left.depth == 1 else (right, left)
        return one_label.host == any_labels.host or one_label.host.endswith(f".{any_labels.host}")
    return left.host == right.host or left.host.endswith(f".{right.host}") or right.host.endswith(f".{left.host}")
