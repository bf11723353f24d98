"""Terraform and OpenTofu: HCP Terraform's API, registries, and the `http` state backend. Source: their API documents.

Plan and apply are told apart where the API does: a run that is created may only plan, may wait for somebody to apply
it, or applies itself. State holds secrets: reading it is class `credential`. The object backends (S3, GCS, Azure) are
read by their own decoders, as objects.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from proxy.intents.packages import read_site
from proxy.intents.reading import decode_component, member, read_body, read_object, read_query
from proxy.intents.routes import cut_path
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, EffectClass, Intent, RequestView, Resource

_CLOUD: Final = frozenset({"app.terraform.io", "app.eu.terraform.io"})
_ARCHIVES: Final = frozenset({"archivist.terraform.io", "archivist.eu.terraform.io"})
_REGISTRIES: Final = frozenset(
    {
        "registry.terraform.io",
        "registry.opentofu.org",
        "releases.hashicorp.com",
        "get.opentofu.org",
        "checkpoint-api.hashicorp.com",
    }
)
_READS: Final = frozenset({"GET", "HEAD"})
_LIMIT: Final = 1 << 20
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_OVERRIDES: Final = frozenset({"x-http-method-override", "x-http-method", "x-method-override"})
_READ, _LIST, _WRITE, _DELETE = EffectClass.READ, EffectClass.LIST, EffectClass.WRITE, EffectClass.DELETE
_ADMIN, _EXECUTE, _CREDENTIAL = EffectClass.ADMIN, EffectClass.EXECUTE, EffectClass.CREDENTIAL

_VERBS: Final = {
    ("runs", "apply"): ("run.apply", _EXECUTE),
    ("runs", "discard"): ("run.discard", _WRITE),
    ("runs", "cancel"): ("run.cancel", _WRITE),
    ("runs", "force-cancel"): ("run.cancel", _ADMIN),
    ("runs", "force-execute"): ("run.force", _ADMIN),
    ("workspaces", "lock"): ("workspace.lock", _WRITE),
    ("workspaces", "unlock"): ("workspace.unlock", _WRITE),
    ("workspaces", "force-unlock"): ("workspace.unlock", _ADMIN),
    ("workspaces", "safe-delete"): ("workspace.remove", _DELETE),
    ("policy-checks", "override"): ("policy.override", _ADMIN),
    ("task-stages", "override"): ("policy.override", _ADMIN),
    ("state-versions", "rollback"): ("state.write", _WRITE),
}
"""`POST /api/v2/KIND/ID/actions/VERB`."""
_SECRETS: Final = frozenset(
    {"authentication-token", "authentication-tokens", "ssh-keys", "oauth-tokens", "agent-tokens"}
)
_STATES: Final = frozenset(
    {"state-versions", "current-state-version", "current-state-version-outputs", "state-version-outputs"}
)
_VARIABLES: Final = frozenset({"vars", "varsets", "parameters"})
_PLAIN: Final = frozenset({"configuration-versions", "comments", "tag-bindings"})
_LOOKS: Final = (
    (_SECRETS, "token.get", _CREDENTIAL),
    (_STATES | {"json-output"}, "state.get", _CREDENTIAL),
    (_VARIABLES, "variable.get", _READ),
)
_CHANGES: Final = ((_SECRETS, "token.change", _CREDENTIAL), (_VARIABLES, "variable.change", _ADMIN))


def claims(host: str, spoken: frozenset[str]) -> bool:
    """Whether a request to this host may be ours."""
    return host in _REGISTRIES or host in _ARCHIVES or host in _CLOUD or "tf" in spoken


def decode(view: RequestView, spoken: frozenset[str]) -> Intent | BodyWanted | None:
    """Read a request of Terraform's; None when it is none. Raises IntentError."""
    host = view.authority.host
    if not claims(host, spoken):
        return None
    if host in _REGISTRIES:
        return _read_registry(view)
    if host in _ARCHIVES:
        return _read_archive(view)
    if any(name in _OVERRIDES for name, _ in view.headers):
        raise IntentError("a header asks for another method than the request line")
    if view.path.startswith("/api/v2/"):
        return _read_cloud(view)
    if host in _CLOUD:
        return _read_registry(view) if view.path.startswith("/api/registry/") else _unknown(view)
    return _read_backend(view)


def _intent(
    action: str, effect: EffectClass, where: str, facts: Mapping[str, str] | None = None, *, kind: str = "workspace"
) -> Intent:
    return Intent(
        protocol="tf",
        action=action,
        resource=Resource(type=f"tf-{kind}", id=where),
        effect=effect,
        exact=action != "unknown",
        facts=facts or {},
    )


