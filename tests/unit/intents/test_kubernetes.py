"""Requests to API servers, read as the API server reads them: kubectl's own, and those made to look harmless."""

import json
from typing import Any

import pytest

from proxy.intents import kubernetes
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Headers, Intent, RequestView

SPOKEN = frozenset({"k8s"})
NONE: frozenset[str] = frozenset()
HOST = "api.cluster.example"
JSON = ("content-type", "application/json")
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
    line: str, body: Any = None, headers: Headers = (), host: str = HOST, spoken: frozenset[str] = SPOKEN
) -> Intent | BodyWanted | None:
    """Decode `METHOD /path?query`; a request without a body says so."""
    method, _, target = line.partition(" ")
    path, mark, query = target.partition("?")
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return kubernetes.decode(
        RequestView(
            method=method,
            scheme="https",
            authority=Authority(host, 443),
            path=path,
            query=query if mark else None,
            headers=headers,
            body_length=0 if body is None else len(data),
            body=None if body is None else BodyPrefix(data=data, is_whole=True),
        ),
        spoken,
    )


def read(line: str, body: Any = None, headers: Headers = ()) -> Intent:
    found = ask(line, body, headers)
    assert isinstance(found, Intent)
    return found


NS = "/namespaces/shop"


@pytest.mark.parametrize(
    "line, action, effect, resource",
    [
        # kubectl get, describe, logs, rollout, delete, auth can-i
        (f"GET /api/v1{NS}/pods?limit=500", "list:core/pods", LIST, "shop/-"),
        (f"GET /api/v1{NS}/pods/web-1", "get:core/pods", READ, "shop/web-1"),
        (f"GET /api/v1{NS}/pods?watch=true&resourceVersion=1", "watch:core/pods", LIST, "shop/-"),
        (f"GET /api/v1{NS}/pods?watch=0", "list:core/pods", LIST, "shop/-"),
        (f"GET /api/v1{NS}/pods?fieldSelector=metadata.name%3Dweb-1", "list:core/pods", LIST, "shop/web-1"),
        (f"GET /api/v1{NS}/pods?fieldSelector=metadata.name%3Dweb-1,x%3Dy", "list:core/pods", LIST, "shop/-"),
        (f"GET /api/v1{NS}/pods/web-1/log?container=app&follow=true", "get:core/pods/log", READ, "shop/web-1"),
        ("GET /api/v1/nodes", "list:core/nodes", LIST, "-/-"),
        ("GET /api/v1/nodes/n1", "get:core/nodes", READ, "-/n1"),
        ("GET /api/v1/namespaces", "list:core/namespaces", LIST, "-/-"),
        ("GET /api/v1/namespaces/shop", "get:core/namespaces", READ, "shop/shop"),
        ("PUT /api/v1/namespaces/shop/finalize", "update:core/namespaces/finalize", WRITE, "shop/shop"),
        ("DELETE /api/v1/namespaces/shop", "delete:core/namespaces", DELETE, "shop/shop"),
        (f"GET /apis/apps/v1{NS}/deployments/web", "get:apps/deployments", READ, "shop/web"),
        (f"PATCH /apis/apps/v1{NS}/deployments/web?fieldManager=kubectl", "patch:apps/deployments", WRITE, "shop/web"),
        (f"PUT /apis/apps/v1{NS}/deployments/web/scale", "update:apps/deployments/scale", WRITE, "shop/web"),
        (f"DELETE /apis/apps/v1{NS}/deployments/web", "delete:apps/deployments", DELETE, "shop/web"),
        (f"DELETE /apis/apps/v1{NS}/deployments", "deletecollection:apps/deployments", DELETE, "shop/-"),
        # ways in
        (f"POST /api/v1{NS}/pods/web-1/exec?command=ls", "create:core/pods/exec", EXECUTE, "shop/web-1"),
        (f"GET /api/v1{NS}/pods/web-1/exec?command=ls", "get:core/pods/exec", EXECUTE, "shop/web-1"),
        (f"POST /api/v1{NS}/pods/web-1/attach", "create:core/pods/attach", EXECUTE, "shop/web-1"),
        (f"POST /api/v1{NS}/pods/web-1/portforward", "create:core/pods/portforward", EXECUTE, "shop/web-1"),
        (f"GET /api/v1{NS}/services/web:80/proxy/a/b", "get:core/services/proxy", EXECUTE, "shop/web:80"),
        ("GET /api/v1/proxy/nodes/n1/run", "proxy:core/nodes/run", EXECUTE, "-/n1"),
        (
            f"PATCH /api/v1{NS}/pods/web-1/ephemeralcontainers",
            "patch:core/pods/ephemeralcontainers",
            EXECUTE,
            "shop/web-1",
        ),
        # secrets and tokens
        (f"GET /api/v1{NS}/secrets/db", "get:core/secrets", CREDENTIAL, "shop/db"),
        ("GET /api/v1/secrets", "list:core/secrets", CREDENTIAL, "-/-"),
        (f"GET /api/v1/watch{NS}/secrets/db", "watch:core/secrets", CREDENTIAL, "shop/db"),
        (f"DELETE /api/v1{NS}/secrets/db", "delete:core/secrets", DELETE, "shop/db"),
        (f"POST /api/v1{NS}/serviceaccounts/ci/token", "create:core/serviceaccounts/token", CREDENTIAL, "shop/ci"),
        (
            "PUT /apis/certificates.k8s.io/v1/certificatesigningrequests/x/approval",
            "update:certificates.k8s.io/certificatesigningrequests/approval",
            CREDENTIAL,
            "-/x",
        ),
        # who may do what
        (
            "PATCH /apis/rbac.authorization.k8s.io/v1/clusterroles/admin",
            "patch:rbac.authorization.k8s.io/clusterroles",
            ADMIN,
            "-/admin",
        ),
        (
            "GET /apis/rbac.authorization.k8s.io/v1/clusterroles/admin",
            "get:rbac.authorization.k8s.io/clusterroles",
            READ,
            "-/admin",
        ),
        (f"POST /api/v1{NS}/pods/web-1/eviction", "create:core/pods/eviction", DELETE, "shop/web-1"),
        (
            "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            "create:authorization.k8s.io/selfsubjectaccessreviews",
            READ,
            "-/-",
        ),
    ],
)
def test_requests(line: str, action: str, effect: EffectClass, resource: str) -> None:
    """Verb, group, resource and subresource are the API server's; the harm is the worst it may do."""
    found = read(line)
    assert (found.name, found.effect, found.resource.id) == (f"k8s {action}", effect, f"{HOST}/{resource}")


