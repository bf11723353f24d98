"""What Terraform asks for: state, plans, applies, and what only an administrator should."""

import json
from typing import Any

import pytest

from proxy.intents import terraform
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Headers, Intent, RequestView

NONE: frozenset[str] = frozenset()
SPOKEN = frozenset({"tf"})
CLOUD = "app.terraform.io"
READ, LIST, WRITE, DELETE, ADMIN, EXECUTE, CREDENTIAL, UNKNOWN = (
    EffectClass.READ,
    EffectClass.LIST,
    EffectClass.WRITE,
    EffectClass.DELETE,
    EffectClass.ADMIN,
    EffectClass.EXECUTE,
    EffectClass.CREDENTIAL,
    EffectClass.UNKNOWN,
)


def ask(
    line: str, body: Any = None, host: str = CLOUD, spoken: frozenset[str] = NONE, headers: Headers = ()
) -> Intent | BodyWanted | None:
    """Decode `METHOD /path?query`."""
    method, _, target = line.partition(" ")
    path, mark, query = target.partition("?")
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return terraform.decode(
        RequestView(
            method=method,
            scheme="https",
            authority=Authority(host, 443),
            path=path,
            query=query if mark else None,
            headers=headers,
            body=None if body is None else BodyPrefix(data=data, is_whole=True),
        ),
        spoken,
    )


@pytest.mark.parametrize(
    "line, action, effect, resource",
    [
        ("POST /api/v2/runs/run-1/actions/apply", "run.apply", EXECUTE, "runs/run-1"),
        ("POST /api/v2/runs/run-1/actions/discard", "run.discard", WRITE, "runs/run-1"),
        ("POST /api/v2/runs/run-1/actions/force-execute", "run.force", ADMIN, "runs/run-1"),
        ("POST /api/v2/runs/run-1/actions/invent", "unknown", UNKNOWN, "runs/run-1"),
        ("POST /api/v2/workspaces/ws-1/actions/lock", "workspace.lock", WRITE, "workspaces/ws-1"),
        ("POST /api/v2/workspaces/ws-1/actions/force-unlock", "workspace.unlock", ADMIN, "workspaces/ws-1"),
        ("GET /api/v2/runs/run-1", "get", READ, "runs/run-1"),
        ("GET /api/v2/workspaces/ws-1/runs", "enumerate", LIST, "workspaces/ws-1/runs"),
        ("GET /api/v2/organizations/acme/workspaces/prod", "get", READ, "organizations/acme/workspaces/prod"),
        (
            "GET /api/v2/workspaces/ws-1/current-state-version",
            "state.get",
            CREDENTIAL,
            "workspaces/ws-1/current-state-version",
        ),
        ("POST /api/v2/workspaces/ws-1/state-versions", "state.write", WRITE, "workspaces/ws-1/state-versions"),
        ("DELETE /api/v2/state-versions/sv-1", "state.write", DELETE, "state-versions/sv-1"),
        ("GET /api/v2/plans/plan-1/json-output", "state.get", CREDENTIAL, "plans/plan-1/json-output"),
        ("GET /api/v2/workspaces/ws-1/vars", "variable.get", READ, "workspaces/ws-1/vars"),
        ("PATCH /api/v2/workspaces/ws-1/vars/var-1", "variable.change", ADMIN, "workspaces/ws-1/vars/var-1"),
        (
            "POST /api/v2/organizations/acme/authentication-token",
            "token.change",
            CREDENTIAL,
            "organizations/acme/authentication-token",
        ),
        ("GET /api/v2/users/u/authentication-tokens", "token.get", CREDENTIAL, "users/u/authentication-tokens"),
        (
            "POST /api/v2/workspaces/ws-1/configuration-versions",
            "configuration.put",
            WRITE,
            "workspaces/ws-1/configuration-versions",
        ),
        ("DELETE /api/v2/workspaces/ws-1", "workspace.remove", DELETE, "workspaces/ws-1"),
        ("PATCH /api/v2/workspaces/ws-1", "manage", ADMIN, "workspaces/ws-1"),
        ("POST /api/v2/organizations/acme/teams", "manage", ADMIN, "organizations/acme/teams"),
        ("PUT /ui", "unknown", UNKNOWN, "ui"),
        ("GET /api/registry/v1/modules/acme/x", "install", READ, "api/registry/v1/modules/acme/x"),
    ],
)
def test_hcp_terraform(line: str, action: str, effect: EffectClass, resource: str) -> None:
    """What changes runs and state is told; whatever else is written there is an administrator's."""
    found = ask(line)
    assert isinstance(found, Intent)
    assert (found.name, found.effect, found.resource.id) == (f"tf {action}", effect, f"{CLOUD}/{resource}")
    assert found.exact is (action != "unknown")


