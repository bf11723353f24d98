"""A meter that remembers."""

from proxy.model.decision import Decision


class RecordingMeter:
    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.events: list[str] = []

    def count_decision(self, decision: Decision) -> None:
        self.decisions.append(decision)

    def count_event(self, name: str) -> None:
        self.events.append(name)
