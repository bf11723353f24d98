"""A sidecar in front of the strict STS and S3 of `sts`, which serve in a thread of their own and note what they saw."""

import asyncio
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from jwt import PyJWK

from proxy.demo.flows import Flow
from proxy.demo.issuer import ISSUER, BuildJob
from proxy.demo.sidecar import JobSession
from proxy.sources.trail import read_keys, verify_trail
from tests.fakes.aws_verifier import Wire
from tests.fakes.canary import find_leaks, places_of
from tests.fakes.raw import RawClient, Reply
from tests.fakes.sidecar import World, rule, wait_until
from tests.fakes.sts import Role, StrictSts

STS_AUDIENCE = "sts.amazonaws.com"
REGION = "eu-west-1"
S3 = f"releases.s3.{REGION}.amazonaws.com"
STS = f"sts.{REGION}.amazonaws.com"
ROLE = "arn:aws:iam::123456789012:role/storefront-release"
BODY = b"a release"


def aws_rule(name: str, host: str = S3, **scope: Any) -> dict[str, Any]:
    """A rule for one folder of a bucket; `scope` is its credential."""
    return rule(name, host, path=f"/{name}/**", credential={"aws": {"role": ROLE, "region": REGION, **scope}})


def s3_request(target: str, *lines: str, method: str = "PUT", host: str = S3, body: bytes = BODY) -> bytes:
    """A request as it stands on the wire; `lines` are further fields."""
    length = [f"Content-Length: {len(body)}"] if body else []
    head = [f"{method} {target} HTTP/1.1", f"Host: {host}", *length, *lines, "", ""]
    return "\r\n".join(head).encode() + body


@dataclass(slots=True)
class WallClock:
    """The real time, moved by `ahead`."""

    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass(slots=True)
class WatchedSts(StrictSts):
    """Notes every request to STS and S3 alike, and is as slow as `delay` says, in seconds."""

    seen: list[Wire] = field(default_factory=list)
    delay: float = 0.0

    def answer(self, wire: Wire) -> tuple[int, bytes]:
        self.seen.append(wire)
        return StrictSts.answer(self, wire)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.delay)
        await StrictSts._serve(self, reader, writer)


@dataclass(slots=True)
class AwsStage:
    """`world` gets `rules`; `secrets` are all that may be read nowhere."""

    hosts: tuple[str, ...]
    world: World = field(default_factory=World)
    clock: WallClock = field(default_factory=WallClock)
    secrets: list[str] = field(default_factory=list)
    sts: WatchedSts = field(init=False)
    _end: Callable[[], object] = field(init=False)
    _thread: threading.Thread = field(init=False)
    _sockets: list[socket.socket] = field(default_factory=list)
    _searched: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.sts = WatchedSts(self.clock)
        self.sts.issuers[ISSUER] = PyJWK(self.world.issuer.jwks()["keys"][0]).key  # type: ignore[index]
        self.sts.roles[ROLE] = Role(issuer=ISSUER, claims={"pipeline_slug": "storefront"})

    def start(self) -> None:
        """Serve AWS's hosts, then start the sidecar."""
        ready = threading.Event()
        side = self.world.root.server_side("aws", self.hosts)

        async def serve() -> None:
            async with self.sts.serving(side):
                ended, loop = asyncio.Event(), asyncio.get_running_loop()
                self._end = lambda: loop.call_soon_threadsafe(ended.set)
                ready.set()
                await ended.wait()

        self._thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        self.world.places = {f"{host}:443": f"127.0.0.1:{self.sts.port}" for host in self.hosts} | self.world.places
        self.world.start()

    def hold_port(self, *, listens: bool) -> str:
        """Return a place that takes connections and never says a word, or one where nobody listens."""
        held = socket.socket()
        self._sockets.append(held)
        held.bind(("127.0.0.1", 0))
        if listens:
            held.listen(64)
        return f"127.0.0.1:{held.getsockname()[1]}"

    def stop(self) -> None:
        self.world.stop()
        self._end()
        self._thread.join(10)
        for held in self._sockets:
            held.close()

    def open(self, *tokens: str, job: BuildJob | None = None, audience: str = STS_AUDIENCE) -> JobSession:
        """A session that hands over `tokens`, by default one for STS; all its tokens and its password are secret."""
        known = job or self.world.issuer.add_job()
        first = self.world.token(known)
        others = tokens or (self.world.token(known, audience),)
        for token in (first, *others):
            self.secrets += [token, token.rpartition(".")[2]]
        session = self.world.sidecar.open_session(first, others)
        self.secrets.append(session.secret)
        return session

    def ask(self, session: JobSession, host: str, request: bytes) -> Reply:
        """Send one request through a tunnel of its own."""
        with RawClient(self.world, session) as client:
            client.tunnel(host)
            client.send(request)
            return client.reply(request.partition(b" ")[0].decode())

    def leaks(self, *, all_of_them: bool = False) -> list[str]:
        """Where a secret of the jobs or of STS can be read; by default of those that are new since the last look."""
        issued = [text for key in self.sts.verifier.keys.values() for text in (key.secret, key.token or key.secret)]
        known = [*self.secrets, *issued]
        wanted = known if all_of_them else [secret for secret in known if secret not in self._searched]
        self._searched.update(wanted)
        return find_leaks(places_of(self.world), wanted)

    def reached(self, target: str) -> list[Wire]:
        """What S3 saw of requests for `target`, its query left aside."""
        seen = [wire for wire in self.sts.seen if b".s3" in wire.values(b"host")[0]]
        return [wire for wire in seen if wire.target.partition(b"?")[0] == target.encode()]

    def minted(self, session: JobSession) -> list[dict[str, Any]]:
        """The records of keys made for a session."""
        return [record for record in self.world.records("credential.minted") if record["session"] == session.id]

    def refused(self, answer: Reply, path: str, reason: str) -> Flow:
        """What holds of every refusal: the answer says why, the record says it too, S3 saw nothing, nothing leaked."""
        assert answer.reason == reason, answer.body
        assert self.reached(path) == []
        flow = self.world.ended(path=path)
        assert (flow.reason, flow.flow_id) == (reason, answer.denial["decision"])
        assert (flow.credential, flow.rules) == (None, tuple(answer.denial["rule"]))
        assert self.leaks() == []
        return flow

    def detail_of(self, flow: Flow) -> str:
        """What the operator reads about a refusal."""
        records = [record for record in self.world.sidecar.records() if record.get("flow") == flow.flow_id]
        return str(records[-1].get("detail", ""))

    def settle(self) -> None:
        """Make STS what it was: prompt, honest and on time."""
        self.sts.instead.clear()
        self.clock.ahead = timedelta()
        self.sts.delay = 0.0

    def check_trail(self) -> None:
        """See that the trail is whole and that every flow ends on it, which is a moment after its answer."""
        audit = self.world.sidecar.audit
        keys = read_keys(sorted(audit.glob("key-*.pub")))
        wait_until(lambda: verify_trail(audit, keys).open_flows == ())
        report = verify_trail(audit, keys)
        assert report.is_intact, report.findings
