"""A hostile job against a running sidecar, byte by byte: the authorities, names and protocols of the threat table.

Every row is one connection. Nothing of it may reach an upstream but the safe form that the row states, the refusal is
answered with its reason and stands in the trail under the number the job was told, and the next request is served.
"""

from collections.abc import Iterator

import pytest

from proxy.model.reason import Reason
from tests.fakes.attack_stage import Attack, AttackStage, find_harm

ORIGIN = "origin.test:443"


@pytest.fixture(scope="module")
def stage() -> Iterator[AttackStage]:
    """One sidecar for all rows: what one attack leaves behind is what the next one meets."""
    made = AttackStage()
    made.start()
    yield made
    made.stop()


def inner(target: str = "/x", host: str = "origin.test", *lines: str, method: str = "GET") -> bytes:
    """A request as it is said inside a tunnel; `lines` are further fields."""
    return "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode("latin-1")


def outer(target: str, host: str = "plain.test", *lines: str, method: str = "GET") -> bytes:
    """A request to the proxy itself, its password included."""
    return inner(target, host, *lines, method=method).replace(b"\r\n\r\n", b"\r\n<password>\r\n")


FRONTED = [
    Attack(name=f"A01-{name}", to=ORIGIN, sni=sni, reason=Reason.AUTHORITY_MISMATCH, answers=False)
    for name, sni in (
        ("sni-of-a-denied-host", "denied.test"),
        ("sni-of-another-allowed-host", "other.test"),
        ("sni-of-a-host-below", "a.origin.test"),
        ("sni-that-ends-alike", "evilorigin.test"),
        ("sni-that-begins-alike", "origin.test.denied.test"),
    )
]
INNER_HOSTS = [
    Attack(name=f"A02-{name}", to=ORIGIN, words=inner(host=host), reason=reason)
    for name, host, reason in (
        ("host-denied", "denied.test", Reason.AUTHORITY_MISMATCH),
        ("host-also-allowed", "other.test", Reason.AUTHORITY_MISMATCH),
        ("host-of-another-port", "origin.test:8443", Reason.AUTHORITY_MISMATCH),
        ("host-with-userinfo", "origin.test@denied.test", Reason.AUTHORITY_INVALID),
        ("host-list", "origin.test, denied.test", Reason.AUTHORITY_INVALID),
    )
]
INNER_TARGETS = [
    Attack(name=f"A03-{name}", to=ORIGIN, words=inner(target), reason=reason)
    for name, target, reason in (
        ("absolute-form-denied", "https://denied.test/x", Reason.AUTHORITY_MISMATCH),
        ("absolute-form-same-host", "https://origin.test/x", Reason.AUTHORITY_MISMATCH),
        ("authority-form", "denied.test:443", Reason.REQUEST_MALFORMED),
        ("network-path", "//denied.test/x", Reason.PATH_NOT_NORMAL),
    )
]
OUTER_TARGETS = [
    Attack(name=f"A04-{name}", words=outer(target, host), reason=reason)
    for name, target, host, reason in (
        ("host-denied", "http://plain.test/x", "denied.test", Reason.AUTHORITY_MISMATCH),
        ("target-denied", "http://denied.test/x", "plain.test", Reason.AUTHORITY_MISMATCH),
        ("both-denied", "http://denied.test/x", "denied.test", Reason.NO_RULE),
        ("userinfo", "http://plain.test@denied.test/x", "plain.test", Reason.AUTHORITY_INVALID),
    )
]
TWO_HOSTS = [
    Attack(name=f"A05-{name}", to=ORIGIN, words=inner("/x", "origin.test", line), reason=reason)
    for name, line, reason in (
        ("same-twice", "Host: origin.test", Reason.AUTHORITY_MISMATCH),
        ("second-denied", "Host: denied.test", Reason.AUTHORITY_MISMATCH),
        ("second-in-lower-case", "host: denied.test", Reason.AUTHORITY_MISMATCH),
        ("second-with-a-space", "Host : denied.test", Reason.REQUEST_MALFORMED),
        ("second-folded", "X: y\r\n Host: denied.test", Reason.REQUEST_MALFORMED),
    )
]


@pytest.mark.parametrize(
    "attack",
    [pytest.param(row, id=row.name) for row in (*FRONTED, *INNER_HOSTS, *INNER_TARGETS, *OUTER_TARGETS, *TWO_HOSTS)],
)
def test_no_two_places_in_one_request(stage: AttackStage, attack: Attack) -> None:
    """CONNECT target, SNI, Host and request target name one place, or nothing leaves (A01..A05)."""
    assert find_harm(stage, attack) == []
