"""What is compared: each proxy as its own documentation starts it, on one core, in front of the same origin.

jobgate runs its whole path: a session, 1,000 rules, the audit trail on disk, the credential swapped. The others only
pass requests on: mitmdump without a script, squid with TLS bump, both as shipped but for the CA they are told to trust.
"""

import getpass
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.decision import make_rules
from bench.parts import (
    LOAD_CORE,
    PROXY_CORE,
    BenchError,
    free_port,
    package_environment,
    python,
    started,
    wait_for_port,
    wait_until,
)
from proxy.control.client import ControlClient, ControlError
from proxy.demo.issuer import ISSUER, Issuer, TokenWish
from proxy.demo.tls import StageRoot

HOST: Final = "localhost"
"""The origin's name: every proxy resolves it to the loopback address without any help."""
AUDIENCE: Final = "https://jobgate.bench.test"
SQUID_USER: Final = "proxy"
SQUID_CERTGEN: Final = Path("/usr/lib/squid/security_file_certgen")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The upstream all proxies talk to."""

    tls: int
    plain: int
    root: StageRoot

    @property
    def trust(self) -> Path:
        """The CA its certificate is of."""
        return self.root.certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A running proxy: where it listens, which process it is, what clients must trust and send."""

    name: str
    port: int
    pid: int
    trust: Path
    authorization: str = ""
    ready: float = 0.0
    """Seconds from its start until it was ready: for jobgate as its health says, for others when they accept."""


@contextmanager
def run_origin(folder: Path) -> Iterator[Origin]:
    """Run the origin with a certificate of a CA made for this run."""
    root = StageRoot(folder)
    chain, key = root.issue("origin", (HOST,))
    words = python("-m", "bench.origin", "--certificate", str(chain), "--key", str(key))
    with started(words, LOAD_CORE, folder / "origin.log") as program:
        line = program.stdout.readline() if program.stdout is not None else ""
        if not line:
            raise BenchError(f"the origin did not start: {(folder / 'origin.log').read_text()}")
        yield Origin(root=root, **json.loads(line))


@contextmanager
def run_jobgate(
    folder: Path, origin: Origin, *, module: str = "proxy", interpreted: bool = False
) -> Iterator[Contender]:
    """Run jobgate with a session of a job that a Buildkite-shaped issuer vouches for.

    As the image has it, its pure half compiled, where `make compiled` has made that, and unless it is `interpreted`.
    `module` is started in place of the package: `bench.null_trail` makes no records, `bench.null_disk` writes none.
    """
    environment = package_environment(interpreted=interpreted)
    name = "jobgate, whole path" + (", interpreted" if interpreted else "") if module == "proxy" else module
    issuer = Issuer(origin.root.server_side("issuer", (HOST, "agent.buildkite.com")))
    issuer.start()
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix="jobgate-") as place:
            home = Path(place)
            port, log = free_port(), home / "jobgate.log"
            _write_settings(home, port, origin, issuer)
            words = python("-m", module, "run", "--config", str(home / "jobgate.yaml"))
            with started(words, PROXY_CORE, log, environment) as program:
                ready = wait_until(lambda: _is_ready(home / "control.sock"), program, log)
                secret = _open_session(home / "control.sock", issuer)
                yield Contender(
                    name=name,
                    port=port,
                    pid=program.pid,
                    trust=home / "certs" / "ca.pem",
                    authorization=f"Basic {b64encode(f'job:{secret}'.encode()).decode()}",
                    ready=ready,
                )
    finally:
        issuer.stop()


def _write_settings(home: Path, port: int, origin: Origin, issuer: Issuer) -> None:
    (home / "secret").write_text("bench-only-secret-0123456789")
    (home / "secret").chmod(0o600)
    document = make_rules(1000)
    del document["rules"][0]["when"]  # timed on its own, by the decision case
    document["rules"][0] |= {  # the first rule is the benchmark's own
        "to": f"https://{HOST}:{origin.tls}",
        "method": ["GET", "PUT"],
        "path": ["/1k", "/bytes/**", "/sink"],
        "credential": {"header": {"from": {"file": str(home / "secret")}}},
    }
    (home / "rules.yaml").write_text(json.dumps(document))
    settings = {
        "listen": f"127.0.0.1:{port}",
        "control": "control.sock",
        "rules": ["rules.yaml"],
        "certs": "certs",
        "audit": {"directory": "audit"},
        "issuers": [{"provider": "buildkite", "audience": AUDIENCE, "bound": {"organization_slug": "acme"}}],
        "upstream": {
            "trust": str(origin.trust),
            "allow_addresses": ["127.0.0.0/8"],
            "connect_to": {f"{ISSUER.removeprefix('https://')}:443": issuer.site.place},
        },
    }
    (home / "jobgate.yaml").write_text(json.dumps(settings))


