"""The control API on real sockets, in front of a real desk, with tokens of a real HTTPS issuer."""

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from proxy.control.client import ControlAnswer, ControlClient, ControlError
from proxy.control.kill_file import KillFile
from proxy.control.routes import ControlParts, Routes
from proxy.control.server import ControlLimits, ControlServer
from proxy.engine.approvals import ApprovalBook, ApprovalDesk
from proxy.engine.kills import KillDesk, KillParts, KillSwitch
from proxy.engine.sessions import DeskParts, SessionDesk
from proxy.model.authority import Authority
from proxy.model.errors import ConfigError
from proxy.model.grant import Secret
from proxy.model.identity import TrustedIssuer
from proxy.model.record import Kind
from proxy.outbound import Outbound
from proxy.sources.keys import JwksCache
from proxy.system import SystemClock, SystemEntropy
from tests.fakes import claims as shapes
from tests.fakes.issuer import Issuer
from tests.fakes.minter import RecordingMinter
from tests.fakes.sidecar import wait_until
from tests.fakes.trail import RecordingTrail

OPERATOR = Secret("operator-token-of-the-test")


async def no_documents() -> dict[str, dict[str, Any]]:
    return {}


class World:
    """An issuer, a desk, and the control API on both kinds of socket."""

    def __init__(self, folder: Path, issuer: Issuer) -> None:
        self.issuer = issuer
        self.path = folder / "run" / "control.sock"
        self.troubles: list[str] = []
        self.trail = RecordingTrail()
        self.outbound = Outbound(issuer.trust)
        trusted = TrustedIssuer(
            provider="buildkite", issuer=issuer.url, audience=shapes.AUDIENCE, bound={"organization_slug": "acme"}
        )
        self.keys = JwksCache(self.outbound, [trusted])
        parts = DeskParts(
            clock=SystemClock(),
            entropy=SystemEntropy(),
            trail=self.trail,
            keys=self.keys,
            minter=RecordingMinter(),
            new_lock=asyncio.Lock,
            together=asyncio.gather,
        )
        self.desk = SessionDesk(parts, [trusted])
        kill_parts = KillParts(
            clock=SystemClock(),
            entropy=SystemEntropy(),
            trail=self.trail,
            store=KillFile(folder / "kills.json"),
            sessions=self.desk,
            cut=lambda _: None,
            together=asyncio.gather,
        )
        self.routes = Routes(
            ControlParts(
                desk=self.desk,
                troubles=lambda: self.troubles,
                metrics=lambda: b"jobgate_up 1\n",
                documents=no_documents,
                approvals=ApprovalDesk(book=ApprovalBook(), clock=SystemClock(), trail=self.trail),
                certificate=lambda: b"-----BEGIN CERTIFICATE-----\n",
                proxy=Authority("127.0.0.1", 8080),
                kills=KillDesk(KillSwitch(), kill_parts),
                operator_token=OPERATOR,
            )
        )
        limits = ControlLimits(request=0.5, drain=1)
        self.local = ControlServer(self.routes, self.path, limits)
        self.tcp = ControlServer(self.routes, Authority("127.0.0.1", 0), limits)

    @property
    def port(self) -> int:
        assert isinstance(self.tcp.address, Authority)
        return self.tcp.address.port

    def token(self, **changes: Any) -> str:
        return self.issuer.mint(shapes.buildkite(datetime.now(UTC), self.issuer.url, **changes))

    async def call(self, method: str, path: str, *, tcp: bool = False, **more: Any) -> ControlAnswer:
        client = ControlClient(self.tcp.address if tcp else self.path)
        return await asyncio.to_thread(client.call, method, path, **more)

    async def raw(self, request: bytes) -> bytes:
        """Send bytes over TCP and return everything that comes back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        try:
            return await reader.read()
        finally:
            writer.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    with Issuer() as issuer:
        world = World(tmp_path, issuer)
        await world.local.start()
        await world.tcp.start()
        yield world
        await world.local.close()
        await world.tcp.close()
        await world.keys.close()


@pytest.mark.parametrize("tcp", [False, True])
async def test_a_session_from_token_to_end(world: World, *, tcp: bool) -> None:
    """Exchange, use, end: the secret opens the proxy, ends its own session, and is then worth nothing."""
    opened = (await world.call("POST", "/v1/sessions", body={"token": world.token()}, tcp=tcp)).json()
    secret = Secret(opened["secret"])

    assert opened["proxy_url"] == f"http://job:{opened['secret']}@127.0.0.1:8080"
    assert opened["job"]["pipeline"] == "web"
    assert datetime.fromisoformat(opened["expires_at"]) > datetime.now(UTC) + timedelta(hours=11)
    found = world.desk.find_owner(secret)
    assert found is not None
    assert found.id == opened["session"]
    path = f"/v1/sessions/{opened['session']}"
    assert (await world.call("DELETE", path, secret=secret, tcp=tcp)).status == 204
    assert (await world.call("DELETE", path, secret=secret, tcp=tcp)).status == 404
    assert world.desk.sessions == ()
    client = world.trail.of(Kind.SESSION_OPENED)[0].facts["client"]
    assert str(client).startswith("127.0.0.1:" if tcp else f"unix:uid={os.getuid()},pid={os.getpid()}")


async def test_a_token_may_come_as_bearer_with_others_beside(world: World) -> None:
    """`Authorization: Bearer` and a body of further tokens is the same exchange."""
    others = {"tokens": [world.token(aud="sts.amazonaws.com")]}

    opened = await world.call("POST", "/v1/sessions", body=others, secret=Secret(world.token()))

    assert opened.status == 201
    assert list(world.desk.sessions[0].tokens) == ["sts.amazonaws.com"]


async def test_two_exchanges_of_one_token_at_once_have_one_winner(world: World) -> None:
    """Over real sockets, too, a token opens exactly one session."""
    body = {"token": world.token()}

    answers = await asyncio.gather(*(world.call("POST", "/v1/sessions", body=body) for _ in range(8)))

    assert sorted(answer.status for answer in answers) == [201] + [401] * 7, [answer.body for answer in answers]
    assert {answer.json()["error"] for answer in answers if answer.status == 401} == {"identity-replayed"}


@pytest.mark.parametrize(
    "changes,slug",
    [
        ({"aud": "other"}, "identity-audience"),
        ({"exp": 2, "iat": 1, "nbf": 1}, "identity-expired"),
        ({"organization_slug": "evil"}, "identity-claims"),
        ({"iss": "https://evil.test"}, "identity-issuer"),
    ],
)
async def test_refused_tokens_are_explained(world: World, changes: dict[str, Any], slug: str) -> None:
    """401 with the reason's slug, a sentence and a remedy; never a claim's value."""
    answer = await world.call("POST", "/v1/sessions", body={"token": world.token(**changes)})

    assert answer.status == 401
    assert answer.json()["error"] == slug
    assert answer.json()["remedy"]
    assert b"evil" not in answer.body


async def test_an_issuer_that_is_down_is_503(world: World) -> None:
    """No keys is not the job's fault."""
    token = world.token()
    world.issuer.stop()

    answer = await world.call("POST", "/v1/sessions", body={"token": token})

    assert (answer.status, answer.json()["error"]) == (503, "issuer-unavailable")


