"""What every attack on a real sidecar is held to: nothing reached an upstream, the reason is right and on record.

`secret.test` is allowed under `/api/**` with the planted secret as bearer token; `bearer.test` for reading alone;
`origin.test` and `http://plain.test` under `/api/**` and `/echo` without a credential; `denied.test` is on the open
internet, and no rule names it.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from proxy.demo.sidecar import JobSession
from proxy.sources.trail import read_keys, verify_trail
from tests.fakes.canary import find_leaks, places_of
from tests.fakes.raw import RawClient, Reply, password
from tests.fakes.sidecar import World, rule, wait_until

SECRET, READ, OPEN, PLAIN = "secret.test", "bearer.test", "origin.test", "plain.test"
PATHS = ["/api/**", "/echo", "/digest/**", "/slow"]
FROM_US = {"reason", "rule", "decision", "message", "what_to_do"}


def attack_rules(world: World) -> list[dict[str, Any]]:
    return [
        rule("secret", SECRET, path=PATHS, credential=world.bearer()),
        rule("read", READ, path=PATHS, method=["GET", "HEAD"], credential=world.bearer()),
        rule("open", [OPEN, f"http://{PLAIN}"], path=PATHS),
    ]


@dataclass(slots=True)
class AttackStage:
    """A world with rules for attacks, and `more`, and one session that attacks it."""

    world: World = field(default_factory=World)
    more: list[dict[str, Any]] = field(default_factory=list)
    session: JobSession = field(init=False)
    met: Counter[str] = field(default_factory=Counter)
    """How many clients each address was: the system gives a port again when its connection has long ended."""

    def start(self) -> None:
        self.world.rules = [*attack_rules(self.world), *self.more]
        for origin in (self.world.origin, self.world.plain):
            origin.files["/api/hello"] = ("text/plain", b"hello\n")
        self.world.start()
        self.session = self.open()

    def open(self, **facts: Any) -> JobSession:
        known = self.world.issuer.add_job(**facts)
        return self.world.sidecar.open_session(self.world.token(known))

    def client(self, session: JobSession | None = None) -> RawClient:
        made = RawClient(self.world, session or self.session)
        self.met[made.address] += 1
        return made

    def ask(self, host: str, words: bytes) -> tuple[Reply, str]:
        """Say something in a tunnel to `host`, or to the proxy itself for `plain.test`; return answer and client."""
        with self.client() as client:
            if host != PLAIN:
                client.tunnel(host)
            client.send(words)
            return client.reply("HEAD" if words.startswith(b"HEAD ") else "GET"), client.address

    def request(
        self, host: str, method: str, target: str, *lines: str, body: bytes = b"", session: JobSession | None = None
    ) -> bytes:
        """A request as it stands on the wire, to a tunnel or to the proxy itself; `lines` are further fields."""
        place = f"http://{host}" if host == PLAIN else ""
        head = "".join(f"{line}\r\n" for line in (f"{method} {place}{target} HTTP/1.1", f"Host: {host}", *lines))
        who = password(session or self.session) if host == PLAIN else b""
        return head.encode("latin-1") + who + b"\r\n" + body

    @property
    def reached(self) -> tuple[int, ...]:
        """How often each server outside was connected to or asked."""
        sites = (self.world.origin.site, self.world.plain.site, self.world.internet.site)
        return tuple(count for site in sites for count in (site.counts.connections, len(site.seen)))

    @contextlib.contextmanager
    def untouched(self) -> Iterator[None]:
        """See that nothing outside is dialled or asked meanwhile."""
        before = self.reached
        yield
        assert self.reached == before

    def check_refused(self, answer: Reply, reason: str, *, identified: bool = True) -> dict[str, Any]:
        """See that a refusal is ours, says `reason`, and stands on record once; return the record."""
        assert answer.reason == reason, answer.body
        assert answer.denial.keys() == FROM_US
        found = [record for record in self.world.sidecar.records() if record.get("flow") == answer.denial["decision"]]
        assert [(record["kind"], record["effect"], record["reason"]) for record in found] == [
            ("flow.decision", "deny", reason)
        ]
        assert (found[0].get("session") is not None) is identified
        return found[0]

    def end_of(self, address: str) -> dict[str, Any]:
        """The record of a connection that has ended."""

        def ends() -> list[dict[str, Any]]:
            return [record for record in self.world.records("connection.closed") if record["client"] == address]

        wait_until(lambda: len(ends()) >= self.met[address])
        assert len(ends()) == self.met[address]
        return ends()[-1]

    def check_serving(self) -> None:
        """See that a request that is allowed is still served, and the trail is whole."""
        answer, _ = self.ask(SECRET, self.request(SECRET, "GET", "/api/hello"))
        assert (answer.status, answer.body) == (200, b"hello\n")
        self.check_trail()

    def check_trail(self) -> None:
        audit = self.world.sidecar.audit
        report = verify_trail(audit, read_keys(sorted(audit.glob("key-*.pub"))))
        assert report.is_intact, report.findings

    def leaks(self, *secrets: str) -> list[str]:
        """Where the planted secret, or others, can be read."""
        return find_leaks(places_of(self.world), [self.world.secret, *secrets])
