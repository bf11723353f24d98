"""A real `jobgate run` process with an issuer, an origin and an internet around it, all on loopback.

`World` is what end-to-end tests stand in; `Job` runs real clients with what the agent hook would export.
"""

import contextlib
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import jsonschema

from proxy.demo.flows import Flow, collect_flows
from proxy.demo.internet import Internet
from proxy.demo.issuer import HOST as ISSUER_HOST
from proxy.demo.issuer import BuildJob, Issuer, TokenWish
from proxy.demo.sidecar import JobSession, Sidecar
from proxy.demo.tls import StageRoot
from tests.fakes.origin import Origin

AUDIENCE = "https://jobgate.test/acme"
METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
OURS = {"organization": "acme"}
NAMES = ("origin.test", "other.test", "secret.test", "bearer.test")
DENIED = "denied.test"
SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).resolve().parents[2] / "docs" / "record.schema.json").read_text())
)


def rule(name: str, to: Sequence[str] | str, **more: Any) -> dict[str, Any]:
    """A rule for every job of `acme`, all methods."""
    return {"id": name, "why": "a test needs it", "job": OURS, "to": to, "method": METHODS, **more}


OPEN = rule("open", ["origin.test", "other.test", "http://plain.test"])


@dataclass(slots=True)
class World:
    """Everything around one sidecar. `rules` may be changed before `start`, and through `write_rules` after."""

    rules: list[dict[str, Any]] = field(default_factory=lambda: [OPEN])
    settings: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="jg-")))
    secret: str = field(default_factory=lambda: f"planted-{secrets.token_hex(16)}")
    outputs: list[bytes] = field(default_factory=list)
    interpreter: str = sys.executable
    root: StageRoot = field(init=False)
    issuer: Issuer = field(init=False)
    origin: Origin = field(init=False)
    plain: Origin = field(init=False)
    internet: Internet = field(init=False)
    sidecar: Sidecar = field(init=False)

    def __post_init__(self) -> None:
        (self.folder / "tls").mkdir(mode=0o700)
        self.root = StageRoot(self.folder / "tls")
        self.issuer = Issuer(self.root.server_side("issuer", (ISSUER_HOST, "127.0.0.1")))
        self.origin = Origin(self.root.server_side("origin", NAMES))
        self.plain = Origin(None)
        self.internet = Internet(self.root.server_side("internet", (DENIED,)))
        self.secret_file.touch(mode=0o600)
        self.secret_file.write_text(self.secret)

    @property
    def secret_file(self) -> Path:
        return self.folder / "secret"

    @property
    def rule_file(self) -> Path:
        return self.folder / "rules" / "test.yaml"

    def basic(self, username: str) -> dict[str, Any]:
        """A rule's credential: the planted secret as a password."""
        source = {"file": str(self.secret_file)}
        return {"header": {"scheme": "basic", "username": username, "from": source}}

    def bearer(self) -> dict[str, Any]:
        """A rule's credential: the planted secret as a bearer token."""
        return {"header": {"from": {"file": str(self.secret_file)}}}

    def start(self) -> None:
        for part in (self.issuer, self.origin, self.plain, self.internet):
            part.start()
        self.write_rules(self.rules)
        self.sidecar = Sidecar(self.folder / "sidecar", self.whole_settings())
        self.sidecar.interpreter = self.interpreter
        self.sidecar.start()

    def whole_settings(self) -> dict[str, Any]:
        connect_to = {
            f"{ISSUER_HOST}:443": self.issuer.site.place,
            f"{DENIED}:443": self.internet.site.place,
            f"{DENIED}:80": self.internet.site.place,
            "plain.test:80": self.plain.site.place,
            **{f"{name}:443": self.origin.site.place for name in NAMES},
            **self.places,
        }
        basic: dict[str, Any] = {
            "rules": [str(self.rule_file.parent)],
            "issuers": [{"provider": "buildkite", "audience": AUDIENCE, "bound": {"organization_slug": "acme"}}],
            "upstream": {
                "trust": str(self.root.certificate),
                "connect_to": connect_to,
                "allow_addresses": ["127.0.0.0/8"],
            },
        }
        return basic | self.settings

    def write_rules(self, rules: list[dict[str, Any]] | str) -> None:
        """Replace the rule file in one step, as a deployment does."""
        self.rule_file.parent.mkdir(exist_ok=True)
        text = rules if isinstance(rules, str) else json.dumps({"rules": rules}, indent=1)
        fresh = self.rule_file.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.rule_file)

    def stop(self) -> None:
        written: list[dict[str, Any]] = []
        with contextlib.suppress(AttributeError):
            self.sidecar.stop(timeout=10)
            written = self.sidecar.records()
        for part in (self.issuer, self.origin, self.plain, self.internet):
            part.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        check_records(written)

    def token(self, job: BuildJob, audience: str = AUDIENCE, **changes: Any) -> str:
        return self.issuer.mint(job, TokenWish(audience=audience), **changes)

    def open(self, *audiences: str, **facts: Any) -> "Job":
        """A job with an open session; `facts` as in BuildJob."""
        known = self.issuer.add_job(**facts)
        session = self.sidecar.open_session(self.token(known), [self.token(known, name) for name in audiences])
        return self.job(session)

    def job(self, session: JobSession | None) -> "Job":
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        return Job(self, session, folder, self.sidecar.job_environment(session, folder / "home"))

    def flows(self, **facts: Any) -> list[Flow]:
        """The flows on record for which all `facts` hold."""
        return [
            flow
            for flow in collect_flows(self.sidecar.records())
            if all(getattr(flow, name) == value for name, value in facts.items())
        ]

    def ended(self, **facts: Any) -> Flow:
        """The last flow for which all `facts` hold, once it is over: outcomes are written after the client's answer."""
        found = wait_until(lambda: [flow for flow in self.flows(**facts)[-1:] if flow.is_over])
        return cast("Flow", found[0])

    def records(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in self.sidecar.records() if record["kind"] == kind]


