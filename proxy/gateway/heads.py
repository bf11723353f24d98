"""The strict gate over request and response heads. Sans-IO: bytes in, values out, or ProtocolError.

One grammar (RFC 9112 without its leniency) read by two parsers that must agree: the patterns below and llhttp. What
passes has one spelling; what goes upstream is written from the values, never from the job's bytes (A01..A05, T16..T22).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import httptools

from proxy.gateway.framing import Framing, frame_request, frame_response
from proxy.gateway.paths import check_path, check_query
from proxy.model.authority import DEFAULT_PORTS, Authority, parse_authority
from proxy.model.errors import ProtocolError
from proxy.model.intent import Headers, RequestView
from proxy.model.quick import quick
from proxy.model.reason import Reason

HEAD_LIMIT: Final = 65_536
FIELD_LIMIT: Final = 100
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "LOCK", "UNLOCK"})
"""TRACE reflects what it is sent, our credential included (B03); of WebDAV only what Terraform locks its state with."""

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"  # noqa: S105 - RFC 9110's word for a name
_REQUEST_LINE: Final = re.compile(rf"({_TOKEN}) ([\x21-\x7e]++) HTTP/(1\.[01])")
_STATUS_LINE: Final = re.compile(r"HTTP/(1\.[01]) ([1-5][0-9]{2})(?: ([\t \x21-\x7e\x80-\xff]*+))?")
_FIELD: Final = re.compile(rf"\r\n({_TOKEN}):([^\r]*+)")
_FIELDS: Final = re.compile(rf"(?:\r\n{_TOKEN}:[\t \x21-\x7e\x80-\xff]*+)*+\r\n\r\n")
_BARE_LINE_END: Final = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
_ABSOLUTE: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)")

_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
    }
)
# Ours to write: the authority, the framing and the expectation are values, not fields.
_REWRITTEN: Final = frozenset({"host", "content-length", "expect"})
# What tells a server to read another method, path or client than the line and the connection say (B01, B02, C06).
_OVERRIDES: Final = frozenset(
    {
        "forwarded",
        "x-forwarded",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-method",
        "x-original-url",
        "x-rewrite-url",
        "x-real-ip",
        "x-original-host",
        "x-host",
    }
)
_STRIPPED: Final = _HOP_BY_HOP | _REWRITTEN | _OVERRIDES
# `Alt-Svc` invites the client to leave the proxy (A21); `Content-Length` is written by us.
_RESPONSE_STRIPPED: Final = _HOP_BY_HOP | {"alt-svc", "content-length"}
_VALUES: Final = ("host", "content-length", "transfer-encoding", "expect", "connection", "upgrade")
_REMEMBERED: Final = 4096
"""A block of fields longer than this is not worth its memory in every idle connection."""
_NAMES_REMEMBERED: Final = 4096
_NAME_REMEMBERED: Final = 64
"""Names are the upstream's to choose: the common ones are remembered, a flood or long ones are not."""
_RESPONSE_PREFIXES: Final = ("proxy-",)
_REQUEST_PREFIXES: Final = ("proxy-", "x-forwarded-")


@dataclass(frozen=True, slots=True)
class Fields:
    """Fields of a request head that both parsers read alike: all of them, those that are values, those that pass."""

    pairs: Headers
    """In their order; names are lower case."""
    hosts: tuple[str, ...]
    lengths: tuple[str, ...]
    codings: tuple[str, ...]
    expectations: tuple[str, ...]
    named: frozenset[str]
    """The options of `Connection`."""
    upgrades: bool
    end_to_end: Headers


@quick
@dataclass(frozen=True, slots=True)
class Head:
    """A request head that both parsers read alike."""

    method: str
    target: str
    version: str
    fields: Fields

    def values(self, name: str) -> list[str]:
        """Return all values of a field."""
        return [value for key, value in self.fields.pairs if key == name]


