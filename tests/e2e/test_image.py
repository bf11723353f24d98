"""The Dockerfile, built for real and run as its own unprivileged user. Skipped, by name, where none can be built."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from proxy.control.client import ControlClient
from proxy.demo.issuer import ISSUER, Issuer, TokenWish
from proxy.demo.tls import StageRoot
from proxy.demo.web import Exchange, Site
from tests.e2e.buildah import buildah, buildah_words, container, ensure_bases, mounted, what_is_missing

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(400),
    pytest.mark.skipif(what_is_missing() is not None, reason=f"no image can be built here: {what_is_missing()}"),
]

NAME: Final = "localhost/jobgate-test"
USER: Final = 10001
AUDIENCE: Final = "https://jobgate.example.test"
HOST: Final = "artifacts.example.test"
VOLUMES: Final = ("certs", "audit", "run/jobgate")


@pytest.fixture(scope="module")
def image() -> str:
    ensure_bases()
    cache = Path(os.environ.get("UV_CACHE_DIR") or Path.home() / ".cache" / "uv")
    kept = ("-v", f"{cache}:/root/.cache/uv") if cache.is_dir() else ()
    options = ("--isolation", "chroot", "--format", "docker", "--pull-never", *kept)
    buildah("bud", *options, "--tag", NAME, ".")
    buildah("rmi", "--prune")
    return NAME


@pytest.fixture(scope="module")
def configuration(image: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(buildah("inspect", "--type", "image", image))["Docker"]["config"]
    return found


def test_it_runs_jobgate_as_nobody_in_particular(configuration: dict[str, Any]) -> None:
    """A fixed unprivileged user, our own command as entry point and health check, volumes for all it writes."""
    assert configuration["User"] == f"{USER}:{USER}"
    assert configuration["Entrypoint"] == ["jobgate"]
    assert configuration["Cmd"] == ["run"]
    assert configuration["Healthcheck"]["Test"] == ["CMD", "jobgate", "health"]
    assert set(configuration["Volumes"]) == {f"/{name}" for name in VOLUMES}
    assert configuration["StopSignal"] == "SIGTERM"
    assert not any("SECRET" in line or "TOKEN" in line for line in configuration["Env"])


def test_nothing_that_builds_and_no_key_is_inside(image: str) -> None:
    """No compiler, package installer, build tool, test or private key; nothing of ours that its user may change."""
    with container(image) as name, mounted(name) as tree:
        programs = {
            path.name
            for folder in ("usr/bin", "usr/sbin", "usr/local/bin", "opt/jobgate/bin")
            for path in (tree / folder).iterdir()
        }
        packages = {path.name.split("-")[0] for path in tree.glob("**/site-packages/*.dist-info")}
        files = [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]
        keys = [
            path
            for path in files
            if path.suffix in {".key", ".pem", ".p12", ".pfx"} and b"PRIVATE KEY" in path.read_bytes()
        ]
        owned = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.lstat().st_uid == USER}

        assert not programs & {"gcc", "cc", "make", "git", "pip", "pip3", "uv", "uvx", "hatchling"}
        assert not packages & {"pip", "uv", "hatchling", "setuptools", "pytest", "mypy", "ruff", "moto", "boto3"}
        assert "jobgate" in packages
        assert list(tree.glob("opt/jobgate/lib/python3.13/site-packages/proxy/policy/evaluate.*.so"))
        assert (tree / "opt/jobgate/bin/jobgate").exists()
        assert not (tree / "source").exists()
        assert not (tree / "opt/uv").exists()
        assert not (tree / "opt/build").exists()
        assert keys == []
        assert owned == set(VOLUMES)


class _Released(Exchange):
    def answer(self) -> None:
        self.reply(200, b"released")


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A container at work."""

    name: str
    folder: Path
    port: int
    volumes: tuple[str, ...]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the container, beside the proxy."""
        command = buildah_words("run", "--isolation", "chroot", *self.volumes, self.name, "--", *words)
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def _started(folder: Path, image: str, settings: dict[str, object]) -> Iterator[Running]:
    for volume in ("certs", "audit", "run"):
        (folder / volume).mkdir()
        os.chown(folder / volume, USER, USER)
    (folder / "audit").chmod(0o700)
    (folder / "etc" / "rules").mkdir(parents=True)
    rule = {"id": "read-released", "why": "builds read released artifacts", "to": HOST, "path": "/released/**"}
    (folder / "etc" / "rules" / "rules.yaml").write_text(json.dumps({"rules": [rule]}))
    (folder / "etc" / "jobgate.yaml").write_text(json.dumps(settings))
    # Neither where the image declares a volume nor below /run: buildah mounts its own there, now before ours, now over.
    places = {"certs": "/mnt/certs", "audit": "/mnt/audit", "run": "/mnt/run", "etc": "/etc/jobgate:ro"}
    chosen = {"CERTS": "/mnt/certs", "AUDIT": "/mnt/audit", "CONTROL": "/mnt/run/control.sock"}
    volumes = (
        *(word for here, there in places.items() for word in ("--volume", f"{folder / here}:{there}")),
        *(word for name, place in chosen.items() for word in ("--env", f"JOBGATE_{name}={place}")),
    )
    port = int(str(settings["listen"]).rpartition(":")[2])
    with container(image) as name, (folder / "log").open("w") as log:
        words = buildah_words("run", "--isolation", "chroot", *volumes, name, "--", "jobgate", "run")
        program = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            for _ in range(2400):  # two minutes: the machine may be building something else
                if (folder / "run" / "control.sock").exists() or program.poll() is not None:
                    break
                time.sleep(0.05)
            assert program.poll() is None, (folder / "log").read_text()
            yield Running(name=name, folder=folder, port=port, volumes=volumes)
        finally:
            for child in _descendants(program.pid):
                with suppress(FileNotFoundError, ProcessLookupError):  # it ended by itself, after it was listed
                    if Path(f"/proc/{child}").stat().st_uid == USER:
                        os.kill(child, signal.SIGTERM)
            program.wait(30)


def _descendants(pid: int) -> list[int]:
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):  # a process may end at any time, and its children with it
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, task.read_text().split()):
                found += [child, *_descendants(child)]
    return found


def test_a_container_serves_a_job(image: str, tmp_path: Path) -> None:
    """It becomes healthy as its own user, serves a session by rule, and keeps its key out of every volume."""
    root = StageRoot(tmp_path)
    issuer = Issuer(root.server_side("issuer", ("agent.buildkite.com",)))
    origin = Site(_Released, root.server_side("origin", (HOST,)))
    issuer.start()
    origin.start()
    settings: dict[str, object] = {
        "listen": f"127.0.0.1:{_free_port()}",
        "issuers": [{"provider": "buildkite", "audience": AUDIENCE, "bound": {"organization_slug": "acme"}}],
        "upstream": {
            "trust": "/etc/jobgate/root.pem",
            "allow_addresses": ["127.0.0.0/8"],
            "connect_to": {
                f"{ISSUER.removeprefix('https://')}:443": issuer.site.place,
                f"{HOST}:443": origin.place,
            },
        },
    }
    folder = tmp_path / "container"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc" / "root.pem").write_bytes(root.certificate.read_bytes())
    try:
        with _started(folder, image, settings) as running:
            health = running.run("jobgate", "health", "--wait", "30")
            assert health.returncode == 0, health.stdout + health.stderr
            version = running.run("jobgate", "--version")
            assert "compiled" in version.stdout, version.stdout + version.stderr
            token = issuer.mint(issuer.add_job(), TokenWish(audience=AUDIENCE))
            secret = ControlClient(folder / "run" / "control.sock").open_session(token)["secret"]
            allowed, denied = (_fetch(running, secret, path) for path in ("/released/app.tar", "/private"))
            assert (allowed, denied) == ("200", "403")
    finally:
        issuer.stop()
        origin.stop()

    written = [path for name in ("certs", "audit", "run") for path in (folder / name).rglob("*") if path.is_file()]
    assert (folder / "certs" / "ca.pem") in written
    assert not any(b"PRIVATE KEY" in path.read_bytes() for path in written if path.name != "reserve")
    assert {path.stat().st_uid for path in written} == {USER}
    assert "Traceback" not in (folder / "log").read_text()


def _fetch(running: Running, secret: str, path: str) -> str:
    done = subprocess.run(
        ["curl", "-qsS", "-o", "/dev/null", "-w", "%{http_code}", f"https://{HOST}{path}"],
        env={
            "PATH": os.environ["PATH"],
            "HTTPS_PROXY": f"http://job:{secret}@127.0.0.1:{running.port}",
            "CURL_CA_BUNDLE": str(running.folder / "certs" / "bundle.pem"),
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stdout or done.stderr


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
