"""Where registries hand out their tokens, and what for (Distribution: "Token Authentication", "OAuth2").

One intent per scope asked: `token.mint` on `TOKEN-HOST/NAME` for a repository's, on `TOKEN-HOST` for any other and for
none. Passwords and tokens in the query or form are never looked at.
"""

import re
from dataclasses import replace
from typing import Final

from proxy.intents.oci_names import check_name
from proxy.intents.reading import media_type, parse_pairs, read_body
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, EffectClass, Intent, RequestView, Resource

PATHS: Final = frozenset(
    {
        "/token",  # Docker Hub, GHCR
        "/token/",  # ECR Public
        "/v2/token",  # Artifact Registry, Gitea
        "/v2/auth",  # Quay
        "/service/token",  # Harbor
        "/oauth2/token",  # Azure
        "/oauth2/exchange",  # Azure: a token of Entra for one of the registry
        "/jwt/auth",  # GitLab
    }
)
_ARTIFACTORY: Final = re.compile(r"/artifactory/api/docker/[A-Za-z0-9._-]+/v2/token")
FORM_LIMIT: Final = 64 * 1024
MAX_SCOPES: Final = 32
_SINGLE: Final = ("service", "account", "client_id", "grant_type", "offline_token", "access_type")
_STATED: Final = {"service": "service", "account": "account", "grant_type": "grant"}
_TEXT: Final = re.compile(r"[!-~]{1,512}")
_REPOSITORY: Final = re.compile(r"repository(?:\([a-z0-9]+\))?:(?P<name>[^:]*):(?P<actions>[a-z*]+(?:,[a-z*]+)*)")


def is_token_path(path: str) -> bool:
    """Whether registries of some make have their token endpoint there."""
    return path in PATHS or (path.startswith("/artifactory/") and _ARTIFACTORY.fullmatch(path) is not None)


def read_token(view: RequestView, site: str) -> Intent | BodyWanted | None:
    """Read what a token is asked for; None for a method that asks none. Raises IntentError."""
    pairs = parse_pairs(view.query or "")
    if view.method == "POST":
        if media_type(view) != "application/x-www-form-urlencoded":
            raise IntentError("a token is asked for with a form")
        body = read_body(view, FORM_LIMIT)
        if isinstance(body, BodyWanted):
            return body
        if not body.isascii():
            raise IntentError("the form is not percent-encoded")
        pairs += parse_pairs(body.decode("ascii"))
    elif view.method not in {"GET", "HEAD"}:
        return None
    elif view.body_length != 0:
        raise IntentError("a GET for a token has a body")
    facts = _read_parameters(pairs)
    scopes = [scope for name, text in pairs if name == "scope" for scope in text.split(" ") if scope]
    if len(scopes) > MAX_SCOPES:
        raise IntentError(f"a token is asked for with more than {MAX_SCOPES} scopes")
    parts = [_mint(site, scope, facts) for scope in dict.fromkeys(scopes)] or [_intent(site, "registry", facts)]
    return parts[0] if len(parts) == 1 else replace(parts[0], also=tuple(parts[1:]))


def _read_parameters(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Return what may be recorded. Raises IntentError for a parameter sent twice, or in an unusual spelling."""
    names = [name for name, _ in pairs if name != "scope"]
    folded = {name.lower() for name in names}
    if len(folded) != len(names) or "scope" in folded or any(";" in name for name in names):
        raise IntentError("a parameter of the token request was sent twice")
    if any(name not in names and name in folded for name in _SINGLE):
        raise IntentError("a parameter of the token request is not in lower case")
    found = dict(pairs)
    facts = {fact: _check_text(found[name]) for name, fact in _STATED.items() if found.get(name)}
    if found.get("offline_token") not in {None, "", "false"} or found.get("access_type") == "offline":
        facts["offline"] = "true"
    return facts


def _mint(site: str, scope: str, facts: dict[str, str]) -> Intent:
    stated = facts | {"scope": _check_text(scope)}
    if not scope.startswith("repository"):
        return _intent(site, "registry", stated)
    found = _REPOSITORY.fullmatch(scope)
    if found is None:
        raise IntentError(f"{scope[:64]!r} is not a scope of a repository")
    return _intent(f"{site}/{check_name(found['name'])}", "repository", stated | {"actions": found["actions"]})


def _check_text(text: str) -> str:
    if _TEXT.fullmatch(text) is None:
        raise IntentError("a parameter of the token request is not plain text")
    return text


def _intent(where: str, kind: str, facts: dict[str, str]) -> Intent:
    return Intent(
        protocol="oci",
        action="token.mint",
        resource=Resource(type=f"oci-{kind}", id=where),
        effect=EffectClass.CREDENTIAL,
        exact=True,
        facts=facts,
    )
