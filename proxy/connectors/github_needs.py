"""What one request needs of a GitHub token: one repository, and the permissions of its operation. Pure.

Read from the decoded intent alone. Whatever is not told there - an operation whose permission GitHub does not state, a
GraphQL document, a node id - needs what the rule says for it, or is refused. Source: GitHub's docs, "Permissions
required for GitHub Apps"; which operation needs which stands in the intents' own table.
"""

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final

from proxy.model.errors import CredentialError
from proxy.model.grant import Need
from proxy.model.intent import EffectClass, Intent, RequestView
from proxy.model.reason import Reason

PUBLIC_SITE: Final = "github.com"
OWN: Final = ""
"""In a need: the repository that the job belongs to, which only `mint` knows."""
LEVELS: Final = ("read", "write", "admin")
"""From the least to the most (GitHub's schema `app-permissions`)."""
_TENANT: Final = re.compile(r"[a-z0-9-]+\.ghe\.com")
_SERVER: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z](?:[a-z0-9-]*[a-z0-9])?")
_NOT_SERVERS: Final = (".github.com", ".ghe.com", ".github.io", "githubusercontent.com")
_REPOSITORY: Final = re.compile(r"[a-z0-9][a-z0-9_-]*/[a-z0-9._-]+")
_UNNAMED: Final = "?/?"
_FETCHES: Final = frozenset({"fetch", "fetch.discover", "lfs.download", "lfs.locks"})
"""What git does with a token that may only read. Learning refs for a push and verifying locks need a push's."""
_NAMING: Final = frozenset({"github-repository", "git-repository", "git-ref", "git-option"})
"""Types of resources whose id begins with a repository's."""


class Surface(Enum):
    """The two ways GitHub takes a token: Basic for git, Bearer for its API."""

    GIT = "git"
    API = "api"


def check_site(host: str) -> None:
    """Raise ValueError for what is neither github.com, a tenant of ghe.com nor a server of one's own."""
    if host == PUBLIC_SITE or _TENANT.fullmatch(host):
        return
    if _SERVER.fullmatch(host) is None or host.endswith(_NOT_SERVERS):
        raise ValueError(f"`{host}` is not github.com, SUBDOMAIN.ghe.com or the host of a GitHub Enterprise Server")


def api_url(site: str) -> str:
    """Return where a site's REST API is called (GitHub docs, "Getting started with the REST API")."""
    is_own = site != PUBLIC_SITE and not site.endswith(".ghe.com")
    return f"https://{site}/api/v3" if is_own else f"https://api.{site}"


def find_surface(view: RequestView, site: str) -> Surface:
    """Return how `view` takes a token of `site`. Raises CredentialError where it must never see one.

    Archives, raw files and stored objects are on hosts of their own, which signed URLs lead to: no token goes there.
    """
    host = view.authority.host
    if view.scheme == "https" and view.authority.port == 443:
        if site == PUBLIC_SITE or site.endswith(".ghe.com"):
            if host == site:
                return Surface.GIT
            if host in {f"api.{site}", f"uploads.{site}"}:
                return Surface.API
        elif host == site:
            return Surface.API if view.path.startswith("/api/") else Surface.GIT
    raise _outside(f"{view.scheme}://{view.authority} takes no token of {site}'s git and API")


def find_need(
    intent: Intent,
    surface: Surface,
    site: str,
    allowed: tuple[str, ...],
    ceiling: Mapping[str, str],
    otherwise: Mapping[str, str],
) -> Need:
    """Return the repository and the permissions that a request needs, as `Need` has it.

    `allowed` names the rule's repositories, `OWNER/NAME` or `OWNER/*`, none for the job's own; `ceiling` is the most
    that the rule gives; `otherwise` is for operations whose permission nobody states. Raises CredentialError.
    """
    parts = tuple(_parts_of(intent))
    if any(part.effect is EffectClass.UNKNOWN for part in parts):
        raise _outside("what the request does could not be told")
    wanted = _git_permissions(parts) if surface is Surface.GIT else _api_permissions(parts, otherwise)
    if any(part.protocol == "git" and part.action.startswith("push.") for part in parts) and "workflows" in ceiling:
        wanted = {**wanted, "workflows": "write"}  # whether a push changes a workflow, only GitHub sees
    _check_ceiling(wanted, ceiling)
    repository = _find_repository(parts, site, allowed)
    return (("permissions", write_permissions(wanted)), ("repository", repository))