@pytest.mark.parametrize(
    "body,status,slug",
    [
        ({}, 401, "identity-missing"),
        ({"token": 1}, 400, "body-malformed"),
        ({"token": None}, 401, "identity-missing"),
        ({"token": "a.b.c", "tokens": "x"}, 400, "body-malformed"),
        ({"token": "a.b.c", "tokens": [1]}, 400, "body-malformed"),
        ({"token": "a.b.c", "intents": "npm install *"}, 400, "body-malformed"),
        ({"token": "a.b.c", "intents": [1]}, 400, "body-malformed"),
        ({"token": "a.b.c", "intents": []}, 400, "body-malformed"),
        ({"token": "a.b.c", "intents": ["nmp install *"]}, 400, "body-malformed"),
        ({"token": "a.b.c", "agent_token": "two words"}, 400, "body-malformed"),
        ({"token": "a.b.c", "agent_token": ["x"]}, 400, "body-malformed"),
        ({"token": "a.b.c", "tokens": ["x"] * 9}, 400, "body-malformed"),
        ({"token": "a.b.c", "extra": 1}, 400, "body-malformed"),
        ({"Token": "a.b.c"}, 400, "body-malformed"),
        ({"token": "nonsense"}, 401, "identity-malformed"),
        ({"token": "x" * 20_000}, 401, "identity-oversized"),
        ({"token": "x" * 70_000}, 413, "body-too-large"),
    ],
)
async def test_bodies_are_read_strictly(world: World, body: dict[str, Any], status: int, slug: str) -> None:
    """What is missing, mistyped, unknown or too large is refused by name."""
    answer = await world.call("POST", "/v1/sessions", body=body)

    assert (answer.status, answer.json()["error"]) == (status, slug)


async def test_the_token_is_given_once(world: World) -> None:
    """A token in the body and another as Bearer is refused: which one would count?"""
    answer = await world.call("POST", "/v1/sessions", body={"token": world.token()}, secret=Secret(world.token()))

    assert answer.status == 400


