"""Records are built from allow-listed fields; nothing secret has a way in."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from proxy.engine import records
from proxy.engine.seam import ConnectionEnd, Outcome, Peer
from proxy.model.authority import Authority
from proxy.model.decision import Decision, Declared, Effect
from proxy.model.grant import Credential, Grant, HeldToken, Secret
from proxy.model.identity import JobContext, Principal, Session
from proxy.model.intent import EffectClass, Intent, RequestView, Resource
from proxy.model.reason import Reason
from proxy.model.record import Kind

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CANARY = "planted-canary-77"
PEER = Peer(connection_id="c-1", address="127.0.0.1:5")
JOB = JobContext(organization="acme", pipeline="web", build_number=7, claims={"secretish": CANARY})
SESSION = Session(
    id="s-1",
    principal=Principal(provider="buildkite", issuer="i", subject="sub", token_digest="d"),
    job=JOB,
    opened_at=NOW,
    expires_at=NOW + timedelta(hours=1),
    tokens={"sts.amazonaws.com": HeldToken(audience="sts.amazonaws.com", token=Secret(CANARY), expires_at=NOW)},
)
VIEW = RequestView(
    method="PUT",
    scheme="https",
    authority=Authority("example.com", 443),
    path="/a",
    query=f"signature={CANARY}",
    headers=(("authorization", CANARY), ("accept", CANARY)),
    body_length=12,
)
INTENT = Intent(
    protocol="http", action="PUT", resource=Resource(type="url", id="u"), effect=EffectClass.WRITE, exact=False
)
GRANT = Grant(connector="aws", scope={"role": "r"}, lifetime=timedelta(minutes=15), key="k1")


def test_a_decision_holds_no_header_no_query_value_and_no_token() -> None:
    """Of headers, query values, raw claims and held tokens nothing reaches a record."""
    decision = Decision(
        effect=Effect.ALLOW,
        reason=Reason.ALLOWED,
        rule_ids=("r",),
        revision="v",
        grant=GRANT,
        tags={"data": "x"},
        declared=Declared.BEYOND,
    )
    parts = {
        **records.who_facts(SESSION, PEER),
        **records.request_facts(VIEW),
        **records.intent_facts(replace(INTENT, facts={"digest": "sha256:1"})),
    }

    record = records.decision_record(NOW, "f-1", parts, decision)

    assert CANARY not in json.dumps(dict(record.facts))
    assert record.kind is Kind.DECISION
    assert record.facts["job"] == {"organization": "acme", "pipeline": "web", "build_number": 7}
    assert record.facts["grant"] == "k1"
    assert record.facts["tags"] == {"data": "x"}
    assert record.facts["declared"] == "beyond"
    assert record.facts["length"] == 12
    assert record.facts["facts"] == {"digest": "sha256:1"}
    assert len(str(record.facts["query_sha256"])) == 64


def test_everything_else_a_request_does_is_named() -> None:
    """What stands in `also` is on the record, however deep, up to a bound."""
    inner = replace(INTENT, action="GET", also=(replace(INTENT, action="HEAD"),))
    facts = records.intent_facts(replace(INTENT, also=(inner, *[INTENT] * 200)))

    assert isinstance(facts["also"], list)
    assert [part["action"] for part in facts["also"][:3] if isinstance(part, dict)] == ["GET", "HEAD", "PUT"]
    assert facts["also"][0] == {
        "protocol": "http",
        "action": "GET",
        "resource_type": "url",
        "resource": "u",
        "class": "write",
        "exact": False,
    }
    assert len(facts["also"]) == records.MAX_ALSO


def test_absent_facts_are_left_out() -> None:
    """A record says what is known and nothing else."""
    plain = replace(VIEW, query=None, body_length=None)
    decision = Decision(effect=Effect.DENY, reason=Reason.NO_RULE, rule_ids=(), revision="v")

    facts = records.decision_record(NOW, "f", records.request_facts(plain), decision).facts

    assert "query_sha256" not in facts
    assert "length" not in facts
    assert "grant" not in facts
    assert "tags" not in facts
    assert "declared" not in facts
    assert records.intent_facts(None) == {}
    assert "facts" not in records.intent_facts(INTENT)
    assert records.who_facts(None, PEER) == {"connection": "c-1", "client": "127.0.0.1:5"}


def test_labels_are_text() -> None:
    """Connectors get the job's labels as text."""
    assert records.job_labels(JOB) == {"organization": "acme", "pipeline": "web", "build_number": "7"}


def test_refusals() -> None:
    """A refusal carries its reason, and its detail when there is one."""
    with_detail = records.refusal_record(NOW, "f", {"client": "x"}, Reason.REQUEST_MALFORMED, "bare LF").facts
    without = records.refusal_record(NOW, "f", records.connect_facts(VIEW.authority), Reason.NO_RULE, "").facts

    assert with_detail["detail"] == "bare LF"
    assert with_detail["effect"] == "deny"
    assert "detail" not in without
    assert without["method"] == "CONNECT"


def test_outcomes() -> None:
    """An outcome holds counts, digests, timings and the credential's fingerprint."""
    full = Outcome(
        reason=Reason.ALLOWED,
        status=200,
        sent_bytes=1,
        received_bytes=2,
        sent_digest="a",
        received_digest="b",
        upstream="192.0.2.1:443",
        milliseconds={"total": 1.5},
        redactions=1,
        detail="d",
    )

    facts = records.outcome_record(NOW, "f", full, "fp").facts
    bare = records.outcome_record(NOW, "f", Outcome(reason=Reason.CLIENT_GONE), None).facts

    assert facts["status"] == 200
    assert facts["credential"] == "fp"
    assert facts["ms"] == {"total": 1.5}
    assert facts["redactions"] == 1
    assert facts["detail"] == "d"
    assert set(bare) == {"flow", "reason", "sent", "received"}


def test_credentials_are_named_by_fingerprint() -> None:
    """A minted credential's record has its public facts and never its secret."""
    credential = Credential(
        connector="aws", secrets={"key": Secret(CANARY)}, facts={"role": "r"}, fingerprint="fp", expires_at=NOW
    )

    facts = records.credential_record(NOW, SESSION, "k1", credential).facts

    assert CANARY not in json.dumps(dict(facts))
    assert facts["expires_at"] == NOW.isoformat()
    forever = replace(credential, expires_at=None)
    assert records.credential_record(NOW, SESSION, "k1", forever).facts["expires_at"] is None


def test_connections() -> None:
    """A connection's record says who, where to and how it ended, as far as that was known."""
    end = ConnectionEnd(
        peer=PEER,
        authority=VIEW.authority,
        session_id="s-1",
        requests=2,
        bytes_in=3,
        bytes_out=4,
        reason=Reason.CLIENT_GONE,
        detail="d",
    )

    facts = records.connection_record(NOW, end).facts
    bare = records.connection_record(NOW, replace(end, authority=None, session_id=None, detail="")).facts

    assert facts["host"] == "example.com"
    assert facts["session"] == "s-1"
    assert facts["detail"] == "d"
    assert not {"host", "session", "detail"} & set(bare)
