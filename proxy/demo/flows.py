"""What the trail says about a stretch of time, as lines to show: each decision with its outcome."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.model.record import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One decided request. `status` is the upstream's; None for a denial or a flow still open."""

    flow_id: str
    effect: str
    reason: str
    rules: tuple[str, ...]
    method: str
    place: str
    path: str
    connector: str | None
    status: int | None
    credential: str | None
    is_over: bool

    @property
    def is_allowed(self) -> bool:
        """Whether it was let through."""
        return self.effect == "allow"


def collect_flows(records: Iterable[Mapping[str, Any]]) -> list[Flow]:
    """Join decisions with their outcomes, in the order of the decisions."""
    kept = list(records)
    outcomes = {str(record.get("flow")): record for record in kept if record["kind"] == Kind.OUTCOME}
    return [
        _flow(record, outcomes.get(str(record["flow"])))
        for record in kept
        if record["kind"] == Kind.DECISION and "method" in record
    ]


def _flow(decision: Mapping[str, Any], outcome: Mapping[str, Any] | None) -> Flow:
    ended = outcome or {}
    return Flow(
        flow_id=str(decision["flow"]),
        effect=str(decision["effect"]),
        reason=str(ended.get("reason", decision["reason"])),
        rules=tuple(decision.get("rules", ())),
        method=str(decision["method"]),
        place=str(decision["host"]),
        path=str(decision.get("path", "")),
        connector=decision.get("connector"),
        status=ended.get("status"),
        credential=ended.get("credential"),
        is_over=outcome is not None or decision["effect"] != "allow",
    )