def test_a_created_objects_name_stands_in_its_body() -> None:
    """What is created is asked for; without a name (`generateName`) and in other encodings nobody can tell it."""
    line = f"POST /apis/batch/v1{NS}/jobs"
    wanted = kubernetes.decode(
        RequestView(
            method="POST",
            scheme="https",
            authority=Authority(HOST, 443),
            path=f"/apis/batch/v1{NS}/jobs",
            query=None,
            headers=(JSON,),
            body_length=10,
        ),
        SPOKEN,
    )
    assert isinstance(wanted, BodyWanted)
    for body, headers, name in (
        ({"metadata": {"name": "migrate"}}, (JSON,), "migrate"),
        ({"metadata": {"generateName": "migrate-"}}, (JSON,), "-"),
        ({"metadata": {"name": ""}}, (JSON,), "-"),
        ({}, (), "-"),
        (b"", (JSON,), "-"),
        (b"k8s\x00", (("content-type", "application/vnd.kubernetes.protobuf"),), "-"),
    ):
        found = read(line, body, headers)
        assert (found.action, found.resource.id) == ("create:batch/jobs", f"{HOST}/shop/{name}")


def test_facts() -> None:
    """Of a command the program is told and no more; dry runs, containers and field managers are."""
    facts = read(f"POST /api/v1{NS}/pods/w/exec?command=sh&command=-c&command=secret&container=app&stdout=true").facts
    assert facts == {"command": "sh", "arguments": "2", "container": "app"}
    patched = read(f"PATCH /apis/apps/v1{NS}/deployments/web?dryRun=All&fieldManager=kubectl")
    assert patched.facts == {"dryRun": "All", "fieldManager": "kubectl"}
    assert patched.effect is WRITE


