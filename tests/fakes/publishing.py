"""PyPI, npm, crates.io and RubyGems over TLS: their token exchanges and uploads, as strict as their documents say.

A publisher is claims and one package; a token publishes that package until it ends, and a job's token buys one once.
Sources: PyPI, "Trusted Publishers"; npm, "Trusted publishing"; crates.io, RFC 3691; RubyGems guides.
"""

import json
import re
import ssl
import time
import uuid
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote

import jwt

from proxy.demo.web import Exchange, Site

HOSTS: Final = ("pypi.org", "upload.pypi.org", "registry.npmjs.org", "crates.io", "rubygems.org")
AUDIENCES: Final = {
    "pypi": "pypi",
    "npm": "npm:registry.npmjs.org",
    "crates": "crates.io",
    "rubygems": "rubygems.org",
}
ROLE: Final = "rg_oidc_akr_0123456789abcdef"


class RefusedError(Exception):
    """The answer is an error: its status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """Whose jobs may publish a package."""

    kind: str
    package: str
    claims: Mapping[str, str]


@dataclass(slots=True)
class Registries:
    """`held` are secrets that were given out long ago; `tokens` what was bought: kind, package, end."""

    tls: ssl.SSLContext
    issuer: str
    key: Any
    publishers: list[Publisher] = field(default_factory=list)
    held: dict[str, tuple[str, str]] = field(default_factory=dict)
    tokens: dict[str, tuple[str, str, float]] = field(default_factory=dict)
    bought: list[tuple[str, str]] = field(default_factory=list)
    spent: set[str] = field(default_factory=set)
    published: list[tuple[str, str]] = field(default_factory=list)
    instead: list[tuple[int, bytes]] = field(default_factory=list)
    gives: dict[str, Any] = field(default_factory=dict)
    delay: float = 0.0
    site: Site = field(init=False)

    def __post_init__(self) -> None:
        self.site = Site(_RegistryExchange, self.tls)
        self.site.registries = self  # type: ignore[attr-defined]

    def buy(self, kind: str, text: object, package: str | None = None, seconds: float = 900) -> str:
        """Return a token for the package that this job publishes. Raises RefusedError."""
        if not isinstance(text, str) or text in self.spent:
            raise RefusedError(422)
        try:
            claims = jwt.decode(text, self.key, ["RS256"], audience=AUDIENCES[kind], issuer=self.issuer)
        except jwt.PyJWTError:
            raise RefusedError(403) from None
        for publisher in self.publishers:
            fits = all(claims.get(name) == value for name, value in publisher.claims.items())
            if publisher.kind == kind and fits and package in {None, publisher.package}:
                if kind in {"pypi", "crates"}:
                    self.spent.add(text)
                token = f"planted-{kind}-{uuid.uuid4().hex}"
                self.tokens[token] = (kind, publisher.package, time.time() + seconds)
                self.bought.append((kind, publisher.package))
                return token
        raise RefusedError(403)

    def may(self, kind: str, token: str, package: str) -> None:
        """Raise RefusedError unless the token publishes the package."""
        found = self.tokens.get(token) or (*self.held.get(token, ("", "")), time.time() + 1)
        if found[0] != kind or found[2] <= time.time():
            raise RefusedError(401)
        if found[1] != package:
            raise RefusedError(403)
        self.published.append((kind, package))


class _RegistryExchange(Exchange):
    def answer(self) -> None:
        registries: Registries = self.server.registries  # type: ignore[attr-defined]
        time.sleep(registries.delay)
        body = self.read_body()
        self._all = registries
        is_exchange = "oidc" in self.path or "trusted_publishing" in self.path
        if is_exchange and registries.instead:
            self.reply(*registries.instead.pop(0))
            return
        try:
            self._answer(self.headers["host"], body)
        except RefusedError as error:
            self.reply_json(int(str(error)), {"errors": [{"detail": body.decode("latin-1")}]})

    def _answer(self, host: str, body: bytes) -> None:  # noqa: C901, PLR0912 - a table of routes
        stated = self.headers.get("authorization", "")
        match host, self.command, self.path.partition("?")[0]:
            case "pypi.org", "POST", "/_/oidc/mint-token":
                token = self._all.buy("pypi", json.loads(body).get("token"))
                self._told(200, {"success": True, "token": token, "expires": int(time.time()) + 900})
            case "upload.pypi.org", "POST", "/legacy/":
                _, _, text = stated.partition(" ")
                user, _, token = b64decode(text).decode().partition(":")
                name = re.search(rb'name="name"\r\n\r\n([^\r]+)\r\n', body)
                if user != "__token__" or name is None:
                    raise RefusedError(400)
                self._all.may("pypi", token, re.sub(r"[-_.]+", "-", name[1].decode()).lower())
                self.reply(200)
            case "registry.npmjs.org", "POST", path if path.startswith("/-/npm/v1/oidc/token/exchange/package/"):
                token = self._all.buy("npm", stated.removeprefix("Bearer "), unquote(path.rpartition("/package/")[2]))
                self._told(201, {"token": token})
            case "registry.npmjs.org", "PUT", path:
                self._all.may("npm", stated.removeprefix("Bearer "), unquote(path[1:]))
                self.reply_json(201, {"ok": True})
            case "registry.npmjs.org", "GET", _:
                self.reply_json(404, {"error": "Not found"})
            case "crates.io", "POST", "/api/v1/trusted_publishing/tokens":
                self._told(200, {"token": self._all.buy("crates", json.loads(body).get("jwt"), seconds=1800)})
            case "crates.io", "DELETE", "/api/v1/trusted_publishing/tokens":
                if self._all.tokens.pop(stated.removeprefix("Bearer "), None) is None:
                    raise RefusedError(401)
                self.reply(204)
            case "crates.io", "PUT", "/api/v1/crates/new":
                size = int.from_bytes(body[:4], "little")
                self._all.may("crates", stated, json.loads(body[4 : 4 + size])["name"])
                self.reply_json(200, {"warnings": {}})
            case "rubygems.org", "POST", "/api/v1/oidc/trusted_publisher/exchange_token":
                self._gem_key(self._all.buy("rubygems", json.loads(body).get("jwt")))
            case "rubygems.org", "POST", path if path == f"/api/v1/oidc/api_key_roles/{ROLE}/assume_role":
                self._gem_key(self._all.buy("rubygems", json.loads(body).get("jwt")))
            case "rubygems.org", "POST", "/api/v1/gems":
                self._all.may("rubygems", stated, "acme-lib")
                self.reply(200, b"Successfully registered gem")
            case _:
                raise RefusedError(404)

    def _gem_key(self, token: str) -> None:
        ends = datetime.fromtimestamp(self._all.tokens[token][2], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        told = {"rubygems_api_key": token, "name": "job", "scopes": ["push_rubygem"], "expires_at": ends}
        self._told(201, {**told, "gem": {"name": self._all.tokens[token][1]}})

    def _told(self, status: int, told: dict[str, Any]) -> None:
        self.reply_json(status, told | self._all.gives)
