"""Buildkite's agent API over TLS, as strict as its clients know it: the right token, the right job, JSON."""

import json
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.demo.web import Exchange, Site

HOST: Final = "agent-test.buildkite.com"
_JOB: Final = re.compile(r"/v3/jobs/([0-9a-f-]{36})/(oidc/tokens|data/set|secrets)(?:\?key=([A-Za-z0-9_]+))?")


@dataclass(slots=True)
class AgentApi:
    """One agent's access token; `mint` makes an identity for a job and an audience."""

    tls: ssl.SSLContext
    token: str
    mint: Callable[[str, str], str]
    secrets: Mapping[str, str] = field(default_factory=lambda: {"DEPLOY": "deploy-secret"})
    minted: list[str] = field(default_factory=list)
    data: dict[str, str] = field(default_factory=dict)
    site: Site = field(init=False)

    def __post_init__(self) -> None:
        self.site = Site(_AgentExchange, self.tls)
        self.site.agent_api = self  # type: ignore[attr-defined]

    def answer(self, method: str, path: str, authorization: str, body: bytes) -> tuple[int, Any]:
        """Return status and JSON of one call."""
        if authorization != f"Token {self.token}":
            return 401, {"message": "Unauthorized"}
        match = _JOB.fullmatch(path)
        if match is None:
            return 404, {"message": "Not Found"}
        job, call, key = match.groups()
        if call == "secrets" and method == "GET":
            return (200, {"key": key, "value": self.secrets[key]}) if key in self.secrets else (404, {})
        if method != "POST":
            return 405, {}
        told = json.loads(body or b"{}")
        if call == "data/set":
            self.data[told["key"]] = told["value"]
            return 200, {}
        audience = told.get("audience", "https://buildkite.com/acme")
        self.minted.append(audience)
        return 200, {"token": self.mint(job, audience)}


class _AgentExchange(Exchange):
    def answer(self) -> None:
        api: AgentApi = self.server.agent_api  # type: ignore[attr-defined]
        body = self.read_body()
        status, told = api.answer(self.command, self.path, self.headers.get("Authorization", ""), body)
        self.reply(status, json.dumps(told).encode(), {"Content-Type": "application/json"})
