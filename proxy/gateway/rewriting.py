"""What goes on the wire, written from values in one normal form. Sans-IO. Never the job's bytes, never the upstream's.

Field names are lower case, one `name: value` per line. A value that could break a line is refused here too, because a
connector or an echo guard may have made it.
"""

import re
from collections.abc import Iterable
from typing import Final

from proxy.gateway.framing import CHUNKED, Framing
from proxy.gateway.heads import Response
from proxy.model.authority import DEFAULT_PORTS, Authority
from proxy.model.errors import ProtocolError
from proxy.model.grant import Edits, Secret
from proxy.model.intent import Headers, RequestView
from proxy.model.reason import Reason

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_QUERY: Final = re.compile(r'[!"$-~]*')
_VALUE: Final = re.compile(r"[\t \x21-\x7e\x80-\xff]*")
# The codings the echo guard can read; anything else could hide a credential from it.
_READABLE: Final = frozenset({"gzip", "x-gzip", "deflate", "identity"})
_OURS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})


def write_request(view: RequestView, edits: Edits, framing: Framing, *, expects_continue: bool = False) -> bytes:
    """Return the head to send upstream: the decided view, the edits, and our own framing.

    Raises ProtocolError when an edit cannot be written on one line.
    """
    target = view.path
    query = view.query if edits.query is None else edits.query
    if query is not None:
        target = f"{target}?{query}"
    if edits.query is not None and _QUERY.fullmatch(edits.query) is None:
        raise ProtocolError("an edited query cannot be written on the request line", Reason.CREDENTIAL_UNAVAILABLE)
    lines = [f"{view.method} {target} HTTP/1.1", f"host: {host_value(view.authority, view.scheme)}"]
    lines += [f"{name}: {value}" for name, value in _kept(view.headers, edits)]
    for name, worth in edits.put:
        text = worth.reveal() if isinstance(worth, Secret) else worth
        if name in _OURS or _NAME.fullmatch(name) is None or _VALUE.fullmatch(text) is None:
            raise ProtocolError("an edit cannot be written as a header field", Reason.CREDENTIAL_UNAVAILABLE)
        lines.append(f"{name}: {text}")
    if framing.length == CHUNKED:
        lines.append("transfer-encoding: chunked")
    elif framing.length > 0 or view.method in {"POST", "PUT", "PATCH"}:
        lines.append(f"content-length: {framing.length}")
    if expects_continue:
        lines.append("expect: 100-continue")
    lines.append("\r\n")
    return "\r\n".join(lines).encode("latin-1")


def host_value(authority: Authority, scheme: str) -> str:
    """Return the Host of an authority: the port only where it is not the scheme's (RFC 9110 7.2)."""
    if authority.port != DEFAULT_PORTS[scheme]:
        return str(authority)
    return f"[{authority.host}]" if ":" in authority.host else authority.host


def _kept(headers: Headers, edits: Edits) -> Iterable[tuple[str, str]]:
    if not edits.remove and not edits.put and not edits.watch:
        return headers
    gone = {*edits.remove, *[name for name, _ in edits.put]}
    kept = [pair for pair in headers if pair[0] not in gone]
    if edits.put:
        # With a credential on the request, a twin such as `x_api_key` could outvote it behind a CGI gateway (C04).
        kept = [pair for pair in kept if "_" not in pair[0]]
    if edits.watch:
        codings = _readable_codings(kept)
        kept = [pair for pair in kept if pair[0] != "accept-encoding"]
        kept.append(("accept-encoding", codings))
    return kept


def _readable_codings(headers: Iterable[tuple[str, str]]) -> str:
    """Return what of the job's Accept-Encoding the echo guard can read; `identity` when nothing is left."""
    offers = [offer.strip(" \t") for name, value in headers if name == "accept-encoding" for offer in value.split(",")]
    if not offers:
        return "identity"
    kept = [offer for offer in offers if offer.partition(";")[0].strip(" \t").lower() in _READABLE]
    return ", ".join(kept) or "identity"


def write_response(response: Response, fields: Headers, framing: Framing, *, keep: bool) -> bytes:
    """Return the head to send to the job, with our framing (`UNTIL_CLOSE` writes none) and our Connection."""
    lines = [f"HTTP/1.1 {response.status} {response.phrase}"]
    lines += [f"{name}: {value}" for name, value in fields]
    if framing.length == CHUNKED:
        lines.append("transfer-encoding: chunked")
    elif framing.length >= 0 and _is_counted(response, fields):
        lines.append(f"content-length: {framing.length}")
    if not keep:
        lines.append("connection: close")
    lines.append("\r\n")
    return _as_bytes(lines)


def _is_counted(response: Response, fields: Headers) -> bool:
    if response.status in {204, 304} or response.status < 200:
        return False
    return all(name != "content-length" for name, _ in fields)


def write_interim(response: Response) -> bytes:
    """Return a 1xx head: 100 bare, 103 with its links."""
    links = [f"{name}: {value}" for name, value in response.fields if name == "link"]
    return _as_bytes([f"HTTP/1.1 {response.status} {response.phrase}", *links, "\r\n"])


def write_trailers(fields: Headers) -> bytes:
    """Return trailer lines, each ending in CRLF."""
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1")


def _as_bytes(lines: list[str]) -> bytes:
    return "\r\n".join(lines).encode("latin-1", "replace")
