"""Names are unique, secrets are long, and a hardened process neither dumps core nor keeps the environment's proxies."""

import os
import subprocess
import sys
from pathlib import Path

from proxy.system import SystemClock, SystemEntropy, harden_process

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = f"""
import ctypes, json, os, resource
from {harden_process.__module__} import harden_process
harden_process(os.environ)
print(json.dumps([
    resource.getrlimit(resource.RLIMIT_CORE),
    ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),
    sorted(name for name in os.environ if "proxy" in name.lower()),
]))
"""


def test_names_are_unique_across_starts() -> None:
    """A thousand names of two starts are two thousand names."""
    first, second = SystemEntropy(), SystemEntropy()
    assert len({each.new_id() for each in (first, second) for _ in range(1000)}) == 2000


def test_secrets_are_long_and_never_repeat() -> None:
    """256 bits in URL-safe letters, behind a prefix that scanners know."""
    texts = {SystemEntropy().new_secret().reveal() for _ in range(100)}
    assert len(texts) == 100
    assert all(text.startswith("jgs_") and len(text) == 4 + 43 for text in texts)


def test_the_clock_is_in_utc() -> None:
    """A time without a zone would be compared wrongly."""
    offset = SystemClock().now().utcoffset()
    assert offset is not None
    assert not offset


def test_a_hardened_process_leaks_no_memory_and_dials_no_proxy() -> None:
    """No core file, no ptrace by siblings (PR_GET_DUMPABLE is 0), no proxy of the environment in either case."""
    proxies = {"HTTPS_PROXY": "http://x", "https_proxy": "http://x", "all_proxy": "http://x", "NO_PROXY": "y"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, **proxies},
        timeout=60,
    )
    assert done.stdout.decode().strip() == "[[0, 0], 0, []]"