class HeadReader:
    """Reads the heads of one connection. Clients repeat their fields request after request: those are read once.

    Only the last block is kept, for this connection alone; each request line is read by both parsers.
    """

    __slots__ = ("_block", "_fields")

    def __init__(self) -> None:
        self._block = b""
        self._fields: Fields | None = None

    def read(self, raw: bytes) -> Head:
        """Read one complete request head, its empty line included. Raises ProtocolError."""
        end = raw.find(b"\r\n")
        known = self._fields
        if known is None or raw[end:] != self._block:
            head = parse_request_head(raw)
            if len(raw) - end <= _REMEMBERED and head.method != "CONNECT":
                self._block, self._fields = raw[end:], head.fields
            return head
        method, target, version = _read_line(raw[:end].decode("latin-1"))
        if method == "CONNECT" or known.lengths or known.codings:  # what ends llhttp's reading early is read whole
            return parse_request_head(raw)
        _compare(raw[: end + 2] + b"\r\n", method, target, version, [])
        return Head(method, target, version, known)


@quick
@dataclass(frozen=True, slots=True)
class Request:
    """A request as we decide on it, and what its connection needs to know about it."""

    view: RequestView
    framing: Framing
    version: str
    keep_alive: bool
    expects_continue: bool


@quick
@dataclass(frozen=True, slots=True)
class Response:
    """A response head. `fields` are what may reach the job."""

    status: int
    phrase: str
    version: str
    fields: Headers
    framing: Framing
    keep_alive: bool
    coding: str | None
    """Content-Encoding as the upstream said it, also where `Connection` takes it from the job."""
    raw: bytes
    """As it came, to be searched for what must not pass."""


class _Witness:
    """What llhttp saw."""

    __slots__ = ("fields", "target")

    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.strip(b" \t")))


def find_head_end(buffer: bytes, start: int = 0) -> int:
    """Return where the first complete head ends, or 0. Raises ProtocolError once it can only be malformed."""
    end = buffer.find(b"\r\n\r\n", start)
    if end >= 0:
        if end + 4 > HEAD_LIMIT:
            raise _too_large("more than 64 KiB")
        return end + 4
    if len(buffer) > HEAD_LIMIT:
        raise _too_large("more than 64 KiB")
    if _BARE_LINE_END.search(buffer, max(0, start - 1)):
        raise _malformed("a line does not end in CRLF")
    return 0


def parse_request_head(raw: bytes) -> Head:
    """Read one complete request head, its empty line included. Raises ProtocolError."""
    text = raw.decode("latin-1")
    method, target, version = _read_line(text)
    pairs = _split_fields(text, len(method) + len(target) + 10)
    _compare(raw, method, target, version, pairs)
    return Head(method, target, version, _sort_fields(tuple([(name.lower(), value) for name, value in pairs])))


def _read_line(text: str) -> tuple[str, str, str]:
    """Return method, target and version of the request line that `text` begins with."""
    line = _REQUEST_LINE.match(text)
    if line is None:
        raise _unreadable_line(text)
    method, target, version = line.groups()
    if method not in METHODS:
        raise ProtocolError("the method is not one of those forwarded", Reason.METHOD_UNKNOWN)
    return method, target, version


def _sort_fields(pairs: Headers) -> Fields:
    found: dict[str, list[str]] = {name: [] for name in _VALUES}
    for name, value in pairs:
        bucket = found.get(name)
        if bucket is not None:
            bucket.append(value)
    named = connection_names(found["connection"])
    return Fields(
        pairs=pairs,
        hosts=tuple(found["host"]),
        lengths=tuple(found["content-length"]),
        codings=tuple(found["transfer-encoding"]),
        expectations=tuple(found["expect"]),
        named=named,
        upgrades=bool(found["upgrade"]) or "upgrade" in named,
        end_to_end=_end_to_end(pairs, named, _STRIPPED, _REQUEST_PREFIXES),
    )


def _split_fields(text: str, start: int) -> list[tuple[str, str]]:
    if _FIELDS.fullmatch(text, start) is None:
        raise _malformed("a header field is not `name: value` in printable text with CRLF")
    pairs = [(name, value.strip(" \t")) for name, value in _FIELD.findall(text, start)]
    if len(pairs) > FIELD_LIMIT:
        raise _too_large("more than 100 fields")
    return pairs


