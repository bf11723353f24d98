"""A sidecar in front of the strict STS and S3 of `sts`, which serve in a thread of their own and note what they saw."""

import asyncio
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from jwt import PyJWK

from proxy.demo.issuer import ISSUER, BuildJob
from proxy.demo.sidecar import JobSession
from tests.fakes.aws_verifier import Wire
from tests.fakes.canary import find_leaks, places_of
from tests.fakes.raw import RawClient, Reply
from tests.fakes.sidecar import World
from tests.fakes.sts import StrictSts

STS_AUDIENCE = "sts.amazonaws.com"


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
        """Where a secret can be read: the jobs', and those that STS handed out; by default those since the last look."""
        issued = [text for key in self.sts.verifier.keys.values() for text in (key.secret, key.token or key.secret)]
        known = [*self.secrets, *issued]
        wanted = known if all_of_them else [secret for secret in known if secret not in self._searched]
        self._searched.update(wanted)
        return find_leaks(places_of(self.world), wanted)

    def reached(self, target: str) -> list[Wire]:
        """What S3 saw of requests for `target`, its query left aside."""
        return [wire for wire in self.sts.seen if wire.target.partition(b"?")[0] == target.encode()]

    def minted(self, session: JobSession) -> list[dict[str, Any]]:
        """The records of keys made for a session."""
        return [record for record in self.world.records("credential.minted") if record["session"] == session.id]
