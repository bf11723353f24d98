"""An upstream that keeps every byte which reached it, so that a test can say what passed and that nothing else did.

It answers `ok` to whatever it understands; paths listed in `Recorder.answers` get an answer of the test's own making.
"""

import io
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from proxy.demo.web import Exchange, Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """What an upstream has seen so far: connections, broken ones too, and bytes after TLS was taken off."""

    connections: int
    content: bytes


class Recorder:
    """A running upstream. `answers` are raw answers by path, status line and all; `seen` keeps what arrived."""

    def __init__(self, tls: ssl.SSLContext | None, answers: Mapping[str, bytes] | None = None) -> None:
        self.site = Site(_RecordingExchange, tls)
        self.site.recorder = self  # type: ignore[attr-defined]
        self.answers = dict(answers or {})
        self._lock = threading.Lock()
        self._content = bytearray()

    @property
    def place(self) -> str:
        """Where it listens, for a `connect_to` map."""
        return self.site.place

    def start(self) -> None:
        self.site.start()

    def stop(self) -> None:
        self.site.stop()

    def keep(self, piece: bytes) -> None:
        """Note bytes that arrived."""
        with self._lock:
            self._content += piece

    def arrived(self) -> Arrived:
        """Everything so far."""
        with self._lock:
            return Arrived(connections=self.site.counts.connections, content=bytes(self._content))


class _Tee(socket.SocketIO):
    """A connection's raw bytes, noted as they are read and before anything interprets them."""

    def __init__(self, connection: socket.socket, recorder: Recorder) -> None:
        super().__init__(connection, "r")
        self._recorder = recorder

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override] # what BufferedReader gives it
        count = super().readinto(buffer)
        if count:
            self._recorder.keep(bytes(buffer[:count]))
        return count


class _RecordingExchange(Exchange):
    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        recorder: Recorder = self.server.recorder  # type: ignore[attr-defined]
        self.rfile = io.BufferedReader(_Tee(self.connection, recorder))

    def answer(self) -> None:
        self.read_body()
        recorder: Recorder = self.server.recorder  # type: ignore[attr-defined]
        made = recorder.answers.get(self.path.partition("?")[0])
        if made is None:
            self.reply(200, b"ok\n", {"Content-Type": "text/plain"})
            return
        self.wfile.write(made)
        self.close_connection = True
