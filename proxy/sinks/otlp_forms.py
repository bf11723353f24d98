"""Records as OpenTelemetry messages: each one a log record, each flow a span in its job's trace, counts as metrics.

Sources: OpenTelemetry protocol 1.x; semantic conventions for HTTP, CI/CD (`cicd.*`, `vcs.*`) and errors. Names of ours
begin with `jobgate.`.
"""

import json
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from proxy import __version__
from proxy.model.record import Kind

MAX_REMEMBERED: Final = 65_536
"""Open flows and sessions that are waited for; past that the oldest are forgotten."""
BOUNDS: Final = (5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0, 60000.0)
"""Of the histogram of durations, in milliseconds."""

_SCOPE: Final = InstrumentationScope(name="jobgate", version=__version__)
_ENVELOPE: Final = frozenset({"v", "at", "kind"})
_NAMES: Final = {
    "method": "http.request.method",
    "status": "http.response.status_code",
    "scheme": "url.scheme",
    "host": "server.address",
    "port": "server.port",
    "path": "url.path",
    "client": "client.address",
    "sent": "http.request.body.size",
    "received": "http.response.body.size",
    "job.organization": "cicd.organization.name",
    "job.pipeline": "cicd.pipeline.name",
    "job.build_id": "cicd.pipeline.run.id",
    "job.step": "cicd.pipeline.task.name",
    "job.job_id": "cicd.pipeline.task.run.id",
    "job.commit": "vcs.ref.head.revision",
    "job.branch": "vcs.ref.head.name",
    "job.repository": "vcs.repository.url.full",
}
"""Our fields that a semantic convention names; all others stand under `jobgate.`."""


type _Points = Mapping[tuple[tuple[str, str], ...], int]


@dataclass(frozen=True, slots=True)
class Trace:
    """Where spans belong: 16 bytes of trace id, and the 8 bytes of the span above, if there is one."""

    trace_id: bytes
    parent: bytes = b""


