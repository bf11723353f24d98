"""Google's claims become a job."""

from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.identity.claims import read_fields
from proxy.identity.google import PROFILE
from proxy.model.errors import TokenError
from proxy.model.reason import Reason
from tests.fakes import claims as shapes

NOW = datetime(2026, 3, 4, tzinfo=UTC)


def job(**changes: Any) -> dict[str, Any]:
    return dict(read_fields(PROFILE, shapes.google(NOW, **changes)))


def test_every_documented_claim_has_its_field() -> None:
    """The account, the machine's project and the machine."""
    assert job() == {
        "actor": "builder@acme-ci.iam.gserviceaccount.com",
        "organization": "acme-ci",
        "agent_id": "5550001",
    }


@pytest.mark.parametrize("google", [..., None, {}, {"compute_engine": []}, "x", []])
def test_an_account_without_a_machine_is_a_job_too(google: object) -> None:
    """Outside Compute Engine there is no project or instance, and none is made up."""
    assert job(google=google) == {"actor": "builder@acme-ci.iam.gserviceaccount.com"}


@pytest.mark.parametrize(
    "changes",
    [
        {"email_verified": False},
        {"email_verified": ...},
        {"email_verified": None},
        {"email_verified": "true"},
        {"azp": ...},
        {"azp": 1},
        {"email": 1},
        {"google": {"compute_engine": {"project_id": 1}}},
        {"google": {"compute_engine": {"instance_id": []}}},
    ],
)
def test_unconfirmed_or_mistyped_claims_are_refused(changes: dict[str, Any]) -> None:
    """An address nobody confirmed is not an identity."""
    with pytest.raises(TokenError) as caught:
        job(**changes)
    assert caught.value.reason is Reason.IDENTITY_CLAIMS


def test_no_address_needs_no_confirmation() -> None:
    """A token without an address stands for its subject alone."""
    assert job(email=..., email_verified=..., google=...) == {"actor": None}
