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
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme

from bench.parts import LOAD_CORE, PROXY_CORE, BenchError, free_port, python, started, wait_for_port

HOST: Final = "localhost"
"""The origin's name: every proxy resolves it to the loopback address without any help."""
SQUID_USER: Final = "proxy"
SQUID_CERTGEN: Final = Path("/usr/lib/squid/security_file_certgen")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The upstream all proxies talk to."""

    tls: int
    plain: int
    trust: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A running proxy: where it listens, which process it is, what clients must trust and send."""

    name: str
    port: int
    pid: int
    trust: Path
    authorization: str = ""
    ready: float = 0.0
    """Seconds from its start until it accepted connections."""


@contextmanager
def run_origin(folder: Path) -> Iterator[Origin]:
    """Run the origin with a certificate of a CA made for this run."""
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST)
    trust, chain, key = folder / "origin-ca.pem", folder / "origin.pem", folder / "origin.key"
    authority.cert_pem.write_to_path(str(trust))
    chain.write_bytes(b"".join(part.bytes() for part in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(str(key))
    words = python("-m", "bench.origin", "--certificate", str(chain), "--key", str(key))
    with started(words, LOAD_CORE, folder / "origin.log") as program:
        line = program.stdout.readline() if program.stdout is not None else ""
        if not line:
            raise BenchError(f"the origin did not start: {(folder / 'origin.log').read_text()}")
        yield Origin(trust=trust, **json.loads(line))


@contextmanager
def run_mitmdump(folder: Path, origin: Origin) -> Iterator[Contender]:
    """Run mitmdump as it comes, without a script and without printing flows."""
    port, home, log = free_port(), folder / "mitmproxy", folder / "mitmdump.log"
    words = [
        str(Path(sys.executable).parent / "mitmdump"),
        "--quiet",
        *("--listen-host", "127.0.0.1", "--listen-port", str(port)),
        *("--set", f"confdir={home}", "--set", f"ssl_verify_upstream_trusted_ca={origin.trust}"),
    ]
    with started(words, PROXY_CORE, log) as program:
        ready = wait_for_port(port, program, log)
        yield Contender(
            name="mitmdump, no script",
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
    authority = trustme.CA()
    signing, trust = home / "ca-key.pem", home / "ca.pem"
    authority.private_key_pem.write_to_path(str(signing))
    authority.cert_pem.write_to_path(str(signing), append=True)
    authority.cert_pem.write_to_path(str(trust))
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