class OtlpForms:
    """Makes the messages of one trail, in its order: flows and sessions are put together across batches."""

    def __init__(self, origin: str) -> None:
        attributes = _attributes({"service.name": "jobgate", "service.version": __version__}, plain=True)
        self._resource = Resource(attributes=[*attributes, *_attributes({"service.instance.id": origin}, plain=True)])
        self._flows: OrderedDict[str, Mapping[str, Any]] = OrderedDict()
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        self._of_flow: OrderedDict[str, Trace] = OrderedDict()

    def logs(self, records: Iterable[Mapping[str, Any]]) -> ExportLogsServiceRequest:
        """Return every record as a log record whose event name is its kind."""
        made = [self._log(record) for record in records]
        scoped = ScopeLogs(scope=_SCOPE, log_records=made)
        return ExportLogsServiceRequest(resource_logs=[ResourceLogs(resource=self._resource, scope_logs=[scoped])])

    def spans(self, records: Iterable[Mapping[str, Any]]) -> ExportTraceServiceRequest | None:
        """Return a span for each flow that is over with these records; None when there is none."""
        made = list(self._spans(records))
        if not made:
            return None
        scoped = ScopeSpans(scope=_SCOPE, spans=made)
        return ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=self._resource, scope_spans=[scoped])])

    def metrics(self, records: Iterable[Mapping[str, Any]]) -> ExportMetricsServiceRequest | None:
        """Return what these records add to counts and durations; None when they add nothing."""
        records = list(records)
        start, end = _nanoseconds(records[0]), _nanoseconds(records[-1])
        made = list(_metrics(records, start, max(start + 1, end)))
        if not made:
            return None
        scoped = ScopeMetrics(scope=_SCOPE, metrics=made)
        resource = ResourceMetrics(resource=self._resource, scope_metrics=[scoped])
        return ExportMetricsServiceRequest(resource_metrics=[resource])

    def _log(self, record: Mapping[str, Any]) -> LogRecord:
        severity, text = _severity(record)
        left_out = _ENVELOPE | {"text", "cut"} if record["kind"] == Kind.JOB_LOG else _ENVELOPE
        at = _nanoseconds(record)
        made = LogRecord(
            time_unix_nano=at,
            observed_time_unix_nano=at,
            severity_number=severity,
            severity_text=text,
            event_name=f"jobgate.{record['kind']}",
            body=AnyValue(string_value=_body(record)),
            attributes=_attributes({name: value for name, value in record.items() if name not in left_out}),
        )
        if "flow" in record:
            trace = self._trace(record)
            made.span_id = _span_id(record)
            made.trace_id = trace.trace_id
        return made

    def _spans(self, records: Iterable[Mapping[str, Any]]) -> Iterator[Span]:
        for record in records:
            kind, flow = record["kind"], str(record.get("flow"))
            if kind == Kind.SESSION_OPENED and isinstance(record.get("trace"), str):
                _, trace_id, parent, _ = record["trace"].split("-")
                _remember(self._traces, str(record["session"]), Trace(bytes.fromhex(trace_id), bytes.fromhex(parent)))
            elif kind == Kind.DECISION and record.get("effect") == "allow":
                _remember(self._of_flow, flow, self._trace(record))
                _remember(self._flows, flow, record)
            elif kind == Kind.DECISION:
                yield self._span(record, None)
            elif kind == Kind.OUTCOME and (decision := self._flows.pop(flow, None)) is not None:
                yield self._span(decision, record)

    def _span(self, decision: Mapping[str, Any], outcome: Mapping[str, Any] | None) -> Span:
        trace = self._trace(decision)
        whole = {**decision, **(outcome or {})}
        is_good = decision.get("effect") == "allow" and whole.get("reason") == "allowed"
        host, method = decision.get("host", "(sealed)"), decision.get("method", "")
        return Span(
            trace_id=trace.trace_id,
            span_id=_span_id(decision),
            parent_span_id=trace.parent,
            name=f"{method} {host}".strip(),
            kind=Span.SPAN_KIND_CLIENT,
            start_time_unix_nano=_nanoseconds(decision),
            end_time_unix_nano=_nanoseconds(outcome or decision),
            attributes=_attributes(
                {name: value for name, value in whole.items() if name not in _ENVELOPE and name not in {"seq", "prev"}}
            ),
            status=Status(code=Status.STATUS_CODE_UNSET)
            if is_good
            else Status(code=Status.STATUS_CODE_ERROR, message=str(whole.get("reason"))),
        )

    def _trace(self, record: Mapping[str, Any]) -> Trace:
        """Return the job's own trace, else one that all of its build's flows share."""
        known = self._of_flow.get(str(record.get("flow"))) or self._traces.get(str(record.get("session")))
        if known is not None:
            return known
        job = record.get("job")
        labels: Mapping[str, Any] = job if isinstance(job, dict) else {}
        named = labels.get("build_id") or labels.get("job_id") or record.get("session") or record.get("flow")
        return Trace(sha256(f"jobgate trace {named}".encode()).digest()[:16])


def _body(record: Mapping[str, Any]) -> str:
    """Return what a job printed, with its lines whole again; of any other record its kind."""
    pieces = record.get("text")
    if record["kind"] != Kind.JOB_LOG or not isinstance(pieces, list):
        return str(record["kind"])
    cut = record.get("cut", ())
    return "".join(piece if index in cut else f"{piece}\n" for index, piece in enumerate(pieces)).removesuffix("\n")


