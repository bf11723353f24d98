"""Records are values, and kinds are names that stay."""

import re
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime

import pytest

from proxy.model.record import AuditRecord, Checkpoint, Kind

AT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_kind_is_a_dotted_lower_case_name(kind: Kind) -> None:
    """Subject and event, as filters and the envelope's form expect them."""
    assert re.fullmatch(r"[a-z]+\.[a-z]+", kind.value)


def test_no_two_kinds_are_the_same() -> None:
    """An alias would make two events one in the trail."""
    assert len(Kind.__members__) == len(list(Kind))


@pytest.mark.parametrize(
    "value, field",
    [
        (AuditRecord(kind=Kind.STARTED, at=AT, facts={}), "facts"),
        (Checkpoint(origin="o", size=1, head="a", at=AT, signed="s"), "head"),
    ],
)
def test_what_happened_does_not_change(value: object, field: str) -> None:
    """Records and checkpoints are frozen."""
    with pytest.raises(FrozenInstanceError):
        setattr(value, field, None)
