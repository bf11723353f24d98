"""Drives one real `jobgate run` process through its public outside: settings file, control API, signals, trail."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from proxy.cli.environment import job_environment
from proxy.control.client import ControlClient, ControlError
from proxy.demo.aws import DemoPartError
from proxy.model.authority import Authority
from proxy.model.errors import AuditError
from proxy.model.grant import Secret
from proxy.sources.trail import read_lines

_READY: Final = 30.0
_POLL: Final = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSession:
    """An opened session. `proxy_url` holds its secret."""

    id: str
    secret: str = field(repr=False)
    proxy_url: str = field(repr=False)


class Sidecar:
    """One sidecar in a folder of its own: `settings` are what a settings file holds; paths and ports are filled in."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = _free_port()
        self.certs = folder / "certs"
        self.audit = Path(settings.get("audit", {}).get("directory", folder / "audit"))
        self.control = _control_place(folder / "control.sock")
        self.api = ControlClient(self.control, seconds=20)
        self.errors = folder / "sidecar.log"
        self.config = folder / "jobgate.yaml"
        whole = {
            "kills": str(folder / "kills.json"),
            **settings,
            "listen": f"127.0.0.1:{self.port}",
            "control": str(self.control),
            "certs": str(self.certs),
            "audit": {"directory": str(self.audit), **settings.get("audit", {})},
        }
        self.config.write_text(_yaml(whole) + "\n")
        self._running: subprocess.Popen[bytes] | None = None
        self._is_draining = False
        self.interpreter = sys.executable

    @property
    def pid(self) -> int:
        """The process id. Raises DemoPartError when it is not running."""
        if self._running is None:
            raise DemoPartError("the sidecar is not running")
        return self._running.pid

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Start and wait until it is ready. Raises DemoPartError with its own words when it does not get there."""
        self.launch(environment)
        self.wait_ready()

    def launch(self, environment: Mapping[str, str] | None = None) -> None:
        """Start without waiting."""
        self._is_draining = False
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("JOBGATE_")}
        with self.errors.open("ab") as errors:
            self._running = subprocess.Popen(  # noqa: S603 - our own module
                [self.interpreter, "-m", "proxy", "run", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                env={**inherited, **(environment or {})},
            )

    def wait_ready(self) -> None:
        """Wait until `/readyz` says 200."""
        deadline = time.monotonic() + _READY
        while time.monotonic() < deadline:
            if self._running is None or self._running.poll() is not None:
                break
            with contextlib.suppress(ControlError):
                if not self.api.readiness():
                    return
            time.sleep(_POLL)
        said = self.errors.read_text(errors="replace")
        self.kill()
        raise DemoPartError(f"the sidecar did not become ready:\n{said}")

    def open_session(
        self, token: str, others: Sequence[str] = (), intents: Sequence[str] = (), agent_token: str | None = None
    ) -> JobSession:
        """Exchange tokens for a session. Raises ControlError with the answer when it is refused."""
        agent = None if agent_token is None else Secret(agent_token)
        opened = self.api.open_session(token, tuple(others), tuple(intents), agent)
        secret = str(opened["secret"])
        return JobSession(id=str(opened["session"]), secret=secret, proxy_url=str(opened["proxy_url"]))

    def close_session(self, session: JobSession) -> None:
        """End a session as the `pre-exit` hook does. Raises ControlError."""
        self.api.close_session(session.id, Secret(session.secret))

    def proxy_url(self, secret: str | None = None) -> str:
        """Return the URL clients are given; without a secret, as in sidecar mode."""
        return f"http://job:{secret}@127.0.0.1:{self.port}" if secret else f"http://127.0.0.1:{self.port}"

    def job_environment(self, session: JobSession | None, home: Path) -> dict[str, str]:
        """Return all a job's command gets: nothing of ours but PATH, and what `jobgate env` exports."""
        home.mkdir(parents=True, exist_ok=True)
        plain = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        url = session.proxy_url if session is not None else self.proxy_url()
        return plain | job_environment(url, self.certs)

    def records(self) -> list[dict[str, Any]]:
        """Return the trail so far."""
        with contextlib.suppress(AuditError):
            return [json.loads(line) for line in read_lines(self.audit)]
        return []

    def drain(self) -> None:
        """Send SIGTERM, once: a second one would end it at once."""
        if self._running is not None and self._running.poll() is None and not self._is_draining:
            self._is_draining = True
            self._running.send_signal(signal.SIGTERM)

    def stop(self, timeout: float = 40.0) -> int:
        """Drain and wait; return the exit code. Kills, and says -9, when it takes longer than `timeout` seconds."""
        if self._running is None:
            return 0
        self.drain()
        try:
            return self._running.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return -9

    def kill(self) -> None:
        """End it as a crash does."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()


def _control_place(socket_file: Path) -> Path | Authority:
    """Return the socket, or loopback where its path would be longer than a socket's may be (unix(7): 108 bytes)."""
    return socket_file if len(os.fsencode(socket_file)) < 100 else Authority("127.0.0.1", _free_port())


def _free_port() -> int:
    """Return a port that nobody has now. The settings name a port, so it cannot be left to the moment of binding."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _yaml(value: Any) -> str:
    """Write plain values as JSON, which is YAML."""
    return json.dumps(value, indent=2, default=str)
