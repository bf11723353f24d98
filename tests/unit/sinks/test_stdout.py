"""The copy on a stream never holds up the trail."""

import io
import os
import threading

from proxy.sinks.stdout import StreamTee


def test_lines_arrive_in_order() -> None:
    """What is queued before close is on the stream after it."""
    stream = io.BytesIO()
    tee = StreamTee(stream)
    tee(b"one\ntwo\n")
    tee(b"three\n")
    tee.close()
    assert stream.getvalue() == b"one\ntwo\nthree\n"
    assert tee.dropped == 0


def test_a_pipe_nobody_reads_holds_nobody_up() -> None:
    """Once pipe and queue are full, lines are dropped and counted, at once; closing does not wait for ever either."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "wb", buffering=0) as stream:
        tee = StreamTee(stream, backlog=2)
        for _ in range(100):
            tee(b"x" * 65535 + b"\n")
        assert 0 < tee.dropped < 100
        tee.close(within=0.01)
        drained = threading.Thread(target=reader.read)
        drained.start()  # lets the tee's thread finish before its stream goes
        tee.close()
        tee._thread.join()
        stream.close()
        drained.join()


def test_a_reader_that_left_is_no_failure() -> None:
    """Lines to a closed stream are counted as dropped."""
    stream = io.BytesIO()
    stream.close()
    tee = StreamTee(stream)
    tee(b"a\nb\n")
    tee.close()
    assert tee.dropped == 2