def _compare(raw: bytes, method: str, target: str, version: str, pairs: list[tuple[str, str]]) -> None:
    """Ask llhttp for its reading of the same bytes; any difference is a refusal."""
    witness = _Witness()
    parser = httptools.HttpRequestParser(witness)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # CONNECT and Upgrade end llhttp's interest; what it read so far still counts
    except httptools.HttpParserError:
        _check_framing(pairs, version)  # the better reason, where it is the length that is wrong
        raise _malformed("the second parser refuses it") from None
    seen = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in witness.fields]
    if (
        seen != pairs
        or witness.target.decode("latin-1") != target
        or parser.get_method().decode() != method
        or parser.get_http_version() != version
    ):
        raise _malformed("two parsers read it differently")


def _check_framing(pairs: list[tuple[str, str]], version: str) -> None:
    lengths = [value for name, value in pairs if name.lower() == "content-length"]
    codings = [value for name, value in pairs if name.lower() == "transfer-encoding"]
    frame_request(lengths, codings, version)


def _unreadable_line(text: str) -> ProtocolError:
    first = text.split("\r\n", 1)[0]
    if first.startswith(("PRI ", "\x16", "SSH-")):
        return ProtocolError("only HTTP/1.1 is spoken here", Reason.PROTOCOL_REFUSED)
    return _malformed("the request line is not `METHOD target HTTP/1.1`")


def connect_authority(head: Head) -> Authority:
    """Return where a CONNECT wants to go. Raises ProtocolError when target and Host differ or a body is announced."""
    authority = parse_authority(head.target, None)
    hosts = head.values("host")
    if len(hosts) > 1 or (hosts and parse_authority(hosts[0], authority.port) != authority):
        raise _mismatch("Host and CONNECT target differ")
    if not hosts and head.version == "1.1":
        raise _malformed("Host is missing")
    if head.values("transfer-encoding") or head.values("content-length") not in ([], ["0"]):
        raise ProtocolError("a CONNECT has no body", Reason.FRAMING_AMBIGUOUS)
    return authority


def read_plain_request(head: Head) -> Request:
    """Read a request made to the proxy itself: absolute-form, plain http (RFC 9112 3.2.2). Raises ProtocolError."""
    split = _ABSOLUTE.fullmatch(head.target)
    if split is None:
        raise ProtocolError("a request to a proxy names its target in full", Reason.AUTHORITY_INVALID)
    scheme, place, rest = split.groups()
    if scheme.lower() != "http":
        raise ProtocolError("only http:// is proxied without CONNECT", Reason.PROTOCOL_REFUSED)
    authority = parse_authority(place, DEFAULT_PORTS["http"])
    if not rest.startswith("/"):
        rest = f"/{rest}"  # RFC 9112 3.2.2: an empty path is sent as `/`
    return _read_request(head, "http", authority, rest)


def read_tunnelled_request(head: Head, authority: Authority) -> Request:
    """Read a request inside a tunnel to `authority`: origin-form only, same Host (A02, A03). Raises ProtocolError."""
    if head.method == "CONNECT":
        raise ProtocolError("a tunnel is not opened inside a tunnel", Reason.PROTOCOL_REFUSED)
    if not head.target.startswith("/"):
        raise _mismatch("only origin-form targets are accepted inside a tunnel")
    return _read_request(head, "https", authority, head.target)


def _read_request(head: Head, scheme: str, authority: Authority, target: str) -> Request:
    path, mark, query = target.partition("?")
    check_path(path)
    check_query(query)
    fields = head.fields
    if fields.upgrades:
        raise ProtocolError("upgrades are not forwarded", Reason.UPGRADE_REFUSED)
    _check_host(head, scheme, authority)
    expectations = fields.expectations
    if expectations and (len(expectations) > 1 or expectations[0].lower() != "100-continue"):
        raise _malformed("the only known expectation is 100-continue")
    framing = frame_request(fields.lengths, fields.codings, head.version)
    view = RequestView(
        method=head.method,
        scheme=scheme,
        authority=authority,
        path=path,
        query=query if mark else None,
        headers=fields.end_to_end,
        body_length=framing.length if framing.length >= 0 else None,
    )
    return Request(
        view,
        framing,
        head.version,
        head.version == "1.1" and "close" not in fields.named,
        bool(expectations) and head.version == "1.1" and not framing.is_empty,
    )


