"""Events hold what OCSF 1.8 requires of their class, and everything of the record has a place.

The tables below are the required attributes, `at_least_one` constraints and activities of the classes we emit, from the
OCSF schema (https://github.com/ocsf/ocsf-schema, Apache-2.0): base_event, http_activity, network_activity,
authentication, authorize_session, application_lifecycle, api_activity.
"""

from typing import Any

import pytest

from proxy.audit.ocsf import to_ocsf
from proxy.audit.place import Place

PLACE = Place("agents/one", "d" * 64)
BASE = ("activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid")
# class -> (required, at least one of each group, activities)
CLASSES: dict[int, tuple[tuple[str, ...], tuple[tuple[str, ...], ...], frozenset[int]]] = {
    0: ((), (), frozenset({99})),
    3002: (("user",), (("service", "dst_endpoint"),), frozenset(range(8)) | {99}),
    3003: (("user",), (("privileges", "groups", "iam_roles", "group"),), frozenset(range(5)) | {99}),
    4001: ((), (("dst_endpoint", "src_endpoint"),), frozenset(range(8)) | {99}),
    4002: ((), (("dst_endpoint", "src_endpoint"), ("http_request", "http_response")), frozenset(range(10)) | {99}),
    6002: (("app",), (), frozenset(range(9)) | {99}),
    6003: (("actor", "api", "src_endpoint"), (), frozenset(range(5)) | {99}),
}
JOB = {"organization": "acme", "pipeline": "web", "step": "release", "job_id": "j-1"}
REQUEST = {
    "flow": "f1",
    "effect": "allow",
    "reason": "allowed",
    "rules": ["a"],
    "revision": "r",
    "connection": "c1",
    "session": "s1",
    "job": JOB,
    "method": "PUT",
    "scheme": "https",
    "host": "db.example",
    "port": 443,
    "path": "/a",
}
INTENT = {"protocol": "npm", "action": "publish", "resource_type": "package", "resource": "left-pad", "class": "write"}


def record(kind: str, **facts: Any) -> dict[str, Any]:
    return {"v": 1, "seq": 7, "prev": "p" * 64, "at": "2026-01-02T03:04:05.678000Z", "kind": kind, **facts}


SAMPLES: list[tuple[dict[str, Any], int, int]] = [
    (record("flow.decision", **REQUEST), 4002, 7),
    (record("flow.decision", **{**REQUEST, "method": "PURGE", "client": "10.0.0.1"}), 4002, 99),
    (record("flow.decision", **{**REQUEST, "effect": "deny", "host": "2001:db8::1", "method": "CONNECT"}), 4002, 1),
    (record("flow.decision", **REQUEST, **INTENT), 6003, 3),
    (record("flow.decision", **REQUEST, **{**INTENT, "class": "run"}, client="10.0.0.1"), 6003, 99),
    (record("flow.decision", **{**REQUEST, **INTENT, "protocol": "http"}), 4002, 7),
    (
        record("flow.outcome", flow="f1", reason="allowed", status=200, upstream="10.0.0.9:443", ms={"total": 1.5}),
        4002,
        99,
    ),
    (record("flow.outcome", flow="f1", reason="upstream-timeout", status=504, upstream="[2001:db8::1]:443"), 4002, 99),
    (record("flow.outcome", flow="f1", reason="interrupted"), 0, 99),
    (record("flow.outcome", flow="f1", reason="allowed", status=200, upstream="?", ms=3), 0, 99),
    (record("session.opened", session="s1", subject="sub", job=JOB, client="agent-1"), 3002, 1),
    (record("session.refused", reason="token-expired", client="10.0.0.1"), 3002, 1),
    (record("session.closed", session="s1", job=JOB), 3002, 2),
    (record("credential.minted", session="s1", job={}, connector="aws", grant="g"), 3003, 1),
    (record("connection.closed", connection="c1", client="10.0.0.1", bytes_in=1, bytes_out=2, reason="eof"), 4001, 2),
    (record("connection.closed", connection="c1", reason="eof"), 0, 99),
    (record("proxy.started", version="1"), 6002, 3),
    (record("proxy.stopped"), 6002, 4),
    (record("kill.set", kill="k1", tags={"team": "a"}), 0, 99),
    (record("flow.decision", flow="f1", effect="allow", sealed={"class": "c"}), 0, 99),
    (record("flow.decision", flow="f1", effect="deny", host="x", rules=None), 4002, 99),
]


@pytest.mark.parametrize("given, uid, activity", SAMPLES)
def test_an_event_has_what_its_class_requires(given: dict[str, Any], uid: int, activity: int) -> None:
    """Class, activity and type agree; required attributes are there, and one of each group that needs one."""
    event = to_ocsf(given, PLACE)
    required, groups, activities = CLASSES[uid]
    assert (event["class_uid"], event["activity_id"]) == (uid, activity)
    assert event["type_uid"] == uid * 100 + activity
    assert event["category_uid"] == uid // 1000
    assert activity in activities
    assert set(BASE) | set(required) <= event.keys()
    assert all(event.keys() & set(group) for group in groups)
    assert event["metadata"]["version"] == "1.8.0"
    assert event["metadata"]["product"]["name"]
    assert event["severity_id"] in range(7)


@pytest.mark.parametrize("given, uid, activity", SAMPLES)
def test_nothing_of_a_record_is_lost(given: dict[str, Any], uid: int, activity: int) -> None:
    """Each field is in an attribute of the class, or in `unmapped` under its own name."""
    del uid, activity
    event = to_ocsf(given, PLACE)
    shown = str({name: value for name, value in event.items() if name != "unmapped"})
    for name, value in given.items():
        if name in {"v", "prev", "effect"}:
            continue
        assert event["unmapped"].get(name) == value or str(value) in shown, name


def test_times_and_the_chain_are_carried() -> None:
    """Milliseconds since the epoch; the chain under the names of the record_integrity profile."""
    event = to_ocsf(record("proxy.started", tags={"b": "2", "a": "1"}), PLACE)
    assert event["time"] == 1767323045678
    assert event["metadata"]["uid"] == "agents/one/7"
    assert event["metadata"]["labels"] == ["a=1", "b=2"]
    assert event["unmapped"]["attestation"]["fingerprint"]["value"] == "d" * 64
    assert event["unmapped"]["attestation"]["prev_event"]["value"] == "p" * 64


@pytest.mark.parametrize(
    "kind, facts, severity",
    [
        ("flow.decision", {"effect": "allow"}, 1),
        ("flow.decision", {"effect": "deny"}, 3),
        ("session.refused", {}, 3),
        ("kill.set", {}, 3),
        ("trail.repaired", {}, 4),
    ],
)
def test_severity_says_what_to_look_at(kind: str, facts: dict[str, Any], severity: int) -> None:
    """Denials and refusals above the rest, a trail in trouble above them."""
    assert to_ocsf(record(kind, **facts), PLACE)["severity_id"] == severity


def test_an_address_is_an_ip_and_a_name_a_hostname() -> None:
    """Endpoints of either kind."""
    facts = {**REQUEST, "client": "10.0.0.1"}
    event = to_ocsf(record("flow.decision", **facts), PLACE)
    assert event["src_endpoint"] == {"ip": "10.0.0.1"}
    assert event["dst_endpoint"] == {"hostname": "db.example", "port": 443}
    event = to_ocsf(record("flow.decision", **{**facts, "host": "::1", "client": ""}), PLACE)
    assert event["dst_endpoint"]["ip"] == "::1"
    assert event["http_request"]["url"]["url_string"] == "https://[::1]:443/a"
    assert "src_endpoint" not in event
