"""Google's STS, service account credentials and Cloud Storage over TLS, as strict as their references say.

STS verifies the job's token and the provider's condition; impersonation needs a binding; a bounded token can do what
its boundary and the account can both do. Sources: STS API `token`; IAM Credentials API `generateAccessToken`; IAM,
"Workload Identity Federation", "Credential Access Boundaries".
"""

import json
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl

import jwt

from proxy.demo.web import Exchange, Site

HOSTS: Final = ("sts.googleapis.com", "iamcredentials.googleapis.com", "storage.googleapis.com", "run.googleapis.com")
_TYPES: Final = "urn:ietf:params:oauth:token-type:"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_ROLES: Final = {
    "inRole:roles/storage.objectViewer": {"GET"},
    "inRole:roles/storage.objectUser": {"GET", "POST", "PUT", "DELETE"},
    "inRole:roles/storage.admin": {"GET", "POST", "PUT", "PATCH", "DELETE"},
}
_ACCOUNT: Final = re.compile(r"/v1/projects/-/serviceAccounts/([^:]+):generateAccessToken")
_OBJECT: Final = re.compile(r"/storage/v1/b/([^/]+)(?:/.*)?")
_UPLOAD: Final = re.compile(r"/upload/storage/v1/b/([^/]+)/o")


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What a token is: whose, until when, and bounded to which buckets and methods (None: not bounded)."""

    who: str
    ends: float
    bounds: Mapping[str, frozenset[str]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A request with a token, beside those for tokens."""

    host: str
    method: str
    path: str
    who: str | None
    status: int