@pytest.mark.parametrize("tcp", [False, True])
async def test_only_its_owner_and_the_operator_end_a_session(world: World, *, tcp: bool) -> None:
    """Without a secret, with another job's, or with a wrong one, a session lives on, and does not even show."""
    mine, yours = [
        (await world.call("POST", "/v1/sessions", body={"token": world.token(build_number=number)})).json()
        for number in range(2)
    ]
    path = f"/v1/sessions/{mine['session']}"

    assert (await world.call("DELETE", path, tcp=tcp)).status == 401
    for wrong in (yours["secret"], "wrong", OPERATOR.reveal() + "x"):
        refused = await world.call("DELETE", path, secret=Secret(wrong), tcp=tcp)
        nothing = await world.call("DELETE", "/v1/sessions/nothing", secret=Secret(wrong), tcp=tcp)
        assert refused.status == nothing.status == 404
        assert refused.body == nothing.body
    assert len(world.desk.sessions) == 2
    assert (await world.call("DELETE", path, secret=OPERATOR, tcp=tcp)).status == 204
    assert (await world.call("DELETE", path, secret=OPERATOR, tcp=tcp)).status == 404
    assert len(world.desk.sessions) == 1


async def test_the_list_is_for_the_operator(world: World) -> None:
    """Over TCP with the operator's token, over the Unix socket as it is; never a secret in it."""
    opened = (await world.call("POST", "/v1/sessions", body={"token": world.token()})).json()

    assert (await world.call("GET", "/v1/sessions", tcp=True)).status == 401
    assert (await world.call("GET", "/v1/sessions", tcp=True, secret=Secret(opened["secret"]))).status == 401
    for answer in (
        await world.call("GET", "/v1/sessions", tcp=True, secret=OPERATOR),
        await world.call("GET", "/v1/sessions"),
    ):
        (listed,) = answer.json()["sessions"]
        assert listed["session"] == opened["session"]
        assert listed["job"]["pipeline"] == "web"
        assert opened["secret"].encode() not in answer.body


async def test_health_readiness_metrics_and_certificate(world: World) -> None:
    """Live is live whatever is wrong; ready is not, and says why."""
    assert (await world.call("GET", "/healthz")).json() == {"status": "live"}
    assert (await world.call("GET", "/readyz")).json() == {"status": "ready", "reasons": []}
    world.troubles = ["rules-unavailable", "draining"]
    answer = await world.call("GET", "/readyz", tcp=True)
    assert (answer.status, answer.json()["reasons"]) == (503, ["rules-unavailable", "draining"])
    assert (await world.call("GET", "/healthz")).status == 200
    assert (await world.call("GET", "/metrics")).body == b"jobgate_up 1\n"
    assert (await world.call("GET", "/v1/ca.pem")).body.startswith(b"-----BEGIN")


@pytest.mark.parametrize(
    "method,path,status",
    [
        ("GET", "/", 404),
        ("GET", "/healthz/", 404),
        ("GET", "/healthz?x=1", 404),
        ("GET", "//healthz", 404),
        ("GET", "/v1/sessions/a/b", 404),
        ("GET", "/v1/sessions/a", 405),
        ("PUT", "/v1/sessions", 405),
        ("HEAD", "/healthz", 405),
        ("OPTIONS", "/v1/sessions", 405),
        ("DELETE", "/v1/sessions/%2e%2e", 404),
    ],
)
async def test_other_paths_and_methods_are_refused(world: World, method: str, path: str, status: int) -> None:
    """Paths match whole; a method that is not served is answered with those that are."""
    assert (await world.call(method, path)).status == status


def head(*lines: str, host: str = "") -> bytes:
    return "\r\n".join([*lines, *([f"Host: {host}"] if host else []), "", ""]).encode()


