"""GitHub for Apps, over TLS: its App endpoints, a few operations of its API and git itself, as strict as documented.

An app's JWT is verified; tokens carry repositories and permissions, and are held to them; git is `git http-backend`,
and refuses workflow files without `workflows`. `instead` answers App calls first, `gives` changes a token's answer.
Source: GitHub docs, "REST API endpoints for GitHub Apps", "Authenticating as a GitHub App (installation)".
"""

import json
import re
import secrets
import ssl
import tempfile
import time
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt

from proxy.demo.git import GitExchange, run_git
from proxy.demo.web import Site

LEVELS = ("read", "write", "admin")
_NO_REPOSITORY = "There is at least one repository that does not exist or is not accessible to the parent installation."
_NO_PERMISSION = "The permissions requested are not granted to this installation."
_HOOK = """#!/bin/sh
while read -r old new ref; do
  [ -n "$MAY_WRITE_WORKFLOWS" ] && continue
  git diff --quiet main "$new" -- .github/workflows 2>/dev/null && continue
  echo "refusing to allow a GitHub App to create or update workflow without \\`workflows\\` permission" >&2
  exit 1
done
"""


class RefusedError(Exception):
    """What GitHub answers instead."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """An app installed on an account: for which repositories, with which permissions."""

    account: str
    repositories: frozenset[str]
    permissions: Mapping[str, str]
    suspended: bool = False


@dataclass(slots=True, kw_only=True)
class IssuedToken:
    """An installation token. `revoked` is when it was taken back."""

    repositories: frozenset[str]
    permissions: Mapping[str, str]
    expires_at: datetime
    revoked: bool = False

    def may(self, repository: str, name: str, level: str) -> bool:
        held = self.permissions.get(name)
        return repository.lower() in self.repositories and held in LEVELS and LEVELS.index(level) <= LEVELS.index(held)


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One request beside the App calls. `token` is what it presented, whatever the scheme."""

    host: str
    method: str
    path: str
    scheme: str
    token: str
    status: int


