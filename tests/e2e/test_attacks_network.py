"""A hostile job against a running sidecar: addresses that are never dialled, and protocols that are never carried.

Rows are as in `test_attacks_wire`: one connection each, nothing upstream, the reason on record, the next one served.
"""

import os
import signal
from collections.abc import Iterator

import pytest

from proxy.model.reason import Reason
from tests.fakes.attack_stage import Attack, AttackStage, find_harm, find_traces
from tests.fakes.sidecar import rule, wait_until

METADATA = (
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "[fd00:ec2::254]",
    "[fd20:ce::254]",
    "100.100.100.200",
)
INNER_WAYS = (
    "127.0.0.1",
    "127.1.2.3",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "[::1]",
    "[::]",
    "[fe80::1]",
    "[fd12:3456::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:10.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::]",
    "[2001:0:7f00:1::]",
)
SPELLED = ("2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x7f.1", "017700000001", "0")


def inner(host: str, *lines: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} /x HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode("latin-1")


@pytest.fixture(scope="module")
def careless() -> Iterator[AttackStage]:
    """A sidecar whose operator allowed every address there is, and whose rules name them."""
    named = [*INNER_WAYS, *METADATA, "localhost"]
    made = AttackStage(rules=[rule("addresses", named)], allow_addresses=("0.0.0.0/0", "::/0"))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def stage() -> Iterator[AttackStage]:
    """A sidecar whose rules name addresses, with nothing private allowed."""
    made = AttackStage(rules=[rule("addresses", [*INNER_WAYS, "localhost"])])
    made.start()
    yield made
    made.stop()


@pytest.mark.parametrize("host", [*INNER_WAYS, "localhost"])
def test_what_is_not_public_is_not_dialled(stage: AttackStage, host: str) -> None:
    """Not though a rule names it: loopback, private, shared, mapped, translated and tunnelled addresses (A07, A22)."""
    attack = Attack(name=host, to=f"{host}:443", sni=None, words=inner(host), reason=Reason.ADDRESS_REFUSED)
    if host == "localhost":
        attack = Attack(name=host, to="localhost:443", words=inner(host), reason=Reason.ADDRESS_REFUSED)
    assert find_harm(stage, attack) == []


@pytest.mark.parametrize("host", METADATA)
def test_metadata_is_never_dialled(careless: AttackStage, host: str) -> None:
    """Not though a rule names it and every address is allowed (A08)."""
    attack = Attack(name=host, to=f"{host}:443", sni=None, words=inner(host), reason=Reason.ADDRESS_REFUSED)
    assert find_harm(careless, attack) == []


@pytest.mark.parametrize("where", ["proxy", "mapped"])
def test_the_proxy_does_not_reach_itself(careless: AttackStage, where: str) -> None:
    """Its own port is not dialled under any of its addresses (A22)."""
    host = {"proxy": "127.0.0.1", "mapped": "[::ffff:127.0.0.1]"}[where]
    port = careless.world.sidecar.port
    world, place = careless.world, f"{host}:{port}"
    loaded = len(world.records("rules.loaded"))
    world.write_rules([*world.rules, rule("itself", place)])
    os.kill(world.sidecar.pid, signal.SIGHUP)
    wait_until(lambda: len(world.records("rules.loaded")) > loaded)
    attack = Attack(name=where, to=place, sni=None, words=inner(place), reason=Reason.ADDRESS_REFUSED)
    assert find_harm(careless, attack) == []


@pytest.mark.parametrize("host", SPELLED)
def test_other_spellings_of_an_address_are_no_address(stage: AttackStage, host: str) -> None:
    """Decimal, hexadecimal, octal and short forms are neither names nor what a rule named (A06, A07)."""
    harm = [
        find_harm(stage, Attack(name=host, to=f"{host}:443", words=inner(host), reason=reason))
        for reason in (Reason.AUTHORITY_INVALID, Reason.NO_RULE)
    ]
    assert [] in harm, harm


