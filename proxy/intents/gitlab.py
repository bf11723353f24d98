"""GitLab: REST below `/api/v4`, GraphQL, tokens. The protocol word is `gitlab`; what moves a ref is `git push.*` too.

gitlab.com is known by name, any other host when a rule says that it speaks `gitlab`. A project is named by its path,
written as one segment (`group%2Fapp`), or by its number; ids hold the path decoded once and in lower case, as paths
mean the same in any case: `gitlab.com/group/app`, or `gitlab.com/#42`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from proxy.intents.forge_refs import describe_moves
from proxy.intents.gitlab_graphql import read_graphql, workflow_write
from proxy.intents.gitlab_parameters import read_parameters, refuse_override
from proxy.intents.gitlab_refs import MOVES, check_path, touches_ci
from proxy.intents.gitlab_routes import find_operation
from proxy.intents.rack import read_site, read_text, refuse_head
from proxy.intents.routes import cut_path
from proxy.model.intent import BodyWanted, EffectClass, Intent, RequestView, Resource

_SITE: Final = "gitlab.com"
_TOKEN_PATHS: Final = frozenset({"/oauth/token", "/oauth/authorize_device"})
_UPLOADS: Final = frozenset({"packages.publish", "job.upload-artifacts"})
"""POSTs of large forms. They are not looked into: another method on the same path is no route."""
_NOTES: Final[Mapping[str, tuple[str, ...]]] = {
    "pipelines.create": ("ref",),
    "pipelines.trigger": ("ref",),
    "commits.set-status": ("state", "name"),
    "merge-requests.create": ("source_branch", "target_branch"),
}
"""Parameters that are told as facts."""
_UNTOLD: Final = frozenset({"project", "group"})


def claims(host: str, spoken: frozenset[str]) -> bool:
    """Whether a request to this host may be ours."""
    return host == _SITE or "gitlab" in spoken


def decode(view: RequestView, spoken: frozenset[str]) -> Intent | BodyWanted | None:
    """Read a request to GitLab's API. Raises IntentError for one that GitLab could take for another."""
    if not claims(view.authority.host, spoken):
        return None
    if view.path.startswith("/api/"):
        return _read_api(view, read_site(view))
    if view.path in _TOKEN_PATHS:
        service = Resource(type="gitlab-service", id=read_site(view))
        return _intent("oauth.token", service, EffectClass.CREDENTIAL)
    return None


def _intent(
    action: str, resource: Resource, effect: EffectClass, facts: Mapping[str, str] | None = None, *, exact: bool = True
) -> Intent:
    return Intent(protocol="gitlab", action=action, resource=resource, effect=effect, exact=exact, facts=facts or {})


def _read_api(view: RequestView, site: str) -> Intent | BodyWanted:
    refuse_head(view)
    segments = cut_path(view.path)
    if segments == ["api", "graphql"]:
        return read_graphql(view, site)
    if segments[:2] != ["api", "v4"]:
        return _intent("unlisted", Resource(type="gitlab-service", id=site), EffectClass.UNKNOWN, exact=False)
    found = find_operation(view.method, segments[2:])
    operation, variables = found.value, found.variables
    if operation.name not in _UPLOADS:
        form = refuse_override(view)
        if form is not None:
            return form
    moves, notes = MOVES.get(operation.name), _NOTES.get(operation.name, ())
    names = (*(moves.fields if moves is not None else ()), *notes)
    fields: Mapping[str, Any] | BodyWanted = read_parameters(view, *names) if names else {}
    if isinstance(fields, BodyWanted):
        return fields
    resource = _name_resource(site, variables)
    facts = {name: value for name in notes if (value := read_text(fields, name))}
    facts |= {name: value for name, value in variables.items() if name not in _UNTOLD}
    intent = _intent(
        operation.name,
        resource,
        operation.effect,
        {name: value[:256] for name, value in facts.items()},
        exact=operation.is_listed,
    )
    return replace(intent, also=_side_effects(operation.name, resource, variables, fields))


def _side_effects(
    name: str, resource: Resource, variables: Mapping[str, str], fields: Mapping[str, Any]
) -> tuple[Intent, ...]:
    """Return the refs that an operation moves, and whether it changes what pipelines run."""
    moves = MOVES.get(name)
    if moves is None:
        return ()
    repository = resource.id if resource.type == "gitlab-project" else f"{resource.id}/?/?"
    intents = describe_moves(repository, moves.tell(variables, fields))
    if name.startswith(("files.", "commits.create")) and touches_ci(variables, fields):
        intents += (workflow_write(resource),)
    return intents


def _name_resource(site: str, variables: Mapping[str, str]) -> Resource:
    """Name the project or group an operation acts on, else the service. Raises IntentError for an odd path."""
    for variable in ("project", "group"):
        if variable in variables:
            return Resource(type=f"gitlab-{variable}", id=f"{site}/{check_path(variables[variable])}")
    return Resource(type="gitlab-service", id=site)
