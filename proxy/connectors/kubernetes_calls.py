"""The calls to a cluster's API server: a token for a service account, and what the token is bound to.

A token that is bound to a Secret is void once the Secret is gone: that is the one way to take it back. Source:
Kubernetes API, `TokenRequest` (authentication.k8s.io/v1), "Managing Service Accounts", bound service account tokens.
"""

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from proxy.connectors.answers import ask, expect_object, read_object, read_time, read_token
from proxy.connectors.parts import Caller
from proxy.model.errors import CredentialError
from proxy.model.grant import Secret
from proxy.model.reason import Reason
from proxy.outbound import Answer, Call

_WHO: Final = "Kubernetes"
_VERSION: Final = "authentication.k8s.io/v1"
_SHORTEST: Final = timedelta(minutes=10)
_LEGACY: Final = 3607
"""Seconds that a server may take for an old kubelet's wish, and answer with a year (its token extension)."""
_SLACK: Final = timedelta(seconds=60)
_PREFIX: Final = "jobgate-"
_TIME: Final = 1.2
_DROP_TIME: Final = 0.8
"""Seconds: all calls of one mint are within the minter's time, so that nothing is left behind unseen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whose token is wanted, and for whom. No audiences: for the API server itself."""

    namespace: str
    name: str
    audiences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """The Secret that a token lives and dies with."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeToken:
    """A token as the server gave it."""

    token: Secret
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServer:
    """A cluster's API server, asked with the sidecar's own token. `url` has no last slash."""

    caller: Caller = field(repr=False)
    url: str
    own: Secret = field(repr=False)

    async def make_token(
        self, account: Account, lifetime: timedelta, binding: Binding | None, now: datetime
    ) -> MadeToken:
        """Return a token that lives ten minutes or more. Raises CredentialError, also for one that is wider."""
        seconds = int(max(lifetime, _SHORTEST).total_seconds())
        seconds -= seconds == _LEGACY
        spec: dict[str, Any] = {"audiences": list(account.audiences), "expirationSeconds": seconds}
        if binding is not None:
            reference = {"kind": "Secret", "apiVersion": "v1", "name": binding.name, "uid": binding.uid}
            spec["boundObjectRef"] = reference
        path = f"{_place(account.namespace)}/serviceaccounts/{account.name}/token"
        body = {"apiVersion": _VERSION, "kind": "TokenRequest", "spec": spec}
        found = await self._ask("POST", path, body, _TIME, _NO_TOKEN)
        status = found.get("status")
        if not isinstance(status, dict):
            raise CredentialError(f"{_WHO}: the answer holds no token")
        token, expires_at = read_token(status, "token", _WHO), read_time(status, "expirationTimestamp", _WHO)
        _check_claims(token, account, expires_at)
        if expires_at > now + timedelta(seconds=seconds) + _SLACK:
            raise CredentialError(f"{_WHO}: the token lives longer than was asked for")
        return MadeToken(token=token, expires_at=expires_at)

    async def bind(self, namespace: str) -> Binding:
        """Make an empty Secret for a token to be bound to. Raises CredentialError."""
        metadata = {"generateName": _PREFIX, "labels": {"app.kubernetes.io/managed-by": "jobgate"}}
        body = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata}
        found = await self._ask("POST", f"{_place(namespace)}/secrets", body, _TIME, _NO_BINDING)
        made = found.get("metadata")
        name, uid = (made.get("name"), made.get("uid")) if isinstance(made, dict) else (None, None)
        is_ours = isinstance(name, str) and name.startswith(_PREFIX) and name.replace("-", "").isalnum()
        if not isinstance(name, str) or not is_ours or not isinstance(uid, str) or not uid:
            raise CredentialError(f"{_WHO}: the Secret that was made has no name")
        return Binding(name=name, uid=uid)

    async def unbind(self, namespace: str, binding: Binding, seconds: float = 5.0) -> None:
        """Delete the Secret, and so make its token void. Raises CredentialError unless the server says it is gone."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": binding.uid}}
        answer = await self._send("DELETE", f"{_place(namespace)}/secrets/{binding.name}", body, seconds)
        if answer.status not in {200, 404}:
            raise CredentialError(f"{_WHO}: the token was not taken back, status {answer.status}")

    async def drop(self, namespace: str, binding: Binding) -> None:
        """Delete the Secret of a token that is not used; that it was refused matters more than whether this works."""
        try:
            await self.unbind(namespace, binding, _DROP_TIME)
        except CredentialError:
            return

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any], seconds: float, causes: Mapping[int, str]
    ) -> dict[str, Any]:
        answer = await self._send(method, path, body, seconds)
        if answer.status != 201:
            cause = causes.get(answer.status)
            said = f"status {answer.status}" if cause is None else f"{cause}, status {answer.status}"
            raise CredentialError(f"{_WHO}: {said}", Reason.CREDENTIAL_REFUSED)
        return expect_object(answer, _WHO, 201)

    async def _send(self, method: str, path: str, body: Mapping[str, Any], seconds: float) -> Answer:
        headers: dict[str, str | Secret] = {
            "accept": "application/json",
            "content-type": "application/json",
            "authorization": Secret(f"Bearer {self.own.reveal()}"),
        }
        content = json.dumps(body).encode()
        call = Call(method=method, url=f"{self.url}{path}", headers=headers, body=content, timeout=seconds)
        return await ask(self.caller, call, _WHO)


_OWN: Final = "the sidecar's own token is not accepted"
_NO_TOKEN: Final = {
    401: _OWN,
    403: "the sidecar may not `create` `serviceaccounts/token` there",
    404: "there is no such service account",
    422: "the server does not make such a token",
}
_NO_BINDING: Final = {
    401: _OWN,
    403: "the sidecar may not `create` `secrets` there",
    404: "there is no such namespace",
}


def _place(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}"


def _check_claims(token: Secret, account: Account, expires_at: datetime) -> None:
    """Raise CredentialError unless the token says that it is the account's, for the audiences, until then."""
    claims = _read_claims(token.reveal())
    if claims.get("sub") != f"system:serviceaccount:{account.namespace}:{account.name}":
        raise CredentialError(f"{_WHO}: the token is not the service account's")
    stated = claims.get("aud")
    audiences: Sequence[object] = stated if isinstance(stated, list) else [stated]
    if account.audiences and not (audiences and all(each in account.audiences for each in audiences)):
        raise CredentialError(f"{_WHO}: the token is for other audiences than were asked for")
    ends = claims.get("exp")
    if isinstance(ends, bool) or not isinstance(ends, int) or not 0 < ends < _CENTURIES:
        raise CredentialError(f"{_WHO}: the token does not say when it ends")
    if abs(datetime.fromtimestamp(ends, UTC) - expires_at) > _SLACK:
        raise CredentialError(f"{_WHO}: the token ends at another time than the answer says")


_CENTURIES: Final = 1 << 34


def _read_claims(token: str) -> dict[str, Any]:
    """Return what a JWT states. Its signature is the server's matter: it came from there."""
    parts = token.split(".")
    try:
        content = urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)) if len(parts) == 3 else b""
    except ValueError:
        content = b""
    found = read_object(content)
    if found is None:
        raise CredentialError(f"{_WHO}: the token is not a service account's")
    return found
