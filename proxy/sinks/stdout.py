"""Durable records once more, as JSON lines on a stream: for container logs. What it drops is in the trail all the same.

The stream may be a pipe that nobody reads, so one thread writes and a bounded queue stands before it.
"""

import queue
import threading
from typing import IO


class StreamTee:
    """Takes batches of lines and never blocks. `dropped` counts the lines that found the queue full."""

    def __init__(self, stream: IO[bytes], backlog: int = 1024) -> None:
        self.dropped = 0
        self._stream = stream
        self._queue: queue.Queue[bytes | None] = queue.Queue(backlog)
        self._thread = threading.Thread(target=self._write, name="trail-tee", daemon=True)
        self._thread.start()

    def __call__(self, payload: bytes) -> None:
        """Queue whole lines."""
        try:
            self._queue.put_nowait(payload)
        except queue.Full:
            self.dropped += payload.count(b"\n")

    def close(self, within: float = 1.0) -> None:
        """Write what is queued if the stream takes it within so many seconds; then leave it."""
        try:
            self._queue.put(None, timeout=within)
        except queue.Full:
            return
        self._thread.join(within)

    def _write(self) -> None:
        while (payload := self._queue.get()) is not None:
            try:
                self._stream.write(payload)
                self._stream.flush()
            except (OSError, ValueError):  # the reader left, or the stream was closed
                self.dropped += payload.count(b"\n")