def write_permissions(permissions: Mapping[str, str]) -> str:
    """Return permissions as one text, `contents=write workflows=write`; equal ones give equal texts."""
    return " ".join(f"{name}={level}" for name, level in sorted(permissions.items()))


def read_permissions(text: str) -> dict[str, str]:
    """Return what `write_permissions` wrote."""
    return dict(pair.split("=") for pair in text.split(" "))


def is_within(name: str, level: str, ceiling: Mapping[str, str]) -> bool:
    """Whether a permission is no more than `ceiling` gives. To read metadata is part of every installation."""
    most = ceiling.get(name, "read" if name == "metadata" else None)
    return most in LEVELS and level in LEVELS and LEVELS.index(level) <= LEVELS.index(most)


def _parts_of(intent: Intent) -> Iterator[Intent]:
    yield intent
    for other in intent.also:
        yield from _parts_of(other)


def _git_permissions(parts: tuple[Intent, ...]) -> dict[str, str]:
    if any(part.protocol != "git" for part in parts):
        raise _outside("only git is served on this host, and this is none; name it in the rule's `intent`")
    return {"contents": "read" if all(part.action in _FETCHES for part in parts) else "write"}


def _api_permissions(parts: tuple[Intent, ...], otherwise: Mapping[str, str]) -> dict[str, str]:
    first = parts[0]
    if first.protocol != "github":
        raise _outside("the request is not read as one to GitHub's API; name what it does in the rule's `intent`")
    name, _, level = first.facts.get("permission", "").partition("=")
    wanted = {name: level} if level in LEVELS else dict(otherwise)
    if level not in LEVELS and any(part.effect is EffectClass.CREDENTIAL for part in parts):
        raise _outside(f"{first.name} hands out or takes back credentials")
    if not wanted:
        raise _outside(f"which permission {first.name} needs is not known; say it under `otherwise`")
    if any(part.name == "github workflow.write" for part in parts):
        wanted["workflows"] = "write"
    return wanted


def _check_ceiling(wanted: Mapping[str, str], ceiling: Mapping[str, str]) -> None:
    for name, level in sorted(wanted.items()):
        if not is_within(name, level, ceiling):
            raise _outside(f"the request needs {name}={level}, which the rule's `permissions` do not give")


def _find_repository(parts: tuple[Intent, ...], site: str, allowed: tuple[str, ...]) -> str:
    """Return the one repository of a request; where it names none, the only one that the rule has."""
    named = {found for part in parts if (found := _named_repository(part, site)) is not None}
    if len(named) > 1:
        raise _outside("the request is about more than one repository")
    if not named:
        if not allowed:
            return OWN
        if len(allowed) == 1 and not allowed[0].endswith("/*"):
            return allowed[0].lower()
        raise _outside("the request names no repository, and the rule has more than one")
    (repository,) = named
    owner = repository.partition("/")[0]
    if allowed and not {repository, f"{owner}/*"} & {each.lower() for each in allowed}:
        raise _outside(f"the rule's `repositories` do not hold {repository}")
    return repository


def _named_repository(part: Intent, site: str) -> str | None:
    """Return `owner/name` in lower case, None where an intent names none. Raises CredentialError for another site's."""
    if part.resource.type not in _NAMING:
        return None
    place = part.resource.id.partition("#")[0]
    name = place.removeprefix(f"{site}/").lower()
    if not place.startswith(f"{site}/"):
        raise _outside(f"the request is about a repository that is not at {site}")
    if name == _UNNAMED:
        return None
    if _REPOSITORY.fullmatch(name) is None or name.endswith(("/.", "/..")):
        raise _outside("the request names its repository in a way that cannot be compared with the rule's")
    return name


def _outside(why: str) -> CredentialError:
    return CredentialError(f"github-app: {why}", Reason.CREDENTIAL_SCOPE)
