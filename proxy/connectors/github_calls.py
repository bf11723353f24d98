"""The three calls of a GitHub App: find the installation, make a token for one repository, take the token back.

What GitHub answers is compared with what was asked for: a token that is wider is given back at once and refused.
Source: GitHub docs, "REST API endpoints for GitHub Apps", "Generating a JSON Web Token (JWT) for a GitHub App".
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from proxy.connectors.answers import ask, expect_object, read_object, read_time, read_token
from proxy.connectors.app_key import sign_jwt
from proxy.connectors.github_needs import is_within, write_permissions
from proxy.connectors.parts import Caller
from proxy.model.errors import CredentialError
from proxy.model.grant import Secret
from proxy.model.reason import Reason
from proxy.outbound import Answer, Call

_WHO: Final = "GitHub"
_HEADERS: Final = {"accept": "application/vnd.github+json", "x-github-api-version": "2022-11-28"}
_BACK: Final = 60
"""Seconds that `iat` lies in the past, against clocks that differ (GitHub's advice)."""
_AHEAD: Final = 300
"""Seconds until the app's own token ends. Ten minutes is the most that GitHub takes; it is used at once."""
_LAST_ID: Final = 1 << 63
_KEY: Final = "the app's id or key is not accepted, or the clock here is wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeToken:
    """An installation token as GitHub gave it."""

    token: Secret
    expires_at: datetime
    installation: int
    permissions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHubApp:
    """One app at one site. `api` is the REST API's URL without its last slash."""

    caller: Caller = field(repr=False)
    api: str
    app: str
    key: Secret = field(repr=False)

    async def make_token(
        self, repository: str, permissions: Mapping[str, str], installation: int | None, now: datetime
    ) -> MadeToken:
        """Return a token for `OWNER/NAME` that holds no more than `permissions`. Raises CredentialError."""
        seconds = int(now.timestamp())
        claims = {"iat": seconds - _BACK, "exp": seconds + _AHEAD, "iss": self.app}
        own = await asyncio.to_thread(sign_jwt, self.key, claims)
        found = await self._find_installation(repository, own) if installation is None else installation
        body = {"repositories": [repository.partition("/")[2]], "permissions": dict(permissions)}
        call = _compose("POST", f"{self.api}/app/installations/{found}/access_tokens", own, body)
        answer = await ask(self.caller, call, _WHO)
        if answer.status != 201:
            raise _refused(answer, _NO_TOKEN, f"installation {found}, {repository}, {write_permissions(permissions)}")
        given = expect_object(answer, _WHO, 201)
        token = read_token(given, "token", _WHO)
        try:
            _check_width(given, repository, permissions)
            expires_at = read_time(given, "expires_at", _WHO)
        except CredentialError:
            await self._drop(token)
            raise
        return MadeToken(token=token, expires_at=expires_at, installation=found, permissions=given["permissions"])

    async def _find_installation(self, repository: str, own: Secret) -> int:
        answer = await ask(self.caller, _compose("GET", f"{self.api}/repos/{repository}/installation", own), _WHO)
        if answer.status != 200:
            raise _refused(answer, _NO_INSTALLATION, repository)
        found = expect_object(answer, _WHO)
        number, account = found.get("id"), found.get("account")
        if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < _LAST_ID:
            raise CredentialError(f"{_WHO}: the installation has no number")
        login = account.get("login") if isinstance(account, dict) else None
        if not isinstance(login, str) or login.lower() != repository.lower().partition("/")[0]:
            raise CredentialError(f"{_WHO}: the installation is not that of {repository}'s owner")
        if found.get("suspended_at") is not None:
            raise CredentialError(f"{_WHO}: the app's installation is suspended", Reason.CREDENTIAL_REFUSED)
        return number

    async def _drop(self, token: Secret) -> None:
        """Give back a token that is not used; that it was refused matters more than whether this works."""
        try:
            await revoke_token(self.caller, self.api, token)
        except CredentialError:
            return


async def revoke_token(caller: Caller, api: str, token: Secret) -> None:
    """Make a token void. Raises CredentialError unless GitHub says that it is, now or already."""
    answer = await ask(caller, _compose("DELETE", f"{api}/installation/token", token), _WHO)
    if answer.status not in {204, 401}:  # 401: it has ended, or its installation has
        raise CredentialError(f"{_WHO}: the token was not taken back, status {answer.status}")


def _compose(method: str, url: str, token: Secret, body: Mapping[str, Any] | None = None) -> Call:
    headers: dict[str, str | Secret] = {**_HEADERS, "authorization": Secret(f"Bearer {token.reveal()}")}
    if body is None:
        return Call(method=method, url=url, headers=headers)
    headers["content-type"] = "application/json"
    return Call(method=method, url=url, headers=headers, body=json.dumps(body).encode())


def _check_width(given: Mapping[str, Any], repository: str, permissions: Mapping[str, str]) -> None:
    """Raise CredentialError unless the answer says that the token is for one repository and no more than asked."""
    listed, held = given.get("repositories"), given.get("permissions")
    names = [each.get("full_name") for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    spelled = [name.lower() for name in names if isinstance(name, str)]
    is_one = isinstance(listed, list) and len(listed) == 1 and spelled == [repository.lower()]
    if given.get("repository_selection") != "selected" or not is_one:
        raise CredentialError(f"{_WHO}: the token is not for {repository} alone")
    if not isinstance(held, dict) or not all(
        isinstance(level, str) and is_within(name, level, permissions) for name, level in held.items()
    ):
        raise CredentialError(f"{_WHO}: the token may do more than {write_permissions(permissions)}")


_NO_INSTALLATION: Final = {401: _KEY, 403: "the app may not ask", 404: "the app is not installed there"}
_NO_TOKEN: Final = {
    401: _KEY,
    403: "the installation is suspended or may not be used",
    404: "the app has no such installation",
    422: "the installation does not have that repository, or not those permissions",
}


def _refused(answer: Answer, causes: Mapping[int, str], about: str) -> CredentialError:
    """Return what a refusal means. Being asked to wait is no refusal (GitHub docs, "Rate limits for the REST API")."""
    if answer.status == 403 and _is_throttled(answer):
        return CredentialError(f"{_WHO}: too many requests for now, status 403")
    cause = causes.get(answer.status)
    said = f"status {answer.status}" if cause is None else f"{cause}, status {answer.status}"
    return CredentialError(f"{_WHO}: {said} ({about})", Reason.CREDENTIAL_REFUSED)


def _is_throttled(answer: Answer) -> bool:
    if "retry-after" in answer.headers or answer.headers.get("x-ratelimit-remaining") == "0":
        return True
    message = (read_object(answer.body) or {}).get("message")
    return isinstance(message, str) and "rate limit" in message.lower()
