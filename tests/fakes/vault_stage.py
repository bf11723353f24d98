"""A sidecar in front of a real OpenBao; what must hold of every answer and every refusal."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import PyJWK

from proxy.demo.flows import Flow
from proxy.demo.issuer import ISSUER
from proxy.demo.sidecar import JobSession
from proxy.sources.trail import read_keys, verify_trail
from tests.fakes.canary import find_leaks, places_of
from tests.fakes.raw import RawClient, Reply
from tests.fakes.sidecar import Job, World, rule, wait_until
from tests.fakes.vault import Vault, set_secret

HOST: Final = "vault.test"
SITE: Final = f"{HOST}:8200"
URL: Final = f"https://{SITE}"
VALUES: Final = {"user": "reader", "password": "planted-kv-0123456789abcdef"}


@dataclass(slots=True)
class VaultStage:
    """`world` gets `rules`; `vault` is what it talks to; `shown` are the tokens that jobs had for it."""

    program: str
    world: World = field(default_factory=World)
    vault: Vault = field(init=False)
    shown: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.vault = Vault(self.program, self.world.root.server_side("vault", (HOST,)))
        self.world.places = {SITE: self.vault.site.place}

    def rule(self, name: str, to: Sequence[str] | str, **more: Any) -> dict[str, Any]:
        """A rule for the pipeline of that name; `scope` changes its credential's block."""
        block: dict[str, Any] = {"address": URL, "role": "storefront", "audience": URL}
        made = rule(name, to, credential={"vault": block | more.pop("scope", {})}, **more)
        return {**made, "job": {**made["job"], "pipeline": name}}

    def start(self) -> None:
        keys: Any = self.world.issuer.jwks()["keys"]
        public: Any = PyJWK(keys[0]).key
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        self.vault.start(ISSUER, [pem], URL)
        set_secret(self.vault, VALUES)
        set_secret(self.vault, {"password": "planted-team-0123456789"}, "team")
        self.world.start()

    def stop(self) -> None:
        self.world.stop()
        self.vault.stop()

    def open(self, pipeline: str, *audiences: str, **facts: Any) -> Job:
        """A job with a session that holds a token for this Vault, or for `audiences`."""
        known = self.world.issuer.add_job(pipeline_slug=pipeline, **facts)
        held = [self.world.token(known, name) for name in audiences or (URL,)]
        self.shown += held
        return self.world.job(self.world.sidecar.open_session(self.world.token(known), held))

    def session(self, job: Job) -> JobSession:
        assert job.session is not None
        return job.session

    def ask(
        self, job: Job, target: str, *lines: str, method: str = "GET", body: object = None, place: str = SITE
    ) -> Reply:
        """Send one request through a tunnel of its own, with tokens of the job's choice; `lines` are further fields."""
        content = b"" if body is None else json.dumps(body).encode()
        host, _, _ = place.partition(":")
        head = [f"{method} {target} HTTP/1.1", f"Host: {place}", "X-Vault-Token: jobs-own", "Authorization: Bearer own"]
        if body is not None:
            head += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        with RawClient(self.world, job.session) as client:
            answer = client.connect(place if ":" in place else f"{place}:443")
            assert answer.status == 200, answer
            client.start_tls(host)
            client.send("\r\n".join([*head, *lines, "", ""]).encode() + content)
            return client.reply(method)

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
        """What holds of every refusal: the answer and the record say why, and nothing leaked."""
        assert answer.reason == reason, answer.body
        flow = self.world.ended(path=path.partition("?")[0])
        assert (flow.reason, flow.credential, flow.flow_id) == (reason, None, answer.denial["decision"])
        records = [record for record in self.world.sidecar.records() if record.get("flow") == flow.flow_id]
        assert told in str(records[-1].get("detail", "")), records[-1]
        assert self.leaks() == []
        return flow

    def leaks(self, *more: str) -> list[str]:
        """Where a client token, or a token that a job showed, can be read."""
        return find_leaks(places_of(self.world), [*self.vault.tokens, *self.shown, *more])

    def check_trail(self) -> None:
        """See that the trail is whole."""
        audit = self.world.sidecar.audit
        keys = read_keys(sorted(audit.glob("key-*.pub")))
        wait_until(lambda: verify_trail(audit, keys).open_flows == ())
        report = verify_trail(audit, keys)
        assert report.is_intact, report.findings
