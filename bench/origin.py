"""The upstream of the benchmark: one process, one thread, as little work per request as Python allows.

`GET /1k` answers 1 KiB, `GET /bytes/N` streams N bytes, `PUT` swallows any body and says how long it was. TLS on one
port, plain HTTP on another. Prints its two ports as one JSON line, then serves until it is killed.
"""

import argparse
import json
import re
import select
import socket
import ssl
import sys
from dataclasses import dataclass, field
from typing import Final

_BODY: Final = bytes(range(256)) * 4
_SMALL: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 1024\r\n\r\n" + _BODY
_BLOCK: Final = memoryview(_BODY * 256)  # 256 KiB: what one write hands to TLS
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_WAITING: Final = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError, InterruptedError)


@dataclass(slots=True)
class Client:
    """One accepted connection: bytes in, bytes to go out, and how much of a body is still to come or to be sent."""

    sock: socket.socket
    received: bytearray = field(default_factory=bytearray)
    sending: bytearray = field(default_factory=bytearray)
    streaming: int = 0
    swallowing: int = 0
    swallowed: int = 0
    is_shaken: bool = True


class Origin:
    """One epoll loop over non-blocking sockets: no event loop library, no parser, no allocation to speak of."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._poll = select.epoll()
        self._listeners: dict[int, tuple[socket.socket, bool]] = {}
        self._clients: dict[int, Client] = {}

    def listen(self, *, encrypted: bool) -> int:
        """Listen on a free loopback port and return it."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        listener.setblocking(False)
        self._poll.register(listener.fileno(), select.EPOLLIN)
        self._listeners[listener.fileno()] = (listener, encrypted)
        port: int = listener.getsockname()[1]
        return port

    def serve(self) -> None:
        """Serve for ever."""
        while True:
            for number, _ in self._poll.poll():
                if number in self._listeners:
                    self._accept(*self._listeners[number])
                elif (client := self._clients.get(number)) is not None:
                    self._turn(number, client)

    def _accept(self, listener: socket.socket, encrypted: bool) -> None:  # noqa: FBT001 - a stored fact
        try:
            sock, _ = listener.accept()
        except _WAITING:
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        if encrypted:
            sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        self._clients[sock.fileno()] = Client(sock, is_shaken=not encrypted)
        self._poll.register(sock.fileno(), select.EPOLLIN)

    def _turn(self, number: int, client: Client) -> None:
        try:
            if not client.is_shaken:
                assert isinstance(client.sock, ssl.SSLSocket)
                client.sock.do_handshake()
                client.is_shaken = True
            self._read(client)
            self._write(number, client)
        except _WAITING:
            return
        except OSError:
            self._drop(number, client)

    def _read(self, client: Client) -> None:
        if client.sending or client.streaming:
            return
        while True:
            try:
                part = client.sock.recv(262_144)
            except _WAITING:
                return
            if not part:
                raise ConnectionResetError
            self._take(client, part)
            if client.sending or client.streaming:
                return

    def _take(self, client: Client, part: bytes) -> None:
        if client.swallowing:
            client.swallowing -= len(part)
            client.swallowed += len(part)
            if client.swallowing <= 0:
                self._answer_count(client)
            return
        client.received += part
        end = client.received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(client.received[: end + 4])
        rest = len(client.received) - len(head)
        client.received.clear()
        self._answer(client, head, rest)

    def _answer(self, client: Client, head: bytes, rest: int) -> None:
        path = head.split(b" ", 2)[1]
        found = _LENGTH.search(head)
        if path.startswith(b"/bytes/"):
            client.streaming = int(path[7:])
            client.sending += b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % client.streaming
        elif found is not None and int(found[1]) > 0:
            client.swallowing, client.swallowed = int(found[1]) - rest, rest
            if client.swallowing <= 0:
                self._answer_count(client)
        else:
            client.sending += _SMALL

    def _answer_count(self, client: Client) -> None:
        text = b"%d" % client.swallowed
        client.sending += b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)

    def _write(self, number: int, client: Client) -> None:
        was_long = bool(client.streaming)
        try:
            while client.sending:
                del client.sending[: client.sock.send(client.sending)]
            while client.streaming > 0:
                client.streaming -= client.sock.send(_BLOCK[: client.streaming])
        except _WAITING:
            self._poll.modify(number, select.EPOLLIN | select.EPOLLOUT)
            return
        if was_long:
            self._poll.modify(number, select.EPOLLIN)

    def _drop(self, number: int, client: Client) -> None:
        self._poll.unregister(number)
        del self._clients[number]
        client.sock.close()


def main() -> None:
    """Serve with the certificate chain and key named on the command line."""
    parser = argparse.ArgumentParser(prog="bench.origin")
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--key", required=True)
    arguments = parser.parse_args()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(arguments.certificate, arguments.key)
    tls.set_alpn_protocols(["http/1.1"])
    origin = Origin(tls)
    print(json.dumps({"tls": origin.listen(encrypted=True), "plain": origin.listen(encrypted=False)}), flush=True)
    try:
        origin.serve()
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
