"""Every way in which CONNECT, SNI, Host and request target can disagree, against a running sidecar (G03, 5 by 4).

Two hosts are allowed, so that a wrong answer would have somewhere to go. Only where all four name one of them, in the
one form that is spoken inside a tunnel, may a request arrive; each carries its own number to be known by.
"""

import itertools
import ssl
from collections.abc import Iterator

import pytest

from tests.fakes.raw import RawClient
from tests.fakes.sidecar import World, wait_until

ALLOWED = ("origin.test", "other.test")
PLACES = ("origin.test:443", "other.test:443", "denied.test:443", "origin.test:8443", "127.0.0.1:443")
NAMES = ("origin.test", "other.test", "denied.test", "a.origin.test", None)
HOSTS = ("origin.test", "other.test", "denied.test", "origin.test:8443", "127.0.0.1")
FORMS = ("/{}", "https://origin.test/{}", "https://other.test/{}", "http://origin.test/{}", "https://denied.test/{}")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    made.start()
    yield made
    made.stop()


def agrees(place: str, name: str | None, host: str, form: str) -> bool:
    """Whether all four say the same, plainly."""
    return host in ALLOWED and place == f"{host}:443" and name == host and form == "/{}"


def ask(client: RawClient, place: str, name: str | None, request: str) -> int | None:
    """Go as far as the sidecar lets a client go; return the status of the request, None where it was never asked."""
    if client.connect(place).status != 200:
        return None
    try:
        client.start_tls(name)
        client.send(request.encode())
        return client.reply().status
    except (ssl.SSLError, OSError, EOFError):
        return None


def test_only_what_agrees_arrives(world: World) -> None:
    """Of 625 combinations two arrive, and each of the others ends before an upstream is asked."""
    job = world.open()
    expected, arrived, answered = set(), set(), {}
    for number, row in enumerate(itertools.product(PLACES, NAMES, HOSTS, FORMS)):
        place, name, host, form = row
        target = form.format(f"row-{number}")
        with RawClient(world, job.session) as client:
            status = ask(client, place, name, f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
        if agrees(*row):
            expected.add(f"/row-{number}")
        answered[row] = status
    arrived = {seen.target for site in (world.origin, world.plain, world.internet) for seen in site.site.seen}
    assert len(answered) == 625
    assert arrived == expected
    assert len(expected) == 2
    # 404 is the origin's own answer; ours are refusals.
    assert {row for row, status in answered.items() if status == 404} == {row for row in answered if agrees(*row)}
    assert set(answered.values()) <= {404, 403, 400, 421, None}
    # Every connection is on record, and nothing is left open: the next job is served.
    wait_until(lambda: len(world.records("connection.closed")) >= 625)
    assert world.open().curl("-o", "/dev/null", "-w", "%{http_code}", "https://origin.test/hello") == "200"
    decided = [record for record in world.records("flow.decision") if str(record.get("path", "")).startswith("/row-")]
    assert {record["path"] for record in decided if record["effect"] == "allow"} == expected
