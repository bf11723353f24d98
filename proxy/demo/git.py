"""Git over HTTPS: `git http-backend` behind a small CGI server of ours. Anyone may clone; a push needs the token.

Source: gitprotocol-http, git-http-backend(1). Requests may be gzipped or chunked; both are passed on as they came.
"""

import base64
import binascii
import hashlib
import hmac
import os
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final
from urllib.parse import parse_qs, urlsplit

from proxy.demo.web import BLOCK, Exchange, Site

HOST: Final = "git.acme.example"
REPOSITORY: Final = "acme/storefront.git"
_QUIET: Final = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Demo",
    "GIT_AUTHOR_EMAIL": "demo@acme.example",
    "GIT_COMMITTER_NAME": "Demo",
    "GIT_COMMITTER_EMAIL": "demo@acme.example",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One request as the git server judged it. The presented token is kept only as a digest."""

    service: str
    path: str
    status: int
    presented_sha256: str | None


class GitServer:
    """A running git server over the bare repositories in a folder."""

    def __init__(self, folder: Path, tls: ssl.SSLContext, push_token: str) -> None:
        self.folder = folder
        self.push_token = push_token
        self.accesses: list[Access] = []
        self.first_commit = ""
        self.site = Site(GitExchange, tls)
        self.site.git = self  # type: ignore[attr-defined] # the exchange finds its server here

    def add_repository(self, name: str = REPOSITORY, files: dict[str, str] | None = None) -> Path:
        """Make a bare repository with one commit on `main`; return its folder."""
        bare = self.folder / name
        bare.mkdir(parents=True)
        run_git("init", "--bare", "--quiet", "--initial-branch=main", ".", folder=bare)
        run_git("config", "http.receivepack", "true", folder=bare)
        with tempfile.TemporaryDirectory() as work:
            run_git("init", "--quiet", "--initial-branch=main", ".", folder=Path(work))
            for path, text in (files or {"README.md": "# storefront\n"}).items():
                (Path(work) / path).parent.mkdir(parents=True, exist_ok=True)
                (Path(work) / path).write_text(text)
            run_git("add", ".", folder=Path(work))
            run_git("commit", "--quiet", "-m", "Begin", folder=Path(work))
            run_git("push", "--quiet", str(bare), "main", folder=Path(work))
        self.first_commit = self.head_of_main(name)
        return bare

    def head_of_main(self, name: str = REPOSITORY) -> str:
        """Return the commit that `main` points to."""
        return run_git("rev-parse", "main", folder=self.folder / name)

    def start(self) -> None:
        """Serve."""
        self.site.start()

    def stop(self) -> None:
        """Stop serving."""
        self.site.stop()


def run_git(*arguments: str, folder: Path) -> str:
    """Run git on this machine's own files; return what it printed. Raises CalledProcessError."""
    git = shutil.which("git") or "git"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(  # noqa: S603 - our own arguments
        [git, *arguments], cwd=folder, env=inherited | _QUIET, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def presented_token(authorization: str | None) -> str | None:
    """Return the secret in a Basic or Bearer field; None when there is none or it cannot be read."""
    scheme, _, rest = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(rest, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return None


class GitExchange(Exchange):
    """One exchange with `git http-backend`."""

    def answer(self) -> None:
        """Serve whoever clones, and who pushes with the token."""
        git: GitServer = self.server.git  # type: ignore[attr-defined] # set by GitServer
        place = urlsplit(self.path)
        service = parse_qs(place.query).get("service", [place.path.rpartition("/")[2]])[0]
        token = presented_token(self.headers.get("authorization"))
        status = 200
        with tempfile.SpooledTemporaryFile(max_size=1 << 20) as body:
            for block in self.body_blocks():
                body.write(block)
            body.seek(0)
            if service == "git-receive-pack" and not hmac.compare_digest(token or "", git.push_token):
                status = 401
                self.reply(401, b"a token is needed to push\n", {"WWW-Authenticate": 'Basic realm="git"'})
            else:
                body.rollover()
                status = self.serve(git.folder, place.path, place.query, body)
        digest = None if token is None else hashlib.sha256(token.encode()).hexdigest()
        git.accesses.append(Access(service=service, path=place.path, status=status, presented_sha256=digest))

    def serve(
        self,
        folder: Path,
        path: str,
        query: str,
        body: "tempfile.SpooledTemporaryFile[bytes]",
        more: Mapping[str, str] | None = None,
    ) -> int:
        """Let `git http-backend` answer for the repositories in `folder`; hooks find `more` in their environment."""
        body.seek(0, os.SEEK_END)
        length = body.tell()
        body.seek(0)
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "GIT_PROJECT_ROOT": str(folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(length),
            "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
            **_QUIET,
            **(more or {}),
        }
        command = [shutil.which("git") or "git", "http-backend"]
        with subprocess.Popen(  # noqa: S603 - a fixed command
            command, stdin=body, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        ) as backend:
            assert backend.stdout is not None  # noqa: S101 - a pipe was asked for
            return self._relay(backend.stdout)

    def _relay(self, output: IO[bytes]) -> int:
        status, fields = 200, []
        while line := output.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            if name.lower() == "status":
                status = int(value.split()[0])
            else:
                fields.append((name, value.strip()))
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while block := output.read(BLOCK):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
        self.wfile.write(b"0\r\n\r\n")
        return status
