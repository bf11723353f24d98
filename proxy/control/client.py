"""A small synchronous client of the control API, for commands, hooks and the container's health check."""

import contextlib
import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from proxy.model.authority import Authority
from proxy.model.errors import JobgateError
from proxy.model.grant import Secret

_MAX_ANSWER: Final = 4 * 1024 * 1024


class ControlError(JobgateError):
    """The control API cannot be reached, or did not do what was asked. `slug` is its own word for why."""

    def __init__(self, message: str, *, slug: str = "unreachable", status: int | None = None) -> None:
        super().__init__(message)
        self.slug = slug
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlAnswer:
    """A status and its body."""

    status: int
    body: bytes = field(repr=False)

    def json(self) -> dict[str, Any]:
        """Return the body's JSON object. Raises ControlError when it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise ControlError("the answer is not JSON", slug="not-json", status=self.status)
        return value


class ControlClient:
    """Speaks to one place: a Unix socket's path or `host:port`. Every call raises ControlError when it fails."""

    def __init__(self, place: Authority | Path, *, seconds: float = 30.0) -> None:
        self._place = place
        self._seconds = seconds

    def open_session(
        self,
        token: str,
        others: tuple[str, ...] = (),
        intents: tuple[str, ...] = (),
        agent_token: Secret | None = None,
        trace: str | None = None,
    ) -> dict[str, Any]:
        """Exchange tokens; returns `session`, `secret`, `proxy_url`, `expires_at` and `job`.

        `intents` is what the job's step declares that it will do; `agent_token` what its agent calls its CI with;
        `trace` its `traceparent`.
        """
        body: dict[str, Any] = {"token": token}
        if others:
            body["tokens"] = list(others)
        if intents:
            body["intents"] = list(intents)
        if agent_token is not None:
            body["agent_token"] = agent_token.reveal()
        if trace is not None:
            body["traceparent"] = trace
        return self._expect(201, self.call("POST", "/v1/sessions", body=body)).json()

    def close_session(self, session_id: str, secret: Secret) -> None:
        """End a session with its own secret, or the operator's token."""
        self._expect(204, self.call("DELETE", f"/v1/sessions/{session_id}", secret=secret))

    def list_sessions(self, secret: Secret | None = None) -> list[dict[str, Any]]:
        """Return the open sessions."""
        found = self._expect(200, self.call("GET", "/v1/sessions", secret=secret)).json().get("sessions")
        return found if isinstance(found, list) else []

    def list_kills(self, secret: Secret | None = None) -> list[dict[str, Any]]:
        """Return what is stopped."""
        found = self._expect(200, self.call("GET", "/v1/kills", secret=secret)).json().get("kills")
        return found if isinstance(found, list) else []

    def kill(self, scope: str, value: str, why: str, secret: Secret | None = None) -> dict[str, Any]:
        """Stop something; return what was stopped."""
        body = {"scope": scope, "value": value, "why": why}
        return self._expect(201, self.call("POST", "/v1/kills", body=body, secret=secret)).json()

    def lift(self, kill_id: str, secret: Secret | None = None) -> None:
        """Let something go on."""
        self._expect(204, self.call("DELETE", f"/v1/kills/{kill_id}", secret=secret))

    def list_approvals(self, secret: Secret | None = None) -> list[dict[str, Any]]:
        """Return what waits for a person's yes."""
        found = self._expect(200, self.call("GET", "/v1/approvals", secret=secret)).json().get("approvals")
        return found if isinstance(found, list) else []

    def approve(self, question_id: str, answer: Mapping[str, str], secret: Secret | None = None) -> None:
        """Say yes or no: `decision`, `by` and `why`."""
        path = f"/v1/approvals/{question_id}"
        self._expect(204, self.call("POST", path, body=dict(answer), secret=secret))

    def is_live(self) -> bool:
        """Return whether the proxy runs."""
        return self.call("GET", "/healthz").status == 200

    def readiness(self) -> tuple[str, ...]:
        """Return why the proxy is not ready; empty when it is."""
        answer = self.call("GET", "/readyz")
        return () if answer.status == 200 else tuple(answer.json().get("reasons") or ("unready",))

    def certificate(self) -> bytes:
        """Return the CA certificate in PEM."""
        return self._expect(200, self.call("GET", "/v1/ca.pem")).body

    def call(
        self, method: str, path: str, *, body: dict[str, Any] | None = None, secret: Secret | None = None
    ) -> ControlAnswer:
        """Make one call and return whatever was answered."""
        headers = {"Accept": "application/json"}
        if secret is not None:
            headers["Authorization"] = f"Bearer {secret.reveal()}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = self._connect()
        try:
            # A server that is full answers without reading, and closes: what it said still stands to be read.
            with contextlib.suppress(BrokenPipeError):
                connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return ControlAnswer(status=answer.status, body=answer.read(_MAX_ANSWER))
        except (OSError, http.client.HTTPException) as error:
            raise ControlError(f"jobgate's control API at {self._place} cannot be reached: {error}") from None
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        if isinstance(self._place, Path):
            return _UnixConnection(self._place, self._seconds)
        return http.client.HTTPConnection(self._place.host, self._place.port, timeout=self._seconds)

    def _expect(self, status: int, answer: ControlAnswer) -> ControlAnswer:
        if answer.status == status:
            return answer
        stated = answer.json()
        parts = [str(stated[name]) for name in ("message", "detail", "remedy") if stated.get(name)]
        slug = str(stated.get("error", "failed"))
        raise ControlError(f"{slug}: {' '.join(parts)}", slug=slug, status=answer.status)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
