"""Buildkite: the agent API that jobs call, the REST API, and GraphQL. The protocol word is `ci`.

Any process of a job holds the agent's token and can mint an identity for any audience, so each call is read: which
job's path it uses (fact `job`), which audience, secret or key it names. What no table knows has an unknown effect.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from proxy.intents import graphql
from proxy.intents.buildkite_routes import AGENT_ROUTES, REST_ROUTES, Call, mutation_effect
from proxy.intents.rack import read_fields, read_text, refuse_override
from proxy.intents.reading import read_query
from proxy.intents.routes import Found, cut_path
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, EffectClass, Intent, RequestView, Resource

_DOMAIN: Final = "buildkite.com"
_AGENT_HOST: Final = re.compile(r"agent(?:-[a-z0-9-]+)?\.buildkite\.com")
_OTHER_HOSTS: Final = frozenset({"api.buildkite.com", "graphql.buildkite.com", "webhook.buildkite.com"})
_NAME: Final = re.compile(r"[A-Za-z0-9_~:-]+")
"""No dot: Rails takes what follows one for a format, and `app.json` for `app`."""
_REPOSITORY: Final = re.compile(
    r"(?:https?://|ssh://(?:git@)?|git@)(?P<host>[a-z0-9.-]+(?::[0-9]+)?)[:/](?P<path>[A-Za-z0-9._~/-]+?)(?:\.git)?/?"
)
_SINGLE: Final[Mapping[tuple[str, str], tuple[str, EffectClass]]] = {
    ("GET", "/.well-known/openid-configuration"): ("oidc.keys", EffectClass.READ),
    ("GET", "/.well-known/jwks"): ("oidc.keys", EffectClass.READ),
    ("POST", "/agentedge.v1.AgentEdgeService/StreamPings"): ("agent.ping", EffectClass.CREDENTIAL),
}
"""Paths of the agent API's host outside `/v3`."""
_MAX_BATCH: Final = 100


def claims(host: str, spoken: frozenset[str]) -> bool:
    """Whether a request to this host may be ours."""
    return host == _DOMAIN or host in _OTHER_HOSTS or _AGENT_HOST.fullmatch(host) is not None or "ci" in spoken


def decode(view: RequestView, spoken: frozenset[str]) -> Intent | BodyWanted | None:
    """Read a request to Buildkite, or to a host that a rule says speaks `ci`.

    Raises IntentError for a call that another reader could take for a different one.
    """
    host = view.authority.host
    if not claims(host, spoken):
        return None
    if host == _DOMAIN and view.path == "/oauth/token":
        return _intent("token.exchange", EffectClass.CREDENTIAL, Resource(type="ci-service", id="oauth"))
    return None if host == _DOMAIN and "ci" not in spoken else _read(view)


def _read(view: RequestView) -> Intent | BodyWanted:
    if view.authority.host == "webhook.buildkite.com":  # its path is a secret: never part of the id
        return _intent("build.create", EffectClass.EXECUTE, Resource(type="ci-service", id="webhook"))
    single = _SINGLE.get((view.method, view.path))
    if single is not None:
        return _intent(*single, Resource(type="ci-service", id="agent"))
    refuse_override(view)
    segments = cut_path(view.path)
    if segments[:1] == ["v3"]:
        found = AGENT_ROUTES.find(view.method, segments[1:])
        return _unlisted(view, segments) if found is None else _read_agent_call(view, found)
    if segments[:1] == ["v2"]:
        found = REST_ROUTES.find(view.method, segments[1:])
        return _unlisted(view, segments) if found is None else _read_rest_call(view, found, segments[1:])
    if segments == ["v1"] and view.authority.host != "api.buildkite.com":
        return _read_graphql(view)
    return _unlisted(view, segments)


def _unlisted(view: RequestView, segments: list[str]) -> Intent:
    """Say that a call is none of those known. A job that its path names is still told."""
    job = segments[2] if segments[:2] == ["v3", "jobs"] and len(segments) > 2 else None
    facts = {} if job is None else {"job": _check_name(job)}
    resource = Resource(type="ci-path", id=view.path.removeprefix("/"))
    return _intent("unknown", EffectClass.UNKNOWN, resource, facts, exact=False)


