"""A program that behaves like the Buildkite agent: hook order, environment capture, agent API, Job API, redaction.

Written from platforms.md 4.6 and the agent's own hook wrapper: hooks are sourced by a shell between two environment
dumps; the difference is carried to the next hook; a hook that fails, or exits before the second dump, ends the job.
"""

import json
import os
import secrets
import socketserver
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

Mint = Callable[[str, int], str]
"""Audience and lifetime in seconds to a signed token: the issuer the agent's API stands for."""

_SHIM = '''#!{python} -IS
"""`buildkite-agent`: env dump, oidc request-token, redactor add."""
import http.client, json, os, socket, sys

class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.environ["BUILDKITE_AGENT_JOB_API_SOCKET"])

def call(connection, path, authorization, body):
    connection.request("POST", path, json.dumps(body), {{"Authorization": authorization}})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        sys.exit(f"buildkite-agent: {{path}} answered {{answer.status}}")
    return json.loads(text)

words = sys.argv[1:]
with open(os.environ["FAKE_AGENT_CALLS"], "a") as calls:
    calls.write(json.dumps(words) + "\\n")
if words == ["env", "dump"]:
    print(json.dumps(dict(os.environ)))
elif words[:2] == ["oidc", "request-token"]:
    options = dict(zip(words[2::2], words[3::2]))
    host = os.environ["BUILDKITE_AGENT_ENDPOINT"].removeprefix("http://").removesuffix("/v3")
    answer = call(
        http.client.HTTPConnection(host, timeout=5),
        f"/v3/jobs/{{os.environ['BUILDKITE_JOB_ID']}}/oidc/tokens",
        f"Token {{os.environ['BUILDKITE_AGENT_ACCESS_TOKEN']}}",
        {{"audience": options["--audience"], "lifetime": int(options["--lifetime"])}},
    )
    print(answer["token"])
elif words == ["redactor", "add"]:
    call(
        Unix("job-api"),
        "/api/current-job/v0/redactions",
        f"Bearer {{os.environ['BUILDKITE_AGENT_JOB_API_TOKEN']}}",
        {{"redact": sys.stdin.read().strip()}},
    )
else:
    sys.exit(f"buildkite-agent: unknown command {{words}}")
'''

_WRAPPER = """#!/usr/bin/env bash
buildkite-agent env dump > "{before}"
. "{hook}"
export BUILDKITE_HOOK_EXIT_STATUS=$?
buildkite-agent env dump > "{after}"
exit $BUILDKITE_HOOK_EXIT_STATUS
"""


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended: the command's exit code, the hook that stopped it if one did, and its log after redaction."""

    code: int
    stopped_by: str | None
    log: str
    ran_command: bool