@dataclass(slots=True)
class Google:
    """`providers` map a provider to issuer, key, audience and condition; `members` an account to who may be it."""

    tls: ssl.SSLContext
    providers: dict[str, tuple[str, Any, str, Mapping[str, str]]] = field(default_factory=dict)
    members: dict[str, str] = field(default_factory=dict)
    may: set[tuple[str, str]] = field(default_factory=set)
    granted: dict[str, Granted] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    instead: list[tuple[str, int, bytes]] = field(default_factory=list)
    gives: dict[str, Any] = field(default_factory=dict)
    delay: float = 0.0
    echoes: bool = False
    site: Site = field(init=False)

    def __post_init__(self) -> None:
        self.site = Site(_GoogleExchange, self.tls)
        self.site.google = self  # type: ignore[attr-defined]

    def grant(self, who: str, seconds: float, bounds: Mapping[str, frozenset[str]] | None = None) -> str:
        token = f"ya29.planted-{len(self.granted):04d}-{'x' * 40}"
        self.granted[token] = Granted(who=who, ends=time.time() + seconds, bounds=bounds)
        return token

    def find(self, authorization: str) -> Granted | None:
        found = self.granted.get(authorization.removeprefix("Bearer "))
        return found if found is not None and found.ends > time.time() else None

    def exchange(self, form: dict[str, str]) -> dict[str, Any]:
        """Answer STS's `token`. Raises ValueError for what STS refuses."""
        if form.get("grant_type") != _GRANT or form.get("requested_token_type") != f"{_TYPES}access_token":
            raise ValueError("invalid_request")
        if form.get("subject_token_type") == f"{_TYPES}access_token":
            return self._bound(form)
        known = {"audience", "grant_type", "requested_token_type", "scope", "subject_token_type", "subject_token"}
        if form.keys() != known or form["subject_token_type"] != f"{_TYPES}jwt" or form["scope"] != _SCOPE:
            raise ValueError("invalid_request")
        provider = form["audience"].removeprefix("//iam.googleapis.com/")
        issuer, key, audience, condition = self.providers[provider]
        try:
            claims = jwt.decode(form["subject_token"], key, ["RS256"], audience=audience, issuer=issuer)
        except jwt.PyJWTError:
            raise ValueError("invalid_grant") from None
        if any(claims.get(name) != value for name, value in condition.items()):
            raise ValueError("unauthorized_client")
        token = self.grant(f"principal:{claims['pipeline_slug']}", 3600)
        return self._told(token, 3600)

    def _bound(self, form: dict[str, str]) -> dict[str, Any]:
        found = self.find(f"Bearer {form['subject_token']}")
        rules = json.loads(form["options"])["accessBoundary"]["accessBoundaryRules"]
        if found is None or "audience" in form or "scope" in form or not 1 <= len(rules) <= 10:
            raise ValueError("invalid_request")
        bounds = {}
        for rule in rules:
            bucket = rule["availableResource"].removeprefix("//storage.googleapis.com/projects/_/buckets/")
            bounds[bucket] = frozenset(method for role in rule["availablePermissions"] for method in _ROLES[role])
        return self._told(self.grant(found.who, found.ends - time.time(), bounds), None)

    def _told(self, token: str, seconds: int | None) -> dict[str, Any]:
        told = {"access_token": token, "issued_token_type": f"{_TYPES}access_token", "token_type": "Bearer"}
        return told | ({} if seconds is None else {"expires_in": seconds}) | self.gives

    def impersonate(self, account: str, who: Granted | None, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if who is None:
            return 401, {"error": {"code": 401, "status": "UNAUTHENTICATED"}}
        seconds = int(re.fullmatch(r"([0-9]+)s", body["lifetime"])[1])  # type: ignore[index]
        if body.keys() != {"scope", "lifetime"} or body["scope"] != [_SCOPE] or not 0 < seconds <= 3600:
            return 400, {"error": {"code": 400, "status": "INVALID_ARGUMENT"}}
        if self.members.get(account) != who.who:
            return 403, {"error": {"code": 403, "status": "PERMISSION_DENIED"}}
        ends = datetime.now(UTC) + timedelta(seconds=seconds)
        told = {"accessToken": self.grant(account, seconds), "expireTime": ends.strftime("%Y-%m-%dT%H:%M:%SZ")}
        return 200, told | self.gives


class _GoogleExchange(Exchange):
    def answer(self) -> None:
        google: Google = self.server.google  # type: ignore[attr-defined]
        time.sleep(google.delay)
        body, path = self.read_body(), self.path.partition("?")[0]
        host = self.headers["host"]
        planned = next((each for each in google.instead if each[0] == host), None)
        if planned is not None:
            google.instead.remove(planned)
            self.reply(planned[1], planned[2])
        elif host == "sts.googleapis.com" and path == "/v1/token":
            self._exchange(google, body)
        elif host == "iamcredentials.googleapis.com" and (match := _ACCOUNT.fullmatch(path)):
            asked = json.loads(body)
            google.asked.append(("impersonate", asked))
            self.reply_json(*google.impersonate(match[1], google.find(self.headers.get("authorization", "")), asked))
        else:
            self._serve(google, host, path)

    def _exchange(self, google: Google, body: bytes) -> None:
        pairs = parse_qsl(body.decode(), strict_parsing=True)
        form = dict(pairs)
        google.asked.append(("exchange", dict(form)))
        is_form = self.headers.get("content-type") == "application/x-www-form-urlencoded"
        try:
            if self.command != "POST" or not is_form or len(form) != len(pairs) or self.headers.get("authorization"):
                raise ValueError("invalid_request")
            self.reply_json(200, google.exchange(form))
        except (ValueError, KeyError) as error:
            code = str(error) if isinstance(error, ValueError) else "invalid_target"
            self.reply_json(400, {"error": code, "error_description": form.get("subject_token", "")})

    def _serve(self, google: Google, host: str, path: str) -> None:
        found = google.find(self.headers.get("authorization", ""))
        match = _OBJECT.fullmatch(path) or _UPLOAD.fullmatch(path)
        status = 200
        if found is None:
            status = 401
        elif match is not None:
            bucket = match[1]
            is_bounded = found.bounds is not None and self.command not in found.bounds.get(bucket, frozenset())
            status = 403 if is_bounded or (found.who, bucket) not in google.may else 200
        elif found.bounds is not None or (found.who, host) not in google.may:
            status = 403
        who = None if found is None else found.who
        google.uses.append(Use(host=host, method=self.command, path=path, who=who, status=status))
        said = {"kind": "told", "you": self.headers.get("authorization", "")} if google.echoes else {"kind": "told"}
        self.reply_json(status, said if status == 200 else {"error": {"code": status}})
