"""Entra's token endpoint and Azure services that verify its tokens, over TLS, as strict as their references say.

Issuer, subject and audience of a federated credential match exactly; a token is for one service. Sources: Microsoft
identity platform, "Workload identity federation"; "Access token request with a federated credential".
"""

import json
import ssl
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

import jwt

from proxy.demo.web import Exchange, Site
from tests.fakes.keys import signing_key

LOGIN: Final = "login.microsoftonline.com"
SERVICES: Final = {
    "management.azure.com": "https://management.azure.com/",
    "releases.blob.core.windows.net": "https://storage.azure.com/",
    "acme.vault.azure.net": "https://vault.azure.net/",
    "acme.azurecr.io": "https://containerregistry.azure.net/",
}
HOSTS: Final = (LOGIN, *SERVICES)
_JWT_BEARER: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Federated:
    """A federated credential of an application."""

    issuer: str
    key: Any
    subject: str
    audience: str = "api://AzureADTokenExchange"


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A request with a token."""

    host: str
    method: str
    path: str
    who: str | None
    status: int


@dataclass(slots=True)
class Entra:
    """`applications` map tenant and client id to a federated credential; `may` holds client id and host."""

    tls: ssl.SSLContext
    applications: dict[tuple[str, str], Federated] = field(default_factory=dict)
    may: set[tuple[str, str]] = field(default_factory=set)
    asked: list[dict[str, str]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    instead: list[tuple[int, bytes]] = field(default_factory=list)
    gives: Mapping[str, Any] = field(default_factory=dict)
    claims: Mapping[str, Any] = field(default_factory=dict)
    delay: float = 0.0
    echoes: bool = False
    site: Site = field(init=False)

    def __post_init__(self) -> None:
        self.site = Site(_EntraExchange, self.tls)
        self.site.entra = self  # type: ignore[attr-defined]

    def issue(self, tenant: str, form: dict[str, str]) -> dict[str, Any]:
        """Answer the token endpoint. Raises ValueError for what Entra refuses, by its error code."""
        names = {"client_id", "scope", "grant_type", "client_assertion_type", "client_assertion"}
        if form.keys() != names or form["client_assertion_type"] != _JWT_BEARER:
            raise ValueError("invalid_request")
        if form["grant_type"] != "client_credentials":
            raise ValueError("unsupported_grant_type")
        resource = form["scope"].removesuffix(".default")
        if not form["scope"].endswith("/.default") or resource not in SERVICES.values():
            raise ValueError("invalid_scope")
        trusted = self.applications.get((tenant, form["client_id"]))
        if trusted is None:
            raise ValueError("unauthorized_client")
        try:
            claims = jwt.decode(
                form["client_assertion"], trusted.key, ["RS256"], audience=trusted.audience, issuer=trusted.issuer
            )
        except jwt.PyJWTError:
            raise ValueError("invalid_client") from None
        if claims["sub"] != trusted.subject:
            raise ValueError("invalid_client")
        now = int(time.time())
        told = {"aud": resource, "appid": form["client_id"], "exp": now + 3599, "jti": str(uuid.uuid4()), **self.claims}
        token = jwt.encode(told, signing_key("RS256", "entra").private, algorithm="RS256")
        self.tokens.append(token)
        return {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": token, **self.gives}

    def identify(self, authorization: str, host: str) -> str | None:
        """Return whose token this is, if it is for this service."""
        try:
            claims = jwt.decode(
                authorization.removeprefix("Bearer "),
                signing_key("RS256", "entra").public,
                ["RS256"],
                audience=SERVICES[host],
            )
        except jwt.PyJWTError:
            return None
        return str(claims["appid"])


class _EntraExchange(Exchange):
    def answer(self) -> None:
        entra: Entra = self.server.entra  # type: ignore[attr-defined]
        time.sleep(entra.delay)
        body, path, host = self.read_body(), self.path.partition("?")[0], self.headers["host"]
        if host != LOGIN:
            self._serve(entra, host, path)
            return
        if entra.instead:
            self.reply(*entra.instead.pop(0))
            return
        pairs = parse_qsl(body.decode(), strict_parsing=True)
        form = dict(pairs)
        entra.asked.append(form)
        tenant, _, rest = path[1:].partition("/")
        is_form = self.headers.get("content-type") == "application/x-www-form-urlencoded"
        try:
            if self.command != "POST" or rest != "oauth2/v2.0/token" or not is_form or len(form) != len(pairs):
                raise ValueError("invalid_request")
            self.reply_json(200, entra.issue(tenant, form))
        except ValueError as error:
            told = {"error": str(error), "error_description": f"AADSTS: {form.get('client_assertion')}"}
            self.reply_json(401 if str(error) == "invalid_client" else 400, told)

    def _serve(self, entra: Entra, host: str, path: str) -> None:
        who = entra.identify(self.headers.get("authorization", ""), host)
        status = 401 if who is None else 200 if (who, host) in entra.may else 403
        entra.uses.append(Use(host=host, method=self.command, path=path, who=who, status=status))
        told: dict[str, Any] = {"you": self.headers.get("authorization", "")} if entra.echoes else {"value": []}
        self.reply(status, json.dumps(told).encode(), {"Content-Type": "application/json"})
