"""Reads what an agent exports: OTLP log records, by job (OpenTelemetry protocol 1.x; Buildkite's `job-logs-otlp`)."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from proxy.model.errors import ProtocolError
from proxy.model.log import JobLog, LogLine
from proxy.model.reason import Reason

_FACTS: Final = {
    "buildkite.organization.slug": "organization",
    "buildkite.pipeline.slug": "pipeline",
    "buildkite.branch": "branch",
    "buildkite.build.id": "build_id",
    "buildkite.build.number": "build_number",
    "buildkite.job.id": "job_id",
    "buildkite.job.key": "step",
    "buildkite.agent.id": "agent_id",
}
"""The agent's attributes, and what they are called here."""
_LONGEST: Final = 256
_MOST: Final = 1024 * 1024
"""Characters of one job's lines that are handed on together."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_REFUSED: Final = "these are no job's: `buildkite.job.id` is missing"


@dataclass(frozen=True, slots=True)
class Export:
    """One request: jobs' lines in the order they came, and how many records were no job's."""

    logs: tuple[JobLog, ...]
    refused: int


def read_export(body: bytes, *, is_json: bool) -> Export:
    """Read a request's body, unpacked. Raises ProtocolError."""
    try:
        request = _from_json(body) if is_json else ExportLogsServiceRequest.FromString(body)
    except (DecodeError, json_format.ParseError, ValueError, RecursionError):
        raise ProtocolError("the body is no OTLP export of logs", Reason.BODY_MALFORMED) from None
    logs: list[JobLog] = []
    refused = 0
    for job, records in _runs(_records(request)):
        if "job_id" not in job:
            refused += len(records)
            continue
        logs.append(JobLog(source="otlp", job=job, lines=tuple(map(_line, records))))
    return Export(tuple(logs), refused)


def answer_export(refused: int, *, is_json: bool) -> bytes:
    """Return the body of a successful answer: what was left out must not be sent again."""
    answer = ExportLogsServiceResponse()
    if refused:
        answer.partial_success.rejected_log_records = refused
        answer.partial_success.error_message = _REFUSED
    raw: bytes = json_format.MessageToJson(answer, indent=None).encode() if is_json else answer.SerializeToString()
    return raw


def _from_json(body: bytes) -> ExportLogsServiceRequest:
    """Read OTLP's own JSON: ids are hex there, which plain protobuf JSON would misread, and nothing here needs them."""
    found = json.loads(body, object_hook=_without_ids)
    request = ExportLogsServiceRequest()
    json_format.ParseDict(found, request, ignore_unknown_fields=True)
    return request


def _without_ids(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name not in {"traceId", "spanId", "trace_id", "span_id"}}


def _records(request: ExportLogsServiceRequest) -> Iterator[tuple[dict[str, str | int], LogRecord]]:
    for resource in request.resource_logs:
        common = _attributes(resource.resource.attributes)
        for scope in resource.scope_logs:
            for record in scope.log_records:
                yield _job({**common, **_attributes(record.attributes)}), record


def _runs(
    records: Iterable[tuple[dict[str, str | int], LogRecord]],
) -> Iterator[tuple[dict[str, str | int], list[LogRecord]]]:
    """Put together what one job printed in a row, up to a bound."""
    current: dict[str, str | int] | None = None
    run: list[LogRecord] = []
    size = 0
    for job, record in records:
        if current is not None and (job != current or size > _MOST):
            yield current, run
            run, size = [], 0
        current = job
        run.append(record)
        size += len(record.body.string_value)
    if current is not None:
        yield current, run


def _attributes(found: Iterable[KeyValue]) -> Mapping[str, AnyValue]:
    return {each.key: each.value for each in found if each.key in _FACTS}


def _job(attributes: Mapping[str, AnyValue]) -> dict[str, str | int]:
    job: dict[str, str | int] = {}
    for key, value in attributes.items():
        kind, name = value.WhichOneof("value"), _FACTS[key]
        if name == "build_number":
            text = str(value.int_value) if kind == "int_value" else value.string_value
            if text.isascii() and text.isdecimal() and len(text) < 16:
                job[name] = int(text)
        elif kind == "string_value" and 0 < len(value.string_value) <= _LONGEST and value.string_value.isprintable():
            job[name] = value.string_value
    return job


def _line(record: LogRecord) -> LogLine:
    """Return a record's text, with the time of its printing, else of its collection."""
    body = record.body
    kind = body.WhichOneof("value")
    text = body.string_value if kind == "string_value" else "" if kind is None else json_format.MessageToJson(body)
    at = record.time_unix_nano or record.observed_time_unix_nano
    return LogLine(text.removesuffix("\n"), _time(at))


def _time(nanoseconds: int) -> datetime | None:
    seconds = nanoseconds // 1000 / 1e6
    return _EPOCH + timedelta(seconds=seconds) if 0 < seconds < 2**37 else None