def _metrics(records: list[Mapping[str, Any]], start: int, end: int) -> Iterator[Metric]:
    flows: Counter[tuple[str, str]] = Counter()
    outcomes: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    durations: list[float] = []
    for record in records:
        kinds[str(record["kind"])] += 1
        if record["kind"] == Kind.DECISION:
            flows[str(record.get("effect")), str(record.get("reason"))] += 1
        elif record["kind"] == Kind.OUTCOME:
            outcomes[str(record.get("reason"))] += 1
            sizes["transmit"] += _count(record.get("sent"))
            sizes["receive"] += _count(record.get("received"))
            times = record.get("ms")
            if isinstance(times, dict) and isinstance(times.get("total"), int | float):
                durations.append(float(times["total"]))
    yield _sum("jobgate.records", "{record}", start, end, _labelled("jobgate.kind", kinds))
    if flows:
        points: _Points = {
            (("jobgate.effect", effect), ("jobgate.reason", reason)): n for (effect, reason), n in flows.items()
        }
        yield _sum("jobgate.flows", "{flow}", start, end, points)
    if outcomes:
        yield _sum(
            "jobgate.outcomes", "{flow}", start, end, {(("jobgate.reason", name),): n for name, n in outcomes.items()}
        )
        yield _sum("jobgate.io", "By", start, end, {(("network.io.direction", name),): n for name, n in sizes.items()})
    if durations:
        counts = [0] * (len(BOUNDS) + 1)
        for each in durations:
            counts[sum(each > bound for bound in BOUNDS)] += 1
        point = HistogramDataPoint(
            start_time_unix_nano=start,
            time_unix_nano=end,
            count=len(durations),
            sum=sum(durations),
            explicit_bounds=BOUNDS,
            bucket_counts=counts,
        )
        delta = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
        yield Metric(
            name="jobgate.flow.duration",
            unit="ms",
            histogram=Histogram(data_points=[point], aggregation_temporality=delta),
        )


def _labelled(name: str, counts: Counter[str]) -> _Points:
    return {((name, value),): count for value, count in counts.items()}


def _sum(name: str, unit: str, start: int, end: int, points: _Points) -> Metric:
    made = [
        NumberDataPoint(
            start_time_unix_nano=start,
            time_unix_nano=end,
            as_int=count,
            attributes=_attributes(dict(labels), plain=True),
        )
        for labels, count in points.items()
    ]
    delta = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    return Metric(name=name, unit=unit, sum=Sum(data_points=made, aggregation_temporality=delta, is_monotonic=True))


def _severity(record: Mapping[str, Any]) -> tuple[Any, str]:
    kind = str(record["kind"])
    if kind in {Kind.TRAIL_REPAIRED, Kind.SINK_REFUSED}:
        return SeverityNumber.SEVERITY_NUMBER_ERROR, "ERROR"
    if record.get("effect") == "deny" or kind.endswith(".refused"):
        return SeverityNumber.SEVERITY_NUMBER_WARN, "WARN"
    return SeverityNumber.SEVERITY_NUMBER_INFO, "INFO"


def _attributes(facts: Mapping[str, Any], *, plain: bool = False) -> list[KeyValue]:
    """Flatten facts; `plain` leaves names as they are."""
    return [KeyValue(key=name if plain else _name(name), value=_value(value)) for name, value in _flat("", facts)]


def _name(name: str) -> str:
    return _NAMES.get(name) or f"jobgate.{name}"


def _flat(above: str, facts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(f"{above}{name}.", value)
        elif value is not None:
            yield f"{above}{name}", value


def _value(value: object) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list):
        return AnyValue(
            array_value=ArrayValue(values=[_value(each if not isinstance(each, dict) else str(each)) for each in value])
        )
    return AnyValue(string_value=json.dumps(value) if isinstance(value, dict) else str(value))


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _span_id(record: Mapping[str, Any]) -> bytes:
    return sha256(f"jobgate flow {record.get('flow')}".encode()).digest()[:8]


def _nanoseconds(record: Mapping[str, Any]) -> int:
    at = datetime.fromisoformat(str(record["at"]))
    return round(at.timestamp() * 1_000_000) * 1000


def _remember[T](known: OrderedDict[str, T], name: str, value: T) -> None:
    known[name] = value
    if len(known) > MAX_REMEMBERED:
        known.popitem(last=False)
