"""Language models: the APIs of Anthropic, OpenAI, Google, Mistral, Cohere, Groq, OpenRouter and Azure OpenAI.

To ask a model is `infer`, on `HOST/MODEL`; what it costs and what it is told is for rules to say by the model's name
and by the tools that the server runs (fact `server_tools`). A request whose model cannot be told is one of any model,
`HOST/*`, and inexact. On other hosts, where a rule speaks ai, OpenAI's and Anthropic's paths are read below `/v1`.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from proxy.intents import ai_gemini
from proxy.intents.ai_body import Asked, check_model, read_asked
from proxy.intents.ai_routes import ANTHROPIC, COHERE, EFFECTS, MISTRAL, OPENAI, OPENROUTER, SHARED, Route
from proxy.intents.packages import READS, join_site, read_site, refuse_override
from proxy.intents.reading import decode_component, read_query
from proxy.intents.routes import Found, Routes, cut_path
from proxy.model.intent import BodyWanted, Intent, RequestView, Resource

PROTOCOL: Final = "ai"
_BASES: Final[Mapping[str, Mapping[tuple[str, ...], Routes[Route]]]] = {
    "api.anthropic.com": {("v1",): ANTHROPIC},
    "api.openai.com": {("v1",): OPENAI},
    "api.mistral.ai": {("v1",): MISTRAL},
    "api.cohere.com": {("v1",): COHERE, ("v2",): COHERE},
    "api.cohere.ai": {("v1",): COHERE, ("v2",): COHERE},
    "api.groq.com": {("openai", "v1"): OPENAI},
    "openrouter.ai": {("api", "v1"): OPENROUTER},
    ai_gemini.HOST: {("v1beta", "openai"): OPENAI},
}
"""Where the API stands on the hosts that are known for it."""
_AZURE: Final = ".openai.azure.com"
_DEPLOYMENTS: Final = ["openai", "deployments"]
_BODIES: Final = frozenset({"infer", "tune.create", "batch.create"})
_KEYS: Final = frozenset({"admin_api_keys", "api_keys", "service_accounts", "external_keys"})
_MODELS: Final = frozenset({"infer", "tune.create", "batch.create", "model.get", "model.delete", "tokens.count"})


def claims(host: str, spoken: frozenset[str]) -> bool:
    """Whether a request to this host may be ours."""
    return host in _BASES or host.endswith(_AZURE) or PROTOCOL in spoken


def decode(view: RequestView, spoken: frozenset[str]) -> Intent | BodyWanted | None:
    """Read a request to a language model's API; None when it is none. Raises IntentError."""
    host = view.authority.host
    if not claims(host, spoken):
        return None
    is_azure = host.endswith(_AZURE)
    refuse_override(view)
    segments = cut_path(view.path)
    if is_azure:
        return _decode_azure(view, segments) or _unknown(view)
    if host not in _BASES:
        return _decode_elsewhere(view, segments)
    for base, routes in _BASES[host].items():
        if tuple(segments[: len(base)]) == base:
            return _decode_routes(view, read_site(view), routes, segments[len(base) :]) or _unknown(view)
    return (_decode_gemini(view, segments) if host == ai_gemini.HOST else None) or _unknown(view)


def _unknown(view: RequestView) -> Intent:
    return _intent("unknown", f"{read_site(view)}{view.path}", exact=False)


def _intent(
    action: str,
    where: str,
    facts: Mapping[str, str] | None = None,
    *,
    exact: bool = True,
    also: tuple[Intent, ...] = (),
) -> Intent:
    return Intent(
        protocol=PROTOCOL,
        action=action,
        resource=Resource(type="ai-model" if action in _MODELS else "ai-object", id=where),
        effect=EFFECTS[action],
        exact=exact,
        facts={} if facts is None else facts,
        also=also,
    )


def _decode_routes(
    view: RequestView, site: str, routes: Routes[Route], rest: Sequence[str]
) -> Intent | BodyWanted | None:
    found = routes.find(view.method, rest)
    return None if found is None else _read_route(view, site, found, rest)


