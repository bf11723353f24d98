"""How fast a trail is verified, and asked about one day of it. A trail is made first; one process, one core each."""

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench.decision import compile_document, make_rules
from bench.parts import python
from bench.whatif import make_trail
from proxy.sources.trail import verify_trail

_SEGMENT = 64 * 1024 * 1024
_DAY = "2026-01-02"
_SQL = f"SELECT count(*) AS flows, count(*) FILTER (effect = 'deny') AS denied FROM flows WHERE time::date = '{_DAY}'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What it took. `rss` in bytes, of the process at its highest."""

    records: int
    verify: float
    day: float
    whole: float
    flows: int
    rss: int


def measure(folder: Path, flows: int) -> Asked:
    """Verify a trail of so many flows, and run `jobgate audit query` about one day of it and about all of it."""
    trail = make_trail(folder, flows, compile_document(make_rules(10)), _SEGMENT).parent
    start = time.perf_counter()
    report = verify_trail(trail, [])
    verify = time.perf_counter() - start
    window = ("--since", f"{_DAY}T00:00:00Z", "--until", f"{_DAY}T23:59:59Z")
    day, _, told = _ask(trail, _SQL, *window)
    whole, rss, _ = _ask(trail, "SELECT host, count(*) FROM flows GROUP BY host")
    shutil.rmtree(trail)
    return Asked(records=report.records, verify=verify, day=day, whole=whole, flows=json.loads(told)["flows"], rss=rss)


def _ask(trail: Path, sql: str, *more: str) -> tuple[float, int, bytes]:
    """Return seconds, bytes of memory and what was answered, of a whole command."""
    words = python("-m", "proxy", "audit", "query", str(trail), sql, "--no-verify", "--json", *more)
    start = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        assert running.stdout is not None
        told = running.stdout.read()
        _, status, used = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode != 0:
        raise RuntimeError(f"the query ended with {running.returncode}")
    return time.perf_counter() - start, used.ru_maxrss * 1024, told
