"""Settings of the destinations that audit data is shipped to. Secrets stand in files, never here."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from proxy.config.audit import TagName
from proxy.config.sections import Duration, Section

type SinkName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
type Url = Annotated[str, Field(pattern=r"^https://[^\s#@]+$", max_length=2048)]
type Region = Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$")]


class HttpSink(Section):
    """Batches as a JSON array, or one JSON object a line, by POST."""

    kind: Literal["http"]
    url: Url
    token: Path | None = None
    body: Literal["json", "ndjson"] = "json"
    linger: Duration = timedelta(seconds=1)


class SplunkSink(Section):
    """Splunk's HTTP Event Collector; with `acknowledge` a batch counts once the indexers have it."""

    kind: Literal["splunk"]
    url: Url
    token: Path
    index: str | None = None
    acknowledge: bool = False
    linger: Duration = timedelta(seconds=1)


class ElasticSink(Section):
    """The bulk API of Elasticsearch or OpenSearch; a record's id is its origin and number."""

    kind: Literal["elastic"]
    url: Url
    index: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,127}$")
    token: Path | None = None
    linger: Duration = timedelta(seconds=1)


class ObjectLock(Section):
    """How long S3 lets nobody delete an object; the bucket needs Object Lock."""

    mode: Literal["GOVERNANCE", "COMPLIANCE"] = "COMPLIANCE"
    keep: Duration
    by_tag: dict[TagName, dict[str, Duration]] = Field(default_factory=dict)


class S3Sink(Section):
    """Objects in S3 of whole lines, as the trail has them; with every record picked, a copy that `verify` takes."""

    kind: Literal["s3"]
    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    region: Region
    prefix: str = Field("", pattern=r"^([A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*)?$", max_length=512)
    endpoint: Url | None = None
    kms_key_id: str | None = None
    lock: ObjectLock | None = None
    linger: Duration = timedelta(seconds=60)


class NatsSink(Section):
    """A stream of NATS JetStream; its server drops what comes twice."""

    kind: Literal["nats"]
    servers: tuple[str, ...] = Field(min_length=1)
    subject: str = Field("jobgate", pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")
    credentials: Path | None = None
    token: Path | None = None
    plain: bool = False
    linger: Duration = timedelta(seconds=1)


class OtlpSink(Section):
    """An OpenTelemetry collector, over OTLP/HTTP: records as logs, flows as spans, counts as metrics."""

    kind: Literal["otlp"]
    url: Url
    headers: dict[str, Path] = Field(default_factory=dict)
    signals: tuple[Literal["logs", "traces", "metrics"], ...] = ("logs", "traces", "metrics")
    linger: Duration = timedelta(seconds=1)


type SinkSettings = Annotated[
    HttpSink | SplunkSink | ElasticSink | S3Sink | NatsSink | OtlpSink, Field(discriminator="kind")
]
