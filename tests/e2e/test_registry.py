"""A real registry and real skopeo through a real sidecar: pull, push and delete, each by what it means."""

import json
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.fakes.images import make_image, until_it_listens
from tests.fakes.sidecar import World, rule
from tests.fakes.tools import RequireTool

pytestmark = pytest.mark.real
HOST = "registry.test"


@pytest.fixture(scope="module")
def world(require_tool: RequireTool) -> Iterator[World]:
    require_tool("skopeo")
    server = require_tool("docker-registry")
    made = World()
    certificate, key = made.root.issue("registry", (HOST,))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (made.folder / "registry.json").write_text(
        json.dumps(
            {
                "version": 0.1,
                "log": {"level": "error", "accesslog": {"disabled": True}},
                "storage": {"filesystem": {"rootdirectory": str(made.folder / "images")}, "delete": {"enabled": True}},
                "http": {"addr": f"127.0.0.1:{port}", "tls": {"certificate": str(certificate), "key": str(key)}},
            }
        )
    )
    running = subprocess.Popen(
        [server, "serve", str(made.folder / "registry.json")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until_it_listens(port)
        made.places[f"{HOST}:443"] = f"127.0.0.1:{port}"
        lines = [
            f"oci read {HOST}/**",
            f"oci read {HOST}",
            f"oci push.blob {HOST}/acme/*",
            f"oci push.manifest {HOST}/acme/app:v*",
            f"oci mount {HOST}/acme/*",
        ]
        made.rules = [rule("images", HOST, method="any", intent=lines)]
        made.start()
        yield made
        made.stop()
    finally:
        running.terminate()
        running.wait(10)


def meant(world: World) -> list[tuple[str, str, str]]:
    found = [record for record in world.records("flow.decision") if record.get("protocol") == "oci"]
    return [(record["action"], record["resource"], record["effect"]) for record in found]


def test_an_image_is_pushed_and_pulled(world: World) -> None:
    """skopeo's own requests: blobs, then the manifest under its tag, its digest on the record; then all of it back."""
    job = world.open()
    digest = make_image(job.folder / "image", b"x" * 300_000)
    job.run("skopeo", "copy", "-q", "--preserve-digests", "oci:image", f"docker://{HOST}/acme/app:v1")
    job.run("skopeo", "copy", "-q", f"docker://{HOST}/acme/app:v1", "dir:back")

    seen = meant(world)
    assert ("push.blob", f"{HOST}/acme/app", "allow") in seen
    assert ("push.manifest", f"{HOST}/acme/app:v1", "allow") in seen
    assert ("pull.manifest", f"{HOST}/acme/app:v1", "allow") in seen
    assert any(action == "pull.blob" and where.startswith(f"{HOST}/acme/app@sha256:") for action, where, _ in seen)
    (pushed,) = [record for record in world.records("flow.decision") if record.get("action") == "push.manifest"]
    assert (pushed["class"], pushed["facts"]["digest"], pushed["facts"]["tag"]) == ("publish", digest, "v1")
    assert {effect for _, _, effect in seen} == {"allow"}


@pytest.mark.parametrize(
    "words, action, resource",
    [
        (["copy", "-q", "oci:image", f"docker://{HOST}/acme/app:latest"], "push.manifest", f"{HOST}/acme/app:latest"),
        (["copy", "-q", "oci:image", f"docker://{HOST}/other/app:v1"], "push.blob", f"{HOST}/other/app"),
        (["delete", f"docker://{HOST}/acme/app:v2"], "delete.manifest", f"{HOST}/acme/app@"),
    ],
)
def test_what_no_line_names_is_denied(world: World, words: list[str], action: str, resource: str) -> None:
    """Another tag, another repository and a deletion never reach the registry, and skopeo says so."""
    job = world.open()
    make_image(job.folder / "image", b"y" * 1000)
    job.run("skopeo", "copy", "-q", "oci:image", f"docker://{HOST}/acme/app:v2")
    done = job.run("skopeo", *words, code=None)
    assert done.returncode != 0
    denied = [found for found in meant(world) if found[2] == "deny"][-1]
    assert (denied[0], denied[1].startswith(resource)) == (action, True)
