"""An OAuth 2.0 authorization server over TLS that refuses by the book (RFC 6749, RFC 7009, RFC 7523, RFC 8707)."""

import ssl
import time
import uuid
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

import jwt

from proxy.demo.web import Exchange, Site

URL = "https://login.test/token"
_JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class RefusedError(Exception):
    """The answer is an error: its code."""


@dataclass(slots=True)
class AuthorizationServer:
    """`secrets` and `keys` are clients'; `scopes` what each may have; `refresh_tokens` whose they are."""

    tls: ssl.SSLContext
    secrets: dict[str, str] = field(default_factory=dict)
    keys: dict[str, Any] = field(default_factory=dict)
    scopes: dict[str, set[str]] = field(default_factory=dict)
    refresh_tokens: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    tokens: dict[str, str] = field(default_factory=dict)
    asked: list[list[tuple[str, str]]] = field(default_factory=list)
    instead: list[tuple[int, bytes]] = field(default_factory=list)
    gives: Mapping[str, Any] = field(default_factory=dict)
    delay: float = 0.0
    site: Site = field(init=False)

    def __post_init__(self) -> None:
        self.site = Site(_AuthorizationExchange, self.tls)
        self.site.login = self  # type: ignore[attr-defined]

    def identify(self, form: dict[str, str], authorization: str | None) -> str:
        """Return the client. One way of saying who it is, and no more (RFC 6749 2.3)."""
        ways = [authorization is not None, "client_secret" in form, "client_assertion" in form]
        if sum(ways) != 1:
            raise RefusedError("invalid_request" if sum(ways) > 1 else "invalid_client")
        if authorization is not None:
            scheme, _, text = authorization.partition(" ")
            name, _, secret = b64decode(text).decode().partition(":")
            if scheme != "Basic" or self.secrets.get(unquote(name)) != unquote(secret):
                raise RefusedError("invalid_client")
            return unquote(name)
        name = form.get("client_id", "")
        if "client_secret" in form:
            if self.secrets.get(name) != form["client_secret"]:
                raise RefusedError("invalid_client")
            return name
        return self._by_assertion(name, form)

    def _by_assertion(self, name: str, form: dict[str, str]) -> str:
        if form.get("client_assertion_type") != _JWT_BEARER or name not in self.keys:
            raise RefusedError("invalid_client")
        try:
            claims = jwt.decode(form["client_assertion"], self.keys[name], ["RS256"], audience=URL, issuer=name)
        except jwt.PyJWTError:
            raise RefusedError("invalid_client") from None
        is_old = claims["exp"] - claims["iat"] > 300 or claims["jti"] in self.used
        self.used.add(claims["jti"])
        if claims["sub"] != name or is_old:
            raise RefusedError("invalid_client")
        return name

    def issue(self, client: str, form: dict[str, str]) -> dict[str, Any]:
        """Answer the token endpoint."""
        if form.get("grant_type") == "refresh_token":
            if self.refresh_tokens.get(form.get("refresh_token", "")) != client:
                raise RefusedError("invalid_grant")
        elif form.get("grant_type") != "client_credentials":
            raise RefusedError("unsupported_grant_type")
        wanted = set(form.get("scope", "").split())
        if wanted - self.scopes.get(client, set()):
            raise RefusedError("invalid_scope")
        if form.get("resource", "https://api.test") != "https://api.test":
            raise RefusedError("invalid_target")
        token = f"planted-access-{uuid.uuid4().hex}"
        self.tokens[token] = client
        return {"access_token": token, "token_type": "Bearer", "expires_in": 600, **self.gives}

    def revoke(self, client: str, form: dict[str, str]) -> None:
        """Answer the revocation endpoint: a stranger's token is not touched (RFC 7009 2.1)."""
        token = form.get("token", "")
        if not token:
            raise RefusedError("invalid_request")
        if self.tokens.get(token) == client:
            del self.tokens[token]


class _AuthorizationExchange(Exchange):
    def answer(self) -> None:
        login: AuthorizationServer = self.server.login  # type: ignore[attr-defined]
        time.sleep(login.delay)
        body = self.read_body()
        if login.instead:
            self.reply(*login.instead.pop(0))
            return
        pairs = parse_qsl(body.decode(), strict_parsing=True)
        form = dict(pairs)
        login.asked.append(pairs)
        is_form = self.headers.get("content-type") == "application/x-www-form-urlencoded"
        try:
            if self.command != "POST" or not is_form or len(form) != len(pairs):
                raise RefusedError("invalid_request")
            client = login.identify(form, self.headers.get("authorization"))
            if self.path == "/token":
                self.reply_json(200, login.issue(client, form))
            elif self.path == "/revoke":
                login.revoke(client, form)
                self.reply(200)
            else:
                self.reply(404)
        except RefusedError as error:
            told = {"error": str(error), "error_description": str(pairs)}
            self.reply_json(401 if str(error) == "invalid_client" else 400, told)
