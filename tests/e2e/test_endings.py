"""However a flow ends it has a terminal record; `python -m tests.soak.endings 100000` ends very many."""

from tests.soak.endings import WAYS, soak


def test_every_ending_is_on_record() -> None:
    """One outcome for each allowed flow, one record for each connection, in a dozen ways (G24)."""
    found = soak(1500, seed=9)
    assert len(found["ways"]) == len(WAYS)
    assert len(found["reasons"]) >= 4
