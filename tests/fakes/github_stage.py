"""A sidecar in front of the strict GitHub of `github`; what must hold of every answer and every refusal."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proxy.demo.flows import Flow
from proxy.demo.sidecar import JobSession
from proxy.sources.trail import read_keys, verify_trail
from tests.fakes.canary import find_leaks, places_of
from tests.fakes.github import GitHub, Installation, Use
from tests.fakes.keys import signing_key
from tests.fakes.raw import RawClient, Reply
from tests.fakes.sidecar import Job, World, rule, wait_until

API: Final = "api.github.com"
WEB: Final = "github.com"
UPLOADS: Final = "uploads.github.com"
CODELOAD: Final = "codeload.github.com"
HOSTS: Final = (WEB, API, UPLOADS, CODELOAD)
REPOSITORIES: Final = ("Acme/storefront", "Acme/docs")
HELD: Final = {"contents": "write", "issues": "write", "workflows": "write", "metadata": "read"}


@dataclass(slots=True)
class GitHubStage:
    """`world` gets `rules`; `hub` is what it talks to."""

    host: str = WEB
    world: World = field(default_factory=World)
    hub: GitHub = field(init=False)

    def __post_init__(self) -> None:
        hosts = HOSTS if self.host == WEB else (self.host,)
        key = signing_key()
        side = self.world.root.server_side("github", hosts)
        self.hub = GitHub(self.world.folder / "git", side, key.public, self.host)
        self.hub.installations[77] = Installation(
            account="Acme", repositories=frozenset(name.lower() for name in REPOSITORIES), permissions=HELD
        )
        for name in REPOSITORIES:
            self.hub.add_repository(name)
        place = self.world.folder / "app.pem"
        place.touch(mode=0o600)
        place.write_bytes(key.private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
        self.world.places = {f"{host}:443": self.hub.site.place for host in hosts}

    def rule(self, name: str, to: Sequence[str], intent: Sequence[str], **scope: Any) -> dict[str, Any]:
        """A rule whose credential is the app; `scope` changes its block."""
        block: dict[str, Any] = {
            "app": self.hub.client,
            "key": {"file": str(self.world.folder / "app.pem")},
            "repositories": ["acme/storefront"],
            "permissions": {"contents": "write"},
        }
        credential = {"github-app": block | scope}
        return {**rule(name, list(to), intent=list(intent), credential=credential), "method": "any"}

    def start(self) -> None:
        self.hub.site.start()
        self.world.start()

    def stop(self) -> None:
        self.world.stop()
        self.hub.site.stop()

    def settle(self) -> None:
        """Make GitHub what it was: prompt and honest."""
        self.hub.instead.clear()
        self.hub.gives = {}
        self.hub.delay, self.hub.echoes, self.hub.revokes = 0.0, False, True
        for seen in (self.hub.asked, self.hub.calls, self.hub.uses):
            seen.clear()

    def session(self, job: Job) -> JobSession:
        assert job.session is not None
        return job.session

    def ask(self, job: Job, target: str, host: str = API, method: str = "GET", body: object = None) -> Reply:
        """Send one request through a tunnel of its own."""
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Authorization: Bearer jobs-own-token"]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        with RawClient(self.world, job.session) as client:
            client.tunnel(host)
            client.send("\r\n".join([*lines, "", ""]).encode() + content)
            return client.reply(method)

    def used(self, **facts: Any) -> list[Use]:
        """What reached GitHub beside the app's own calls, for which all `facts` hold."""
        return [use for use in self.hub.uses if all(getattr(use, name) == value for name, value in facts.items())]

    def minted(self, job: Job) -> list[dict[str, Any]]:
        session = self.session(job)
        return [record for record in self.world.records("credential.minted") if record["session"] == session.id]

    def closed(self, job: Job) -> dict[str, Any]:
        """End a job's session; return its record."""
        session = self.session(job)
        self.world.sidecar.close_session(session)
        found = wait_until(
            lambda: [each for each in self.world.records("session.closed") if each["session"] == session.id]
        )
        return dict(found[0])

    def refused(self, answer: Reply, path: str, reason: str, told: str) -> Flow:
        """What holds of every refusal: the answer and the record say why, GitHub saw no request, nothing leaked."""
        assert answer.reason == reason, answer.body
        assert [use for use in self.hub.uses if use.path == path] == []
        flow = self.world.ended(path=path.partition("?")[0])
        assert (flow.reason, flow.credential, flow.flow_id) == (reason, None, answer.denial["decision"])
        records = [record for record in self.world.sidecar.records() if record.get("flow") == flow.flow_id]
        assert told in str(records[-1].get("detail", "")), records[-1]
        assert self.leaks() == []
        return flow

    def leaks(self) -> list[str]:
        """Where a token, an app's JWT or the app's key can be read."""
        key = (self.world.folder / "app.pem").read_text().split("\n")[2:6]
        jwts = [text.rpartition(".")[2] for text in self.hub.jwts]
        return find_leaks(places_of(self.world), [*self.hub.tokens, *jwts, *key])

    def check_trail(self) -> None:
        """See that the trail is whole."""
        audit = self.world.sidecar.audit
        keys = read_keys(sorted(audit.glob("key-*.pub")))
        wait_until(lambda: verify_trail(audit, keys).open_flows == ())
        report = verify_trail(audit, keys)
        assert report.is_intact, report.findings
