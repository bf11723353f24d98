"""Counters for Prometheus. Label values come from fixed lists or rule ids: never a host, a path or a job's words.

Counting is a dictionary's increment on the path of every request; the client library is imported, and its metric
families are made, when somebody scrapes.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from proxy.model.decision import Decision

type _Decided = tuple[str, str, tuple[str, ...]]


class Metrics:
    """One registry per proxy; implements `engine.ports.Meter`."""

    def __init__(self) -> None:
        self._decisions: Counter[_Decided] = Counter()
        self._events: Counter[str] = Counter()
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self._families: dict[str, tuple[str, str, Callable[[], Mapping[str, float]]]] = {}

    def count_decision(self, decision: Decision) -> None:
        """Count one decision by effect, reason and rule."""
        self._decisions[str(decision.effect), str(decision.reason), decision.rule_ids] += 1

    def count_event(self, name: str) -> None:
        """Count one named event of a fixed list."""
        self._events[name] += 1

    def watch(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Publish a gauge that is read when scraped."""
        self._gauges[f"jobgate_{name}"] = (description, read)

    def watch_each(self, name: str, description: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        """Publish a gauge for each of a fixed list of names, as `label`."""
        self._families[f"jobgate_{name}"] = (description, label, read)

    def collect(self) -> Iterator[Any]:
        """Yield every metric family; what the client library asks a collector for."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415 - see the top

        decisions = CounterMetricFamily(
            "jobgate_decisions",
            "Decisions by effect, reason and the rules that spoke.",
            labels=("effect", "reason", "rule"),
        )
        for (effect, reason, rules), count in self._decisions.items():
            decisions.add_metric((effect, reason, ",".join(rules)), count)
        yield decisions
        events = CounterMetricFamily("jobgate_events", "Named events.", labels=("event",))
        for name, count in self._events.items():
            events.add_metric((name,), count)
        yield events
        for name, (description, read) in self._gauges.items():
            yield GaugeMetricFamily(name, description, value=read())
        for name, (description, label, read_each) in self._families.items():
            family = GaugeMetricFamily(name, description, labels=(label,))
            for value, number in read_each().items():
                family.add_metric((value,), number)
            yield family

    def render(self) -> bytes:
        """Return the text exposition format."""
        from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - see the top

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)
