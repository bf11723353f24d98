"""A sidecar under attack: what a hostile job says byte by byte, what reached anybody, and what the trail says of it.

The stage opens no private address, so that loopback is as closed to the job as it is in production; its own servers are
reached because an operator's `connect_to` names them.
"""

import json
import ssl
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from proxy.demo.sidecar import JobSession
from proxy.model.reason import Reason, explain_reason
from proxy.model.record import Kind
from tests.fakes.canary import find_leaks, places_of
from tests.fakes.raw import RawClient, Reply
from tests.fakes.recorder import Arrived, Recorder
from tests.fakes.sidecar import World, rule, wait_until

PASSWORD = b"<password>"
"""Stands in an attack's words for the line that says who is asking."""
TLS_HOSTS = ("origin.test", "other.test", "bearer.test", "sealed.test", "a.wild.test")
CLEAN = b"GET /clean HTTP/1.1\r\nhost: origin.test\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """What a job does on one connection and what must come of it. `name` begins with the threat it belongs to."""

    name: str
    to: str | None = None
    """A tunnel's CONNECT target; None speaks to the proxy itself."""
    sni: str | None = ""
    """The name in the handshake; empty for the tunnel's host, None for no name at all."""
    is_tls: bool = True
    """Whether `words` are said inside TLS or straight into the tunnel."""
    words: bytes = b""
    reason: Reason = Reason.ALLOWED
    answers: bool = True
    """Whether a refusal can be read; a broken handshake leaves nobody to read one."""
    passes: bytes = b""
    """All that may reach an upstream: nothing, or a form of ours that is safe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What came of an attack: the job's answer, and the records of its connection."""

    reply: Reply | None
    records: list[dict[str, Any]]

    @property
    def troubles(self) -> list[dict[str, Any]]:
        """Refusals, and outcomes other than good ones. The record of the connection itself is not among them."""
        return [
            record for record in self.records if record["kind"] != Kind.CONNECTION and record["reason"] != "allowed"
        ]

    @property
    def end(self) -> dict[str, Any]:
        """The record of the connection."""
        return self.records[-1]


