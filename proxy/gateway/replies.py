"""Answers of our own: short, fixed in shape, made from the reason alone. Never another identity or upstream text (C11).

The body is JSON: `reason`, `rule` (the rules that spoke), `decision` (the record's flow id), `message`, `what_to_do`.
"""

import json
from http import HTTPStatus
from typing import Final

from proxy.engine.seam import Denial
from proxy.model.reason import Reason, explain_reason

REALM: Final = "jobgate"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"

# RFC 9209 2.3: the registered error types that say what happened without saying why.
_PROXY_ERRORS: Final[dict[Reason, str]] = {
    Reason.UPSTREAM_UNREACHABLE: "connection_refused",
    Reason.UPSTREAM_TLS: "tls_certificate_error",
    Reason.UPSTREAM_TIMEOUT: "connection_timeout",
    Reason.UPSTREAM_MALFORMED: "http_protocol_error",
    Reason.UPSTREAM_CLOSED: "http_response_incomplete",
    Reason.NAME_UNRESOLVED: "dns_error",
    Reason.ADDRESS_REFUSED: "destination_ip_prohibited",
    Reason.INTERNAL: "proxy_internal_error",
    Reason.TRAIL_UNAVAILABLE: "proxy_internal_error",
    Reason.DECISION_TIMEOUT: "proxy_internal_error",
}


def answer_status(reason: Reason, *, inside_tunnel: bool) -> int:
    """Return the status of a reason. Inside a tunnel a 407 would come from the origin's mouth: it is a 403 there."""
    status = explain_reason(reason).status
    return 403 if inside_tunnel and status == 407 else status


def write_denial(denial: Denial, *, keep: bool, inside_tunnel: bool = False, without_body: bool = False) -> bytes:
    """Return the whole answer to a refused request; `without_body` is for HEAD."""
    status = answer_status(denial.reason, inside_tunnel=inside_tunnel)
    kind, body = "application/json", b""
    if denial.told is not None:
        status, kind, body = denial.told.status or status, denial.told.content_type, denial.told.body
    else:
        body = json.dumps(denial.describe()).encode("ascii") + b"\n"
    error = _PROXY_ERRORS.get(denial.reason, "http_request_denied")
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"content-type: {kind}",
        f"content-length: {len(body)}",
        "cache-control: no-store",
        f'proxy-status: {REALM}; error={error}; details="{denial.reason.value}"',
    ]
    if status == 407:
        lines.append(f'proxy-authenticate: Basic realm="{REALM}", charset="UTF-8"')
    if status in {503, 504}:
        lines.append("retry-after: 1")
    lines.append("connection: keep-alive" if keep else "connection: close")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
    return head if without_body else head + body
