"""A registry's token endpoint over TLS, as the token specification has it; a real registry trusts what it signs.

It gives whoever logs in what their access list holds of what they ask, and nobody more. Sources: Distribution, "Token
Authentication Specification", "Token Authentication Implementation", "OAuth2 Token Authentication".
"""

import json
import re
import ssl
import time
import uuid
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from proxy.demo.web import Exchange, Site

ISSUER = "realm.test"
SERVICE = "registry.test"
_SCOPE = re.compile(r"(repository|registry):([a-z0-9/._-]+):([a-z*]+(?:,[a-z*]+)*)")


class Realm:
    """`users` have passwords, `refresh_tokens` users; `may` holds user, repository and right. Nobody is ``."""

    def __init__(self, tls: ssl.SSLContext, certificate: Path, key: Path) -> None:
        self.site = Site(_RealmExchange, tls)
        self.site.realm = self  # type: ignore[attr-defined]
        self._key = load_pem_private_key(key.read_bytes(), None)
        der = x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(Encoding.DER)
        self._chain = [b64encode(der).decode()]
        self.users: dict[str, str] = {}
        self.refresh_tokens: dict[str, str] = {}
        self.may: set[tuple[str, str, str]] = set()
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.tokens: list[str] = []
        self.instead: list[tuple[int, bytes]] = []
        self.gives: dict[str, Any] = {}
        self.changes: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = list
        self.delay = 0.0

    def answer(self, user: str, scopes: tuple[str, ...]) -> dict[str, Any]:
        """Return a token for what this user may do of what was asked."""
        self.asked.append((user, scopes))
        access = []
        for scope in scopes:
            match = _SCOPE.fullmatch(scope)
            if match is None:
                raise ValueError(scope)
            kind, name, actions = match.groups()
            given = [each for each in actions.split(",") if (user, name, each) in self.may]
            access.append({"type": kind, "name": name, "actions": given})
        now = int(time.time())
        claims = {"iss": ISSUER, "sub": user, "aud": SERVICE, "iat": now, "nbf": now - 5, "exp": now + 300}
        claims |= {"jti": str(uuid.uuid4()), "access": self.changes(access)}
        token = jwt.encode(claims, self._key, "ES256", headers={"x5c": self._chain})  # type: ignore[arg-type]
        self.tokens.append(token)
        return {"token": token, "expires_in": 300} | self.gives


class _RealmExchange(Exchange):
    def answer(self) -> None:
        realm: Realm = self.server.realm  # type: ignore[attr-defined]
        body = self.read_body()
        time.sleep(realm.delay)
        if realm.instead:
            self.reply(*realm.instead.pop(0))
            return
        path, _, query = self.path.partition("?")
        pairs = parse_qsl(query, strict_parsing=True) if query else []
        try:
            user, asked = self._by_form(realm, body) if self.command == "POST" else self._by_basic(realm, pairs)
            if path != "/token" or dict(asked).get("service") != SERVICE:
                raise ValueError(path)
            scopes = tuple(each for name, text in asked if name == "scope" for each in text.split(" "))
            self.reply_json(200, realm.answer(user, scopes))
        except PermissionError:
            self.reply_json(401, {"errors": [{"code": "UNAUTHORIZED"}]})
        except ValueError:
            self.reply_json(400, {"errors": [{"code": "UNSUPPORTED"}]})

    def _by_basic(self, realm: Realm, pairs: list[tuple[str, str]]) -> tuple[str, list[tuple[str, str]]]:
        stated = self.headers.get("authorization")
        if self.command != "GET" or any(name not in {"service", "scope", "account", "client_id"} for name, _ in pairs):
            raise ValueError(self.command)
        if stated is None:
            return "", pairs
        scheme, _, text = stated.partition(" ")
        user, _, password = b64decode(text, validate=True).decode().partition(":")
        if scheme != "Basic" or realm.users.get(user) != password:
            raise PermissionError
        return user, pairs

    def _by_form(self, realm: Realm, body: bytes) -> tuple[str, list[tuple[str, str]]]:
        pairs = parse_qsl(body.decode(), strict_parsing=True)
        form = dict(pairs)
        if self.headers.get("content-type") != "application/x-www-form-urlencoded" or len(form) != len(pairs):
            raise ValueError(pairs)
        if form.get("grant_type") != "refresh_token" or "client_id" not in form or self.headers.get("authorization"):
            raise ValueError(pairs)
        user = realm.refresh_tokens.get(form.get("refresh_token", ""))
        if user is None:
            raise PermissionError
        return user, pairs


def registry_settings(folder: Path, port: int, realm: str, tls: tuple[Path, Path], root: Path) -> Path:
    """Write the settings of a real registry that takes tokens of the realm alone; return their file."""
    made = folder / "registry.json"
    settings = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}", "tls": {"certificate": str(tls[0]), "key": str(tls[1])}},
        "auth": {
            "token": {"realm": realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": str(root)},
        },
    }
    made.write_text(json.dumps(settings))
    return made
