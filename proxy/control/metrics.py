"""Counters for Prometheus. Label values come from fixed lists or rule ids: never a host, a path or a job's words."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from proxy.model.decision import Decision


class Metrics:
    """One registry per proxy; implements `engine.ports.Meter`."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=True)
        self._decisions = Counter(
            "jobgate_decisions",
            "Decisions by effect, reason and the rules that spoke.",
            ("effect", "reason", "rule"),
            registry=self._registry,
        )
        self._events = Counter("jobgate_events", "Named events.", ("event",), registry=self._registry)
        # Label objects are cached: looking one up by name costs more than everything else on this path.
        self._known: dict[tuple[str, str, tuple[str, ...]], Counter] = {}

    def count_decision(self, decision: Decision) -> None:
        """Count one decision by effect, reason and rule."""
        key = (decision.effect.value, decision.reason.value, decision.rule_ids)
        child = self._known.get(key)
        if child is None:
            child = self._decisions.labels(key[0], key[1], ",".join(key[2]))
            self._known[key] = child
        child.inc()

    def count_event(self, name: str) -> None:
        """Count one named event of a fixed list."""
        self._events.labels(name).inc()

    def watch(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Publish a gauge that is read when scraped."""
        Gauge(f"jobgate_{name}", description, registry=self._registry).set_function(read)

    def render(self) -> bytes:
        """Return the text exposition format."""
        return generate_latest(self._registry)