@pytest.mark.parametrize(
    "lines,status",
    [
        (("GET /healthz HTTP/1.1", "Host: 127.0.0.1:{port}"), 200),
        (("GET /healthz HTTP/1.1", "Host: LOCALHOST:{port}"), 200),
        (("GET /healthz HTTP/1.1", "Host: evil.test"), 421),
        (("GET /healthz HTTP/1.1", "Host: 127.0.0.1"), 421),
        (("GET /healthz HTTP/1.1", "Host: evil.test:{port}"), 421),
        (("GET /healthz HTTP/1.1",), 400),
        (("GET /healthz HTTP/1.0",), 421),
        (("GET /healthz HTTP/1.1", "Host: 127.0.0.1:{port}", "Host: 127.0.0.1:{port}"), 400),
        (("GET /healthz HTTP/1.1", "Host: 127.0.0.1:{port}", "Origin: https://evil.test"), 403),
        (("GET /healthz HTTP/1.1", "Host: 127.0.0.1:{port}", "Origin: null"), 403),
        (("GET /healthz HTTP/1.1", "Host: 127.0.0.1:{port}", "Sec-Fetch-Site: cross-site"), 403),
        (("GET /healthz HTTP/1.1", "Host: 127.0.0.1:{port}", "Referer: https://evil.test/"), 403),
        (("GET /healthz HTTP/1.1", "Host: 127.0.0.1:{port}", "X: " + "x" * 17_000), 431),
        (("GET /healthz HTTP/1.1", "Host: 127.0.0.1:{port}", "bad header"), 400),
        (("GET /health z HTTP/1.1", "Host: 127.0.0.1:{port}"), 400),
        (("CONNECT evil.test:443 HTTP/1.1", "Host: 127.0.0.1:{port}"), 404),
        (("GET http://evil.test/healthz HTTP/1.1", "Host: 127.0.0.1:{port}"), 404),
        (("\x16\x03\x01",), 400),
        (
            ("POST /v1/sessions HTTP/1.1", "Host: 127.0.0.1:{port}", "Content-Length: 1", "Content-Length: 2"),
            400,
        ),
        (("POST /v1/sessions HTTP/1.1", "Host: 127.0.0.1:{port}", "Content-Length: 99999999999"), 413),
        (
            (
                "GET /v1/sessions HTTP/1.1",
                "Host: 127.0.0.1:{port}",
                "Authorization: Bearer a",
                "Authorization: Bearer b",
            ),
            400,
        ),
        (("GET /healthz HTTP/1.1", "Host: 127.0.0.1:{port}", "Expect: 100-continue"), 200),
    ],
)
async def test_browsers_and_broken_requests_are_kept_out(world: World, lines: tuple[str, ...], status: int) -> None:
    """A web page's request, a rebound name, and what is not HTTP get a refusal and nothing else."""
    answer = await world.raw(head(*(line.format(port=world.port) for line in lines)))

    assert int(answer.split()[1]) == status
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize(
    "body,kind,status",
    [
        (b"token=x", "application/x-www-form-urlencoded", 415),
        (b'{"token":"x"}', "text/plain", 415),
        (b'{"token":"x"}', "", 415),
        (b'{"token":"x","token":"y"}', "application/json", 400),
        (b'{"token":NaN}', "application/json", 400),
        (b"[]", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 50_000, "application/json", 400),
        (b'{"token":"x"}', "Application/JSON; charset=utf-8", 401),
    ],
)
async def test_only_strict_json_is_read(world: World, body: bytes, kind: str, status: int) -> None:
    """Forms and sloppy JSON are refused before they mean anything."""
    lines = ["POST /v1/sessions HTTP/1.1", f"Content-Length: {len(body)}", *([f"Content-Type: {kind}"] if kind else [])]

    answer = await world.raw(head(*lines, host=f"127.0.0.1:{world.port}") + body)

    assert int(answer.split()[1]) == status


