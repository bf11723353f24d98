"""Real clients meet our certificates: OpenSSL, GnuTLS, Node and Java, each as strict as it comes, and each told no."""

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from proxy.gateway.tls import CertificateAuthority, LeafContexts
from tests.fakes.tools import find_tool, skip_loudly
from tests.gateway.certificates import Authority, as_pem, write_files

REVISION = "0123456789abcdef0123456789abcdef01234567"
BODY = f"{REVISION}\trefs/heads/main\n".encode()  # what git's plain HTTP protocol reads, and a text for the others
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(BODY)
LONG = "a" * 63 + "." + "b" * 63 + ".localhost"

PYTHON = """
import ssl, sys, urllib.request
tls = ssl.create_default_context(cafile=sys.argv[2])
assert tls.verify_flags & ssl.VERIFY_X509_STRICT
print(urllib.request.urlopen(sys.argv[1], context=tls, timeout=20).read().decode())
"""
NODE = """
const get = require("https").get(process.argv[1], (answer) => answer.pipe(process.stdout));
get.on("error", (error) => { console.error(error); process.exit(1); });
"""
JAVA = """
import java.net.URI;
public class Get {
    public static void main(String[] words) throws Exception {
        System.out.write(URI.create(words[0]).toURL().openStream().readAllBytes());
        System.out.flush();
    }
}
"""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a client is to fetch, and where it finds our files."""

    url: str
    folder: Path
    trusted: bool

    @property
    def bundle(self) -> str:
        return str(self.folder / ("bundle.pem" if self.trusted else "none.pem"))

    @property
    def ca(self) -> str:
        return str(self.folder / ("ca.pem" if self.trusted else "none.pem"))


@dataclass(frozen=True, kw_only=True)
class Client:
    """A program, how it is made to fetch a URL, and the name of this machine it is asked to connect to."""

    program: str
    arguments: Callable[[Request], list[str]]
    variables: Callable[[Request], dict[str, str]] = field(default=lambda _: {})
    host: str = "localhost"


def java_words(request: Request) -> list[str]:
    """Put the CA into a trust store of its own, as a Java user has to."""
    keytool = find_tool("keytool")
    store = request.folder / "trust.p12"
    assert keytool is not None
    words = ["-importcert", "-noprompt", "-alias", "jobgate", "-storetype", "PKCS12", "-storepass", "changeit"]
    subprocess.run(
        [keytool, *words, "-keystore", str(store), "-file", request.ca], check=True, capture_output=True, timeout=60
    )
    (request.folder / "Get.java").write_text(JAVA)
    (request.folder / "hosts").write_text("127.0.0.1 jobs.localhost\n")
    return [
        f"-Djdk.net.hosts.file={request.folder / 'hosts'}",
        f"-Djavax.net.ssl.trustStore={store}",
        "-Djavax.net.ssl.trustStorePassword=changeit",
        str(request.folder / "Get.java"),
        request.url,
    ]


CLIENTS = {
    "curl (OpenSSL)": Client(
        program="curl",
        arguments=lambda request: ["-sS", "--max-time", "20", request.url],
        variables=lambda request: {"CURL_CA_BUNDLE": request.bundle},
    ),
    "wget (GnuTLS)": Client(
        program="wget",
        arguments=lambda request: ["-q", "-O-", "-t1", "-T20", f"--ca-certificate={request.bundle}", request.url],
    ),
    "git (GnuTLS)": Client(
        program="git",
        arguments=lambda request: ["ls-remote", request.url],
        variables=lambda request: {"GIT_SSL_CAINFO": request.bundle, "GIT_CONFIG_NOSYSTEM": "1"},
    ),
    "node": Client(
        program="node",
        arguments=lambda request: ["-e", NODE, request.url],
        variables=lambda request: {"NODE_EXTRA_CA_CERTS": request.ca},
    ),
    "python (X509_STRICT)": Client(
        program=sys.executable, arguments=lambda request: ["-c", PYTHON, request.url, request.bundle]
    ),
    # Java sends no SNI for a name without a dot, and is refused like any client that sends none (A06).
    "java": Client(program="java", arguments=java_words, host="jobs.localhost"),
}


@pytest.fixture(scope="module", params=["made at start", "an operator's, behind an intermediate"])
def leaves(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[LeafContexts, Path]:
    """Contexts of either kind of authority, and the folder where their certificates were written."""
    folder = tmp_path_factory.mktemp("ca")
    (folder / "none.pem").write_bytes(as_pem(Authority(name="Stranger")))
    if request.param == "made at start":
        ca = CertificateAuthority.generate()
    else:
        root = Authority(name="Example Root")
        signing = Authority(name="Example Signing CA", issuer=root, path_length=0)
        ca = CertificateAuthority.load(*write_files(folder, as_pem(signing, root), signing.key_pem()))
    ca.write_certificate(folder)
    return LeafContexts(ca), folder


@contextlib.contextmanager
def serving(tls: ssl.SSLContext) -> Iterator[int]:
    """A server that gives every request the same answer. Yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.settimeout(30)
                with connection, contextlib.suppress(OSError), tls.wrap_socket(connection, server_side=True) as wire:
                    if wire.recv(65_536):
                        wire.sendall(ANSWER + BODY)
                        wire.unwrap()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(30)


