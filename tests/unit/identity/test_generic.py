"""An operator's mapping becomes a job."""

from typing import Any

import pytest

from proxy.identity.claims import read_fields
from proxy.identity.generic import FIELDS, build_profile
from proxy.model.errors import TokenError

CLAIMS = {"project": "web", "run": "42", "safe": "true", "id": 7, "groups": ["a"]}


def test_a_mapping_fills_its_fields() -> None:
    """Each field reads its claim; two may read the same one; an absent claim leaves its field unstated."""
    mapping = {
        "pipeline": "project",
        "repository": "project",
        "build_number": "run",
        "protected": "safe",
        "job_id": "id",
        "step": "none",
    }

    assert read_fields(build_profile(mapping), CLAIMS) == {
        "pipeline": "web",
        "repository": "web",
        "build_number": 42,
        "protected": True,
        "job_id": "7",
        "step": None,
    }


@pytest.mark.parametrize("mapping", [{"pipeline": "groups"}, {"build_number": "project"}, {"protected": "run"}])
def test_a_claim_of_another_type_refuses_the_token(mapping: dict[str, Any]) -> None:
    """A list is not a name, a name not a number, a number not a truth."""
    with pytest.raises(TokenError, match="the claim"):
        read_fields(build_profile(mapping), CLAIMS)


def test_no_mapping_states_nothing() -> None:
    """Without a mapping every field is unstated, and rules that ask for one do not match."""
    assert read_fields(build_profile({}), CLAIMS) == {}
    assert "claims" not in FIELDS
    assert "branch" in FIELDS
