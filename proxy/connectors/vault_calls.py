"""The calls to a Vault: log in with the job's token, read one secret, give back the token or a lease.

Nothing of an answer goes into a message: Vault's errors repeat paths, claims and roles. Source: Vault's HTTP API,
"JWT/OIDC auth method", "KV secrets engine", "/auth/token", "/sys/leases"; OpenBao's is the same.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from proxy.connectors.answers import ask, expect_object, read_line, read_object, read_token
from proxy.connectors.parts import Caller
from proxy.model.errors import CredentialError
from proxy.model.grant import Secret
from proxy.model.reason import Reason
from proxy.outbound import Answer, Call

_WHO: Final = "Vault"
_LONGEST: Final = timedelta(days=1)
_ROOT: Final = "root"
_ALWAYS: Final = "default"
"""The policy that Vault gives every token."""
_GONE: Final = frozenset({"bad token", "invalid token"})
_LOGIN_TIME: Final = 2.2
_READ_TIME: Final = 1.3
_RETURN_TIME: Final = 0.8
"""Seconds: together within the minter's time, so that a token that is not used is given back, not forgotten."""

_CENTURY: Final = 3_153_600_000
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_./-]{0,63}")

type Engine = Literal["kv1", "kv2", "dynamic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A client token as Vault gave it."""

    token: Secret
    expires_at: datetime
    policies: tuple[str, ...]
    is_batch: bool
    """Whether it is one that Vault does not keep, and so cannot revoke."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which secret is read. `path` is the API's, without `/v1/`; `parameters` are for dynamic engines."""

    engine: Engine
    path: str
    field: str
    username_field: str | None
    version: int | None
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A secret as Vault gave it. `lease` names it where Vault can take it back; `ends_at` None: Vault did not say."""

    value: Secret
    username: str | None = field(default=None, repr=False)
    lease: Secret | None
    ends_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultServer:
    """One Vault, seen from one namespace. `address` has no last slash."""

    caller: Caller = field(repr=False)
    address: str
    namespace: str

    async def log_in(self, mount: str, role: str, jwt: Secret, now: datetime) -> Login:
        """Return a token for the job's own. Raises CredentialError; a token that is refused here is given back."""
        body = {"role": role, "jwt": jwt.reveal()}
        answer = await self._ask("POST", f"auth/{mount}/login", None, body, _LOGIN_TIME)
        if answer.status != 200:
            raise _refused(answer, _NO_LOGIN)
        given = expect_object(answer, _WHO).get("auth")
        if not isinstance(given, dict):
            raise CredentialError(f"{_WHO}: the answer to the login holds no token")
        token = read_token(given, "client_token", _WHO)
        try:
            return _read_login(given, token, now)
        except CredentialError:
            await self.give_back(token)
            raise

    async def read(self, token: Secret, wanted: Wanted, now: datetime) -> Found:
        """Return one secret. Raises CredentialError."""
        query = "" if wanted.version is None else f"?version={wanted.version}"
        method, body = ("POST", dict(wanted.parameters)) if wanted.parameters else ("GET", None)
        answer = await self._ask(method, wanted.path + query, token, body, _READ_TIME)
        if answer.status != 200:
            raise _refused(answer, _NO_SECRET)
        return _read_secret(expect_object(answer, _WHO), wanted, now)

    async def give_back(self, token: Secret) -> bool:
        """Revoke a token that is not used any more; whether Vault confirmed it. Never raises CredentialError."""
        try:
            await self.revoke_token(token, _RETURN_TIME)
        except CredentialError:
            return False
        return True

    async def revoke_token(self, token: Secret, seconds: float = 5.0) -> None:
        """Make a token void, and with it its leases. Raises CredentialError unless Vault says that it is."""
        answer = await self._ask("POST", "auth/token/revoke-self", token, None, seconds)
        if answer.status != 204 and not (answer.status == 403 and _says_gone(answer)):
            raise CredentialError(f"{_WHO}: the token was not taken back, status {answer.status}")

    async def revoke_lease(self, token: Secret, lease: Secret) -> None:
        """Take back one secret, and wait until it is void. Raises CredentialError unless Vault says that it is."""
        body = {"lease_id": lease.reveal(), "sync": True}
        answer = await self._ask("POST", "sys/leases/revoke", token, body, 5.0)
        if answer.status != 204:
            raise CredentialError(f"{_WHO}: the lease was not taken back, status {answer.status}")

    async def _ask(
        self, method: str, path: str, token: Secret | None, body: Mapping[str, Any] | None, seconds: float
    ) -> Answer:
        headers: dict[str, str | Secret] = {"accept": "application/json", "x-vault-request": "true"}
        if self.namespace:
            headers["x-vault-namespace"] = self.namespace
        if token is not None:
            headers["x-vault-token"] = token
        content = b""
        if body is not None:
            headers["content-type"], content = "application/json", json.dumps(body).encode()
        url = f"{self.address}/v1/{path}"
        call = Call(method=method, url=url, headers=headers, body=content, timeout=seconds)
        return await ask(self.caller, call, _WHO)


def check_policies(held: Sequence[str], allowed: Sequence[str]) -> None:
    """Raise CredentialError for a token with more policies than the rule knows of; none named: any but root's."""
    surplus = sorted(set(held) - {*allowed, _ALWAYS}) if allowed else [each for each in held if each == _ROOT]
    if surplus:
        named = " ".join(each for each in surplus if _NAME.fullmatch(each)) or f"{len(surplus)}"
        raise CredentialError(
            f"{_WHO}: the role's tokens hold policies that the rule does not name: {named}", Reason.CREDENTIAL_REFUSED
        )


_NO_LOGIN: Final = {
    400: "the role is not there, or does not accept the job's token (audience, claims, expiry)",
    403: "there is no such auth method, or it does not let the job in",
    404: "there is no such auth method or namespace",
}
_NO_SECRET: Final = {
    400: "the engine does not take the parameters, or its role is not there",
    403: "the role's policies do not let it read the secret",
    404: "there is no such secret",
    405: "the engine wants parameters, or takes none",
}


def _refused(answer: Answer, causes: Mapping[int, str]) -> CredentialError:
    cause = causes.get(answer.status)
    said = f"status {answer.status}" if cause is None else f"{cause}, status {answer.status}"
    return CredentialError(f"{_WHO}: {said}", Reason.CREDENTIAL_REFUSED)


def _says_gone(answer: Answer) -> bool:
    """Whether Vault says that there is no such token, which OpenBao does not tell from one that may not."""
    errors = (read_object(answer.body) or {}).get("errors")
    return isinstance(errors, list) and any(isinstance(each, str) and each in _GONE for each in errors)


def _read_login(given: Mapping[str, Any], token: Secret, now: datetime) -> Login:
    policies = given.get("policies")
    if not isinstance(policies, list) or not all(isinstance(each, str) for each in policies):
        raise CredentialError(f"{_WHO}: the answer does not say what the token may do")
    if given.get("external_namespace_policies"):
        raise CredentialError(f"{_WHO}: the token holds policies of other namespaces", Reason.CREDENTIAL_REFUSED)
    if given.get("num_uses") != 0:
        raise CredentialError(
            f"{_WHO}: the role's tokens are for a number of uses; leave `token_num_uses` at 0",
            Reason.CREDENTIAL_REFUSED,
        )
    kind = given.get("token_type")
    if kind not in {"service", "batch"}:
        raise CredentialError(f"{_WHO}: the token is of no known type")
    life = _seconds(given.get("lease_duration"))
    if life is None or life > _LONGEST:
        raise CredentialError(
            f"{_WHO}: the role's tokens live longer than a day; set its `token_ttl`", Reason.CREDENTIAL_REFUSED
        )
    return Login(token=token, expires_at=now + life, policies=tuple(policies), is_batch=kind == "batch")


def _read_secret(answer: Mapping[str, Any], wanted: Wanted, now: datetime) -> Found:
    values = answer.get("data")
    if wanted.engine == "kv2":
        values = values.get("data") if isinstance(values, dict) else None
    if not isinstance(values, dict):
        raise CredentialError(f"{_WHO}: the answer is not that of a {wanted.engine} engine")
    value = read_line(values.get(wanted.field), f"{_WHO}: `{wanted.field}` of the secret")
    username = None
    if wanted.username_field is not None:
        username = read_line(values.get(wanted.username_field), f"{_WHO}: `{wanted.username_field}` of the secret")
        if ":" in username.reveal():
            raise CredentialError(f"{_WHO}: a username with a colon cannot be sent as `basic`")
    name = username.reveal() if username is not None else None
    if wanted.engine != "dynamic":
        return Found(value=value, username=name, lease=None, ends_at=None)
    lease = answer.get("lease_id")
    if isinstance(lease, str) and lease:
        life = _seconds(answer.get("lease_duration"))
        if life is None:
            raise CredentialError(f"{_WHO}: the secret's lease has no end")
        return Found(value=value, username=name, lease=Secret(lease), ends_at=now + life)
    return Found(value=value, username=name, lease=None, ends_at=_stated_end(values, now))


def _stated_end(values: Mapping[str, Any], now: datetime) -> datetime | None:
    """Return when a secret without a lease ends, as its engine says: `ttl` of identity tokens, `expiration` of PKI."""
    life, epoch = _seconds(values.get("ttl")), _seconds(values.get("expiration"))
    if life is not None:
        return now + life
    return None if epoch is None else datetime.fromtimestamp(epoch.total_seconds(), UTC)


def _seconds(value: object) -> timedelta | None:
    """Return a positive number of whole seconds, None for anything else. A hundred years are enough."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < _CENTURY:
        return None
    return timedelta(seconds=value)
