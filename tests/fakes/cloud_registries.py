"""Azure's and Google's container registries over TLS: their own ways to a token, and strict about it.

Sources: Azure/acr, "AAD-OAuth"; Artifact Registry, "Configure authentication to Artifact Registry for Docker".
"""

import re
import ssl
import uuid
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

from proxy.demo.web import Exchange, Site

AZURE: Final = "acme.azurecr.io"
GOOGLE: Final = "europe-docker.pkg.dev"
_TAGS: Final = re.compile(r"/v2/(.+)/tags/list")


@dataclass(slots=True)
class CloudRegistry:
    """`admits` says whether a cloud's token is good here; `tokens` holds scopes by token, `refresh` Azure's own."""

    tls: ssl.SSLContext
    host: str
    admits: Callable[[str], bool]
    tenant: str = ""
    may: frozenset[str] = frozenset()
    refresh: set[str] = field(default_factory=set)
    tokens: dict[str, str] = field(default_factory=dict)
    site: Site = field(init=False)

    def __post_init__(self) -> None:
        self.site = Site(_RegistryExchange, self.tls)
        self.site.registry = self  # type: ignore[attr-defined]

    def grant(self, service: str | None, scope: str | None) -> dict[str, str | int] | None:
        """Return a token for a scope; None where the service or the scope is not this registry's."""
        if service != self.host or scope not in self.may:
            return None
        token = f"planted-registry-{uuid.uuid4().hex}"
        self.tokens[token] = scope or ""
        return {"access_token": token, "expires_in": 300}

    def exchange(self, form: dict[str, str]) -> str | None:
        """Answer Azure's `/oauth2/exchange`."""
        names = {"grant_type", "service", "tenant", "access_token"}
        right = form.keys() == names and form["grant_type"] == "access_token" and form["service"] == self.host
        if not right or form["tenant"] != self.tenant or not self.admits(form["access_token"]):
            return None
        self.refresh.add(f"planted-refresh-{uuid.uuid4().hex}")
        return max(self.refresh)


class _RegistryExchange(Exchange):
    def answer(self) -> None:
        registry: CloudRegistry = self.server.registry  # type: ignore[attr-defined]
        body, (path, _, query) = self.read_body(), self.path.partition("?")
        form = dict(parse_qsl(body.decode()))
        if path == "/oauth2/exchange" and self.command == "POST" and registry.host == AZURE:
            fresh = registry.exchange(form)
            self.reply_json(401 if fresh is None else 200, {"refresh_token": fresh})
        elif path == "/oauth2/token" and self.command == "POST" and registry.host == AZURE:
            known = form.get("grant_type") == "refresh_token" and form.get("refresh_token") in registry.refresh
            self._grant(registry.grant(form.get("service"), form.get("scope")) if known else None)
        elif path == "/v2/token" and self.command == "GET" and registry.host == GOOGLE:
            asked = dict(parse_qsl(query))
            user, _, password = b64decode(self.headers.get("authorization", "").removeprefix("Basic ")).partition(b":")
            known = user == b"oauth2accesstoken" and registry.admits(password.decode())
            self._grant(registry.grant(asked.get("service"), asked.get("scope")) if known else None)
        else:
            self._serve(registry, path)

    def _grant(self, told: dict[str, str | int] | None) -> None:
        self.reply_json(401 if told is None else 200, told or {"errors": []})

    def _serve(self, registry: CloudRegistry, path: str) -> None:
        found = registry.tokens.get(self.headers.get("authorization", "").removeprefix("Bearer "))
        match = _TAGS.fullmatch(path)
        if match is not None and found == f"repository:{match[1]}:pull":
            self.reply_json(200, {"name": match[1], "tags": ["v1"]})
            return
        place = "/oauth2/token" if registry.host == AZURE else "/v2/token"
        challenge = f'Bearer realm="https://{registry.host}{place}",service="{registry.host}"'
        self.reply(401, b"{}", {"WWW-Authenticate": challenge})
