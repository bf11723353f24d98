"""Answers of our own: short, fixed in shape, made from the reason alone. Never another identity or upstream text (C11).

The body is JSON: `reason`, `rule` (the rules that spoke), `decision` (the record's flow id), `message`, `what_to_do`.
"""

import json
from http import HTTPStatus
from typing import Final

from proxy.engine.seam import Denial, Told
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
    explanation = explain_reason(denial.reason)
    status = answer_status(denial.reason, inside_tunnel=inside_tunnel)
    message = f"{explanation.sentence} {denial.detail}".rstrip()
    if denial.told is not None:
        return _write_told(denial, denial.told, keep=keep)
    body = json.dumps(
        {
            "reason": denial.reason.value,
            "rule": list(denial.rule_ids),
            "decision": denial.flow_id,
            "message": message,
            "what_to_do": explanation.remedy,
        }
    ).encode("ascii")
    error = _PROXY_ERRORS.get(denial.reason, "http_request_denied")
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "content-type: application/json",
        f"content-length: {len(body) + 1}",
        "cache-control: no-store",
        f'proxy-status: {REALM}; error={error}; details="{denial.reason.value}"',
    ]
    if status == 407:
        lines.append(f'proxy-authenticate: Basic realm="{REALM}", charset="UTF-8"')
    if status in {503, 504}:
        lines.append("retry-after: 1")
    lines.append("connection: keep-alive" if keep else "connection: close")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
    return head if without_body else head + body + b"\n"


def _write_told(denial: Denial, told: Told, *, keep: bool) -> bytes:
    lines = [
        "HTTP/1.1 200 OK",
        f"content-type: {told.content_type}",
        f"content-length: {len(told.body)}",
        "cache-control: no-store",
        f'proxy-status: {REALM}; error=http_request_denied; details="{denial.reason.value}"',
        "connection: keep-alive" if keep else "connection: close",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii") + told.body