def _intent(
    action: str,
    effect: EffectClass,
    resource: Resource,
    facts: Mapping[str, str] | None = None,
    *,
    exact: bool = True,
) -> Intent:
    return Intent(
        protocol="ci",
        action=action,
        resource=resource,
        effect=effect,
        exact=exact,
        facts=facts or {},
    )


def _check_name(text: str) -> str:
    """Return an id of a path as it is. Raises IntentError unless it is plain: the engine compares it."""
    if _NAME.fullmatch(text) is None:
        raise IntentError(f"{text[:64]!r} is not a Buildkite id")
    return text


def _read_agent_call(view: RequestView, found: Found[Call]) -> Intent | BodyWanted:
    call, variables = found.value, found.variables
    facts = {name: _check_name(variables[name]) for name in ("job", "build") if name in variables}
    if view.path.endswith("/data/set-batch"):
        return _read_batch(view, call, facts)
    name: str | None = variables.get(call.kind)
    if call.asked_by:
        name = _read_parameter(view, call.asked_by)
    elif call.named_by or call.notes:
        fields = read_fields(view, *filter(None, (call.named_by,)), *call.notes)
        if isinstance(fields, BodyWanted):
            return fields
        name = read_text(fields, call.named_by) or None
        facts.update(_read_notes(fields, call.notes))
    if call.kind == "repository":
        name = _read_repository(name)
    if call.kind == "meta" and name is None:
        raise IntentError("the call names no key")
    return _intent(call.action, call.effect, _name_resource(call, name), facts)


def _name_resource(call: Call, name: str | None) -> Resource:
    """`audience/X`, or `audience` alone where the call leaves it to Buildkite: no pattern for names fits that."""
    return Resource(type=f"ci-{call.kind}", id=call.kind if name is None else f"{call.kind}/{name}")


def _read_parameter(view: RequestView, name: str) -> str:
    parameters = read_query(view)
    if parameters.keys() != {name} or not parameters[name].isprintable() or not parameters[name]:
        raise IntentError(f"the query must hold {name!r} and nothing else")
    return parameters[name]


def _read_notes(fields: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, str]:
    notes: dict[str, str] = {}
    for name in names:
        value = fields[name]
        text = str(value) if type(value) is int else read_text(fields, name)
        if text:
            notes[name] = text
    return notes


def _read_repository(url: str | None) -> str | None:
    """Return `host/path` of a clone URL in any of git's spellings. Raises IntentError for another text."""
    if url is None:
        return None
    match = _REPOSITORY.fullmatch(url)
    if match is None:
        raise IntentError("the repository's URL is not a plain one")
    return f"{match['host']}/{match['path']}"


def _read_batch(view: RequestView, call: Call, facts: Mapping[str, str]) -> Intent | BodyWanted:
    """Read several keys set at once: the first is the intent, the others come along."""
    fields = read_fields(view, "items")
    if isinstance(fields, BodyWanted):
        return fields
    items = fields["items"]
    if not isinstance(items, list) or not 0 < len(items) <= _MAX_BATCH:
        raise IntentError(f"a batch holds a list of 1 to {_MAX_BATCH} items")
    intents: list[Intent] = []
    for item in items:
        key = read_text(item, "key") if isinstance(item, dict) and "key" in item else None
        if not key:
            raise IntentError("an item of the batch names no key")
        intents.append(_intent(call.action, call.effect, _name_resource(call, key), facts))
    first, *others = intents
    return replace(first, also=tuple(others))


def _read_rest_call(view: RequestView, found: Found[Call], segments: list[str]) -> Intent | BodyWanted:
    call = found.value
    names = {name: _check_name(value) for name, value in found.variables.items()}
    facts = {name: value for name, value in names.items() if name != "id"}
    if call.notes:
        fields = read_fields(view, *call.notes)
        if isinstance(fields, BodyWanted):
            return fields
        facts.update(_read_notes(fields, call.notes))
    # Of a list or a creation, the path up to the last id is the parent.
    thing = "/".join(segments[: found.end or len(segments)])
    return _intent(call.action, call.effect, Resource(type=f"ci-{call.kind}", id=thing), facts)


def _read_graphql(view: RequestView) -> Intent | BodyWanted:
    operation = graphql.read_request(view)
    if isinstance(operation, BodyWanted):
        return operation
    first, *others = graphql.describe(operation, "ci", Resource(type="ci-service", id="graphql"), mutation_effect)
    return replace(first, also=tuple(others))