@dataclass(slots=True)
class AttackStage:
    """A world with recording upstreams. `limits` are the sidecar's; `rules` are put beside those of the stage."""

    limits: dict[str, Any] = field(default_factory=dict)
    rules: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, bytes] = field(default_factory=dict)
    allow_addresses: tuple[str, ...] = ()
    world: World = field(default_factory=World)
    secure: Recorder = field(init=False)
    plain: Recorder = field(init=False)
    session: JobSession = field(init=False)
    neighbour: JobSession = field(init=False)
    met: Counter[str] = field(default_factory=Counter)
    """How many clients each address was: the system gives a port again when its connection has long ended."""

    def __post_init__(self) -> None:
        self.secure = Recorder(self.world.root.server_side("recorder", TLS_HOSTS), self.answers)
        self.plain = Recorder(None, self.answers)

    def start(self) -> None:
        """Serve, and open two sessions: the one that all attacks come from, and that of an honest job beside it."""
        world = self.world
        self.secure.start()
        self.plain.start()
        world.places |= {f"{host}:443": self.secure.place for host in TLS_HOSTS}
        world.places |= {"*.wild.test:443": self.secure.place, "plain.test:80": self.plain.place}
        sealed = rule("sealed", "sealed.test", inspect=False)
        del sealed["method"]
        world.rules = [
            rule("open", ["origin.test", "other.test", "*.wild.test", "http://plain.test"]),
            sealed,
            rule("bearer", "bearer.test", credential=world.bearer()),
            *self.rules,
        ]
        upstream = world.whole_settings()["upstream"] | {"allow_addresses": list(self.allow_addresses)}
        world.settings |= {"upstream": upstream, "limits": self.limits}
        world.start()
        self.session = world.sidecar.open_session(world.token(world.issuer.add_job()))
        self.neighbour = world.sidecar.open_session(world.token(world.issuer.add_job()))

    def stop(self) -> None:
        """End it all."""
        self.world.stop()
        self.secure.stop()
        self.plain.stop()

    def client(self) -> RawClient:
        """A new connection of the job."""
        return self._meet(self.session)

    def _meet(self, session: JobSession) -> RawClient:
        made = RawClient(self.world, session)
        self.met[made.address] += 1
        return made

    def arrived(self) -> tuple[Arrived, ...]:
        """What has reached each upstream so far, the one that nothing may reach included."""
        visited = Arrived(connections=self.world.internet.visits, content=b"")
        return (self.secure.arrived(), self.plain.arrived(), visited)

    def arrived_since(self, before: tuple[Arrived, ...]) -> Arrived:
        """What has reached any of them since."""
        pairs = list(zip(before, self.arrived(), strict=True))
        return Arrived(
            connections=sum(now.connections - then.connections for then, now in pairs),
            content=b"".join(now.content[len(then.content) :] for then, now in pairs),
        )

    def play(self, attack: Attack) -> Played:
        """Let the job do its worst, and wait until its connection is over and on record."""
        with self.client() as client:
            reply = self._say(client, attack)
        return Played(reply=reply, records=self.recorded(client))

    def _say(self, client: RawClient, attack: Attack) -> Reply | None:
        try:
            if attack.to is not None:
                answer = client.connect(attack.to)
                if answer.status != 200:
                    return answer
                if attack.is_tls:
                    client.start_tls(attack.to.rpartition(":")[0] if attack.sni == "" else attack.sni)
            client.send(attack.words.replace(PASSWORD, client.password))
            return client.reply(attack.words.partition(b" ")[0].decode("latin-1"))
        except (EOFError, ConnectionError, ssl.SSLError):
            return None

    def recorded(self, client: RawClient) -> list[dict[str, Any]]:
        """What the trail says of a connection, once it is over: its decisions, their outcomes, and its end."""
        found: list[dict[str, Any]] = wait_until(lambda: self._records_of(client.address))
        return found

    def _records_of(self, address: str) -> list[dict[str, Any]]:
        records = self.world.sidecar.records()
        ends = [record for record in records if record["kind"] == Kind.CONNECTION and record["client"] == address]
        if len(ends) < self.met[address]:
            return []
        name = ends[-1]["connection"]
        decisions = [each for each in records if each["kind"] == Kind.DECISION and each["connection"] == name]
        flows = {record["flow"] for record in decisions}
        outcomes = [each for each in records if each["kind"] == Kind.OUTCOME and each["flow"] in flows]
        return [*decisions, *outcomes, ends[-1]]

    def serves(self) -> bool:
        """Whether honest requests are still carried whole: the attacker's own next one, and its neighbour's."""
        return all(self._serves(session) for session in (self.session, self.neighbour))

    def _serves(self, session: JobSession) -> bool:
        before = len(self.secure.arrived().content)
        with self._meet(session) as client:
            client.tunnel("origin.test")
            client.send(b"GET /clean HTTP/1.1\r\nHost: origin.test\r\n\r\n")
            answer = client.reply()
        return (answer.status, answer.body) == (200, b"ok\n") and self.secure.arrived().content[before:] == CLEAN

    def audit(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run `jobgate audit` on the trail, as an auditor does: `verify`, or `show` with its options."""
        return subprocess.run(
            [sys.executable, "-m", "proxy", "audit", *words, str(self.world.sidecar.audit)],
            capture_output=True,
            text=True,
            check=False,
        )


def find_harm(stage: AttackStage, attack: Attack) -> list[str]:
    """Play an attack and return what went wrong: bytes that passed, a wrong or missing refusal, no more service."""
    before = stage.arrived()

    played = stage.play(attack)

    arrived = stage.arrived_since(before)
    found = [] if arrived.content == attack.passes else [f"an upstream was sent {arrived.content!r}"]
    if not attack.passes and arrived.connections:
        found.append(f"upstreams were dialled {arrived.connections} times")
    reasons = [record["reason"] for record in played.troubles]
    if reasons != ([] if attack.reason is Reason.ALLOWED else [attack.reason.value]):
        found.append(f"the trail says {reasons}")
    found += _misread(attack, played)
    if not stage.serves():
        found.append("an honest request is no longer served")
    return found


def _misread(attack: Attack, played: Played) -> list[str]:
    """Compare the answer with what it must say: reason, its status, and the number of the record; or nothing at all."""
    reply = played.reply
    if not attack.answers:
        return [] if reply is None else [f"somebody answered {reply}"]
    if reply is None:
        return ["there was no answer"]
    if attack.reason is Reason.ALLOWED:
        return [] if (reply.status, reply.body) == (200, b"ok\n") else [f"the answer is {reply} {reply.body!r}"]
    expected = {
        "status": explain_reason(attack.reason).status,
        "reason": attack.reason.value,
        "decision": next((record["flow"] for record in played.troubles), None),
    }
    said = {"status": reply.status, "reason": reply.reason, "decision": reply.denial.get("decision")}
    return [] if said == expected else [f"the answer says {said}, not {expected}"]


def find_traces(stage: AttackStage) -> list[str]:
    """Stop the sidecar after its attacks and return what it leaves behind that it should not.

    Secrets that can be read, traces of an exception, a trail that does not verify, that `audit show` tells differently,
    or in which an exchange or a connection has no end.
    """
    world = stage.world
    found = find_leaks(places_of(world), (world.secret, stage.session.secret, stage.neighbour.secret))
    if (code := world.sidecar.stop()) != 0:
        found.append(f"the sidecar ended with {code}")
    if "Traceback" in (said := world.sidecar.errors.read_text(errors="replace")):
        found.append(said)
    verified = stage.audit("verify", "--json")
    report = json.loads(verified.stdout)
    if verified.returncode != 0 or report["findings"] or report["open_flows"]:
        found.append(verified.stdout)
    records = world.sidecar.records()
    shown = [json.loads(line) for line in stage.audit("show", "--json", "--limit", "0").stdout.splitlines()]
    if shown != records:
        found.append("`audit show` tells another story than the trail")
    ended = {record["connection"] for record in records if record["kind"] == Kind.CONNECTION}
    begun = {record["connection"] for record in records if record["kind"] == Kind.DECISION}
    return found + [f"{name} has no end on record" for name in sorted(begun - ended)]
