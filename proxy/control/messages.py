"""Requests and replies of the control API as values, and what a well-formed one is. No I/O.

Browsers are kept out: whatever a web page can make one send is refused (an `Origin`, a foreign `Host`, a form's type).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.engine.seam import Denial
from proxy.model.grant import Secret
from proxy.model.reason import Reason, explain_reason

MAX_BODY: Final = 64 * 1024
MAX_HEAD: Final = 16 * 1024

_ONCE: Final = frozenset(
    {
        "host",
        "authorization",
        "content-type",
        "content-length",
        "content-encoding",
        "origin",
        "x-buildkite-event",
        "x-buildkite-signature",
        "x-buildkite-token",
        "x-github-event",
        "x-gitlab-token",
        "x-hub-signature-256",
    }
)
_BROWSER: Final = (
    "origin",
    "referer",
    "sec-fetch-site",
    "sec-fetch-mode",
    "sec-fetch-dest",
    "access-control-request-method",
)


class Refusal(Exception):  # noqa: N818 - a reply in the making, not a fault of ours
    """A request that is not served. Carries the reply."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.reply = error_reply(status, error, message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. `local` is True on the Unix socket, which only this user and root can open."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    peer: str
    local: bool

    @property
    def bearer(self) -> Secret | None:
        """What `Authorization: Bearer` carries."""
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        return Secret(value.strip()) if scheme.lower() == "bearer" and value.strip() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer. Bodies may hold a session's secret: never printed."""

    status: int
    body: bytes = field(default=b"", repr=False)
    content_type: str = "application/json"
    headers: Sequence[tuple[str, str]] = ()


def json_reply(status: int, value: Mapping[str, object]) -> Reply:
    """Answer with a JSON object."""
    return Reply(status=status, body=json.dumps(value, ensure_ascii=True).encode("ascii") + b"\n")


def error_reply(status: int, error: str, message: str, **more: object) -> Reply:
    """Answer that something was not done: a stable slug, and a sentence."""
    return json_reply(status, {"error": error, "message": message, **more})


def denial_reply(denial: Denial) -> Reply:
    """Answer a session that was not opened. The control API is no proxy: what is 407 there is 401 here."""
    why = explain_reason(denial.reason)
    status = 401 if why.status == 407 else why.status
    more: dict[str, object] = {"remedy": why.remedy, "flow": denial.flow_id}
    if denial.detail:
        more["detail"] = denial.detail
    return error_reply(status, denial.reason.value, why.sentence, **more)


def fold_headers(pairs: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the header fields by lower-case name. Raises Refusal for a field that must not be repeated."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name = raw_name.decode("latin-1").lower()
        if name in headers and name in _ONCE:
            raise Refusal(400, Reason.REQUEST_MALFORMED.value, f"the field `{name}` is there twice")
        headers[name] = raw_value.decode("latin-1")
    return headers


def check_origin(headers: Mapping[str, str], hosts: frozenset[str]) -> None:
    """Refuse what a web page made a browser send: DNS rebinding shows in `Host`, the rest in `Origin` and friends."""
    if headers.get("host", "").lower() not in hosts:
        raise Refusal(421, Reason.AUTHORITY_MISMATCH.value, "this is not the host you mean")
    if any(name in headers for name in _BROWSER):
        raise Refusal(403, "browser-refused", "browsers are not served here")


def read_json(request: Request) -> dict[str, Any]:
    """Return the JSON object of a body, {} of an empty one. Raises Refusal."""
    if not request.body:
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, Reason.REQUEST_MALFORMED.value, "the body must be application/json")
    try:
        value = json.loads(request.body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise Refusal(400, Reason.BODY_MALFORMED.value, "the body is not strict JSON") from None
    if not isinstance(value, dict):
        raise Refusal(400, Reason.BODY_MALFORMED.value, "the body is not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name appears twice")
    return found


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")