def _read_route(
    view: RequestView, site: str, found: Found[Route], rest: Sequence[str], model: str | None = None
) -> Intent | BodyWanted:
    """Return what a route means. `model` is that of the path, where a body's is not looked at."""
    action, kind = found.value.action, found.value.kind
    if action in _BODIES:
        named = found.variables.get("model") if model is None else model
        return _read_inference(view, site, action, kind, named)
    if action.startswith("organization.") and not _KEYS.isdisjoint(rest):
        action = "key.list" if view.method in READS else "key.set"
    if action == "tokens.count":
        return _intent(action, f"{site}/*", exact=False)
    if "maker" in found.variables:
        return _intent(action, f"{site}/{check_model(f'{found.variables["maker"]}/{found.variables["model"]}')}")
    if "model" in found.variables:
        return _intent(action, f"{site}/{check_model(found.variables['model'])}")
    return _intent(action, "/".join((site, *rest)))


def _read_inference(view: RequestView, site: str, action: str, kind: str, model: str | None) -> Intent | BodyWanted:
    asked = _read_socket(view) if view.method in READS or kind == "realtime" else read_asked(view, kind)
    if isinstance(asked, BodyWanted):
        return asked
    named = asked.models if model is None else (model, *asked.models)
    models = list(dict.fromkeys(_normalize(view, each) for each in named))
    facts = {"kind": kind, **asked.facts}
    if not models:
        return _intent(action, f"{site}/*", facts, exact=False)
    also = tuple(_intent(action, f"{site}/{each}", facts) for each in models[1:])
    return _intent(action, f"{site}/{models[0]}", facts, also=also)


def _read_socket(view: RequestView) -> Asked:
    """Read what opens a WebSocket or a call: the model is in the query, or in a message that is not seen here."""
    query = read_query(view)
    named = query.get("model", query.get("deployment"))
    return Asked() if named is None or "call_id" in query else Asked(models=(named,))


def _normalize(view: RequestView, model: str) -> str:
    """Return a model's one spelling. Azure's deployments have no case; Google takes `models/` before a name or not."""
    if view.authority.host.endswith(_AZURE):
        model = model.lower()
    elif view.authority.host == ai_gemini.HOST:
        model = model.removeprefix("models/")
    return check_model(model)


def _decode_azure(view: RequestView, segments: Sequence[str]) -> Intent | BodyWanted | None:
    """Read `/openai/deployments/NAME/...`, where the name is the model, `/openai/v1/...` and `/openai/...`."""
    site = read_site(view)
    if segments[:2] == _DEPLOYMENTS and len(segments) > 3:
        return _read_deployment(view, site, segments[2], segments[3:])
    if segments[:1] != ["openai"]:
        return None
    return _decode_routes(view, site, OPENAI, segments[2:] if segments[1:2] == ["v1"] else segments[1:])


def _read_deployment(view: RequestView, site: str, name: str, rest: Sequence[str]) -> Intent | BodyWanted | None:
    plain = rest[1:] if rest[:1] == ["extensions"] else rest
    found = OPENAI.find(view.method, plain)
    if found is None or found.value.action != "infer":
        return None
    return _read_route(view, site, found, rest, decode_component(name))


def _decode_elsewhere(view: RequestView, segments: Sequence[str]) -> Intent | BodyWanted | None:
    """Read what is below the last `v1`, or a deployment's or chat's path anywhere."""
    for at in range(len(segments) - 3, -1, -1):
        if list(segments[at : at + 2]) == _DEPLOYMENTS:
            site = join_site(read_site(view), segments[:at])
            return _read_deployment(view, site, segments[at + 2], segments[at + 3 :])
    for at in range(len(segments) - 2, -1, -1):
        if segments[at] == "v1":
            return _decode_routes(view, join_site(read_site(view), segments[:at]), SHARED, segments[at + 1 :])
    if segments[-2:] == ["chat", "completions"]:
        return _decode_routes(view, join_site(read_site(view), segments[:-2]), SHARED, segments[-2:])
    return None


def _decode_gemini(view: RequestView, segments: Sequence[str]) -> Intent | BodyWanted | None:
    site = read_site(view)
    call = ai_gemini.read_call(view, segments)
    if call is None or isinstance(call, BodyWanted):
        return call
    facts = {"kind": call.kind, **call.facts} if call.kind else call.facts
    if call.model is not None:
        return _intent(call.action, f"{site}/{call.model}", facts, exact=call.model != "*")
    return _intent(call.action, "/".join((site, *segments)), facts)