def _is_ready(control: Path) -> bool:
    try:
        return ControlClient(control).readiness() == ()
    except ControlError:
        return False


def _open_session(control: Path, issuer: Issuer) -> str:
    """Open the job's session as the agent hook does; return its password."""
    job = issuer.add_job(pipeline_slug="payments-deploy", step_key="upload", build_number=7)
    token = issuer.mint(job, TokenWish(audience=AUDIENCE))
    try:
        secret: str = ControlClient(control).open_session(token)["secret"]
    except ControlError as error:
        raise BenchError(f"no session was opened: {error}") from None
    return secret


@contextmanager
def run_mitmdump(folder: Path, origin: Origin, *, quiet: bool = False) -> Iterator[Contender]:
    """Run mitmdump without a script: as it comes, printing its line for each flow to a file, or printing nothing."""
    name = "mitmdump-quiet" if quiet else "mitmdump"
    port, home, log = free_port(), folder / name, folder / f"{name}.log"
    words = [
        str(Path(sys.executable).parent / "mitmdump"),
        *(["--quiet"] if quiet else []),
        *("--listen-host", "127.0.0.1", "--listen-port", str(port)),
        *("--set", f"confdir={home}", "--set", f"ssl_verify_upstream_trusted_ca={origin.trust}"),
    ]
    with started(words, PROXY_CORE, log, talks=True) as program:
        ready = wait_for_port(port, program, log)
        yield Contender(
            name="mitmdump --quiet" if quiet else "stock mitmdump",
            port=port,
            pid=program.pid,
            trust=home / "mitmproxy-ca-cert.pem",
            ready=ready,
        )


@contextmanager
def run_squid(folder: Path, origin: Origin) -> Iterator[Contender]:
    """Run squid with TLS bump: one worker, no cache, no access log."""
    squid = shutil.which("squid", path=f"{os.environ['PATH']}:/usr/sbin")
    if squid is None or not SQUID_CERTGEN.exists():
        raise BenchError("squid with TLS is not installed (Debian: squid-openssl)")
    home = folder / "squid"
    home.mkdir(exist_ok=True)
    signing, trust = home / "ca-key.pem", home / "ca.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=bench squid", "-keyout", signing, "-out", trust),
        ],
        check=True,
        capture_output=True,
    )
    with signing.open("a") as both:
        both.write(trust.read_text())
    port, log, store = free_port(), folder / "squid.log", home / "certificates"
    subprocess.run([SQUID_CERTGEN, "-c", "-s", store, "-M", "4MB"], check=True, capture_output=True)
    user = _give_away(home)
    (home / "squid.conf").write_text(
        f"""
http_port 127.0.0.1:{port} ssl-bump tls-cert={signing} generate-host-certificates=on dynamic_cert_mem_cache_size=4MB
sslcrtd_program {SQUID_CERTGEN} -s {store} -M 4MB
sslcrtd_children 1
acl all_ports port 1-65535
http_access allow all
ssl_bump bump all
tls_outgoing_options cafile={origin.trust}
cache deny all
access_log none
cache_log {home}/cache.log
pid_filename {home}/squid.pid
coredump_dir {home}
cache_effective_user {user}
shutdown_lifetime 0 seconds
"""
    )
    with started([squid, "--foreground", "-f", str(home / "squid.conf")], PROXY_CORE, log) as program:
        ready = wait_for_port(port, program, log)
        time.sleep(0.5)
        yield Contender(name="squid, TLS bump", port=port, pid=program.pid, trust=trust, ready=ready)


def _give_away(folder: Path) -> str:
    """Let squid's own user have its folder where we are root, which squid refuses to run as; return the user."""
    if os.geteuid() != 0:
        return getpass.getuser()
    folder.parent.chmod(0o711)
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, SQUID_USER, SQUID_USER)
    return SQUID_USER
