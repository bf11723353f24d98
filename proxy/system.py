"""What the operating system gives us: time, randomness, and a process that does not leak its memory."""

import ctypes
import gc
import itertools
import os
import resource
import secrets
from collections.abc import MutableMapping
from datetime import UTC, datetime

from proxy.model import record
from proxy.model.grant import Secret

_PR_SET_DUMPABLE = 4
_PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "FTP_PROXY")


class SystemClock:
    """The machine's wall clock; implements `engine.ports.Clock`."""

    def now(self) -> datetime:
        """Return the time in UTC."""
        return datetime.now(UTC)


class SystemEntropy:
    """Names and secrets from the kernel; implements `engine.ports.Entropy`."""

    def __init__(self) -> None:
        # 60 random bits per start, then a counter: unique across restarts, cheap per flow, and in order within a start.
        self._prefix = secrets.token_hex(7)
        self._counter = itertools.count(1)

    def new_id(self) -> str:
        """Return a short unique name."""
        return f"{self._prefix}-{next(self._counter):x}"

    def new_secret(self) -> Secret:
        """Return 256 random bits, URL-safe."""
        return Secret(f"jgs_{secrets.token_urlsafe(32)}")


def harden_process(environ: MutableMapping[str, str]) -> None:
    """Forbid core dumps and ptrace by siblings, and forget the environment's proxies: we are the proxy (C08)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A refused prctl leaves us where every other process is; the core limit above still holds.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    for name in _PROXY_VARIABLES:
        environ.pop(name, None)
        environ.pop(name.lower(), None)


def trim_memory() -> None:
    """Give back to the system what starting needed and serving does not: parsed files, trust stores, scraps."""
    gc.collect()
    gc.freeze()  # what is alive now lives until the end: the collector need not look at it again
    gc.set_threshold(10_000, 3, 3)  # a flow makes many small values and no cycles, a broken connection few
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; elsewhere the allocator sees to it
    if trim is not None:
        trim(0)


def is_compiled() -> bool:
    """Whether the pure half of the path is compiled, as in the image, or interpreted from its source."""
    return not str(record.__file__).endswith(".py")


def describe_process() -> dict[str, str | int]:
    """Return what an operator needs to recognise this process in a record."""
    return {"pid": os.getpid(), "uid": os.getuid(), "compiled": is_compiled()}
