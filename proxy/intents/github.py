"""GitHub: REST, GraphQL, uploads and downloads. The protocol word is `github`; what moves a ref is also `git push.*`.

Public hosts are known by name; GitHub Enterprise is read below `/api/` of any host that a rule says speaks `github`.
Names of owners and repositories mean the same in any case, so ids hold them in lower case, without the API's host:
`github.com/acme/app`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from proxy.intents.forge_refs import describe_moves, is_workflow
from proxy.intents.github_graphql import read_graphql, workflow_write
from proxy.intents.github_refs import MOVES
from proxy.intents.github_routes import READS, Operation, find_operation
from proxy.intents.rack import read_fields, read_site, read_text, refuse_forms, refuse_override
from proxy.intents.reading import read_query
from proxy.intents.routes import Found, cut_path
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, EffectClass, Intent, RequestView, Resource

_SITE: Final = "github.com"
_API_HOSTS: Final = frozenset({"api.github.com", "uploads.github.com"})
_RAW_HOSTS: Final = frozenset({"raw.githubusercontent.com", "media.githubusercontent.com"})
_OBJECT_HOSTS: Final = frozenset(
    {"objects.githubusercontent.com", "release-assets.githubusercontent.com", "gist.githubusercontent.com"}
)
_HOSTS: Final = _API_HOSTS | _RAW_HOSTS | _OBJECT_HOSTS | {_SITE}
_TENANT: Final = re.compile(r"(?:api|uploads)\.(?P<site>[a-z0-9-]+\.ghe\.com)")
"""GitHub Enterprise Cloud with data residency: api.SUBDOMAIN.ghe.com."""
_OWNER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(?:\[bot\])?|-")
_REPOSITORY: Final = re.compile(r"(?!.*\.git\Z)[A-Za-z0-9._-]+|#[0-9]+", re.IGNORECASE)
_FILE_LIMIT: Final = 4 << 20
"""A file's content stands in the same body as its branch."""
_NOTES: Final[Mapping[str, tuple[str, ...]]] = {
    "actions/create-workflow-dispatch": ("ref",),
    "repos/create-dispatch-event": ("event_type",),
    "repos/create-deployment": ("environment",),
    "repos/create-commit-status": ("state", "context"),
    "pulls/create": ("base", "head"),
    "pulls/update": ("base", "state"),
    "pulls/create-review": ("event",),
    "pulls/submit-review": ("event",),
}
"""Members of bodies that are told as facts."""
_UNTOLD: Final = frozenset({"owner", "repo", "org", "code"})
"""Variables of paths that are no facts: what the resource says already, and a code that answers an app's key."""


def claims(host: str, spoken: frozenset[str]) -> bool:
    """Whether a request to this host may be ours."""
    return host in _HOSTS or host.endswith(".ghe.com") or "github" in spoken


def decode(view: RequestView, spoken: frozenset[str]) -> Intent | BodyWanted | None:
    """Read a request to GitHub. Raises IntentError for one that GitHub could take for another."""
    host = view.authority.host
    if not claims(host, spoken):
        return None
    if host in _HOSTS:
        return _read_public(view, host)
    tenant = _TENANT.fullmatch(host) if host.endswith(".ghe.com") else None
    if tenant is not None:
        return _read_api(view, tenant["site"])
    if "github" in spoken and view.path.startswith("/api/"):
        return _read_api(view, read_site(view))
    return None


def _read_public(view: RequestView, host: str) -> Intent | BodyWanted | None:
    if host in _API_HOSTS:
        return _read_api(view, _SITE)
    if host == _SITE:
        return _read_web(view)
    refuse_override(view)
    effect = EffectClass.READ if view.method in READS else EffectClass.UNKNOWN
    if host in _OBJECT_HOSTS:  # what is read stands in a signed URL, and is not repeated
        return _intent("object.read", Resource(type="github-service", id=host), effect)
    segments = cut_path(view.path)
    if segments[:1] == ["media"]:
        segments.pop(0)
    if len(segments) < 4:
        raise IntentError("the path names no file of a repository")
    variables = {"owner": segments[0], "repo": segments[1]}
    return _intent("file.read", _name_resource(_SITE, variables), effect, {"path": "/".join(segments[2:])[:256]})


