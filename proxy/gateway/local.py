"""Questions to the proxy itself: SDKs that renew credentials ask here, and get their session's placeholders.

AWS SDKs ask a container credential endpoint (AWS SDKs Guide, "Container credential provider"), Azure's an identity
endpoint (App Service, "REST endpoint reference"), Google's a metadata server (Compute Engine, "About VM metadata").
Nothing here is worth anything to anybody but its own job. Pure.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

from proxy.gateway.heads import Head
from proxy.model.authority import parse_authority
from proxy.model.errors import ProtocolError
from proxy.model.identity import Session
from proxy.model.placeholder import write_token
from proxy.model.reason import Reason

AWS_PATH: Final = "/jobgate/aws"
AZURE_PATH: Final = "/jobgate/azure"
GOOGLE_PATH: Final = "/jobgate/gcp"
NOBODY: Final = "jobgate"
"""What an Azure client without a password says in place of one: it must say something."""
ACCOUNT: Final = "placeholder@jobgate.invalid"
_PATHS: Final = frozenset({AWS_PATH, AZURE_PATH})
_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_GOOGLE: Final = re.compile(rf"(?:{GOOGLE_PATH}/([0-9A-Z]{{13}}))?(/computeMetadata/v1(?:/.*)?|/?)")
_ACCOUNT: Final = re.compile(rf"/instance/service-accounts/(?:default|{re.escape(ACCOUNT)})/?")
_FLAVOR: Final = {"metadata-flavor": "Google"}
_LIFE: Final = 3600
"""Seconds that a Google client keeps a placeholder before it asks again."""


@dataclass(frozen=True, slots=True)
class LocalQuestion:
    """What an SDK asks. `mark`: the session that its path names, for clients that send no password."""

    path: str
    is_google: bool
    mark: str | None
    resource: str | None = None

    @property
    def is_ping(self) -> bool:
        """Whether it only asks if there is a metadata server."""
        return self.is_google and self.path in {"", "/"}


@dataclass(frozen=True, slots=True)
class LocalAnswer:
    """A short answer of our own."""

    status: int
    body: bytes
    fields: Mapping[str, str] = field(default_factory=dict)


def read_local(head: Head) -> LocalQuestion | None:
    """Return what is asked of the proxy itself; None for anything else. Raises ProtocolError.

    The Host must be an address, or `localhost`: a page that has a name of its own lead here learns nothing.
    """
    path, _, query = head.target.partition("?")
    google = _GOOGLE.fullmatch(path)
    if google is not None and google[2] in {"", "/"} and not head.values("metadata-flavor"):
        google = None  # anybody's question, not an SDK's
    if not head.target.startswith("/") or head.method not in {"GET", "HEAD"} or (path not in _PATHS and google is None):
        return None
    if head.values("transfer-encoding") or head.values("content-length") not in ([], ["0"]):
        raise ProtocolError("a question to the proxy itself has no body", Reason.FRAMING_AMBIGUOUS)
    hosts = head.values("host")
    if len(hosts) != 1 or not _is_here(hosts[0]):
        raise ProtocolError("the proxy answers for itself by its address alone", Reason.AUTHORITY_MISMATCH)
    if google is None:
        resources = [text for name, text in parse_qsl(query) if name == "resource"]
        return LocalQuestion(path, is_google=False, mark=None, resource=resources[0] if len(resources) == 1 else None)
    if head.values("metadata-flavor") != ["Google"] or head.values("x-forwarded-for"):
        raise ProtocolError("a metadata question says `Metadata-Flavor: Google`", Reason.PROTOCOL_REFUSED)
    return LocalQuestion(google[2].removeprefix("/computeMetadata/v1"), is_google=True, mark=google[1])


def answer_aws(session: Session) -> LocalAnswer:
    """Return what a container credential endpoint returns: keys, and when to ask again."""
    own = session.placeholders
    told = {
        "AccessKeyId": own.aws_key,
        "SecretAccessKey": own.aws_secret.reveal(),
        "Token": own.aws_key,
        "Expiration": session.expires_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return LocalAnswer(200, json.dumps(told).encode(), {"content-type": "application/json"})


def answer_azure(session: Session, resource: str | None) -> LocalAnswer:
    """Return what an identity endpoint returns: a token for one service, and when to ask again."""
    if resource is None:
        return LocalAnswer(400, b'{"error":"invalid_request"}', {"content-type": "application/json"})
    told = {
        "access_token": write_token(session.placeholders.mark, "azure-"),
        "expires_on": str(int(session.expires_at.timestamp())),
        "resource": resource,
        "token_type": "Bearer",
    }
    return LocalAnswer(200, json.dumps(told).encode(), {"content-type": "application/json"})


def answer_google(path: str, mark: str) -> LocalAnswer:
    """Return what a metadata server says of its one service account; 404 for what it does not have."""
    if path in {"", "/"}:
        return _text("computeMetadata/\n")
    if path in {"/universe/universe-domain", "/universe/universe_domain"}:
        return _text("googleapis.com")
    if path in {"/instance/service-accounts", "/instance/service-accounts/"}:
        return _text("default/\n")
    account = _ACCOUNT.match(path)
    return _text("not found", 404) if account is None else _of_account(path[account.end() :], mark)


def write_local(answer: LocalAnswer, *, without_body: bool) -> bytes:
    """Return the whole answer; `without_body` is for HEAD."""
    fields = {**answer.fields, "content-length": str(len(answer.body)), "cache-control": "no-store"}
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    lines.append("connection: close")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
    return head if without_body else head + answer.body


def _of_account(what: str, mark: str) -> LocalAnswer:
    if what == "":
        return _json({"aliases": ["default"], "email": ACCOUNT, "scopes": [_SCOPE]})
    if what == "email":
        return _text(ACCOUNT)
    if what == "scopes":
        return _text(f"{_SCOPE}\n")
    if what == "token":
        return _json({"access_token": write_token(mark, "ya29."), "expires_in": _LIFE, "token_type": "Bearer"})
    return _text("not found", 404)


def _json(told: object) -> LocalAnswer:
    return LocalAnswer(200, json.dumps(told).encode(), {"content-type": "application/json", **_FLAVOR})


def _text(told: str, status: int = 200) -> LocalAnswer:
    return LocalAnswer(status, told.encode(), {"content-type": "text/plain", **_FLAVOR})


def _is_here(host: str) -> bool:
    place = parse_authority(host, 80)
    return place.host == "localhost" or place.is_address
