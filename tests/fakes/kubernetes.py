"""As much of a Kubernetes API server as kubectl asks for: discovery, one deployment and one pod, a name for a token.

`python -m tests.fakes.kubernetes` records what the kubectl on this machine sends, into `tests/cases/kubectl.json`.
"""

import json
import shutil
import ssl
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from proxy.demo.tls import StageRoot
from proxy.demo.web import Exchange, Site

HOST: Final = "api.cluster.test"
CASES: Final = Path(__file__).parent.parent / "cases" / "kubectl.json"
_VERBS: Final = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_KEPT: Final = ("content-type", "upgrade", "impersonate-user", "impersonate-group")

_RESOURCES: Final = {
    "v1": [
        ("pods", "Pod", True),
        ("pods/log", "Pod", True),
        ("pods/exec", "PodExecOptions", True),
        ("pods/attach", "PodAttachOptions", True),
        ("pods/portforward", "PodPortForwardOptions", True),
        ("pods/eviction", "Eviction", True),
        ("services", "Service", True),
        ("configmaps", "ConfigMap", True),
        ("secrets", "Secret", True),
        ("events", "Event", True),
        ("serviceaccounts", "ServiceAccount", True),
        ("serviceaccounts/token", "TokenRequest", True),
        ("namespaces", "Namespace", False),
        ("nodes", "Node", False),
    ],
    "apps/v1": [
        ("deployments", "Deployment", True),
        ("deployments/scale", "Scale", True),
        ("replicasets", "ReplicaSet", True),
    ],
    "authorization.k8s.io/v1": [("selfsubjectaccessreviews", "SelfSubjectAccessReview", False)],
    "rbac.authorization.k8s.io/v1": [("rolebindings", "RoleBinding", True), ("clusterroles", "ClusterRole", False)],
}
_CONTAINER: Final = {"name": "main", "image": "shop:1"}
_LABELS: Final = {"app": "shop"}


def _object(kind: str, version: str, name: str, **more: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "uid": "1-2-3", "resourceVersion": "7", "labels": _LABELS}
    return {"kind": kind, "apiVersion": version, "metadata": metadata, **more}


POD: Final = _object("Pod", "v1", "shop-0", spec={"containers": [_CONTAINER]}, status={"phase": "Running"})
NODE: Final = _object("Node", "v1", "node-0", spec={})
DEPLOYMENT: Final = _object(
    "Deployment",
    "apps/v1",
    "shop",
    spec={
        "replicas": 1,
        "selector": {"matchLabels": _LABELS},
        "template": {"metadata": {"labels": _LABELS}, "spec": {"containers": [_CONTAINER]}},
    },
)
_NAMED: Final = {"pods/shop-0": POD, "deployments/shop": DEPLOYMENT, "nodes/node-0": NODE}
_LISTS: Final = {"pods": ("PodList", "v1", [POD]), "deployments": ("DeploymentList", "apps/v1", [DEPLOYMENT])}


_SPECIAL: Final = {
    "token": {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "status": {"token": "t"}},
    "selfsubjectaccessreviews": {
        "kind": "SelfSubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "status": {"allowed": True},
    },
    "scale": _object("Scale", "autoscaling/v1", "shop", spec={"replicas": 1}),
}


def _created(words: list[str]) -> dict[str, Any]:
    """What was created, which came as protobuf: its kind is known by its place."""
    version = "/".join(words[2:4]) if words[1] == "apis" else words[2]
    kinds = {name: kind for name, kind, _ in _RESOURCES[version]}
    return _object(kinds[words[-1]], version, "settings")