async def test_a_client_that_waits_for_100_is_told_to_go_on(world: World) -> None:
    """`Expect: 100-continue` is answered, then the body is read."""
    body = json.dumps({"token": world.token()}).encode()
    lines = [
        "POST /v1/sessions HTTP/1.1",
        "Expect: 100-continue",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(head(*lines, host=f"127.0.0.1:{world.port}"))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
    writer.write(body)
    assert (await reader.read()).startswith(b"HTTP/1.1 201")
    writer.close()


async def test_a_body_without_end_is_cut_at_its_bound(world: World) -> None:
    """A chunked body past 64 KiB is refused, however it is sliced."""
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    lines = ["POST /v1/sessions HTTP/1.1", "Transfer-Encoding: chunked", "Content-Type: application/json"]

    answer = await world.raw(head(*lines, host=f"127.0.0.1:{world.port}") + chunk * 17)

    assert answer.split()[1] == b"413"


@pytest.mark.parametrize("request_bytes", [b"", b"GET /hea", b"POST /v1/sessions HTTP/1.1\r\nHost: x"])
async def test_a_slow_request_is_given_up(world: World, request_bytes: bytes) -> None:
    """Whoever does not finish a request is answered 408 and let go; the next one is served."""
    assert (await world.raw(request_bytes)).split()[1] == b"408"
    assert (await world.call("GET", "/healthz", tcp=True)).status == 200


async def test_a_client_that_leaves_disturbs_nobody(world: World) -> None:
    """A connection closed at once, or in the middle, leaves nothing behind."""
    for request in (b"", b"GET /healthz HTTP/1.1\r\n", b"POST /v1/sessions HTTP/1.1\r\nContent-Length: 9\r\n"):
        _, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(request)
        writer.close()
        await writer.wait_closed()
    assert (await world.call("GET", "/healthz", tcp=True)).status == 200


async def test_connections_are_bounded(tmp_path: Path, world: World) -> None:
    """Past the bound a connection is answered 503 at once; when others leave there is room again."""
    server = ControlServer(world.routes, tmp_path / "small.sock", ControlLimits(connections=2, request=5))
    await server.start()
    client = ControlClient(tmp_path / "small.sock")
    idle = [await asyncio.open_unix_connection(tmp_path / "small.sock") for _ in range(2)]
    # The server accepts, and notices who left, in its own time.
    await asyncio.to_thread(wait_until, lambda: client.call("GET", "/healthz").status == 503)
    for _, writer in idle:
        writer.close()
        await writer.wait_closed()
    await asyncio.to_thread(wait_until, client.is_live)
    await server.close()


async def test_what_breaks_behind_a_route_is_503(world: World, tmp_path: Path) -> None:
    """An exception shows as a refusal without a word of its own, and the server goes on."""

    class Broken:
        async def answer(self, _request: object) -> None:
            raise RuntimeError("planted secret")

    server = ControlServer(Broken(), tmp_path / "broken.sock")  # type: ignore[arg-type]
    await server.start()
    for _ in range(2):
        answer = await asyncio.to_thread(ControlClient(tmp_path / "broken.sock").call, "GET", "/healthz")
        assert (answer.status, answer.json()["error"]) == (503, "internal")
        assert b"planted" not in answer.body
    await server.close()


async def test_the_socket_is_ours_alone(world: World) -> None:
    """Mode 0600 in a folder of mode 0700, and gone after the end."""
    assert stat.S_IMODE(world.path.lstat().st_mode) == 0o600
    assert stat.S_IMODE(world.path.parent.stat().st_mode) == 0o700
    await world.local.close()
    assert not world.path.exists()


async def test_only_a_dead_socket_is_replaced(world: World, tmp_path: Path) -> None:
    """A socket nobody listens on is replaced; a living one, a file, a folder and a link are left alone."""
    dead, file, link = tmp_path / "dead.sock", tmp_path / "file", tmp_path / "link"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(dead))
    file.write_text("precious")
    link.symlink_to(dead)
    server = ControlServer(world.routes, dead)
    await server.start()
    assert await asyncio.to_thread(ControlClient(dead).is_live)
    for taken in (dead, file, tmp_path, link):
        with pytest.raises(ConfigError, match=str(taken)):
            await ControlServer(world.routes, taken).start()
    assert file.read_text() == "precious"
    dead.unlink()
    dead.write_text("somebody else's now")
    await server.close()
    assert dead.exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "localhost", "example.test", "::"])
async def test_only_loopback_is_listened_on(world: World, host: str) -> None:
    """The network never gets to open sessions."""
    with pytest.raises(ConfigError, match="control: "):
        await ControlServer(world.routes, Authority(host, 0)).start()


async def test_a_taken_port_and_a_long_path_are_explained(world: World, tmp_path: Path) -> None:
    """What cannot be listened on is a setting to change."""
    with pytest.raises(ConfigError, match="another port"):
        await ControlServer(world.routes, world.tcp.address).start()
    with pytest.raises(ConfigError, match="another path"):
        await ControlServer(world.routes, tmp_path / ("x" * 200)).start()


async def test_the_client_says_what_happened(world: World) -> None:
    """Each call returns what commands need, or raises the API's own slug."""
    local, nowhere = ControlClient(world.path), ControlClient(Authority("127.0.0.1", 1), seconds=1)

    opened = await asyncio.to_thread(local.open_session, world.token(), (world.token(aud="vault"),))
    assert len(await asyncio.to_thread(local.list_sessions)) == 1
    await asyncio.to_thread(local.close_session, opened["session"], Secret(opened["secret"]))
    assert await asyncio.to_thread(local.readiness) == ()
    assert (await asyncio.to_thread(local.certificate)).startswith(b"-----BEGIN")
    world.troubles = ["draining"]
    assert await asyncio.to_thread(local.readiness) == ("draining",)
    with pytest.raises(ControlError, match="identity-malformed") as refused:
        await asyncio.to_thread(local.open_session, "a.b.c")
    assert (refused.value.slug, refused.value.status) == ("identity-malformed", 401)
    with pytest.raises(ControlError, match="cannot be reached"):
        await asyncio.to_thread(nowhere.is_live)
