"""The load generator: N keep-alive connections through a proxy (CONNECT, then TLS with the right SNI; or plain), each
sending its next request the moment the last answer is whole.

One process, one epoll loop over non-blocking sockets. The proxy's password is read from the environment
(`BENCH_PROXY_AUTHORIZATION`), never from the command line. Prints one JSON line of figures.
"""

import argparse
import json
import os
import re
import select
import socket
import ssl
import sys
import time
from dataclasses import dataclass, field
from typing import Final

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_WAITING: Final = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError, InterruptedError)


class LoadError(Exception):
    """An answer that is not the one the benchmark is about: the figures would mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to connect, what to ask for, and as whom."""

    connect: tuple[str, int]
    host: str
    port: int
    through_proxy: bool
    encrypted: bool
    authorization: str
    path: str

    @property
    def request(self) -> bytes:
        """The request every connection repeats."""
        authority = f"{self.host}:{self.port}"
        is_absolute = self.through_proxy and not self.encrypted
        line = f"GET {f'http://{authority}' if is_absolute else ''}{self.path} HTTP/1.1\r\nHost: {authority}\r\n"
        password = f"Proxy-Authorization: {self.authorization}\r\n" if is_absolute and self.authorization else ""
        return f"{line}{password}Authorization: Bearer jobgate-placeholder\r\nAccept: */*\r\n\r\n".encode()


@dataclass(slots=True)
class Connection:
    """One connection and its request in flight."""

    sock: socket.socket
    sent_at: int = 0
    is_busy: bool = False
    received: bytearray = field(default_factory=bytearray)
    wanted: int = 0


def open_connection(target: Target, tls: ssl.SSLContext) -> socket.socket:
    """Connect, ask the proxy for a tunnel and shake hands; blocking, since set-up is not what is measured."""
    sock = socket.create_connection(target.connect, timeout=20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if target.through_proxy and target.encrypted:
        authority = f"{target.host}:{target.port}"
        password = f"Proxy-Authorization: {target.authorization}\r\n" if target.authorization else ""
        sock.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{password}\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            part = sock.recv(65536)
            if not part:
                break
            answer += part
        if b" 200 " not in answer[:16]:
            raise LoadError(f"CONNECT {authority}: {answer[:400].decode(errors='replace')}")
    return tls.wrap_socket(sock, server_hostname=target.host) if target.encrypted else sock


class Load:
    """A closed loop: every connection has exactly one request in flight."""

    def __init__(self, target: Target, tls: ssl.SSLContext, connections: int) -> None:
        self._request = target.request
        self._poll = select.epoll()
        self._open: dict[int, Connection] = {}
        for _ in range(connections):
            sock = open_connection(target, tls)
            sock.setblocking(False)
            self._open[sock.fileno()] = Connection(sock)
            self._poll.register(sock.fileno(), select.EPOLLIN)
        self.samples: list[int] = []

    def run(self, seconds: float) -> float:
        """Keep all connections busy for `seconds`; return how long it was. Raises LoadError."""
        start = time.perf_counter_ns()
        end = start + int(seconds * 1e9)
        self.samples = []
        for connection in self._open.values():
            self._send(connection)
        clock, samples = time.perf_counter_ns, self.samples
        now = start
        while now < end:
            for number, _ in self._poll.poll(5):
                connection = self._open[number]
                if self._is_answered(connection):
                    now = clock()
                    samples.append(now - connection.sent_at)
                    if now < end:
                        self._send(connection)
            now = clock()
        finished = clock()
        self._finish()
        return (finished - start) / 1e9

    def _finish(self) -> None:
        """Let the last answers arrive, uncounted, so that the connections can be used again."""
        waiting = {number for number, connection in self._open.items() if connection.is_busy}
        while waiting:
            for number, _ in self._poll.poll(20) or [(0, 0)]:
                if number == 0:
                    raise LoadError("an answer did not come within 20 s")
                if self._is_answered(self._open[number]):
                    waiting.discard(number)

    def _send(self, connection: Connection) -> None:
        connection.is_busy = True
        connection.sent_at = time.perf_counter_ns()
        if connection.sock.send(self._request) != len(self._request):
            raise LoadError("the request was not taken whole")

    def _is_answered(self, connection: Connection) -> bool:
        try:
            part = connection.sock.recv(65536)
        except _WAITING:
            return False
        if not part:
            raise LoadError("the proxy closed a connection in the middle")
        if not connection.received:
            connection.wanted = self._length_of(part) if b"\r\n\r\n" in part else 0
        connection.received += part
        if not connection.wanted and b"\r\n\r\n" in connection.received:
            connection.wanted = self._length_of(bytes(connection.received))
        if not connection.wanted or len(connection.received) < connection.wanted:
            return False
        connection.received.clear()
        connection.is_busy = False
        return True

    @staticmethod
    def _length_of(head: bytes) -> int:
        found = _LENGTH.search(head)
        if not head.startswith(b"HTTP/1.1 200 ") or found is None:
            raise LoadError(f"not the answer wanted: {head[:400].decode(errors='replace')}")
        return head.index(b"\r\n\r\n") + 4 + int(found[1])


def quantile(ordered: list[int], share: float) -> float:
    """Return the value below which `share` of the samples lie, in milliseconds."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1e6 if ordered else 0.0


def main() -> None:
    """Run one measurement: a warm-up that is not counted, then the counted time."""
    parser = argparse.ArgumentParser(prog="bench.load")
    parser.add_argument("--connect", required=True, help="host:port of the proxy, or of the origin itself")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--direct", action="store_true")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--trust", help="the CA to believe")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warm-up", type=float, default=1.0)
    arguments = parser.parse_args()
    host, _, port = arguments.connect.rpartition(":")
    target = Target(
        connect=(host, int(port)),
        host=arguments.host,
        port=arguments.port,
        through_proxy=not arguments.direct,
        encrypted=not arguments.plain,
        authorization=os.environ.get("BENCH_PROXY_AUTHORIZATION", ""),
        path="/1k",
    )
    tls = ssl.create_default_context(cafile=arguments.trust)
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT  # squid's leaf certificates name no authority key
    try:
        load = Load(target, tls, arguments.connections)
        load.run(arguments.warm_up)
        took = load.run(arguments.seconds)
    except (LoadError, OSError) as error:
        sys.exit(f"bench.load: {error}")
    ordered = sorted(load.samples)
    print(
        json.dumps(
            {
                "requests": len(ordered),
                "seconds": took,
                "per_second": len(ordered) / took,
                "p50_ms": quantile(ordered, 0.5),
                "p99_ms": quantile(ordered, 0.99),
            }
        )
    )


if __name__ == "__main__":
    main()
