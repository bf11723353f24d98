"""Processes under measurement: started on one core, asked for their memory, and ended. Only those started here."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PROXY_CORE: Final = 0
"""The proxy has a core of its own."""
LOAD_CORE: Final = 1
"""The load generator and the origin share the other one; together they reach several times what any proxy here does."""


_ROOT: Final = Path(__file__).resolve().parent.parent
_COMPILED: Final = _ROOT / ".jobgate" / "compiled"


class BenchError(Exception):
    """A part did not start, or did not answer as it should: no figure is better than a wrong one."""


def cores() -> int:
    """Return how many cores this machine lets us use."""
    return len(os.sched_getaffinity(0))


def pinned(words: Sequence[str], core: int) -> list[str]:
    """Return the command that runs `words` on one core; as it is where there is no second core to separate them."""
    if shutil.which("taskset") is None or cores() < 2:
        return list(words)
    allowed = sorted(os.sched_getaffinity(0))
    return ["taskset", "--cpu-list", str(allowed[core % len(allowed)]), *words]


@contextmanager
def started(
    words: Sequence[str],
    core: int,
    log: Path,
    environment: Mapping[str, str] | None = None,
    *,
    talks: bool = False,
) -> Iterator[subprocess.Popen[str]]:
    """Run a program on `core` until the block ends. Its errors go to `log`, its output to a pipe, or too if it `talks`.

    A pipe that nobody empties stops a program that prints a line for each flow.
    """
    with log.open("a") as errors:
        program = subprocess.Popen(
            pinned(words, core),
            stdout=errors if talks else subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", **(environment or {})},
        )
    try:
        yield program
    finally:
        program.send_signal(signal.SIGTERM)
        try:
            program.wait(10)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait(10)
        if program.stdout is not None:
            program.stdout.close()


def wait_for_port(port: int, program: subprocess.Popen[str], log: Path) -> float:
    """Wait until something accepts on a loopback port; return how many seconds it took. Raises BenchError."""

    def accepts() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return wait_until(accepts, program, log)


def wait_until(is_ready: Callable[[], bool], program: subprocess.Popen[str], log: Path, seconds: float = 30.0) -> float:
    """Wait until `is_ready`; return how many seconds it took. Raises BenchError when the program ends before."""
    start = time.perf_counter()
    while (waited := time.perf_counter() - start) < seconds:
        if program.poll() is not None:
            break
        if is_ready():
            return waited
        time.sleep(0.002)
    raise BenchError(f"{program.args!r} did not become ready:\n{log.read_text()[-2000:]}")


def free_port() -> int:
    """Return a loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used, its own and the kernel's for it (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """Return the resident set of a process and its children, in MiB."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return _status(pid, "VmRSS") + sum(memory(int(child)) for child in children)


def peak_memory(pid: int) -> float:
    """Return the largest resident set one process had since `forget_peak`, in MiB."""
    return _status(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Start measuring the peak again from here."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise BenchError(f"no {name} for {pid}: it has ended")


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="jobgate-bench-") as name:
        yield Path(name)


def python(*words: str) -> list[str]:
    """Return a command of this same interpreter."""
    return [sys.executable, *words]


def has_compiled() -> bool:
    """Whether the package is there as the image has it; `make compiled` makes it."""
    return (_COMPILED / ".of").exists()


def package_environment(*, interpreted: bool) -> dict[str, str]:
    """Return the variables that let a program of this interpreter import the package, compiled where that is there."""
    if interpreted or not has_compiled():
        return {}
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": f"{_COMPILED}{os.pathsep}{_ROOT}"}
