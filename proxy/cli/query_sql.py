"""The tables of `jobgate audit query`, and its ready-made questions. SQL of ours: nothing of a user's goes into it."""

import json
from collections.abc import Mapping
from typing import Any, Final

_TEXTS: Final = (
    *("flow", "effect", "reason", "revision", "connection", "client", "session", "method", "scheme", "host", "path"),
    *("protocol", "action", "resource_type", "resource", "class", "connector", "grant", "credential", "upstream"),
    *("event", "source", "provider", "issuer", "subject", "why", "detail", "declared", "approval"),
)
_JOB: Final = (
    *("organization", "pipeline", "repository", "step", "branch", "tag", "commit", "build_id", "job_id", "environment"),
)
_STRUCTURE: Final[Mapping[str, Any]] = {
    "seq": "BIGINT",
    "at": "TIMESTAMP",
    "kind": "VARCHAR",
    **dict.fromkeys(_TEXTS, "VARCHAR"),
    "rules": ["VARCHAR"],
    "tags": "JSON",
    "sealed": "JSON",
    "facts": "JSON",
    "expires_at": "TIMESTAMP",
    **dict.fromkeys(("port", "status", "sent", "received", "length"), "BIGINT"),
    "job": {**dict.fromkeys(_JOB, "VARCHAR"), "build_number": "BIGINT"},
    "ms": dict.fromkeys(("decide", "connect", "first_byte", "total"), "DOUBLE"),
}
_OF_JOB: Final = ", ".join(f'r.job."{name}" AS "{name}"' for name in (*_JOB, "build_number"))

_READ: Final = """
WITH lines AS MATERIALIZED (SELECT json_transform(json, '{}') AS r, json AS data FROM read_ndjson_objects(?))
SELECT r.*, data FROM lines
""".replace("{}", json.dumps(_STRUCTURE))
CREATE: Final = "CREATE TABLE loaded AS " + _READ
INSERT: Final = "INSERT INTO loaded " + _READ
VIEWS: Final = """
CREATE VIEW records AS
SELECT seq, "at" AS time, kind, flow, session, effect, reason, rules, tags, data FROM loaded;
CREATE TABLE flows AS
SELECT r.flow, r."at" AS time, r.effect, coalesce(o.reason, r.reason) AS reason, r.rules, r.session, {job},
    r.method, r.scheme, r.host, r.port, r.path, r.protocol, r.action, r.resource_type, r.resource, r.class, r.facts,
    r.connector, o.credential, o.status, o.sent, o.received, o.upstream, o.ms.total AS ms, o."at" AS ended,
    r.revision, r.tags, r.sealed->>'class' AS sealed
FROM (SELECT * FROM loaded WHERE kind = 'flow.decision') r
LEFT JOIN (SELECT * FROM loaded WHERE kind = 'flow.outcome') o ON o.flow = r.flow;
CREATE VIEW sessions AS
SELECT r.session, r."at" AS opened, c."at" AS closed, c.why, r.provider, r.issuer, r.subject, {job}, r.tags
FROM (SELECT * FROM loaded WHERE kind = 'session.opened') r
LEFT JOIN (SELECT * FROM loaded WHERE kind = 'session.closed') c ON c.session = r.session;
CREATE VIEW credentials AS
SELECT r.credential, r."at" AS minted, r.expires_at AS expires, r.connector, r."grant", r.session, {job}, r.facts,
    r.tags
FROM loaded r WHERE r.kind = 'credential.minted';
CREATE VIEW logs AS
SELECT r.seq, r."at" AS time, r.session, {job}, r.source,
    unnest(json_transform(r.data->'text', '["VARCHAR"]')) AS line, r.tags
FROM loaded r WHERE r.kind = 'job.log';
CREATE VIEW events AS
SELECT seq, "at" AS time, kind, event, source, reason, detail, tags, data
FROM loaded WHERE kind LIKE 'event.%' OR kind LIKE 'approval.%';
""".replace("{job}", _OF_JOB)
LEFT_SEALED: Final = "SELECT count(*) FROM loaded WHERE sealed IS NOT NULL"

QUESTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "denied": (
        "what was denied, the most frequent first",
        """SELECT reason, rules, pipeline, step, method, host, count(*) AS flows, max(time) AS last
    FROM flows WHERE effect = 'deny' GROUP BY ALL ORDER BY flows DESC, last DESC LIMIT 50""",
    ),
    "hosts": (
        "where jobs go: flows, bytes and failures by host",
        """SELECT host, count(*) AS flows, count(*) FILTER (effect = 'deny') AS denied,
    count(*) FILTER (status >= 400) AS failed, sum(sent) AS sent, sum(received) AS received
    FROM flows GROUP BY host ORDER BY flows DESC, host LIMIT 50""",
    ),
    "credentials": (
        "credentials by job: how many, by which connector, for how long",
        """SELECT pipeline, step, connector, count(*) AS credentials, max(expires - minted) AS longest
    FROM credentials GROUP BY ALL ORDER BY credentials DESC LIMIT 50""",
    ),
    "slow": (
        "where time goes: milliseconds by host, the slowest first",
        """SELECT host, count(*) AS flows, quantile_cont(ms, 0.5) AS median, quantile_cont(ms, 0.95) AS p95,
    max(ms) AS longest FROM flows WHERE ms IS NOT NULL GROUP BY host ORDER BY p95 DESC LIMIT 50""",
    ),
    "jobs": (
        "jobs: flows, denials and bytes of each, the newest first",
        """SELECT pipeline, build_number, step, job_id, count(*) AS flows, count(*) FILTER (effect = 'deny') AS denied,
    sum(sent) AS sent, sum(received) AS received, min(time) AS first
    FROM flows GROUP BY ALL ORDER BY first DESC LIMIT 50""",
    ),
    "rules": (
        "rules: how often each decided, and when last",
        """SELECT rule, effect, count(*) AS flows, max(time) AS last
    FROM (SELECT unnest(rules) AS rule, effect, time FROM flows) GROUP BY ALL ORDER BY flows DESC, rule""",
    ),
}
"""Name -> what it answers, and how it is asked."""
