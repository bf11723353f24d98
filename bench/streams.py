"""Large bodies through a proxy: how much of them its memory holds. Blocking sockets, one body at a time."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.contenders import HOST, Contender, Origin
from bench.load import Target, open_connection
from bench.parts import BenchError, forget_peak, memory, peak_memory

MIB: Final = 1024 * 1024
GIB: Final = 1024 * MIB
type Exchange = Callable[[ssl.SSLSocket], tuple[int, int]]
"""Talks over an open tunnel; returns the status and how many bytes of body moved."""
_BLOCK: Final = bytes(range(256)) * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """What one body did: how the proxy answered, how much it took, how long, and how its memory grew in MiB."""

    status: int
    moved: int
    seconds: float
    growth: float


def upload(contender: Contender, origin: Origin, path: str, size: int) -> Streamed:
    """Send a body of `size` bytes to `path`, until all is sent or the proxy answers and stops reading."""

    def send(sock: ssl.SSLSocket) -> tuple[int, int]:
        sock.sendall(f"PUT {path} HTTP/1.1\r\nHost: {HOST}:{origin.tls}\r\nContent-Length: {size}\r\n\r\n".encode())
        answered, status = threading.Event(), [0]

        def listen() -> None:
            try:
                status[0] = _status(sock)
            except OSError:
                status[0] = -1
            answered.set()

        listener = threading.Thread(target=listen)
        listener.start()
        moved = 0
        try:
            while moved < size and not answered.is_set():
                sock.sendall(_BLOCK[: size - moved])
                moved += min(len(_BLOCK), size - moved)
        except OSError:
            pass  # answered and closed: what an early denial looks like from here
        listener.join(60)
        return status[0], moved

    return _measured(contender, origin, send)


def download(contender: Contender, origin: Origin, size: int) -> Streamed:
    """Fetch a body of `size` bytes."""

    def fetch(sock: ssl.SSLSocket) -> tuple[int, int]:
        sock.sendall(f"GET /bytes/{size} HTTP/1.1\r\nHost: {HOST}:{origin.tls}\r\n\r\n".encode())
        room = bytearray(262_144)
        head = b""
        while b"\r\n\r\n" not in head:
            part = sock.recv(65536)
            if not part:
                raise BenchError(f"no answer: {head[:300]!r}")
            head += part
        moved = len(head) - head.index(b"\r\n\r\n") - 4
        while moved < size and (count := sock.recv_into(room)):
            moved += count
        return int(head.split(b" ", 2)[1]), moved

    return _measured(contender, origin, fetch)


def _measured(contender: Contender, origin: Origin, exchange: Exchange) -> Streamed:
    tls = ssl.create_default_context(cafile=str(contender.trust))
    target = Target(
        connect=("127.0.0.1", contender.port),
        host=HOST,
        port=origin.tls,
        through_proxy=True,
        encrypted=True,
        authorization=contender.authorization,
        path="/",
    )
    with open_connection(target, tls) as sock:
        assert isinstance(sock, ssl.SSLSocket)
        before = memory(contender.pid)
        forget_peak(contender.pid)
        start = time.perf_counter()
        status, moved = exchange(sock)
        took = time.perf_counter() - start
        growth = peak_memory(contender.pid) - before
        _shut(sock)
    return Streamed(status=status, moved=moved, seconds=took, growth=growth)


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def _status(sock: ssl.SSLSocket) -> int:
    """Read an answer's first line and return its status, -1 when the other side closed without one."""
    head = b""
    while b"\r\n" not in head:
        part = sock.recv(65536)
        if not part:
            return -1
        head += part
    return int(head.split(b" ", 2)[1])
