"""A record as an event of the Open Cybersecurity Schema Framework, 1.8 (https://schema.ocsf.io/1.8.0). Pure.

Flows are HTTP Activity, or API Activity where the request was read as an operation; sessions are Authentication,
credentials Authorize Session, connections Network Activity, starts and stops Application Lifecycle, all else Base
Events. What the schema has no place for stands in `unmapped`, with the chain under the names of 1.9's
`record_integrity` profile. A sealed record is a Base Event: what it is about is not readable.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from typing import Any, Final

from proxy.audit.place import Place
from proxy.model.record import Kind

VERSION: Final = "1.8.0"

_METHODS: Final = {
    "CONNECT": (1, "Connect"),
    "DELETE": (2, "Delete"),
    "GET": (3, "Get"),
    "HEAD": (4, "Head"),
    "OPTIONS": (5, "Options"),
    "POST": (6, "Post"),
    "PUT": (7, "Put"),
    "TRACE": (8, "Trace"),
    "PATCH": (9, "Patch"),
}
_CLASSES: Final = {"read": (2, "Read"), "list": (2, "Read"), "write": (3, "Update"), "delete": (4, "Delete")}
_OTHER: Final = (99, "Other")
_INFORMATIONAL, _MEDIUM, _HIGH = (1, "Informational"), (3, "Medium"), (4, "High")
_SUCCESS, _FAILURE = (1, "Success"), (2, "Failure")
_SHA256: Final = 3
_ENVELOPE: Final = frozenset({"v", "seq", "prev", "at", "kind"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    """What differs from class to class. `uid` is the class's; its thousands are the category."""

    uid: int
    name: str
    activity: tuple[int, str]
    facts: Mapping[str, Any] = field(default_factory=dict)
    used: frozenset[str] = frozenset()
    """Fields of the record that have a place in the event."""