def _unknown(view: RequestView) -> Intent:
    return _intent("unknown", EffectClass.UNKNOWN, f"{read_site(view)}{view.path.rstrip('/')}", kind="service")


def _read_registry(view: RequestView) -> Intent:
    """Read a registry: providers, modules and releases are fetched; what is written there is not told."""
    where = f"{read_site(view)}{view.path.rstrip('/')}"
    return _intent("install", _READ, where, kind="registry") if view.method in _READS else _unknown(view)


def _read_archive(view: RequestView) -> Intent:
    """Read the store behind signed URLs: plans, logs, configurations and states, nobody can tell which."""
    where = read_site(view)
    if view.method in _READS:
        return _intent("archive.get", _CREDENTIAL, where, kind="archive")
    return _intent("archive.put", _WRITE, where, kind="archive") if view.method == "PUT" else _unknown(view)


def _read_cloud(view: RequestView) -> Intent | BodyWanted:
    """Read `/api/v2/KIND[/ID[/PART...]]`."""
    parts = [decode_component(part) for part in cut_path(view.path)[2:]]
    if not parts or any(_NAME.fullmatch(part) is None for part in parts):
        raise IntentError("the path is not one of the API's")
    if parts == ["runs"] and view.method == "POST":
        return _create_run(view)
    where = "/".join((read_site(view), *parts))
    if len(parts) == 4 and parts[2] == "actions" and view.method == "POST":
        action, effect = _VERBS.get((parts[0], parts[3]), ("unknown", EffectClass.UNKNOWN))
        return _intent(action, effect, f"{read_site(view)}/{parts[0]}/{parts[1]}")
    action, effect = _read_thing(view, parts)
    return _intent(action, effect, where)


def _read_thing(view: RequestView, parts: list[str]) -> tuple[str, EffectClass]:
    """Say what a method does to the thing that a path ends in."""
    kinds, is_removed = set(parts), view.method == "DELETE"
    if view.method in _READS:
        for words, action, effect in _LOOKS:
            if kinds & words:
                return action, effect
        return ("get", _READ) if len(parts) % 2 == 0 else ("enumerate", _LIST)
    if kinds & _STATES:
        return "state.write", _DELETE if is_removed else _WRITE
    for words, action, effect in _CHANGES:
        if kinds & words:
            return action, effect
    if parts[0] == "workspaces" and len(parts) == 2 and is_removed:
        return "workspace.remove", _DELETE
    is_plain = parts[-1] in _PLAIN and view.method in {"POST", "PATCH"}
    return ("configuration.put", _WRITE) if is_plain else ("manage", _ADMIN)


def _create_run(view: RequestView) -> Intent | BodyWanted:
    """Read a new run: whether it may apply, destroys, or applies without being asked; on which workspace."""
    body = read_body(view, _LIMIT)
    if isinstance(body, BodyWanted):
        return body
    told = _object(member(read_object(body), "data"), "data")
    wanted = _object(member(told, "attributes") or {}, "attributes")
    relations = _object(member(told, "relationships"), "relationships")
    space = _object(_object(member(relations, "workspace"), "workspace").get("data"), "workspace").get("id")
    if not isinstance(space, str) or _NAME.fullmatch(space) is None:
        raise IntentError("the run names no workspace")
    plans_only = wanted.get("plan-only") is True and wanted.get("auto-apply") is not True
    facts = {name: "yes" for name in ("plan-only", "auto-apply", "is-destroy", "save-plan") if wanted.get(name) is True}
    where = f"{read_site(view)}/workspaces/{space}"
    return _intent("run.plan" if plans_only else "run.create", _WRITE if plans_only else _EXECUTE, where, facts)


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise IntentError(f"the run's `{name}` is no object")
    return value


def _read_backend(view: RequestView) -> Intent:
    """Read the `http` backend: one address for the state, GitLab's with `/lock` behind it."""
    query = read_query(view)
    is_lock = view.path.endswith("/lock") or view.method in {"LOCK", "UNLOCK"}
    where = f"{read_site(view)}{view.path.removesuffix('/lock').rstrip('/')}"
    facts = {"lock": query["ID"][:64]} if "ID" in query else {}
    if is_lock and view.method in {"POST", "PUT", "LOCK"}:
        return _intent("state.lock", _WRITE, where, kind="state")
    if is_lock and view.method in {"DELETE", "UNLOCK"}:
        return _intent("state.unlock", _WRITE, where, kind="state")
    if view.method in _READS:
        return _intent("state.get", _CREDENTIAL, where, kind="state")
    if view.method in {"POST", "PUT"}:
        return _intent("state.write", _WRITE, where, facts, kind="state")
    return _intent("state.remove", _DELETE, where, kind="state") if view.method == "DELETE" else _unknown(view)
