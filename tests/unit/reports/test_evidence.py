"""What is counted is what is in the window, under the right heading, and nothing else."""

from typing import Any

import pytest

from proxy.model.record import Kind
from proxy.reports import evidence
from proxy.reports.evidence import CRITERIA, Evidence, Window, gather
from tests.fakes.reported import Trail, sample

ALL = Window("2026-01-01T00:00:00.000000Z", "2026-02-01T00:00:00.000000Z")


def found(trail: Trail, window: Window = ALL) -> Evidence:
    return gather(trail.records, window)


def test_flows_by_day_rule_reason_and_reach() -> None:
    """Allowed and denied, by whom, where to, by which rules of which revision."""
    got = found(sample())
    assert got.flows == {"allow": 4, "deny": 1}
    assert got.days == {"2026-01-02": {"allow": 4, "deny": 1}}
    assert got.reasons == {"no-rule": 1}
    assert got.denied_by == {"?/web": 1}
    assert [each["flow"] for each in got.denied] == ["f2"]
    assert got.rules == {"r1": {"allow": 4}}
    assert got.reach == {"r1": {"?/web -> registry.example": 4}}
    assert got.revisions["rev"]["decisions"] == 5
    assert (got.first, got.last) == (0, len(sample().records) - 1)


def test_sessions_and_credentials() -> None:
    """Opened and closed, by issuer; minted, how long, and what became of them."""
    got = found(sample())
    assert got.sessions == {"opened": 3, "closed": 3}
    assert got.issuers == {"https://ci.example": 3}
    assert got.credentials == {"aws": 2}
    assert got.lifetimes == {"1 h": 2}
    assert got.fates == {"revoked": 1}
    assert got.events == {"event.received": 2}


@pytest.mark.parametrize(
    "expires, name",
    [
        ("2026-01-02T03:10:00.000000Z", "15 min"),
        ("2026-01-02T14:00:00.000000Z", "12 h"),
        ("2026-01-03T14:00:00.000000Z", "longer"),
        (None, "without end"),
    ],
)
def test_how_long_credentials_live(expires: str | None, name: str) -> None:
    """In bands; one that never expires stands out."""
    assert found(Trail().add("credential.minted", connector="header", expires_at=expires)).lifetimes == {name: 1}


def test_what_could_not_be_revoked_is_listed() -> None:
    """By connector and fingerprint; a strange list is not believed."""
    dropped = [{"connector": "x", "credential": "c", "fate": "revoke-failed"}]
    trail = Trail().add("session.closed", dropped=dropped).add("session.closed", dropped="odd")
    got = found(trail)
    assert [(each["connector"], each["credential"]) for each in got.not_revoked] == [("x", "c")]
    assert got.fates == {"revoke-failed": 1}


def test_what_operators_did_and_what_the_trail_went_through() -> None:
    """Kills and approvals with their reasons; keys and their changes; faults; rules that were refused."""
    trail = Trail()
    trail.add("kill.set", scope="job", value="j", why="leak").add("approval.given", approval="a", by="pat")
    trail.add("trail.opened", origin="o", key="k").add("key.sealed", key="d", **{"class": "c"})
    trail.add("trail.repaired", cause="disk", refused=2).add("rules.refused", problems=["x"])
    trail.add("proxy.started", version="1", revision="r1", ca_sha256="aa").add("rules.loaded", revision="r2")
    trail.add("secret.exposed", what="proxy-password", session="s", ended=True)
    trail.add("session.refused", reason="token-expired").add("flow.outcome", reason="interrupted")
    trail.add("flow.decision", effect="allow", reason="observed", rules=[]).add("connection.closed")
    got = found(trail)
    assert [each["kind"] for each in got.operators] == ["kill.set", "approval.given"]
    assert [each["key"] for each in got.keys] == ["k", "d"]
    assert got.trail[0]["refused"] == 2
    assert [(each["what"], each["ended"]) for each in got.exposed] == [("proxy-password", True)]
    assert got.refused_rules[0]["problems"] == ["x"]
    assert got.starts[0]["ca_sha256"] == "aa"
    assert set(got.revisions) == {"r1", "r2", ""}
    assert got.refused_sessions == {"token-expired": 1}
    assert (got.interrupted, got.observed) == (1, 1)
    assert got.records == len(trail.records)


def test_the_window_is_half_open_and_knows_the_rules_it_began_with() -> None:
    """What was before is not counted; which rules were in force then is."""
    trail = Trail().add("rules.loaded", revision="old").add("rules.loaded", revision="before").add("proxy.stopped")
    trail.add("flow.decision", effect="deny", reason="no-rule", revision="before", host="h")
    trail.add("flow.decision", effect="deny", reason="no-rule").add("rules.loaded", revision="after")
    window = Window(trail.records[3]["at"], trail.records[4]["at"])
    got = found(trail, window)
    assert got.records == 1
    assert got.revisions == {"before": {"loaded": trail.records[1]["at"], "decisions": 1, "before": True}}
    assert not window.has(trail.records[4]["at"])


def test_an_empty_window_is_empty() -> None:
    """No record, no first and last."""
    got = found(sample(), Window("2030-01-01T00:00:00.000000Z", "2030-02-01T00:00:00.000000Z"))
    assert (got.records, got.first, got.last) == (0, None, None)


def test_sealed_records_are_counted_by_what_is_clear() -> None:
    """Effect, reason and rules are; who and where are not."""
    sealed: dict[str, Any] = {"sealed": {"class": "c"}}
    trail = Trail().add("flow.decision", effect="deny", reason="no-rule", rules=["r"], **sealed)
    trail.add("session.opened", session="s", **sealed).add("credential.minted", **sealed)
    got = found(trail)
    assert (got.sealed, got.flows["deny"], got.issuers, got.credentials) == (3, 1, {"(sealed)": 1}, {"(sealed)": 1})


def test_lists_are_cut_and_counts_are_not() -> None:
    """So many entries are shown of very many."""
    trail = Trail()
    for number in range(evidence.MOST + 5):
        trail.add("flow.decision", flow=f"f{number}", effect="deny", reason="no-rule")
    got = found(trail)
    assert (len(got.denied), got.reasons["no-rule"]) == (evidence.MOST, evidence.MOST + 5)


def test_every_criterion_names_parts_that_there_are() -> None:
    """An auditor looks for them."""
    parts = {*Evidence.__dataclass_fields__, "verification", "commits", "who_could"}
    for criterion in CRITERIA:
        assert set(criterion.parts) <= parts, criterion.id
    assert Kind.DECISION in evidence._NOTES
