"""Where registries hand out their tokens, and the asking. A realm that somebody else names is never believed.

Whoever answers for a registry could send the password anywhere: a realm is the rule's, a known vendor's, or on the
registry's own host. A token must not be wider than what was asked. Source: Distribution, "Token Authentication
Specification"; "Docker Registry v2 authentication via central service"; "OAuth2 Token Authentication".
"""

import json
import re
from base64 import b64encode, urlsafe_b64decode
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from proxy.connectors.answers import ask, expect_object, read_seconds, read_token
from proxy.connectors.parts import Caller
from proxy.model.authority import Authority, parse_authority
from proxy.model.errors import CredentialError, ProtocolError
from proxy.model.grant import Secret
from proxy.model.reason import Reason
from proxy.outbound import Call

_WHO: Final = "realm"
_UNSAID: Final = 60
"""Seconds: what the specification says a token lives where its answer does not."""
_PARAMETER: Final = re.compile(r'\s*([a-z_]+)="([ !#-\[\]-~]*)"\s*(?:,|$)')
_SPACES: Final = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Realm:
    """A token endpoint, and what it calls the registry."""

    url: str
    service: str | None


_KNOWN: Final = {
    "registry-1.docker.io": Realm(url="https://auth.docker.io/token", service="registry.docker.io"),
    "index.docker.io": Realm(url="https://auth.docker.io/token", service="registry.docker.io"),
    "registry.gitlab.com": Realm(url="https://gitlab.com/jwt/auth", service="container_registry"),
}
"""Vendors whose realm is on another host than their registry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RealmAsk:
    """What is asked of a realm, and by whom: nobody, a name and password, or a refresh token."""

    realm: Realm
    scopes: tuple[str, ...]
    login: tuple[str, Secret] | None = field(default=None, repr=False)
    refresh_token: Secret | None = field(default=None, repr=False)


async def find_realm(caller: Caller, registry: Authority, stated: Realm | None) -> Realm:
    """Return the registry's realm. Raises CredentialError where it names none, or one on another host."""
    if stated is not None and stated.service is not None:
        return stated
    known = _KNOWN.get(registry.host) if stated is None and registry.port == 443 else None
    if known is not None:
        return known
    answer = await ask(caller, Call(method="GET", url=f"https://{registry}/v2/", timeout=1.5), "registry")
    challenge = _read_challenge(answer.headers.get("www-authenticate", "")) if answer.status == 401 else {}
    url, service = challenge.get("realm", ""), challenge.get("service")
    if stated is not None:
        return Realm(url=stated.url, service=service)
    if not url:
        raise CredentialError("registry: it names no realm that hands out tokens", Reason.CREDENTIAL_REFUSED)
    if not _is_on(url, registry):
        raise CredentialError(
            f"registry: its realm is on {_host_of(url)}; if that is right, write it as `realm` in the rule",
            Reason.CREDENTIAL_REFUSED,
        )
    return Realm(url=url, service=service)


async def ask_realm(caller: Caller, wish: RealmAsk) -> tuple[Secret, timedelta]:
    """Return a token for exactly these scopes, and how long it lives. Raises CredentialError."""
    pairs = [("service", wish.realm.service)] if wish.realm.service is not None else []
    headers: dict[str, str | Secret] = {"accept": "application/json"}
    if wish.refresh_token is not None:
        form = [("grant_type", "refresh_token"), *pairs, ("client_id", "jobgate")]
        form += [("scope", " ".join(wish.scopes))] if wish.scopes else []
        form.append(("refresh_token", wish.refresh_token.reveal()))
        headers["content-type"] = "application/x-www-form-urlencoded"
        call = Call(method="POST", url=wish.realm.url, headers=headers, body=urlencode(form).encode(), timeout=2.5)
    else:
        if wish.login is not None:
            name, password = wish.login
            pair = b64encode(f"{name}:{password.reveal()}".encode()).decode()
            headers["authorization"] = Secret(f"Basic {pair}")
        query = urlencode([*pairs, *(("scope", each) for each in wish.scopes)])
        url = f"{wish.realm.url}?{query}" if query else wish.realm.url
        call = Call(method="GET", url=url, headers=headers, timeout=2.5)
    found = expect_object(await ask(caller, call, _WHO), _WHO)
    token = read_token(found, "token" if "token" in found else "access_token", _WHO)
    _check_access(token.reveal(), wish.scopes)
    return token, read_seconds(found, "expires_in", _WHO, _UNSAID)


async def exchange_token(caller: Caller, registry: Authority, tenant: str, token: Secret) -> tuple[Realm, Secret]:
    """Return the realm of a registry of Azure's, and its refresh token for an Entra token. Raises CredentialError."""
    base = f"https://{registry.host if registry.port == 443 else registry}"
    form = {
        "grant_type": "access_token",
        "service": registry.host,
        "tenant": tenant,
        "access_token": token.reveal(),
    }
    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
    url = f"{base}/oauth2/exchange"
    call = Call(method="POST", url=url, headers=headers, body=urlencode(form).encode(), timeout=1.5)
    fresh = read_token(expect_object(await ask(caller, call, _WHO), _WHO), "refresh_token", _WHO)
    return Realm(url=f"{base}/oauth2/token", service=registry.host), fresh


def _check_access(token: str, scopes: tuple[str, ...]) -> None:
    """Raise CredentialError for a token that says it is for more, or for less, than was asked; some say nothing."""
    stated = _read_claims(token).get("access")
    if stated is None:
        return
    try:
        given = {
            (str(each["type"]), str(each["name"]), str(action)) for each in stated for action in (each["actions"] or ())
        }
    except (TypeError, KeyError):
        raise CredentialError(f"{_WHO}: what the token is for cannot be read") from None
    asked = {
        (kind, name, action)
        for kind, name, actions in (each.split(":") for each in scopes)
        for action in actions.split(",")
    }
    if given - asked:
        raise CredentialError(f"{_WHO}: the token is for more than was asked", Reason.CREDENTIAL_REFUSED)
    if asked - given:
        raise CredentialError(f"{_WHO}: it does not give {' '.join(scopes)}", Reason.CREDENTIAL_REFUSED)


def _read_claims(token: str) -> dict[str, Any]:
    """Return what a JWT states; nothing for a token that is none. Its signature is the registry's matter."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        found = json.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _read_challenge(text: str) -> dict[str, str]:
    """Return the parameters of a Bearer challenge (RFC 6750 3); none for anything else."""
    scheme, _, rest = text.partition(" ")
    if scheme.lower() != "bearer":
        return {}
    found: dict[str, str] = {}
    at = 0
    while at < len(rest):
        match = _PARAMETER.match(rest, at)
        if match is None or match[1] in found:
            return {}
        found[match[1]] = match[2]
        at = match.end()
    return found


def _is_on(url: str, registry: Authority) -> bool:
    try:
        split = urlsplit(url)
        if split.scheme != "https" or split.query or split.fragment or split.username or _SPACES.search(url):
            return False
        return parse_authority(split.netloc, 443).host == registry.host
    except (ValueError, ProtocolError):
        return False


def _host_of(url: str) -> str:
    """Return a realm's host for a message, if it is one."""
    try:
        return str(parse_authority(urlsplit(url).netloc, 443))
    except (ValueError, ProtocolError):
        return "no host at all"