def _check_host(head: Head, scheme: str, authority: Authority) -> None:
    hosts = head.fields.hosts
    if len(hosts) > 1:
        raise _mismatch("Host is given twice")
    if not hosts:
        if head.version == "1.1":
            raise _malformed("Host is missing")
        return
    named = parse_authority(hosts[0], DEFAULT_PORTS[scheme])
    if named.host != authority.host or named.port != authority.port:
        raise _mismatch("Host and target differ")


def connection_names(values: list[str]) -> frozenset[str]:
    """Return the lower-case options of `Connection`: hop-by-hop fields that are removed before anything is added."""
    if not values:
        return frozenset()
    return frozenset(name.strip(" \t").lower() for value in values for name in value.split(","))


def _end_to_end(
    fields: Iterable[tuple[str, str]], named: frozenset[str], stripped: frozenset[str], prefixes: tuple[str, ...]
) -> Headers:
    return tuple(
        [
            pair
            for pair in fields
            if pair[0] not in stripped and pair[0] not in named and not pair[0].startswith(prefixes)
        ]
    )


def parse_response_head(raw: bytes, method: str) -> Response:
    """Read one complete response head to a request of `method`. Raises ProtocolError (`upstream-malformed`)."""
    text = raw.decode("latin-1")
    line = _STATUS_LINE.match(text)
    if line is None:
        raise _bad_upstream("its status line")
    version, code, phrase = line.groups()
    status = int(code)
    lengths: list[str] = []
    codings: list[str] = []
    options: list[str] = []
    contents: list[str] = []
    told = {"content-length": lengths, "transfer-encoding": codings, "connection": options}
    kept: list[tuple[str, str]] = []
    try:
        for name, value in _split_fields(text, line.end()):
            lowered, passes = _response_names.get(name) or _look_up_name(name)
            if passes:
                kept.append((lowered, value))
                if lowered == "content-encoding":
                    contents.append(value)
            elif lowered in told:
                told[lowered].append(value)
        framing = frame_response(method, status, lengths, codings, version)
    except ProtocolError as error:
        raise _bad_upstream(str(error)) from None
    named = connection_names(options)
    if named:
        kept = [pair for pair in kept if pair[0] not in named]
    if framing.is_empty and lengths and (method == "HEAD" or status == 304):
        kept.append(("content-length", lengths[0]))  # says how long the body would have been
    coding = ", ".join(contents) or None
    keep_alive = version == "1.1" and "close" not in named
    return Response(status, phrase or "", version, tuple(kept), framing, keep_alive, coding, raw)


_response_names: dict[str, tuple[str, bool]] = {}


def _look_up_name(name: str) -> tuple[str, bool]:
    """Return a response field's name in lower case, and whether the field may reach the job."""
    lowered = name.lower()
    found = (lowered, lowered not in _RESPONSE_STRIPPED and not lowered.startswith(_RESPONSE_PREFIXES))
    if len(_response_names) < _NAMES_REMEMBERED and len(name) < _NAME_REMEMBERED:
        _response_names[name] = found
    return found


def forwardable_trailers(raw: bytes) -> Headers:
    """Return the response trailer fields that may reach the job: neither framing, routing nor hop-by-hop."""
    fields = tuple(
        (name.lower(), value.strip(" \t"))
        for name, _, value in (line.partition(":") for line in raw.decode("latin-1").split("\r\n") if line)
    )
    return _end_to_end(fields, frozenset({"set-cookie", "host"}), _RESPONSE_STRIPPED, _RESPONSE_PREFIXES)


def _malformed(why: str) -> ProtocolError:
    return ProtocolError(f"request refused: {why}", Reason.REQUEST_MALFORMED)


def _too_large(why: str) -> ProtocolError:
    return ProtocolError(f"head refused: {why}", Reason.HEAD_TOO_LARGE)


def _mismatch(why: str) -> ProtocolError:
    return ProtocolError(f"request refused: {why}", Reason.AUTHORITY_MISMATCH)


def _bad_upstream(why: str) -> ProtocolError:
    return ProtocolError(f"the upstream's answer is refused: {why}", Reason.UPSTREAM_MALFORMED)
