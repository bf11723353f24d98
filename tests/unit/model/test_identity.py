"""Who is talking, without anything that could be used to talk in their place."""

from dataclasses import FrozenInstanceError, fields
from datetime import UTC, datetime, timedelta

import pytest

from proxy.model.grant import HeldToken, Secret
from proxy.model.identity import JobContext, KeySet, Principal, Session, TrustedIssuer, VerificationKey

AT = datetime(2026, 1, 2, tzinfo=UTC)
PRINCIPAL = Principal(provider="generic", issuer="https://issuer.test", subject="s", token_digest="0" * 64)
SESSION = Session(
    id="s1",
    principal=PRINCIPAL,
    job=JobContext(),
    opened_at=AT,
    expires_at=AT + timedelta(hours=1),
    tokens={"sts.amazonaws.com": HeldToken(audience="sts.amazonaws.com", token=Secret("planted"), expires_at=AT)},
)


def test_a_job_claims_nothing_by_default() -> None:
    """What the issuer does not state is None: no rule can match it by accident."""
    job = JobContext()
    stated = {each.name: getattr(job, each.name) for each in fields(job) if each.name not in {"claims", "events"}}
    assert set(stated.values()) == {None}
    assert dict(job.claims) == dict(job.events) == {}


def test_a_session_does_not_print_its_tokens() -> None:
    """A session in a message or a traceback shows no secret."""
    assert "planted" not in repr(SESSION)
    assert "planted" not in f"{SESSION}"


def test_a_key_does_not_print_itself() -> None:
    """Only its id and algorithm are shown."""
    keys = KeySet(issuer="i", keys=(VerificationKey(kid="k1", algorithm="RS256", key="planted"),))
    assert "planted" not in repr(keys)
    assert "k1" in repr(keys)


@pytest.mark.parametrize("value, field", [(SESSION, "expires_at"), (PRINCIPAL, "subject"), (JobContext(), "branch")])
def test_an_identity_does_not_change(value: object, field: str) -> None:
    """No code can lengthen a session or rename a job in place."""
    with pytest.raises(FrozenInstanceError):
        setattr(value, field, AT)


def test_an_issuer_is_trusted_narrowly_by_default() -> None:
    """One asymmetric algorithm, two hours at most, half a minute of clock difference."""
    issuer = TrustedIssuer(provider="generic", issuer="https://issuer.test", audience="jobgate", bound={"a": "b"})
    assert issuer.algorithms == ("RS256",)
    assert issuer.max_lifetime == issuer.max_age == timedelta(hours=2)
    assert issuer.leeway == timedelta(seconds=30)