def test_acting_as_somebody_else_is_said() -> None:
    """Each header of impersonation is a right of its own beside the request, and an administrator's."""
    found = read(
        f"GET /api/v1{NS}/pods",
        headers=(("impersonate-user", "root"), ("impersonate-group", "g"), ("impersonate-extra-scopes", "all")),
    )
    assert [(each.action, each.resource.id, each.effect) for each in found.also] == [
        ("impersonate:users", f"{HOST}/-/root", ADMIN),
        ("impersonate:groups", f"{HOST}/-/g", ADMIN),
        ("impersonate:userextras", f"{HOST}/-/scopes=all", ADMIN),
    ]
    assert read("GET /version", headers=(("impersonate-uid", "1"),)).also[0].action == "impersonate:uids"


@pytest.mark.parametrize(
    "line, action, effect, where",
    [
        ("GET /version", "get:nonresource", READ, "version"),
        ("GET /apis/apps/v1", "get:nonresource", READ, "apis/apps/v1"),
        ("GET /api", "get:nonresource", READ, "api"),
        ("OPTIONS /api/v1/pods", "options:nonresource", READ, "api/v1/pods"),
        ("POST /oauth/authorize", "post:nonresource", UNKNOWN, "oauth/authorize"),
        ("GET /", "get:nonresource", READ, "-"),
    ],
)
def test_paths_that_name_no_resource(line: str, action: str, effect: EffectClass, where: str) -> None:
    """Health, versions and discovery are read; what is written there nobody knows."""
    found = read(line)
    assert (found.action, found.effect, found.resource.id) == (action, effect, f"{HOST}/{where}")


@pytest.mark.parametrize(
    "line, body",
    [
        (f"GET /api/v1{NS}/pods?watch=true&watch=false", None),
        (f"GET /api/v1{NS}/pods/a%2Fb", None),
        (f"GET /api/v1{NS}/pods/..", None),
        ("GET /api/v1/namespaces/-/pods", None),
        (f"GET /api/v1{NS}/Secrets/db", None),
        (f"GET /apis/Apps/v1{NS}/deployments", None),
        ("GET /" + "a/" * 65, None),
        (f"POST /apis/batch/v1{NS}/jobs", b'{"metadata": {"name": "a", "name": "b"}}'),
        (f"POST /apis/batch/v1{NS}/jobs", {"metadata": {"name": "a/b"}}),
        (f"POST /apis/batch/v1{NS}/jobs", {"metadata": {"name": 1}}),
        (f"POST /apis/batch/v1{NS}/jobs", {"metadata": {"Name": "a", "name": "b"}}),
        (f"POST /apis/batch/v1{NS}/jobs", b"[]"),
    ],
)
def test_two_readings_are_refused(line: str, body: Any) -> None:
    """Doubled parameters and names, hidden segments and other cases are denied."""
    with pytest.raises(IntentError):
        ask(line, body)


@pytest.mark.parametrize(
    "host", ["kubernetes.default.svc", "ABC.gr7.eu-west-1.eks.amazonaws.com".lower(), "a.azmk8s.io"]
)
def test_clusters_that_are_known_by_name(host: str) -> None:
    """In a cluster and at the clouds no rule needs to say what they are; any other host is left alone."""
    assert isinstance(ask("GET /api/v1/pods", host=host, spoken=NONE), Intent)
    assert ask("GET /api/v1/pods", spoken=NONE) is None
