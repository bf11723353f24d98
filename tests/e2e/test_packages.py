"""pip, npm, wget and node through a real sidecar, against small registries of our own."""

import base64
import hashlib
import io
import json
import subprocess
import sys
import tarfile

import pytest

from tests.fakes.origin import Origin, made_bytes
from tests.fakes.sidecar import Job, World
from tests.fakes.tools import RequireTool
from tests.fakes.wheels import wheel

pytestmark = pytest.mark.real

_NODE = """
const http = require('http'), tls = require('tls');
const proxy = new URL(process.env.HTTPS_PROXY), target = new URL(process.argv[2]);
const headers = {Host: `${target.hostname}:443`, 'Proxy-Authorization':
  'Basic ' + Buffer.from(decodeURIComponent(`${proxy.username}:${proxy.password}`)).toString('base64')};
const connect = http.request({host: proxy.hostname, port: proxy.port, method: 'CONNECT',
  path: `${target.hostname}:443`, headers});
connect.on('connect', (answer, socket) => {
  if (answer.statusCode !== 200) { console.log(`connect ${answer.statusCode}`); process.exit(7); }
  const secure = tls.connect({socket, servername: target.hostname}, () => {
    const request = http.request({createConnection: () => secure, host: target.hostname, path: target.pathname,
      method: 'POST', headers: {Host: target.hostname}}, (reply) => {
        let text = '';
        reply.on('data', (part) => text += part);
        reply.on('end', () => { console.log(reply.statusCode, text); process.exit(0); });
      });
    request.end('from node');
  });
  secure.on('error', (error) => { console.log(String(error)); process.exit(8); });
});
connect.end();
"""


def publish_wheel(origin: Origin, name: str, version: str) -> None:
    """Put a wheel into a simple index (PEP 503)."""
    content, file = wheel(name, version), f"{name}-{version}-py3-none-any.whl"
    digest = hashlib.sha256(content).hexdigest()
    page = f'<!DOCTYPE html><html><body><a href="/files/{file}#sha256={digest}">{file}</a></body></html>'
    origin.files[f"/simple/{name}/"] = ("text/html", page.encode())
    origin.files[f"/files/{file}"] = ("application/octet-stream", content)


def publish_package(origin: Origin, name: str, version: str) -> None:
    """Put a package into a registry: packument and tarball."""
    packed = io.BytesIO()
    members = {"package.json": json.dumps({"name": name, "version": version}), "index.js": "module.exports = 42;\n"}
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, text in members.items():
            entry = tarfile.TarInfo(f"package/{path}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    content = packed.getvalue()
    bare = name.rpartition("/")[2]
    tarball = f"/{name}/-/{bare}-{version}.tgz"
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    dist = {"tarball": f"https://origin.test{tarball}", "integrity": integrity}
    packument = {
        "name": name,
        "dist-tags": {"latest": version},
        "versions": {version: {"name": name, "version": version, "dist": dist}},
    }
    origin.files[f"/{name.replace('/', '%2f')}"] = ("application/json", json.dumps(packument).encode())
    origin.files[tarball] = ("application/octet-stream", content)


@pytest.fixture(scope="module")
def pip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A pip of its own: environments made by uv have none."""
    folder = tmp_path_factory.mktemp("pip")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True, timeout=90)
    return str(folder / "bin" / "pip")


def test_pip_installs(job: Job, pip: str) -> None:
    """pip finds and installs a package from an index over TLS."""
    publish_wheel(job.world.origin, "gatelet", "1.2.3")
    job.run(
        pip, "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir",
        "--index-url", "https://origin.test/simple/", "--target", "site", "gatelet", seconds=90,
    )  # fmt: skip
    assert (job.folder / "site" / "gatelet.py").read_text() == "VERSION = '1.2.3'\n"
    assert job.world.ended(path="/simple/gatelet/").status == 200


def test_pip_is_refused(job: Job, pip: str) -> None:
    """An index that no rule names cannot be installed from; the record says why."""
    job.run(
        pip, "install", "--disable-pip-version-check", "--retries", "0",
        "--index-url", "https://denied.test/simple/", "--target", "site", "gatelet", code=1, seconds=90,
    )  # fmt: skip
    assert not (job.folder / "site").exists()
    assert job.world.ended(place="denied.test").reason == "no-rule"
    assert job.world.internet.visits == 0


@pytest.mark.parametrize("name", ["gatelet", "@acme/gatelet"])
def test_npm_installs(job: Job, name: str, require_tool: RequireTool) -> None:
    """npm finds, verifies and installs a package, scoped names included."""
    npm = require_tool("npm")
    publish_package(job.world.origin, name, "4.5.6")
    (job.folder / "package.json").write_text('{"name": "job", "version": "1.0.0"}')
    job.run(npm, "install", "--registry=https://origin.test/", "--no-audit", "--no-fund", name, seconds=90)
    installed = json.loads((job.folder / "node_modules" / name / "package.json").read_text())
    assert installed["version"] == "4.5.6"


@pytest.mark.parametrize("url", ["http://plain.test", "https://origin.test"])
def test_wget_downloads(job: Job, url: str, require_tool: RequireTool) -> None:
    """wget downloads a megabyte unchanged; of the CA it must be told on its own."""
    wget = require_tool("wget")
    bundle = job.environment["SSL_CERT_FILE"]
    job.run(wget, "-q", f"--ca-certificate={bundle}", "-O", "file", f"{url}/bytes/1000000")
    assert (job.folder / "file").read_bytes() == made_bytes(1_000_000)


def test_wget_is_denied(job: Job, require_tool: RequireTool) -> None:
    """wget ends with the server-error code on a denial."""
    job.run(require_tool("wget"), "-q", "--tries=1", "http://denied.test/", code=8)
    assert job.world.internet.visits == 0


def test_node_trusts_the_certificate(job: Job, require_tool: RequireTool) -> None:
    """Node 20 reads no proxy variable: a script that does CONNECT by hand trusts us through NODE_EXTRA_CA_CERTS."""
    node = require_tool("node")
    (job.folder / "ask.js").write_text(_NODE)
    said = job.run(node, "ask.js", "https://origin.test/echo").stdout.decode()
    status, _, body = said.partition(" ")
    assert (status, json.loads(body)["body"]) == ("200", "from node")
    assert job.run(node, "ask.js", "https://denied.test/", code=7).stdout == b"connect 403\n"


def test_node_without_the_certificate_refuses(world: World, require_tool: RequireTool) -> None:
    """The certificate is what makes it trusted: without it, Node refuses."""
    job = world.open()
    (job.folder / "ask.js").write_text(_NODE)
    done = job.run(
        require_tool("node"), "ask.js", "https://origin.test/echo", code=8, environment={"NODE_EXTRA_CA_CERTS": ""}
    )
    assert b"self" in done.stdout or b"certificate" in done.stdout
