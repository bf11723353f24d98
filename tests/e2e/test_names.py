"""No name that policy denies is ever asked of a name server: a sidecar whose only resolver is ours, listening (A10)."""

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


class Listener:
    """A name server that keeps every question and knows no name."""

    def __init__(self) -> None:
        self.asked: list[str] = []
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
                # NXDOMAIN: the question again, marked as an answer with code 3.
                self._socket.sendto(question[:2] + b"\x81\x83" + question[4:6] + b"\0" * 6 + question[12:], peer)

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
    world = World(rules=[rule("known", ["known.test", "http://known.test"])])
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
