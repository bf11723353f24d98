"""What a real kubectl sent, as `python -m tests.fakes.kubernetes` recorded it, means what its command said."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.intents import kubernetes
from proxy.model.authority import Authority
from proxy.model.intent import BodyPrefix, Intent, RequestView

RECORDED: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parents[2] / "cases" / "kubectl.json").read_text()
)["commands"]
HOST = "api.cluster.test"
POD, DEPLOYMENT = "read get:core/pods shop/shop-0", "read get:apps/deployments shop/shop"
PATCHED = "write patch:apps/deployments shop/shop"
MEANT = {
    "get pods": ["list list:core/pods shop/-"],
    "get pods -A": ["list list:core/pods -/-"],
    "get pod shop-0 -o json": ["read get:core/pods shop/shop-0"],
    "get pods --watch": ["list list:core/pods shop/-", "list watch:core/pods shop/-"],
    "get secret signing": ["credential get:core/secrets shop/signing", "read get:core/namespaces shop/shop"],
    "describe pod shop-0": [
        "read get:core/pods shop/shop-0",
        "read get:core/pods shop/shop-0",
        "list list:core/events shop/-",
    ],
    "logs shop-0": ["read get:core/pods shop/shop-0", "read get:core/pods/log shop/shop-0"],
    "exec shop-0 -- cat /etc/passwd": [
        "read get:core/pods shop/shop-0",
        "execute get:core/pods/exec shop/shop-0",
        "execute create:core/pods/exec shop/shop-0",
    ],
    "attach shop-0": [
        "read get:core/pods shop/shop-0",
        "execute get:core/pods/attach shop/shop-0",
        "execute create:core/pods/attach shop/shop-0",
    ],
    "port-forward shop-0 8080:80": [
        "read get:core/pods shop/shop-0",
        "read get:core/pods shop/shop-0",
        "execute get:core/pods/portforward shop/shop-0",
        "execute create:core/pods/portforward shop/shop-0",
    ],
    "cp shop-0:/etc/hosts hosts": [
        "read get:core/pods shop/shop-0",
        "execute get:core/pods/exec shop/shop-0",
        "execute create:core/pods/exec shop/shop-0",
    ],
    "apply -f - --validate=false": ["read get:apps/deployments shop/shop", "write patch:apps/deployments shop/shop"],
    "apply -f - --validate=false --server-side --force-conflicts": ["write patch:apps/deployments shop/shop"],
    "create -f - --validate=false": ["write create:apps/deployments shop/shop"],
    "create configmap settings --from-literal=a=b": ["write create:core/configmaps shop/settings"],
    "create secret generic signing --from-literal=a=b": ["write create:core/secrets shop/signing"],
    "create token builder": ["credential create:core/serviceaccounts/token shop/builder"],
    "create rolebinding all --clusterrole=admin --user=x": [
        "admin create:rbac.authorization.k8s.io/rolebindings shop/all"
    ],
    "replace -f - --validate=false": ["write update:apps/deployments shop/shop"],
    'patch deployment shop -p {"spec":{"replicas":2}}': [
        "read get:apps/deployments shop/shop",
        "write patch:apps/deployments shop/shop",
    ],
    "scale deployment shop --replicas=3": [
        "read get:apps/deployments shop/shop",
        "write patch:apps/deployments/scale shop/shop",
    ],
    "rollout restart deployment/shop": [
        "read get:apps/deployments shop/shop",
        "write patch:apps/deployments shop/shop",
    ],
    "set image deployment/shop main=shop:2": [
        "read get:apps/deployments shop/shop",
        "write patch:apps/deployments shop/shop",
    ],
    "label pod shop-0 tier=front": ["read get:core/pods shop/shop-0", "write patch:core/pods shop/shop-0"],
    "annotate pod shop-0 why=because": ["read get:core/pods shop/shop-0", "write patch:core/pods shop/shop-0"],
    "delete pod shop-0 --wait=false": ["delete delete:core/pods shop/shop-0"],
    "delete pods --all --wait=false": ["list list:core/pods shop/-", "delete delete:core/pods shop/shop-0"],
    "cordon node-0": ["read get:core/nodes -/node-0", "write patch:core/nodes -/node-0"],
    "auth can-i delete pods": ["read create:authorization.k8s.io/selfsubjectaccessreviews -/-"],
    "get pods --as=admin --as-group=system:masters": [
        f"list list:core/pods shop/- +impersonate:users {HOST}/-/admin +impersonate:groups {HOST}/-/system:masters"
    ],
}


def told(sent: dict[str, Any]) -> str:
    """What one recorded request is read as: class, action, resource, and what else it does."""
    body = sent["body"].encode("latin-1")
    view = RequestView(
        method=sent["method"],
        scheme="https",
        authority=Authority(HOST, 443),
        path=sent["path"],
        query=sent["query"] or None,
        headers=tuple(sent["headers"].items()),
        body_length=len(body),
        body=BodyPrefix(data=body, is_whole=True),
    )
    intent = kubernetes.decode(view, frozenset({"k8s"}))
    assert isinstance(intent, Intent)
    others = "".join(f" +{each.action} {each.resource.id}" for each in intent.also)
    return f"{intent.effect.value} {intent.action} {intent.resource.id.removeprefix(HOST + '/')}{others}"


def test_every_recorded_command_is_expected() -> None:
    """No command was recorded without saying what it means, none is expected that was not recorded."""
    assert set(RECORDED) == set(MEANT)


@pytest.mark.parametrize("command", MEANT)
def test_what_kubectl_sends_is_what_it_says(command: str) -> None:
    """Each request of a command, in order: class, verb, resource, namespace and name; and whom it impersonates."""
    assert [told(sent) for sent in RECORDED[command]] == MEANT[command]
