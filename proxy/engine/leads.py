"""Which URLs allowed answers handed to which session. Bounded in number and time; forgotten with the session."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from proxy.intents.leads import Lead
from proxy.model.intent import RequestView

_LONGEST: Final = timedelta(hours=6)
_UNSAID: Final = timedelta(hours=1)
_MAXIMUM: Final = 6_000
"""Per session: two batches of the most objects that one may hold."""

type _Place = tuple[str, str, str, int, str]


@dataclass(slots=True)
class LeadBook:
    """The leads of all sessions."""

    _held: dict[str, dict[_Place, tuple[Lead, datetime]]] = field(default_factory=dict)

    def remember(self, session_id: str, leads: Iterable[Lead], now: datetime) -> None:
        """Keep leads until they end; the newest ones when there are too many."""
        held = self._held.setdefault(session_id, {})
        for lead in leads:
            life = _UNSAID if lead.seconds is None else min(timedelta(seconds=lead.seconds), _LONGEST)
            place = (lead.method, lead.scheme, lead.authority.host, lead.authority.port, lead.target)
            held.pop(place, None)
            held[place] = (lead, now + life)
        for place in list(held)[: max(0, len(held) - _MAXIMUM)]:
            del held[place]

    def find(self, session_id: str, view: RequestView, now: datetime) -> Lead | None:
        """Return the lead that this request follows, None when none led to it."""
        held = self._held.get(session_id)
        if held is None:
            return None
        place = (view.method, view.scheme, view.authority.host, view.authority.port, view.target)
        lead, until = held.get(place, (None, now))
        return lead if now < until else None

    def forget(self, session_id: str) -> None:
        """Drop a session's leads."""
        self._held.pop(session_id, None)


def led_by(lead: Lead, flow_id: str) -> Lead:
    """Return the lead with the exchange whose answer it stood in, for the record."""
    return replace(lead, intent=replace(lead.intent, facts={**lead.intent.facts, "led_by": flow_id}))