@dataclass(slots=True)
class Job:
    """A build job: its folder, its session (None in sidecar mode) and the environment of its commands."""

    world: World
    session: JobSession | None
    folder: Path
    environment: dict[str, str]

    def run(
        self,
        *command: str | Path,
        code: int | None = 0,
        stdin: bytes | None = None,
        environment: Mapping[str, str] | None = None,
        seconds: float = 60,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a real client. `code`: what it must end with; None for anything."""
        done = subprocess.run(
            [str(word) for word in command],
            cwd=self.folder,
            env={**self.environment, **(environment or {})},
            input=stdin if stdin is not None else b"",
            capture_output=True,
            check=False,
            timeout=seconds,
        )
        self.world.outputs += [done.stdout, done.stderr]
        said = f"{command} ended with {done.returncode}\n{done.stdout.decode(errors='replace')[-3000:]}\n"
        assert code is None or done.returncode == code, said + done.stderr.decode(errors="replace")[-3000:]
        return done

    def python(self, script: str, *arguments: str, code: int | None = 0, **options: Any) -> str:
        """Run a script with this environment's interpreter; return what it printed."""
        done = self.run(sys.executable, "-c", script, *arguments, code=code, **options)
        return done.stdout.decode()

    def curl(self, *arguments: str, code: int | None = 0, **options: Any) -> str:
        """Run curl, silent but for errors; return its output."""
        done = self.run("curl", "-sS", "--max-time", "20", *arguments, code=code, **options)
        return done.stdout.decode("latin-1")


def check_records(written: Sequence[dict[str, Any]]) -> None:
    """Hold what any test made a sidecar write to the published schema: of each kind the first few."""
    seen: Counter[str] = Counter()
    for record in written:
        seen[record["kind"]] += 1
        if seen[record["kind"]] <= 20:
            SCHEMA.validate(record)


def wait_until(answer: Callable[[], Any], seconds: float = 15.0) -> Any:
    """The first true answer. Fails loudly when none comes."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := answer():
            return found
        time.sleep(0.02)
    raise AssertionError(f"did not come true within {seconds} seconds")
