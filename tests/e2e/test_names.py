"""A sidecar whose only resolver is ours: no denied name is ever asked (A10), no answer is believed twice (A09)."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.sidecar import World, rule
from tests.fakes.tools import skip_loudly

RESOLVER = "127.0.0.53"
PORT = 8099
OFFER = b'Alt-Svc: h3=":443"; ma=86400\r\nX-Kept: yes\r\n'


class Listener:
    """A name server that keeps every question, and says by turns what `answers` holds; with none it knows no name."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: list[str] = []
        self.given: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((RESOLVER, 53))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                question, peer = self._socket.recvfrom(4096)
                if not question:
                    return
                self.asked.append(_name(question))
                self._socket.sendto(self._answer(question), peer)

    def _answer(self, question: bytes) -> bytes:
        end = question.index(b"\0", 12) + 5
        asked = question[12:end]
        if not self.answers:
            # NXDOMAIN: the question again, marked as an answer with code 3.
            return question[:2] + b"\x81\x83\0\x01" + b"\0" * 6 + asked
        if asked[-4:-2] != b"\0\x01":  # no address of version 6
            return question[:2] + b"\x81\x80\0\x01" + b"\0" * 6 + asked
        address = self.answers[len(self.given) % len(self.answers)]
        self.given.append(address)
        record = b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04" + socket.inet_aton(address)
        return question[:2] + b"\x81\x80\0\x01\0\x01\0\0\0\0" + asked + record

    def close(self) -> None:
        self._socket.sendto(b"", (RESOLVER, 53))
        self._thread.join(5)
        self._socket.close()


def _name(question: bytes) -> str:
    labels, at = [], 12
    while length := question[at]:
        labels.append(question[at + 1 : at + 1 + length].decode("latin-1"))
        at += length + 1
    return ".".join(labels).lower()


@pytest.fixture
def resolved(tmp_path: Path) -> Iterator[tuple[World, Listener]]:
    """A world whose sidecar has a resolver of ours and no other."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        skip_loudly("a mount namespace with its own resolv.conf needs root and unshare")
    try:
        listener = Listener()
    except OSError as error:
        skip_loudly(f"{RESOLVER}:53 cannot be listened on: {error}")
    (tmp_path / "resolv.conf").write_text(f"nameserver {RESOLVER}\noptions timeout:1 attempts:1\n")
    (tmp_path / "nsswitch.conf").write_text("hosts: files dns\n")
    mounts = " && ".join(f"mount --bind {tmp_path / name} /etc/{name}" for name in ("resolv.conf", "nsswitch.conf"))
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nexec unshare -m sh -c \'{mounts} && exec "$0" "$@"\' {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    if subprocess.run([str(wrapper), "-c", "0"], capture_output=True, check=False).returncode != 0:
        listener.close()
        skip_loudly("mounts cannot be made here")
    world = World(rules=[rule("known", ["known.test", "http://known.test", f"http://known.test:{PORT}"])])
    world.settings["upstream"] = {**world.whole_settings()["upstream"], "allow_addresses": ["127.0.0.1/32"]}
    world.interpreter = str(wrapper)
    world.start()
    yield world, listener
    world.stop()
    listener.close()


@pytest.mark.real
def test_denied_names_are_never_asked(resolved: tuple[World, Listener]) -> None:
    """A denied host leaves no question anywhere; an allowed one does, so the test can see."""
    world, listener = resolved
    job = world.open()
    for url in ("http://payload.attacker.test/", "https://payload.attacker.test/", "https://x.known.test/"):
        job.curl(url, code=None)
    assert listener.asked == []
    job.curl("http://known.test/", code=None)
    assert "known.test" in {name.rstrip(".") for name in listener.asked}
    assert world.ended(place="known.test").reason == "name-unresolved"


class Counter:
    """A plain HTTP server at one address that counts who connects."""

    def __init__(self, address: str) -> None:
        self.connected = 0
        self._socket = socket.create_server((address, PORT))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._socket.accept()
                self.connected += 1
                peer.recv(65536)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + OFFER + b"Connection: close\r\n\r\nok")
                peer.close()

    def close(self) -> None:
        # Wakes the thread, which holds the port for as long as it waits.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.mark.real
def test_the_address_that_was_vetted_is_the_one_dialled(resolved: tuple[World, Listener]) -> None:
    """A name that says by turns an address that may be dialled and one that may not: the second sees nobody (A09)."""
    world, listener = resolved
    try:
        open_to_all, inside = Counter("127.0.0.1"), Counter("127.0.0.5")
    except OSError as error:
        skip_loudly(f"port {PORT} cannot be listened on: {error}")
    listener.answers = ["127.0.0.1", "127.0.0.5"]
    job = world.open()
    said = [job.curl("-w", "%{http_code}", f"http://known.test:{PORT}/", code=None)[-3:] for _ in range(40)]
    open_to_all.close()
    inside.close()
    assert {"127.0.0.1", "127.0.0.5"} == set(listener.given)
    assert inside.connected == 0
    assert said.count("200") == open_to_all.connected == 20
    assert said.count("403") == 20
    assert {flow.reason for flow in world.flows(place=f"known.test:{PORT}")} <= {"allowed", "address-refused"}


@pytest.mark.real
def test_no_upstream_calls_a_job_away_from_the_proxy(resolved: tuple[World, Listener]) -> None:
    """`Alt-Svc` offers a way that no HTTP proxy sees: it stays behind, and what else the answer says arrives (A21)."""
    world, listener = resolved
    try:
        upstream = Counter("127.0.0.1")
    except OSError as error:
        skip_loudly(f"port {PORT} cannot be listened on: {error}")
    listener.answers = ["127.0.0.1"]
    said = world.open().curl("-i", f"http://known.test:{PORT}/").lower()
    upstream.close()
    assert "x-kept: yes" in said
    assert "alt-svc" not in said