@dataclass(slots=True, kw_only=True)
class Instead:
    """An answer in place of the right one."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class GitHub:
    """A running GitHub: one app, its installations, the repositories below `folder`."""

    def __init__(self, folder: Path, tls: ssl.SSLContext, key: Any, host: str = "github.com") -> None:
        self.folder, self.host, self.key = folder, host, key
        self.app, self.client = 123456, "Iv23liAbCdEfGhIjKlMn"
        self.installations: dict[int, Installation] = {}
        self.tokens: dict[str, IssuedToken] = {}
        self.asked: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.jwts: list[str] = []
        self.uses: list[Use] = []
        self.instead: list[Instead] = []
        self.gives: dict[str, Any] = {}
        self.delay = 0.0
        self.echoes = False
        self.revokes = True
        self.site = Site(_GitHubExchange, tls)
        self.site.github = self  # type: ignore[attr-defined] # the exchange finds its GitHub here

    def add_repository(self, name: str) -> Path:
        """Make a bare repository `OWNER/NAME` with one commit on `main`."""
        bare = self.folder / f"{name.lower()}.git"
        bare.mkdir(parents=True)
        run_git("init", "--bare", "--quiet", "--initial-branch=main", ".", folder=bare)
        run_git("config", "http.receivepack", "true", folder=bare)
        with tempfile.TemporaryDirectory() as work:
            run_git("init", "--quiet", "--initial-branch=main", ".", folder=Path(work))
            (Path(work) / "README.md").write_text(f"# {name}\n")
            run_git("add", ".", folder=Path(work))
            run_git("commit", "--quiet", "-m", "Begin", folder=Path(work))
            run_git("push", "--quiet", str(bare), "main", folder=Path(work))
        (bare / "hooks" / "pre-receive").write_text(_HOOK)
        (bare / "hooks" / "pre-receive").chmod(0o755)
        return bare

    def verify_app(self, text: str) -> None:
        """Check an app's JWT. Raises RefusedError with GitHub's words."""
        now = time.time()
        try:
            claims = jwt.decode(
                text, self.key, algorithms=["RS256"], options={"verify_exp": False, "verify_iat": False}
            )
        except jwt.PyJWTError:
            raise RefusedError(401, "A JSON web token could not be decoded") from None
        issued, expires = claims.get("iat"), claims.get("exp")
        if claims.get("iss") not in {str(self.app), self.client}:
            raise RefusedError(401, "Integration not found")
        if not isinstance(issued, int) or issued > now:
            raise RefusedError(401, "'Issued at' claim ('iat') must be an Integer representing the time of issue")
        if not isinstance(expires, int) or expires <= now:
            raise RefusedError(401, "'Expiration time' claim ('exp') must be a numeric value in the future")
        if expires - now > 600:
            raise RefusedError(401, "'Expiration time' claim ('exp') is too far in the future")
        self.jwts.append(text)

    def find_installation(self, repository: str) -> dict[str, Any]:
        """Describe the installation that holds a repository. Raises RefusedError."""
        for number, found in self.installations.items():
            if repository.lower() in found.repositories:
                suspended = "2030-01-01T00:00:00Z" if found.suspended else None
                account = {"login": found.account, "type": "Organization"}
                held = dict(found.permissions)
                return {"id": number, "account": account, "permissions": held, "suspended_at": suspended}
        raise RefusedError(404, "Not Found")

    def make_token(self, number: int, body: bytes) -> dict[str, Any]:
        """Make a token. Raises RefusedError for what the installation does not hold."""
        found = self.installations.get(number)
        if found is None:
            raise RefusedError(404, "Not Found")
        if found.suspended:
            raise RefusedError(403, "This installation has been suspended")
        asked = _read_object(body)
        self.asked.append(asked)
        if asked.keys() - {"repositories", "repository_ids", "permissions"}:
            raise RefusedError(422, "Invalid request")
        names = asked.get("repositories") or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise RefusedError(422, "Invalid request. `repositories` is not an array of strings.")
        wanted = frozenset(f"{found.account}/{name}".lower() for name in names) or found.repositories
        if not wanted <= found.repositories:
            raise RefusedError(422, _NO_REPOSITORY)
        held = IssuedToken(repositories=found.repositories, permissions=found.permissions, expires_at=_now())
        given = asked.get("permissions") or found.permissions
        if not all(level in LEVELS and held.may(min(wanted), name, level) for name, level in given.items()):
            raise RefusedError(422, _NO_PERMISSION)
        expires_at = (_now() + timedelta(hours=1)).replace(microsecond=0)
        permissions = {**given, "metadata": "read"}
        token = f"ghs_{self.app}_{secrets.token_urlsafe(90)}.{secrets.token_urlsafe(200)}"
        self.tokens[token] = IssuedToken(repositories=wanted, permissions=permissions, expires_at=expires_at)
        answer = {
            "token": token,
            "expires_at": expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "permissions": permissions,
            "repository_selection": "selected" if names else "all",
            **(
                {"repositories": [{"id": 1, "full_name": f"{found.account}/{name}"} for name in names]} if names else {}
            ),
        }
        return {name: value for name, value in (answer | self.gives).items() if value is not ...}

    def check_token(self, text: str) -> IssuedToken:
        """Return what a token may. Raises RefusedError for one that is not valid, or not any more."""
        found = self.tokens.get(text)
        if found is None or found.revoked or found.expires_at <= _now():
            raise RefusedError(401, "Bad credentials")
        return found

    def living(self) -> list[str]:
        """Tokens that GitHub still takes."""
        return [text for text, token in self.tokens.items() if not token.revoked and token.expires_at > _now()]


def _now() -> datetime:
    return datetime.now(UTC)


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body or b"{}")
    except ValueError:
        raise RefusedError(400, "Problems parsing JSON") from None
    if not isinstance(found, dict):
        raise RefusedError(400, "Body should be a JSON object")
    return found


_OPERATIONS: dict[tuple[str, str], tuple[str, str, int]] = {
    ("GET", ""): ("metadata", "read", 200),
    ("GET", "/contents/README.md"): ("contents", "read", 200),
    ("GET", "/issues"): ("issues", "read", 200),
    ("POST", "/issues"): ("issues", "write", 201),
    ("PUT", "/contents/docs/page.md"): ("contents", "write", 201),
    ("PUT", "/contents/.github/workflows/ci.yml"): ("workflows", "write", 201),
    ("POST", "/releases/1/assets"): ("contents", "write", 201),
    ("GET", "/readme"): ("contents", "read", 200),
}
"""Method and path below a repository -> permission, level, and the status of success."""
_REPOSITORY = re.compile(r"/repos/([^/]+/[^/]+)(/.*)?")
_GIT = re.compile(r"/([^/]+/[^/]+?)(?:\.git)?/(info/refs|git-upload-pack|git-receive-pack)")
_TOKENS = re.compile(r"/app/installations/([0-9]+)/access_tokens")


class _GitHubExchange(GitExchange):
    """One exchange, with whichever of GitHub's hosts was asked."""

    def answer(self) -> None:
        self.hub: GitHub = self.server.github  # type: ignore[attr-defined] # set by GitHub
        self.place = urlsplit(self.path)
        self.scheme, self.presented = _presented(self.headers.get("authorization"))
        host, self.status = self.headers.get("host", ""), 200
        self.is_app_call = False
        try:
            self._route(host, self.place.path)
        except RefusedError as refused:
            self._say(refused.status, {"message": str(refused), "documentation_url": "https://docs.github.com/rest"})
        if not self.is_app_call:
            self.hub.uses.append(
                Use(
                    host=host,
                    method=self.command,
                    path=self.path,
                    scheme=self.scheme,
                    token=self.presented,
                    status=self.status,
                )
            )

    def _route(self, host: str, path: str) -> None:
        hub = self.hub
        if host == f"codeload.{hub.host}":
            self.read_body()
            self.status = 200
            return self.reply(200, b"an archive\n")
        is_public = hub.host == "github.com"
        if host == hub.host and (is_public or not path.startswith("/api/")):
            return self._serve_git(path)
        body = self.read_body()
        if host == "uploads.github.com" or path.startswith("/api/uploads/"):
            return self._serve_repository(path.removeprefix("/api/uploads"), body)
        if host == "api.github.com" or path.startswith("/api/"):
            return self._serve_api(path.removeprefix("/api/v3") if not is_public else path, body)
        raise RefusedError(404, "Not Found")

    def _serve_api(self, path: str, body: bytes) -> None:
        made, found = _TOKENS.fullmatch(path), _REPOSITORY.fullmatch(path)
        is_lookup = found is not None and found[2] == "/installation" and self.command == "GET"
        self.is_app_call = bool(made or is_lookup or path == "/installation/token")
        if not self.is_app_call:
            return self._serve_graphql(body) if path.endswith("/graphql") else self._serve_repository(path, body)
        self.hub.calls.append(f"{self.command} {path}")
        time.sleep(self.hub.delay)
        if self.hub.instead:
            wrong = self.hub.instead.pop(0)
            return self.reply(wrong.status, wrong.body, wrong.headers)
        if self.scheme != "bearer":
            raise RefusedError(401, "Requires authentication")
        if path == "/installation/token" and self.command == "DELETE":
            if not self.hub.revokes:
                raise RefusedError(503, "Service unavailable")
            self.hub.check_token(self.presented).revoked = True
            return self.reply(204)
        self.hub.verify_app(self.presented)
        if made and self.command == "POST":
            return self._say(201, self.hub.make_token(int(made[1]), body))
        assert found is not None
        return self._say(200, self.hub.find_installation(found[1]))

    def _serve_repository(self, path: str, body: bytes) -> None:
        found = _REPOSITORY.fullmatch(path)
        if self.scheme != "bearer":
            raise RefusedError(401, "Requires authentication")
        token = self.hub.check_token(self.presented)
        if found is None or found[1].lower() not in token.repositories:
            raise RefusedError(404, "Not Found")
        rest = found[2] or ""
        if self.command == "GET" and rest.startswith("/tarball/") and token.may(found[1], "contents", "read"):
            place = f"https://codeload.{self.hub.host}/{found[1]}/legacy.tar.gz/refs/heads/main?sig=abc"
            self.status = 302
            return self.reply(302, b"", {"Location": place})
        name, level, status = _OPERATIONS.get((self.command, rest), ("none", "read", 404))
        if not token.may(found[1], name, level):
            raise RefusedError(403, "Resource not accessible by integration")
        echoed = self.headers.get("authorization") if self.hub.echoes else None
        return self._say(status, {"full_name": found[1], "received": len(body), "echo": echoed})

    def _serve_graphql(self, body: bytes) -> None:
        if self.scheme != "bearer":
            raise RefusedError(401, "This endpoint requires you to be authenticated.")
        token = self.hub.check_token(self.presented)
        asked = _read_object(body)
        if not isinstance(asked.get("query"), str):
            raise RefusedError(400, "A query attribute must be specified and must be a string.")
        self._say(200, {"data": {"permissions": dict(token.permissions)}})

    def _serve_git(self, path: str) -> None:
        found = _GIT.fullmatch(path)
        if found is None:
            raise RefusedError(404, "Not Found")
        service = parse_qs(self.place.query).get("service", [path.rpartition("/")[2]])[0]
        with tempfile.SpooledTemporaryFile(max_size=1 << 20) as body:
            for block in self.body_blocks():
                body.write(block)
            body.rollover()
            if self.scheme != "basic":
                self.status = 401
                return self.reply(401, b"", {"WWW-Authenticate": 'Basic realm="GitHub"'})
            token = self.hub.check_token(self.presented)
            if found[1].lower() not in token.repositories:
                raise RefusedError(404, "Repository not found.")
            if not token.may(found[1], "contents", "write" if service == "git-receive-pack" else "read"):
                raise RefusedError(403, "Write access to repository not granted.")
            more = {"MAY_WRITE_WORKFLOWS": "yes"} if "workflows" in token.permissions else {}
            place = f"/{found[1].lower()}.git/{found[2]}"
            self.status = self.serve(self.hub.folder, place, self.place.query, body, more)
        return None

    def _say(self, status: int, value: object) -> None:
        self.status = status
        self.reply_json(status, value)


def _presented(authorization: str | None) -> tuple[str, str]:
    """Return scheme and token; of Basic only what goes by GitHub's name for tokens of apps."""
    scheme, _, rest = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return scheme.lower(), rest
    user, _, password = b64decode(rest).decode().partition(":")
    return "basic" if user == "x-access-token" else "other", password