def to_ocsf(record: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """Return the event."""
    event = _event_of(record)
    severity = _severity(record)
    rest = {name: value for name, value in record.items() if name not in event.used and name not in _ENVELOPE}
    made: dict[str, Any] = {
        "class_uid": event.uid,
        "class_name": event.name,
        "category_uid": event.uid // 1000,
        "category_name": _CATEGORIES[event.uid // 1000],
        "activity_id": event.activity[0],
        "activity_name": event.activity[1] if event.activity != _OTHER else str(record["kind"]),
        "type_uid": event.uid * 100 + event.activity[0],
        "severity_id": severity[0],
        "severity": severity[1],
        "time": _milliseconds(str(record["at"])),
        "metadata": {
            "version": VERSION,
            "uid": f"{place.origin}/{record['seq']}",
            "sequence": record["seq"],
            "log_name": str(record["kind"]),
            "original_time": record["at"],
            "product": {"name": "jobgate", "vendor_name": "jobgate"},
            "profiles": ["security_control"] if "action_id" in event.facts else [],
            "labels": [f"{name}={value}" for name, value in sorted(_tags(record).items())],
        },
        **event.facts,
    }
    made["unmapped"] = {
        **rest,
        "attestation": {
            "chain_uid": place.origin,
            "fingerprint": {"algorithm": "SHA-256", "algorithm_id": _SHA256, "value": place.digest},
            "prev_event": {"algorithm": "SHA-256", "algorithm_id": _SHA256, "value": record["prev"]},
        },
    }
    return made


_CATEGORIES: Final = {
    0: "Uncategorized",
    3: "Identity & Access Management",
    4: "Network Activity",
    6: "Application Activity",
}


def _event_of(record: Mapping[str, Any]) -> _Event:
    make = _MAKERS.get(str(record["kind"]))
    found = None if make is None or "sealed" in record else make(record)
    return found or _Event(uid=0, name="Base Event", activity=_OTHER)


def _decision(record: Mapping[str, Any]) -> _Event | None:
    """Make a request that was decided on; an operation where it was read as one and it is known whose it is."""
    is_allowed = record.get("effect") == "allow"
    facts = {
        **_endpoints(record),
        "http_request": _request(record),
        "action_id": 1 if is_allowed else 2,
        "action": "Allowed" if is_allowed else "Denied",
        "disposition_id": 1 if is_allowed else 2,
        "disposition": "Allowed" if is_allowed else "Blocked",
        "status_code": str(record.get("reason")),
        "firewall_rule": {"name": ", ".join(map(str, record.get("rules") or ())) or "none"},
        "policy": {"uid": str(record.get("revision", "")), "name": "rules"},
    }
    used = frozenset({"effect", "reason", "method", "scheme", "path", "host", "port", "flow", "client", "revision"})
    protocol, action = record.get("protocol"), record.get("action")
    if "session" in record and action and protocol not in (None, "http"):
        resource = {"uid": str(record.get("resource", "")), "type": str(record.get("resource_type", ""))}
        facts |= {
            "actor": _actor(record),
            "api": {"operation": str(action), "service": {"name": str(protocol)}, "request": {"uid": record["flow"]}},
            "resources": [resource],
        }
        facts["src_endpoint"] = facts.get("src_endpoint") or {"name": f"session {record['session']}"}
        activity = _CLASSES.get(str(record.get("class")), _OTHER)
        return _Event(uid=6003, name="API Activity", activity=activity, facts=facts, used=used)
    return _Event(uid=4002, name="HTTP Activity", activity=_method(record), facts=facts, used=used)


def _outcome(record: Mapping[str, Any]) -> _Event | None:
    """Make the end of an exchange, as far as anything was dialled and answered."""
    upstream = _address(record.get("upstream"))
    if "status" not in record or upstream is None:
        return None
    times = record.get("ms")
    total = times.get("total") if isinstance(times, dict) else None
    is_whole = record.get("reason") == "allowed"
    facts = {
        "dst_endpoint": upstream,
        "http_response": {"code": record["status"], "length": record.get("received", 0)},
        "traffic": {"bytes_out": record.get("sent", 0), "bytes_in": record.get("received", 0)},
        "status_id": (_SUCCESS if is_whole else _FAILURE)[0],
        "status": (_SUCCESS if is_whole else _FAILURE)[1],
        "status_code": str(record.get("reason")),
        **({"duration": int(total)} if isinstance(total, int | float) else {}),
    }
    used = frozenset({"status", "sent", "received", "reason"})
    return _Event(uid=4002, name="HTTP Activity", activity=_OTHER, facts=facts, used=used)


def _session(activity: tuple[int, str], result: tuple[int, str]) -> Callable[[Mapping[str, Any]], _Event]:
    def make(record: Mapping[str, Any]) -> _Event:
        facts = {
            "user": _user(record),
            "service": {"name": "jobgate"},
            "auth_protocol_id": 5,
            "auth_protocol": "OpenID",
            "status_id": result[0],
            "status": result[1],
            **({"session": {"uid": record["session"]}} if "session" in record else {}),
            **({"status_detail": str(record["reason"])} if "reason" in record else {}),
            **_source(record),
        }
        used = frozenset({"session", "subject", "client", "reason"})
        return _Event(uid=3002, name="Authentication", activity=activity, facts=facts, used=used)

    return make


def _credential(record: Mapping[str, Any]) -> _Event:
    facts = {
        "user": _user(record),
        "session": {"uid": str(record.get("session", ""))},
        "privileges": [f"{record.get('connector')}:{record.get('grant')}"],
        "status_id": _SUCCESS[0],
        "status": _SUCCESS[1],
    }
    used = frozenset({"session", "connector", "grant"})
    return _Event(uid=3003, name="Authorize Session", activity=(1, "Assign Privileges"), facts=facts, used=used)


def _connection(record: Mapping[str, Any]) -> _Event | None:
    if not (ends := _endpoints(record)):
        return None
    facts = {
        **ends,
        "connection_info": {"uid": str(record.get("connection")), "direction_id": 2, "direction": "Outbound"},
        "traffic": {"bytes_in": record.get("bytes_out", 0), "bytes_out": record.get("bytes_in", 0)},
        "status_code": str(record.get("reason")),
    }
    used = frozenset({"client", "host", "port", "connection", "bytes_in", "bytes_out", "reason"})
    return _Event(uid=4001, name="Network Activity", activity=(2, "Close"), facts=facts, used=used)


def _lifecycle(activity: tuple[int, str]) -> Callable[[Mapping[str, Any]], _Event]:
    def make(record: Mapping[str, Any]) -> _Event:
        app = {"name": "jobgate", "vendor_name": "jobgate", "version": str(record.get("version", ""))}
        used = frozenset({"version"})
        return _Event(uid=6002, name="Application Lifecycle", activity=activity, facts={"app": app}, used=used)

    return make


_MAKERS: Final[Mapping[str, Callable[[Mapping[str, Any]], _Event | None]]] = {
    Kind.DECISION: _decision,
    Kind.OUTCOME: _outcome,
    Kind.SESSION_OPENED: _session((1, "Logon"), _SUCCESS),
    Kind.SESSION_REFUSED: _session((1, "Logon"), _FAILURE),
    Kind.SESSION_CLOSED: _session((2, "Logoff"), _SUCCESS),
    Kind.CREDENTIAL_MINTED: _credential,
    Kind.CONNECTION: _connection,
    Kind.STARTED: _lifecycle((3, "Start")),
    Kind.STOPPED: _lifecycle((4, "Stop")),
}


def _severity(record: Mapping[str, Any]) -> tuple[int, str]:
    kind = str(record["kind"])
    if kind in {Kind.TRAIL_REPAIRED, Kind.SINK_REFUSED}:
        return _HIGH
    if record.get("effect") == "deny" or kind.endswith(".refused") or kind.startswith("kill."):
        return _MEDIUM
    return _INFORMATIONAL


def _milliseconds(at: str) -> int:
    return round(datetime.fromisoformat(at).timestamp() * 1000)


def _tags(record: Mapping[str, Any]) -> Mapping[str, Any]:
    tags = record.get("tags")
    return tags if isinstance(tags, dict) else {}


def _method(record: Mapping[str, Any]) -> tuple[int, str]:
    return _METHODS.get(str(record.get("method")), _OTHER)


def _request(record: Mapping[str, Any]) -> dict[str, Any]:
    host, path = str(record.get("host", "")), str(record.get("path", ""))
    scheme = str(record.get("scheme", "https"))
    url = {"scheme": scheme, "hostname": host, "port": record.get("port"), "path": path}
    shown = f"[{host}]" if ":" in host else host
    return {
        "uid": str(record.get("flow")),
        "http_method": str(record.get("method", "")),
        "url": {**url, "url_string": f"{scheme}://{shown}:{record.get('port')}{path}"},
    }


def _endpoints(record: Mapping[str, Any]) -> dict[str, Any]:
    ends = _source(record)
    if "host" in record:
        host = str(record["host"])
        ends["dst_endpoint"] = {"ip" if _is_address(host) else "hostname": host, "port": record.get("port")}
    return ends


def _source(record: Mapping[str, Any]) -> dict[str, Any]:
    client = record.get("client")
    if not isinstance(client, str) or not client:
        return {}
    return {"src_endpoint": {"ip": client} if _is_address(client) else {"name": client}}


def _address(text: object) -> dict[str, Any] | None:
    host, _, port = str(text or "").rpartition(":")
    host = host.strip("[]")
    return {"ip": host, "port": int(port)} if _is_address(host) and port.isdigit() else None


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _actor(record: Mapping[str, Any]) -> dict[str, Any]:
    return {"user": _user(record), "session": {"uid": str(record.get("session"))}}


def _user(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the job as a user: by its subject, else by what it is; `unknown` where nobody believed who it is."""
    job = record.get("job")
    labels: Mapping[str, Any] = job if isinstance(job, dict) else {}
    named = "/".join(str(labels[name]) for name in ("organization", "pipeline", "step") if labels.get(name))
    user: dict[str, Any] = {"name": str(record.get("subject") or named or "unknown"), "type_id": 3, "type": "System"}
    return {**user, "uid": str(labels["job_id"])} if labels.get("job_id") else user
