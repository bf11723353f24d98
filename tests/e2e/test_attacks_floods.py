"""Floods on a running sidecar (1f): each is answered or cut in bounded memory, and honest jobs are served meanwhile.

A tight sidecar: few connections, short clocks. Its memory is read from the kernel; nothing here is timed.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.control.client import ControlError
from tests.fakes.attacks import PLAIN, AttackStage
from tests.fakes.raw import RawClient, password
from tests.fakes.sidecar import wait_until

MIB = 1 << 20
CONNECTIONS = 200
SESSIONS = 20
ROOM = 24
"""MiB that the sidecar may grow by under any of this. One connection's buffers are a hundredth of it."""


@pytest.fixture(scope="module")
def flooded() -> Iterator[AttackStage]:
    made = AttackStage()
    made.world.settings["limits"] = {"head": "1s", "idle": "2s", "connections": CONNECTIONS}
    made.world.settings["session"] = {"maximum": SESSIONS}
    made.start()
    made.check_serving()
    yield made
    made.world.stop()


@pytest.fixture
def stage(flooded: AttackStage) -> Iterator[AttackStage]:
    """The stage of this file: after each flood all of it is gone, and the sidecar serves and has not grown."""
    before = memory(flooded)
    yield flooded
    wait_until(lambda: descriptors(flooded) < 60)
    flooded.check_serving()
    assert memory(flooded) - before < ROOM
    assert flooded.leaks(flooded.session.secret) == []


def memory(stage: AttackStage) -> float:
    """The sidecar's resident memory, in MiB."""
    pages = int(Path(f"/proc/{stage.world.sidecar.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def descriptors(stage: AttackStage) -> int:
    return sum(1 for _ in Path(f"/proc/{stage.world.sidecar.pid}/fd").iterdir())


def flood(stage: AttackStage, count: int, words: bytes) -> contextlib.ExitStack:
    """Open `count` connections that say `words` and then nothing."""
    opened = contextlib.ExitStack()
    for _ in range(count):
        client = opened.enter_context(socket.create_connection(("127.0.0.1", stage.world.sidecar.port), 10))
        with contextlib.suppress(OSError):
            client.sendall(words)
    return opened


SILENT = [
    pytest.param(b"", id="idle"),
    pytest.param(b"GET http://plain.test/ HTTP/1.1\r\nHost: pl", id="half-a-head"),
    pytest.param(b"CONNECT secret.test:443 HTTP/1.1\r\nHost: secret.test:443\r\n", id="half-a-connect"),
]


@pytest.mark.parametrize("words", SILENT)
def test_connections_that_say_nothing(stage: AttackStage, words: bytes) -> None:
    """Half of all connections held by somebody who falls silent: others are served, and his are closed in time."""
    with flood(stage, CONNECTIONS // 2, words):
        stage.check_serving()
        wait_until(lambda: descriptors(stage) < 60)


def test_more_connections_than_there_may_be(stage: AttackStage) -> None:
    """Who comes when all are taken is told so, on record, and let in when there is room again."""
    with flood(stage, CONNECTIONS, b""):
        wait_until(lambda: descriptors(stage) > CONNECTIONS)
        with stage.client() as client:
            assert client.reply().reason == "overloaded"
    wait_until(lambda: descriptors(stage) < 60)
    assert stage.world.records("connection.closed")[-1]["kind"] == "connection.closed"


@pytest.mark.parametrize(
    "line, count",
    [("X-A: " + "a" * 70_000, 1), ("X-A: a", 300), ("X-A: " + "a" * 7_000, 20)],
    ids=["one-long-field", "many-fields", "many-long-fields"],
)
def test_heads_without_measure(stage: AttackStage, line: str, count: int) -> None:
    """A head over any of its bounds is refused before anything is dialled."""
    for _ in range(20):
        with stage.untouched(), stage.client() as client:
            client.send(stage.request(PLAIN, "GET", "/api/hello", *[line] * count))
            assert client.reply().reason in {"head-too-large", "request-malformed"}


def test_denied_uploads(stage: AttackStage) -> None:
    """Forty refused uploads of 16 MiB each are answered early and never kept."""
    piece, place = bytes(MIB), b"POST http://elsewhere.test/x HTTP/1.1\r\nHost: elsewhere.test\r\n"
    head = place + password(stage.session) + f"Content-Length: {16 * MIB}\r\n\r\n".encode()
    for _ in range(40):
        with stage.untouched(), stage.client() as client:
            client.send(head)
            for _ in range(16):
                client.send(piece)
            with contextlib.suppress(EOFError, OSError):
                assert client.reply().reason == "no-rule"


def test_requests_before_their_answers(stage: AttackStage) -> None:
    """A thousand requests in one breath are answered one by one, in order, each on record."""
    before = len(stage.world.records("flow.decision"))
    with stage.client() as client:
        client.send(stage.request(PLAIN, "GET", "/api/hello") * 1000)
        for _ in range(1000):
            assert client.reply().body == b"hello\n"
    wait_until(lambda: len(stage.world.records("flow.decision")) == before + 1000)


def test_tunnels_to_nowhere(stage: AttackStage) -> None:
    """Names nobody allowed cost a record each: no look-up, no connection, no certificate."""
    with stage.untouched():
        for number in range(150):
            with stage.client() as client:
                stage.check_refused(client.connect(f"host-{number}.nowhere.test:443"), "no-rule")


def test_a_client_that_never_reads(stage: AttackStage) -> None:
    """Answers that nobody takes are not piled up: the upstream is held back, and the connection ends."""
    held = [RawClient(stage.world, stage.session) for _ in range(10)]
    try:
        for client in held:
            client.send(stage.request(PLAIN, "GET", "/api/hello") * 3000)
        stage.check_serving()
        assert memory(stage) < 200
    finally:
        for client in held:
            client.cut()


def test_sessions_without_end(stage: AttackStage) -> None:
    """More sessions than there may be open none, and when one ends there is room again."""
    opened = [stage.open() for _ in range(SESSIONS - 1)]
    with pytest.raises(ControlError) as caught:
        stage.open()
    assert caught.value.slug == "session-limit"
    for session in opened:
        stage.world.sidecar.close_session(session)
    stage.world.sidecar.close_session(stage.open())
