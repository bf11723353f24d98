"""An OpenTelemetry collector, over OTLP/HTTP with protobuf (OpenTelemetry protocol specification 1.x)."""

import gzip
import logging
from collections.abc import Collection
from typing import Any, Final

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from proxy.outbound import Call, OutboundError
from proxy.sinks.http import Destination, retry_after
from proxy.sinks.otlp_forms import OtlpForms
from proxy.sinks.port import Batch, SinkError

log = logging.getLogger("jobgate")

_TIMEOUT: Final = 30.0
_ANSWERS: Final[dict[str, tuple[type[Any], str]]] = {
    "logs": (ExportLogsServiceResponse, "rejected_log_records"),
    "traces": (ExportTraceServiceResponse, "rejected_spans"),
    "metrics": (ExportMetricsServiceResponse, "rejected_data_points"),
}


class OtlpSink:
    """Sends logs, spans and metrics of each batch. `rejected`: what the collector took a part of without."""

    def __init__(self, to: Destination, signals: Collection[str]) -> None:
        """`to.url` is the collector's base; `signals` some of `logs`, `traces`, `metrics`."""
        self.rejected = 0
        self._to = to
        self._signals = signals
        self._forms: OtlpForms | None = None
        self._under_way: tuple[Batch, list[tuple[str, Message]]] | None = None

    async def send(self, batch: Batch) -> None:
        """Return when the collector has all signals. Raises SinkError; what it has is not sent again with the rest."""
        if self._under_way is None or self._under_way[0] is not batch:
            self._under_way = (batch, self._make(batch))
        messages = self._under_way[1]
        while messages:
            await self._post(*messages[0])
            messages.pop(0)
        self._under_way = None

    async def close(self) -> None:
        """Nothing is held open."""

    def _make(self, batch: Batch) -> list[tuple[str, Message]]:
        if self._forms is None:
            self._forms = OtlpForms(batch.origin)
        spans = self._forms.spans(batch.records)  # first: it learns the sessions' traces
        made = {"logs": self._forms.logs(batch.records), "traces": spans, "metrics": self._forms.metrics(batch.records)}
        return [(name, message) for name, message in made.items() if message is not None and name in self._signals]

    async def _post(self, signal: str, message: Message) -> None:
        headers = {"content-type": "application/x-protobuf", "content-encoding": "gzip", **self._to.headers()}
        body = gzip.compress(message.SerializeToString(), compresslevel=5, mtime=0)
        call = Call(method="POST", url=f"{self._to.url}/v1/{signal}", headers=headers, body=body, timeout=_TIMEOUT)
        try:
            answer = await self._to.call(call)
        except OutboundError as error:
            raise SinkError(f"{self._to.name}: {error}") from None
        if answer.status != 200:
            # 400 says that the data can never be taken; what else a collector answers may be mended or pass.
            said = f"{self._to.name}: {signal}: status {answer.status}"
            raise SinkError(said, after=retry_after(answer), is_final=answer.status == 400)
        self._note_partial(signal, answer.body)

    def _note_partial(self, signal: str, body: bytes) -> None:
        """Count what was rejected of a batch that was taken otherwise: the protocol forbids to send it again."""
        kind, field = _ANSWERS[signal]
        try:
            partial = kind.FromString(body).partial_success
        except DecodeError:
            return
        if count := getattr(partial, field):
            self.rejected += count
            log.warning(
                "sink %s: the collector rejected %s of a batch's %s; they are in the trail",
                self._to.name,
                count,
                signal,
            )