def discover(path: str) -> dict[str, Any] | None:
    """Return a discovery document, None for another path."""
    if path == "/version":
        return {"major": "1", "minor": "32", "gitVersion": "v1.32.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = [each.split("/")[0] for each in _RESOURCES if "/" in each]
        named = [
            {"name": group, "versions": [found], "preferredVersion": found}
            for group in groups
            for found in [{"groupVersion": f"{group}/v1", "version": "v1"}]
        ]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": named}
    version = path.removeprefix("/api/").removeprefix("/apis/")
    if version not in _RESOURCES:
        return None
    kinds = [
        {"name": name, "kind": kind, "namespaced": spaced, "singularName": "", "verbs": _VERBS}
        for name, kind, spaced in _RESOURCES[version]
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": kinds}


@dataclass(slots=True)
class ApiServer:
    """The running server. `bearer` opens everything, None all to anybody. `asked` has every request but discovery."""

    tls: ssl.SSLContext
    bearer: str | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    site: Site = field(init=False)

    def __post_init__(self) -> None:
        self.site = Site(ApiExchange, self.tls)
        self.site.cluster = self  # type: ignore[attr-defined]


class ApiExchange(Exchange):
    def answer(self) -> None:
        cluster: ApiServer = self.server.cluster  # type: ignore[attr-defined]
        body = self.read_body()
        path, _, query = self.path.partition("?")
        if cluster.bearer is not None and self.headers["authorization"] != f"Bearer {cluster.bearer}":
            self.fail(401, "Unauthorized")
            return
        found = discover(path)
        if found is not None:
            self.reply_json(200, found)
            return
        if path.startswith("/openapi"):
            self.fail(404, "NotFound")
            return
        headers = {name: self.headers[name] for name in _KEPT if name in self.headers}
        asked = {
            "method": self.command,
            "path": path,
            "query": query,
            "headers": headers,
            "body": body.decode("latin-1"),
        }
        cluster.asked.append(asked)
        self._answer_object(path.split("/"), body)

    def _answer_object(self, words: list[str], body: bytes) -> None:
        """Answer about the one object or list of a path; what is created or changed is given back as it is."""
        last = "/".join(words[-2:])
        if words[-1] in {"exec", "attach", "portforward"}:
            self.fail(400, "BadRequest")
        elif words[-1] == "log":
            self.reply(200, b"a line\n", {"Content-Type": "text/plain"})
        elif words[-1] in _SPECIAL:
            self.reply_json(201 if self.command == "POST" else 200, _SPECIAL[words[-1]])
        elif self.command == "DELETE":
            self.reply_json(200, {"kind": "Status", "apiVersion": "v1", "status": "Success", "metadata": {}})
        elif last in _NAMED:
            self.reply_json(200, _NAMED[last])
        elif self.command == "GET" and words[-1] in _LISTS:
            kind, version, items = _LISTS[words[-1]]
            self.reply_json(200, {"kind": kind, "apiVersion": version, "metadata": {}, "items": items})
        elif self.command == "POST":
            self.reply_json(201, json.loads(body) if body.startswith(b"{") else _created(words))
        else:
            self.fail(404, "NotFound")

    def fail(self, code: int, reason: str) -> None:
        self.reply_json(
            code,
            {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "reason": reason,
                "message": reason,
                "code": code,
            },
        )


MANIFEST: Final = json.dumps({key: value for key, value in DEPLOYMENT.items() if key != "status"})
COMMANDS: Final = (
    "get pods",
    "get pods -A",
    "get pod shop-0 -o json",
    "get pods --watch",
    "get secret signing",
    "describe pod shop-0",
    "logs shop-0",
    "exec shop-0 -- cat /etc/passwd",
    "attach shop-0",
    "port-forward shop-0 8080:80",
    "cp shop-0:/etc/hosts hosts",
    "apply -f - --validate=false",
    "apply -f - --validate=false --server-side --force-conflicts",
    "create -f - --validate=false",
    "create configmap settings --from-literal=a=b",
    "create secret generic signing --from-literal=a=b",
    "create token builder",
    "create rolebinding all --clusterrole=admin --user=x",
    "replace -f - --validate=false",
    'patch deployment shop -p {"spec":{"replicas":2}}',
    "scale deployment shop --replicas=3",
    "rollout restart deployment/shop",
    "set image deployment/shop main=shop:2",
    "label pod shop-0 tier=front",
    "annotate pod shop-0 why=because",
    "delete pod shop-0 --wait=false",
    "delete pods --all --wait=false",
    "cordon node-0",
    "auth can-i delete pods",
    "get pods --as=admin --as-group=system:masters",
)
"""What is recorded, each for the namespace `shop`; `-f -` reads MANIFEST."""


def record() -> dict[str, Any]:
    """Run every command against a server of its own; return what each sent."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise SystemExit("kubectl is not installed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = StageRoot(folder)
        server = ApiServer(root.server_side("cluster", ("127.0.0.1", HOST)))
        server.site.start()
        found: dict[str, Any] = {}
        for command in COMMANDS:
            server.asked.clear()
            words = [f"--server=https://127.0.0.1:{server.site.port}", "--namespace=shop", "--request-timeout=3s"]
            options = [
                *words,
                f"--certificate-authority={root.certificate}",
                f"--cache-dir={folder}/cache",
                "--token=t",
            ]
            subprocess.run(
                [kubectl, *command.split(" ")[:1], *options, *command.split(" ")[1:]],
                input=MANIFEST.encode(),
                capture_output=True,
                check=False,
                timeout=30,
                env={"HOME": name, "PATH": "/usr/bin:/bin", "KUBECONFIG": "/dev/null"},
            )
            found[command] = [*server.asked]
        server.site.stop()
    version = subprocess.run([kubectl, "version", "--client"], capture_output=True, text=True, check=True).stdout
    return {"recorded": version.splitlines()[0], "commands": found}


if __name__ == "__main__":
    CASES.write_text(json.dumps(record(), indent=1) + "\n")
