"""kubectl through a real sidecar to an API server: what the rule names, and nothing that it does not."""

import shutil
from collections.abc import Iterator

import pytest

from tests.fakes.kubernetes import HOST, MANIFEST, ApiServer
from tests.fakes.sidecar import Job, World, rule
from tests.fakes.tools import skip_loudly

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[World, ApiServer]]:
    if shutil.which("kubectl") is None:
        skip_loudly("`kubectl` is not installed")
    world = World()
    cluster = ApiServer(world.root.server_side("cluster", (HOST,)), bearer=world.secret)
    cluster.site.start()
    world.places[f"{HOST}:443"] = cluster.site.place
    lines = [
        f"k8s get:nonresource {HOST}/**",
        f"k8s list:core/pods {HOST}/shop/-",
        f"k8s get:core/pods {HOST}/shop/*",
        f"k8s get:apps/deployments {HOST}/shop/*",
        f"k8s patch:apps/deployments {HOST}/shop/*",
        f"k8s create:core/configmaps {HOST}/shop/settings",
    ]
    world.rules = [rule("deploy", HOST, credential=world.bearer(), intent=lines)]
    world.start()
    yield world, cluster
    world.stop()
    cluster.site.stop()


def kubectl(job: Job, command: str, code: int | None = 0) -> str:
    """Run kubectl as a job does: it has a cluster's address and the CA bundle, and no credential of worth."""
    first, *rest = command.split(" ")
    bundle = job.environment["SSL_CERT_FILE"]
    options = (
        f"--server=https://{HOST}",
        f"--certificate-authority={bundle}",
        "--token=placeholder",
        "--namespace=shop",
    )
    words = (first, *options, "--request-timeout=10s", f"--cache-dir={job.folder}/cache", *rest)
    done = job.run("kubectl", *words, code=code, stdin=MANIFEST.encode(), environment={"KUBECONFIG": "/dev/null"})
    return (done.stdout + done.stderr).decode()


def test_what_the_rule_names_is_done(stage: tuple[World, ApiServer]) -> None:
    """A listing, an apply and a named object pass, with the cluster's credential in place of the job's."""
    world, cluster = stage
    job = world.open()
    assert "shop-0" in kubectl(job, "get pods")
    assert "deployment.apps/shop" in kubectl(job, "apply -f - --validate=false --server-side --force-conflicts")
    assert "settings" in kubectl(job, "create configmap settings --from-literal=a=b")
    assert [each["method"] for each in cluster.asked] == ["GET", "PATCH", "POST"]
    told = {each["action"] for each in world.records("flow.decision") if each.get("protocol") == "k8s"}
    assert {"list:core/pods", "patch:apps/deployments", "create:core/configmaps"} <= told


@pytest.mark.parametrize(
    "command, action",
    [
        ("get pods -A", "list:core/pods"),
        ("get secret signing", "get:core/secrets"),
        ("delete pod shop-0 --wait=false", "delete:core/pods"),
        ("create configmap others --from-literal=a=b", "create:core/configmaps"),
        ("scale deployment shop --replicas=3", "patch:apps/deployments/scale"),
    ],
)
def test_anything_else_is_refused(stage: tuple[World, ApiServer], command: str, action: str) -> None:
    """Another namespace, kind, name, subresource or identity never reaches the cluster; kubectl shows our reason."""
    world, cluster = stage
    before = len(cluster.asked)
    said = kubectl(world.open(), command, code=1)
    assert "no-rule" in said, said
    assert [each for each in cluster.asked[before:] if each["method"] != "GET"] == []
    denied = [each for each in world.records("flow.decision") if each.get("action") == action][-1]
    assert (denied["effect"], denied["reason"]) == ("deny", "no-rule")


def test_another_identity_is_refused(stage: tuple[World, ApiServer]) -> None:
    """A rule that names verbs does not let them be done as somebody else, the cluster's discovery included."""
    world, cluster = stage
    before = len(cluster.site.seen)
    assert "Forbidden" in kubectl(world.open(), "get pods --as=admin", code=1)
    assert len(cluster.site.seen) == before
    assert "impersonate:users" in world.records("flow.decision")[-1]["also"][0]["action"]


@pytest.mark.parametrize("command", ["exec shop-0 -- cat /etc/passwd", "port-forward shop-0 8080:80"])
def test_a_way_into_a_pod_is_refused(stage: tuple[World, ApiServer], command: str) -> None:
    """What needs another protocol than HTTP is not forwarded, whatever rules say; the cluster sees a pod looked up."""
    world, cluster = stage
    before = len(cluster.asked)
    assert "upgrades are not forwarded" in kubectl(world.open(), command, code=1)
    assert {(each["method"], each["path"]) for each in cluster.asked[before:]} == {
        ("GET", "/api/v1/namespaces/shop/pods/shop-0")
    }