@dataclass(slots=True)
class FakeAgent:
    """One agent, one job at a time. `folder` is scratch space; `hooks` is the agent's own hook folder."""

    folder: Path
    mint: Mint
    hooks: Path | None = None
    plugin: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    redacted: set[str] = field(default_factory=set)
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    minted: list[str] = field(default_factory=list)
    raw_log: str = ""

    def run_job(self, command: str, *, job_id: str) -> Ended:
        """Run all hooks and the command as the agent does. `pre-exit` runs whatever came before."""
        with self._apis() as addresses:
            self.raw_log, stopped, code, ran = "", None, 0, False
            variables = self._first_variables(job_id) | addresses | self.environment
            for name, hook in self._hooks("environment", "pre-command"):
                code = self._run_hook(hook, variables)
                if code != 0:
                    stopped = f"{name} ({hook.parent.name})"
                    break
            if stopped is None:
                ran = True
                code = self._run_command(command, variables)
                variables["BUILDKITE_COMMAND_EXIT_STATUS"] = str(code)
            for _, hook in self._hooks("pre-exit"):
                code = self._run_hook(hook, variables) or code
        return Ended(code, stopped, self._redact(self.raw_log), ran)

    def calls(self) -> list[list[str]]:
        """Return every `buildkite-agent` command line of the job."""
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def _hooks(self, *names: str) -> Iterator[tuple[str, Path]]:
        for name in names:
            for folder in (self.hooks, None if self.plugin is None else self.plugin / "hooks"):
                if folder is not None and (folder / name).exists():
                    yield name, folder / name

    def _first_variables(self, job_id: str) -> dict[str, str]:
        shim = self.folder / "bin" / "buildkite-agent"
        shim.parent.mkdir(parents=True, exist_ok=True)
        shim.write_text(_SHIM.format(python=sys.executable))
        shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
        (self.folder / "build").mkdir(exist_ok=True)
        return {
            "PATH": f"{shim.parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "BUILDKITE": "true",
            "BUILDKITE_JOB_ID": job_id,
            "FAKE_AGENT_CALLS": str(self.folder / "calls"),
        }

    def _run_hook(self, hook: Path, variables: dict[str, str]) -> int:
        before, after = self.folder / "before", self.folder / "after"
        after.unlink(missing_ok=True)
        wrapper = self.folder / "wrapper"
        wrapper.write_text(_WRAPPER.format(before=before, after=after, hook=hook))
        code = self._run(["bash", str(wrapper)], variables)
        dumped = after.read_text() if after.exists() else ""
        if not dumped:
            self.raw_log += f"hook {hook.name} early exited\n"
            return code or 1
        self._carry(json.loads(before.read_text()), json.loads(dumped), variables)
        return code

    @staticmethod
    def _carry(before: Mapping[str, str], after: Mapping[str, str], variables: dict[str, str]) -> None:
        ignored = {"_", "BUILDKITE_HOOK_EXIT_STATUS", "SHLVL", "PWD", "OLDPWD"}
        for name in before.keys() - after.keys() - ignored:
            variables.pop(name, None)
        for name in after.keys() - ignored:
            if before.get(name) != after[name]:
                variables[name] = after[name]

    def _run_command(self, command: str, variables: dict[str, str]) -> int:
        script = self.folder / "command"
        script.write_text(f"#!/bin/bash\n{command}\n")
        return self._run(["bash", "-e", str(script)], variables)

    def _run(self, words: list[str], variables: Mapping[str, str]) -> int:
        done = subprocess.run(
            words,
            env=dict(variables),
            cwd=self.folder / "build",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        self.raw_log += done.stdout.decode(errors="replace")
        return done.returncode

    def _redact(self, text: str) -> str:
        for secret in sorted(self.redacted | set(self.minted), key=len, reverse=True):
            text = text.replace(secret, "[REDACTED]")
        return text

    @contextmanager
    def _apis(self) -> Iterator[dict[str, str]]:
        """Serve the agent's HTTP API (tokens) and the Job API (redactions) for as long as the job runs."""
        job_token = secrets.token_hex(16)
        socket_path = self.folder / "job-api.sock"
        socket_path.unlink(missing_ok=True)

        def answer_token(body: dict[str, Any]) -> dict[str, str]:
            token = self.mint(body["audience"], body["lifetime"])
            self.minted.append(token)
            return {"token": token}

        def answer_redaction(body: dict[str, Any]) -> dict[str, str]:
            self.redacted.add(body["redact"])
            return {}

        agent_api = ThreadingHTTPServer(("127.0.0.1", 0), _handler(f"Token {self.token}", answer_token))
        job_api = _UnixServer(str(socket_path), _handler(f"Bearer {job_token}", answer_redaction))
        threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in (agent_api, job_api)]
        for thread in threads:
            thread.start()
        try:
            yield {
                "BUILDKITE_AGENT_ENDPOINT": f"http://127.0.0.1:{agent_api.server_address[1]}/v3",
                "BUILDKITE_AGENT_ACCESS_TOKEN": self.token,
                "BUILDKITE_AGENT_JOB_API_SOCKET": str(socket_path),
                "BUILDKITE_AGENT_JOB_API_TOKEN": job_token,
            }
        finally:
            for server, thread in zip((agent_api, job_api), threads, strict=True):
                server.shutdown()
                thread.join()
                server.server_close()


def _handler(authorization: str, answer: Callable[[dict[str, Any]], dict[str, str]]) -> type[BaseHTTPRequestHandler]:
    class Api(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        accepted: ClassVar[str] = authorization

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            allowed = self.headers["Authorization"] == self.accepted
            text = json.dumps(answer(body) if allowed else {"error": "unauthorized"}).encode()
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def address_string(self) -> str:
            return "job"

        def log_message(self, *_: object) -> None:
            """Say nothing: a test's output is its findings."""

    return Api