def fetch(client: Client, request: Request) -> subprocess.CompletedProcess[bytes]:
    program = find_tool(client.program)
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"MISSING PART: `{client.program}`, which .ci/real-parts should have brought")
        skip_loudly(f"`{client.program}` is not installed; .ci/real-parts brings it")
    clean = {"PATH": os.environ["PATH"], "HOME": str(request.folder), "GIT_TERMINAL_PROMPT": "0"}
    words = [str(program), *client.arguments(request)]
    return subprocess.run(
        words, env=clean | client.variables(request), capture_output=True, timeout=90, check=False, cwd=request.folder
    )


@pytest.mark.real
@pytest.mark.parametrize("by", ["name", "address"])
@pytest.mark.parametrize("name", CLIENTS)
def test_a_real_client_accepts_what_we_show(leaves: tuple[LeafContexts, Path], name: str, by: str) -> None:
    """By name with SNI and by address without: with our file a client succeeds on the first try."""
    contexts, folder = leaves
    host = CLIENTS[name].host if by == "name" else "127.0.0.1"
    if name == "java":
        (folder / "trust.p12").unlink(missing_ok=True)
    with serving(contexts.context_for(host)) as port:
        done = fetch(CLIENTS[name], Request(url=f"https://{host}:{port}/", folder=folder, trusted=True))
    assert (done.returncode, done.stderr) == (0, b"")
    assert REVISION.encode() in done.stdout


@pytest.mark.real
@pytest.mark.parametrize("name", [name for name in CLIENTS if name != "java"])
def test_the_proof_can_fail(leaves: tuple[LeafContexts, Path], name: str) -> None:
    """Without our file, and at a host whose certificate is another's, the same clients refuse."""
    contexts, folder = leaves
    with serving(contexts.context_for("localhost")) as port:
        stranger = fetch(CLIENTS[name], Request(url=f"https://localhost:{port}/", folder=folder, trusted=False))
        other = fetch(CLIENTS[name], Request(url=f"https://127.0.0.1:{port}/", folder=folder, trusted=True))
    assert stranger.returncode != 0
    assert other.returncode != 0
    assert REVISION.encode() not in stranger.stdout + other.stdout


@pytest.mark.real
@pytest.mark.parametrize("host", [LONG, "_under.score.localhost", "xn--bcher-kva.localhost"])
def test_odd_names_are_no_hindrance(leaves: tuple[LeafContexts, Path], host: str) -> None:
    """A name too long for a common name leaves the subject empty; underscores and A-labels are names like others."""
    contexts, folder = leaves
    curl = CLIENTS["curl (OpenSSL)"]
    with serving(contexts.context_for(host)) as port:
        pinned = Client(
            program=curl.program,
            arguments=lambda request: ["--resolve", f"{host}:{port}:127.0.0.1", *curl.arguments(request)],
            variables=curl.variables,
        )
        done = fetch(pinned, Request(url=f"https://{host}:{port}/", folder=folder, trusted=True))
    assert (done.returncode, done.stderr) == (0, b"")