def _read_web(view: RequestView) -> Intent | None:
    """Read the two things of the site itself that jobs do besides git: ask for tokens, download releases."""
    segments = view.path[1:].split("/")
    if segments[0] == "login":
        return _intent("oauth.token", Resource(type="github-service", id=_SITE), EffectClass.CREDENTIAL)
    if segments[2:4] == ["releases", "download"] and len(segments) > 5 and view.method in READS:
        variables = {"owner": segments[0], "repo": segments[1]}
        facts = {"tag": "/".join(segments[4:-1])[:256], "name": segments[-1][:256]}
        return _intent("release.download", _name_resource(_SITE, variables), EffectClass.READ, facts)
    return None


def _read_api(view: RequestView, site: str) -> Intent | BodyWanted:
    segments = cut_path(view.path)
    if segments in (["graphql"], ["api", "graphql"], ["api", "v3", "graphql"]):
        refuse_override(view)
        return read_graphql(view, site)
    if segments[:2] in (["api", "v3"], ["api", "uploads"]):
        del segments[:2]
    form = refuse_forms(view, _FILE_LIMIT)
    if form is not None:
        return form
    found = find_operation(view.method, segments)
    operation = found.value
    moves = MOVES.get(operation.name)
    fields = _read_members(view, (*(moves.fields if moves is not None else ()), *_NOTES.get(operation.name, ())))
    if isinstance(fields, BodyWanted):
        return fields
    resource = _name_resource(site, found.variables)
    also = describe_moves(resource.id, moves.tell(found.variables, fields)) if moves is not None else ()
    path = found.variables.get("path")
    if path is not None and view.method not in READS and is_workflow(path):
        also += (workflow_write(resource.id, path),)
    facts = _read_facts(view, found, fields)
    is_approval = facts.get("event", "").upper() == "APPROVE"  # what a person is asked for
    return Intent(
        protocol="github",
        action=operation.name,
        resource=resource,
        effect=EffectClass.ADMIN if is_approval else operation.effect,
        exact=operation.is_listed,
        facts=facts,
        also=also,
    )


def _read_members(view: RequestView, names: tuple[str, ...]) -> Mapping[str, Any] | BodyWanted:
    """Return members of the body. GitHub reads JSON whatever it is called; other bodies are not even asked for."""
    return read_fields(view, *names, limit=_FILE_LIMIT, any_type=True) if names else {}


def _read_facts(view: RequestView, found: Found[Operation], fields: Mapping[str, Any]) -> dict[str, str]:
    operation = found.value
    facts = {"permission": operation.permission} if operation.permission else {}
    facts |= {name: value for name, value in found.variables.items() if name not in _UNTOLD}
    facts |= {name: value for name in _NOTES.get(operation.name, ()) if (value := read_text(fields, name))}
    if operation.name == "repos/upload-release-asset":
        facts |= {name: value for name, value in read_query(view).items() if name == "name"}
    return {name: value[:256] for name, value in facts.items()}


def _intent(action: str, resource: Resource, effect: EffectClass, facts: Mapping[str, str] | None = None) -> Intent:
    return Intent(protocol="github", action=action, resource=resource, effect=effect, exact=True, facts=facts or {})


def _name_resource(site: str, variables: Mapping[str, str]) -> Resource:
    """Name what an operation acts on: the repository, else the organization or user, else the service.

    Raises IntentError for a name that GitHub does not give; `app.git` would be `app` to git.
    """
    if "owner" in variables and "repo" in variables:
        owner, name = variables["owner"], variables["repo"]
        if _REPOSITORY.fullmatch(name) is None or set(name) == {"."}:
            raise IntentError(f"{name[:64]!r} is not a repository's name")
        return Resource(type="github-repository", id=f"{site}/{_check_owner(owner)}/{name.lower()}")
    for variable, kind in (("org", "organization"), ("username", "user"), ("enterprise", "enterprise")):
        if variable in variables:
            return Resource(type=f"github-{kind}", id=f"{site}/{_check_owner(variables[variable])}")
    return Resource(type="github-service", id=site)


def _check_owner(name: str) -> str:
    if _OWNER.fullmatch(name) is None and not name.startswith("#"):
        raise IntentError(f"{name[:64]!r} is not an owner's name")
    return name.lower()
