"""What counts as an artifact that moved, and what does not prove one."""

from typing import Any

import pytest

from proxy.reports.artifacts import Proof, Way, bodies_of, moved_by, read_digest

HEX = "ab" * 32
OTHER = "cd" * 32
WRITE: dict[str, Any] = {"class": "write"}
READ: dict[str, Any] = {"class": "read"}
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def moved(outcome: dict[str, Any] | None = None, **decision: Any) -> list[tuple[str, str, str]]:
    given = {"flow": "f", "at": "t", "host": "h", "path": "/p", "method": "GET", **decision}
    ended = {"reason": "allowed", "status": 200, **(outcome or {})}
    return [(each.digest, each.way.value, each.proof.value) for each in moved_by(given, ended)]


@pytest.mark.parametrize(
    "text, digest",
    [
        (HEX, f"sha256:{HEX}"),
        (HEX.upper(), f"sha256:{HEX}"),
        (f"sha256:{HEX}", f"sha256:{HEX}"),
        (f"SHA512:{HEX}{HEX}", f"sha512:{HEX}{HEX}"),
        (f"sha384:{HEX}{HEX[:32]}", f"sha384:{HEX}{HEX[:32]}"),
        (f"sha512:{HEX}", None),
        ("9f2c1d7", None),
        ("", None),
    ],
)
def test_a_digest_has_one_form(text: str, digest: str | None) -> None:
    """Algorithm and hex; what is no digest is none."""
    assert read_digest(text) == digest


def test_what_a_request_says_and_what_its_body_is() -> None:
    """A decoder's digest first; the body's own beside it where it is another."""
    facts: dict[str, Any] = {
        "protocol": "oci",
        "class": "write",
        "facts": {"digest": f"sha256:{HEX}", "tag": "v1", "n": 1},
    }
    found = moved({"sent_sha256": OTHER}, **facts)
    assert found == [(f"sha256:{HEX}", "published", "request"), (f"sha256:{OTHER}", "published", "body")]
    assert moved({"sent_sha256": HEX}, **facts) == [(f"sha256:{HEX}", "published", "request")]


def test_other_things_a_request_does_are_looked_at() -> None:
    """A batch's parts have their own facts."""
    also = [{"facts": {"sha256": HEX}}, {"facts": None}, "odd"]
    assert moved(protocol="pypi", **WRITE, also=also) == [(f"sha256:{HEX}", Way.PUBLISHED, Proof.REQUEST)]


@pytest.mark.parametrize(
    "decision, way",
    [
        ({"protocol": "npm", "class": "read"}, "fetched"),
        ({"protocol": "npm", "class": "list"}, "fetched"),
        ({"protocol": "npm", "class": "write", "method": "PUT"}, "published"),
        ({"protocol": "http", "method": "PUT"}, "published"),
        ({"protocol": "npm", "method": "GET"}, "fetched"),
    ],
)
def test_which_way_it_went(decision: dict[str, Any], way: str) -> None:
    """By what the request means, else by its method; each way has its own body."""
    bodies = {
        "sent_sha256": HEX if way == "published" else OTHER,
        "received_sha256": OTHER if way == "published" else HEX,
    }
    assert moved(bodies, **decision) == [(f"sha256:{HEX}", way, "body")]


@pytest.mark.parametrize(
    "outcome",
    [{"status": 404}, {"status": None}, {"reason": "upstream-timeout"}, {"status": 304}],
)
def test_what_the_upstream_did_not_take_did_not_move(outcome: dict[str, Any]) -> None:
    """A refused, cut or empty exchange proves nothing."""
    assert moved({"sent_sha256": HEX, **outcome}, protocol="npm", **WRITE) == []


def test_a_web_page_is_no_artifact() -> None:
    """Bodies of plain HTTP are not listed one by one, empty ones never."""
    assert moved({"received_sha256": HEX}, protocol="http") == []
    assert moved({"received_sha256": HEX}) == []
    assert moved({"sent_sha256": HEX}, protocol="http", method="POST") == []
    assert moved({"received_sha256": EMPTY}, protocol="npm", **READ) == []
    assert moved({"received_sha256": 7}, protocol="npm", **READ) == []
    assert moved({"received_sha256": "odd"}, protocol="npm", **READ) == []


def test_bodies_whatever_they_were() -> None:
    """For following one digest, any exchange with that body counts."""
    assert bodies_of({"sent_sha256": HEX, "received_sha256": "odd"}) == {f"sha256:{HEX}"}
    assert bodies_of({}) == set()


def test_it_is_named_by_what_it_is() -> None:
    """The resource, else where it was."""
    given = {"flow": "f", "at": "t", "host": "h", "path": "/p", "method": "PUT"}
    ended = {"reason": "allowed", "status": 201, "sent_sha256": HEX}
    assert next(moved_by(given, ended)).name == "h/p"
    assert next(moved_by({**given, "resource": "left-pad"}, ended)).name == "left-pad"