RAW = {
    "A14-ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "A14-smtp": b"EHLO job\r\n",
    "A14-socks": b"\x05\x01\x00",
    "A14-postgres": b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
    "A15-dns-over-tcp": b"\0\x1c\xab\xcd\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1",
    "A16-plain-http": inner("origin.test"),
    "A18-h2c-by-prior-knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "A19-connect-in-connect": b"CONNECT denied.test:443 HTTP/1.1\r\nHost: denied.test:443\r\n\r\n",
    "A19-half-a-hello": b"\x16\x03\x01\x02\x00" + b"\x01" * 20,
    "A19-an-old-hello": b"\x80\x2e\x01\x03\x01" + b"\x00" * 60,
}


@pytest.mark.parametrize("host", ["origin.test", "sealed.test"])
@pytest.mark.parametrize("name", RAW)
def test_nothing_but_tls_enters_a_tunnel(stage: AttackStage, name: str, host: str) -> None:
    """Raw protocols, plain HTTP and a second CONNECT reach nobody, in an inspected tunnel or a sealed one."""
    attack = Attack(name=name, to=f"{host}:443", is_tls=False, words=RAW[name], answers=False)
    before = stage.arrived()
    played = stage.play(attack)
    assert stage.arrived_since(before).content == b""
    assert played.records[-1]["reason"] in {"protocol-refused", "client-tls", "client-gone"}, played.records
    assert stage.serves()


UPGRADES = {
    "A18-h2c": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAM"),
    "A17-websocket": ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "A17-upgrade-alone": ("Upgrade: TLS/1.0",),
    "A17-connection-alone": ("Connection: upgrade",),
}
INSIDE = [
    ("A18-h2c-inside-tls", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Reason.PROTOCOL_REFUSED),
    (
        "A19-connect-inside-tls",
        b"CONNECT denied.test:443 HTTP/1.1\r\nHost: denied.test:443\r\n\r\n",
        Reason.PROTOCOL_REFUSED,
    ),
    *((name, inner("origin.test", *lines), Reason.UPGRADE_REFUSED) for name, lines in UPGRADES.items()),
]


@pytest.mark.parametrize("name, words, reason", INSIDE, ids=[row[0] for row in INSIDE])
def test_no_other_protocol_inside(stage: AttackStage, name: str, words: bytes, reason: Reason) -> None:
    """HTTP/2, WebSocket, any upgrade and a tunnel in the tunnel are refused with a reason (A17..A19)."""
    assert find_harm(stage, Attack(name=name, to="origin.test:443", words=words, reason=reason)) == []


@pytest.mark.parametrize("offers", [("h2",), ("h2", "http/1.1"), ("h3",), ("spdy/3", "http/0.9"), ()])
def test_only_http_1_1_is_agreed_on(stage: AttackStage, offers: tuple[str, ...]) -> None:
    """Whatever a client offers, it gets http/1.1 or nothing (A20)."""
    with stage.client() as client:
        assert client.connect("origin.test:443").status == 200
        client.start_tls("origin.test", offers)
        assert client.protocol in {None, "http/1.1"}
        client.send(b"GET /clean HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        assert client.reply().status == 200


@pytest.mark.parametrize("port", [22, 25, 53, 80, 8443, 65535])
def test_a_rule_for_a_host_is_for_its_own_port(stage: AttackStage, port: int) -> None:
    """A tunnel to another port of an allowed host is none of the rule's (A15)."""
    words = inner(f"origin.test:{port}")
    assert find_harm(stage, Attack(name=str(port), to=f"origin.test:{port}", words=words, reason=Reason.NO_RULE)) == []


def test_after_all_of_it(stage: AttackStage, careless: AttackStage) -> None:
    """No secret, no exception and no open end is left behind by any of the rows."""
    assert find_traces(stage) == []
    assert find_traces(careless) == []