def run(**attributes: Any) -> dict[str, Any]:
    return {
        "data": {
            "attributes": attributes,
            "relationships": {"workspace": {"data": {"type": "workspaces", "id": "ws-1"}}},
        }
    }


@pytest.mark.parametrize(
    "attributes, action, effect, facts",
    [
        ({"plan-only": True}, "run.plan", WRITE, {"plan-only": "yes"}),
        ({"plan-only": True, "auto-apply": True}, "run.create", EXECUTE, {"plan-only": "yes", "auto-apply": "yes"}),
        ({"plan-only": "true"}, "run.create", EXECUTE, {}),
        ({"is-destroy": True}, "run.create", EXECUTE, {"is-destroy": "yes"}),
        ({}, "run.create", EXECUTE, {}),
    ],
)
def test_a_run_plans_or_may_apply(
    attributes: dict[str, Any], action: str, effect: EffectClass, facts: dict[str, str]
) -> None:
    """Only a run that can never be applied is a plan."""
    assert isinstance(ask("POST /api/v2/runs"), BodyWanted)
    found = ask("POST /api/v2/runs", run(**attributes))
    assert isinstance(found, Intent)
    assert (found.action, found.effect, found.facts) == (action, effect, facts)
    assert found.resource.id == f"{CLOUD}/workspaces/ws-1"


@pytest.mark.parametrize(
    "line, action, effect",
    [
        ("GET /state/prod", "state.get", CREDENTIAL),
        ("POST /state/prod?ID=1-2", "state.write", WRITE),
        ("DELETE /state/prod", "state.remove", DELETE),
        ("LOCK /state/prod", "state.lock", WRITE),
        ("UNLOCK /state/prod", "state.unlock", WRITE),
        ("POST /state/prod/lock", "state.lock", WRITE),
        ("DELETE /state/prod/lock", "state.unlock", WRITE),
        ("PATCH /state/prod", "unknown", UNKNOWN),
    ],
)
def test_the_http_backend(line: str, action: str, effect: EffectClass) -> None:
    """A state of one's own, where rules say that a host keeps them; its lock's id is told."""
    found = ask(line, host="state.example", spoken=SPOKEN)
    assert isinstance(found, Intent)
    assert (found.action, found.effect, found.resource.id) == (action, effect, "state.example/state/prod")
    assert found.facts == ({"lock": "1-2"} if "ID=" in line else {})
    assert ask(line, host="state.example") is None


@pytest.mark.parametrize(
    "line, host, action, effect",
    [
        ("GET /v1/providers/hashicorp/aws/versions", "registry.terraform.io", "install", READ),
        ("GET /terraform/1.9.0/x.zip", "releases.hashicorp.com", "install", READ),
        ("POST /v1/x", "registry.opentofu.org", "unknown", UNKNOWN),
        ("GET /v1/object/abc", "archivist.terraform.io", "archive.get", CREDENTIAL),
        ("PUT /v1/object/abc", "archivist.terraform.io", "archive.put", WRITE),
        ("DELETE /v1/object/abc", "archivist.terraform.io", "unknown", UNKNOWN),
    ],
)
def test_registries_and_archives(line: str, host: str, action: str, effect: EffectClass) -> None:
    """What is fetched there is a read, but for the store of states and plans."""
    found = ask(line, host=host)
    assert isinstance(found, Intent)
    assert (found.action, found.effect) == (action, effect)


@pytest.mark.parametrize(
    "line, body",
    [
        ("GET /api/v2/", None),
        ("GET /api/v2/runs/a%2Fb", None),
        ("GET /api/v2/runs//x", None),
        ("POST /api/v2/runs", b"[]"),
        ("POST /api/v2/runs", {}),
        ("POST /api/v2/runs", {"data": {"relationships": []}}),
        ("POST /api/v2/runs", {"data": {"relationships": {"workspace": {"data": {"id": "../x"}}}}}),
        ("POST /api/v2/runs", b'{"data": {}, "data": {}}'),
    ],
)
def test_two_readings_are_refused(line: str, body: Any) -> None:
    """Odd paths, and runs on no workspace or on two, are denied."""
    with pytest.raises(IntentError):
        ask(line, body)


def test_a_method_is_what_it_is() -> None:
    """A header that asks for another is denied."""
    with pytest.raises(IntentError):
        ask("GET /api/v2/runs/run-1", headers=(("x-http-method-override", "DELETE"),))
