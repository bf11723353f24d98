"""What the requests of one session repeat, worked out once: who asks, and what their fields carry. Pure."""

from typing import Final

from proxy.engine import records
from proxy.engine.hygiene import find_credential_fields
from proxy.engine.misuse import Carried, examine
from proxy.model.identity import Session
from proxy.model.intent import Headers, RequestView
from proxy.model.record import Fact

_BLOCKS: Final = 64
"""Clients send the same fields request after request; so many blocks of them are remembered for a session."""


class Repeats:
    """Of one session."""

    __slots__ = ("_carried", "_placeholders", "facts", "labels")

    def __init__(self, session: Session) -> None:
        self._placeholders = session.placeholders
        self._carried: dict[Headers, Carried] = {}
        self.facts: dict[str, Fact] = records.session_facts(session)
        self.labels: dict[str, str] = {**records.job_labels(session.job), "issuer": session.principal.issuer}

    def carried(self, view: RequestView, told: frozenset[str]) -> Carried:
        """Return what of a request may be a credential; fields that it was `told` to send are none of the job's."""
        known = self._carried.get(view.headers)
        if known is None:
            known = examine(find_credential_fields(view.headers), view.headers, None, self._placeholders)
            if len(self._carried) >= _BLOCKS:
                self._carried.clear()
            self._carried[view.headers] = known
        if not view.query and not told:
            return known
        return examine(known.stripped - told, view.headers, view.query, self._placeholders)
