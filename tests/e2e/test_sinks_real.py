"""Sinks against the real thing, or what stands for it most strictly: S3 by moto, nats-server, OTLP's own messages."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from proxy.demo.sidecar import JobSession
from tests.fakes.collector import Collector
from tests.fakes.open_aws import KEYS, REGION, OpenAws
from tests.fakes.sidecar import OPEN, World, rule, wait_until
from tests.fakes.tools import find_tool, skip_loudly

ORIGIN = "agents/one"
BUCKET = "acme-audit"
EVERYTHING = {"id": "everything", "why": "a test wants it", "to": "central"}


def with_sink(world: World, sink: dict[str, Any], **audit: Any) -> World:
    file = world.folder / "routes.yaml"
    file.write_text(json.dumps({"routes": [EVERYTHING]}))
    world.settings = {
        "audit": {"origin": ORIGIN, **audit},
        "sinks": {"central": {"linger": "0s", **sink}},
        "routes": str(file),
    }
    return world


def verify(directory: Path, *options: str | Path, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "audit", "verify", str(directory), *map(str, options)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def world() -> Iterator[World]:
    """Not started yet."""
    made = World(rules=[OPEN, rule("private", "secret.test", tags={"data": "pii"})])
    try:
        yield made
    finally:
        made.stop()


# --- S3 ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def aws(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAws]:
    """A bucket with Object Lock, and a key."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    made = OpenAws(world.root, (f"{BUCKET}.s3.{REGION}.amazonaws.com",))
    made.start()
    where = {"LocationConstraint": REGION}
    made.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where, ObjectLockEnabledForBucket=True)
    world.places = made.places
    try:
        yield made
    finally:
        made.stop()


def objects(aws: OpenAws) -> dict[str, bytes]:
    client = aws.client("s3")
    found = client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return {each["Key"]: client.get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read() for each in found}


def copy_of(aws: OpenAws, folder: Path) -> Path:
    """What a person gets with `aws s3 cp --recursive`, put together as a trail."""
    folder.mkdir()
    lines: dict[int, bytes] = {}
    for key, body in objects(aws).items():
        name = key.rpartition("/")[2]
        if name.startswith("trail-"):
            for line in body.splitlines(keepends=True):
                lines[json.loads(line)["seq"]] = line
        elif name.startswith("key-"):
            (folder / name).write_bytes(body)
    (folder / "trail-000000000000.jsonl").write_bytes(b"".join(lines[number] for number in sorted(lines)))
    notes = {key: body for key, body in objects(aws).items() if "/checkpoints-" in key}
    (folder / "checkpoints").write_bytes(b"".join(notes[key] for key in sorted(notes)))
    return folder


def test_a_locked_copy_in_s3_verifies(world: World, aws: OpenAws, tmp_path: Path) -> None:
    """Every line, key and checkpoint, tagged, encrypted, locked for as long as its tags ask; a stranger verifies it."""
    key = aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    lock = {"mode": "GOVERNANCE", "keep": "30d", "by_tag": {"data": {"pii": "400d"}}}
    sink = {"kind": "s3", "bucket": BUCKET, "region": REGION, "prefix": "ci", "kms_key_id": key, "lock": lock}
    with_sink(world, sink, tags={"team": "platform"}).start()
    job = world.open()
    job.curl("https://origin.test/a")
    wait_until(lambda: len(world.records("flow.outcome")) == 1)
    time.sleep(0.5)
    job.curl("https://secret.test/b")
    wait_until(lambda: len(world.records("flow.outcome")) == 2)
    world.sidecar.stop(timeout=20)

    copy = copy_of(aws, tmp_path / "copy")
    local = b"".join(path.read_bytes() for path in sorted(world.sidecar.audit.glob("trail-*")))
    assert (copy / "trail-000000000000.jsonl").read_bytes() == local
    said = verify(copy, "--key", next(iter(world.sidecar.audit.glob("key-*.pub"))))
    assert "intact" in said
    assert "after the last checkpoint" not in said

    client = aws.client("s3")
    days = set()
    for name, body in objects(aws).items():
        assert name.startswith(f"ci/{ORIGIN}/")
        head = client.head_object(Bucket=BUCKET, Key=name, ChecksumMode="ENABLED")
        assert head["ServerSideEncryption"] == "aws:kms"
        assert head["ObjectLockMode"] == "GOVERNANCE"
        kept = round((head["ObjectLockRetainUntilDate"] - head["LastModified"]).total_seconds() / 86400)
        days.add(kept)
        tags = {each["Key"]: each["Value"] for each in client.get_object_tagging(Bucket=BUCKET, Key=name)["TagSet"]}
        if "/trail-" in name:
            assert tags["team"] == "platform"
            assert (tags.get("data") == "pii") == (b'"pii"' in body) == (kept > 300)
    assert days == {30, 400}


def test_a_trail_cut_short_shows_by_the_kept_checkpoint(world: World, aws: OpenAws, tmp_path: Path) -> None:
    """Back to an earlier closed state, checkpoints and all, is intact by itself; not beside what S3 keeps."""
    with_sink(world, {"kind": "s3", "bucket": BUCKET, "region": REGION}).start()
    audit = world.sidecar.audit
    world.open().curl("https://origin.test/a")
    world.sidecar.stop(timeout=20)
    before = {path.name: path.read_bytes() for path in audit.iterdir() if path.is_file()}
    world.sidecar.start()
    world.open().curl("https://origin.test/hidden")
    world.sidecar.stop(timeout=20)
    newest = max(name for name in objects(aws) if "/checkpoints-" in name)
    kept = tmp_path / "kept"
    kept.write_bytes(objects(aws)[newest])
    for path in audit.iterdir():
        path.unlink()
    for name, body in before.items():
        (audit / name).write_bytes(body)

    assert "intact" in verify(audit)
    key = tmp_path / "keys"
    key.mkdir()
    found = [_write(key, name, body) for name, body in objects(aws).items() if "/key-" in name]
    pinned = [option for path in found for option in ("--key", path)]
    assert "intact" not in verify(audit, "--checkpoint", kept, *pinned, code=1)


def _write(folder: Path, name: str, body: bytes) -> Path:
    path = folder / name.rpartition("/")[2]
    path.write_bytes(body)
    return path


def test_what_is_there_already_is_never_overwritten(world: World, aws: OpenAws) -> None:
    """A second trail of the same origin: refused, said, and nothing of the first is lost; the same objects pass."""
    with_sink(world, {"kind": "s3", "bucket": BUCKET, "region": REGION}).start()
    world.open().curl("https://origin.test/a")
    world.sidecar.stop(timeout=20)
    first = objects(aws)
    (world.sidecar.audit / "cursor-central").unlink()
    world.sidecar.start()
    world.sidecar.stop(timeout=20)
    again = objects(aws)
    assert first.items() <= again.items()
    for path in world.sidecar.audit.iterdir():
        path.unlink()
    world.sidecar.start()
    wait_until(lambda: "two trails share one origin" in world.sidecar.errors.read_text())
    world.sidecar.stop(timeout=20)
    assert again.items() <= objects(aws).items()


# --- NATS -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def nats_server(world: World, tmp_path: Path) -> Iterator[str]:
    """A real nats-server with JetStream, over TLS, with a token."""
    program = find_tool("nats-server")
    if program is None:
        skip_loudly("`nats-server` is not installed; .ci/real-parts brings it")
    certificate, key = world.root.issue("nats", ("nats.test", "localhost", "127.0.0.1"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "nats.conf"
    config.write_text(
        f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{tmp_path}/js" }}\n'
        f'authorization {{ token: "nats-token-of-a-test" }}\ntls {{ cert_file: "{certificate}", key_file: "{key}" }}\n'
    )
    running = subprocess.Popen([str(program), "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"tls://localhost:{port}"
    wait_until(lambda: _answers(port))
    try:
        yield url
    finally:
        running.terminate()
        running.wait(10)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def _stream(world: World, url: str, *, make: bool) -> list[Any]:
    """Make the stream, or read all of it."""
    client = await nats.connect(url, token="nats-token-of-a-test", tls=world.root.client_side())
    stream = client.jetstream()
    try:
        if make:
            await stream.add_stream(name="AUDIT", subjects=["ci.audit.>"])
            return []
        reader = await stream.pull_subscribe("ci.audit.>", durable=None)
        count = (await stream.stream_info("AUDIT")).state.messages
        found: list[Any] = []
        while len(found) < count:
            found += await reader.fetch(min(100, count - len(found)), timeout=5)
        return [(message.subject, json.loads(message.data)) for message in found]
    finally:
        await client.close()


def test_a_jetstream_gets_each_record_once(world: World, nats_server: str) -> None:
    """First no stream takes them: said, and kept. Then all arrive in order; sent again, the server drops them."""
    token = world.folder / "nats-token"
    token.write_text("nats-token-of-a-test")
    sink = {"kind": "nats", "servers": [nats_server], "subject": "ci.audit", "token": str(token)}
    with_sink(world, sink).start()
    world.open().curl("https://origin.test/a")
    wait_until(lambda: "no stream takes" in world.sidecar.errors.read_text())
    asyncio.run(_stream(world, nats_server, make=True))
    wait_until(lambda: "takes records again" in world.sidecar.errors.read_text(), 30)
    world.sidecar.stop(timeout=20)
    (world.sidecar.audit / "cursor-central").unlink()
    world.sidecar.start()
    world.sidecar.stop(timeout=20)
    found = asyncio.run(_stream(world, nats_server, make=False))
    trail = world.sidecar.records()
    assert [event["seq"] for _, event in found] == [each["seq"] for each in trail]
    assert [subject for subject, _ in found] == [f"ci.audit.{each['kind']}" for each in trail]


# --- OTLP -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def collector(world: World) -> Iterator[Collector]:
    """What takes OTLP over HTTP."""
    made = Collector(world.root.server_side("otlp", ("otlp.test",)))
    made.start()
    world.places = {"otlp.test:443": made.place}
    try:
        yield made
    finally:
        made.stop()


def test_a_collector_gets_logs_spans_and_metrics(world: World, collector: Collector) -> None:
    """By the protocol's own messages: each record, a span for each flow, sums that add up; a part refused is said."""
    partial = ExportLogsServiceResponse()
    partial.partial_success.rejected_log_records = 1
    left = iter([(503, {"retry-after": "1"}, b""), (200, {}, partial.SerializeToString())])
    collector.answer = lambda sent: next(left, (200, {}, b"")) if sent.path == "/v1/logs" else (200, {}, b"")
    key = world.folder / "key"
    key.write_text("secret-of-a-collector")
    with_sink(world, {"kind": "otlp", "url": "https://otlp.test", "headers": {"x-api-key": str(key)}}).start()
    known = world.issuer.add_job()
    opened = world.sidecar.api.open_session(world.token(known), trace=f"00-{'ab' * 16}-{'cd' * 8}-01")
    session = JobSession(id=str(opened["session"]), secret=str(opened["secret"]), proxy_url=str(opened["proxy_url"]))
    job = world.job(session)
    job.curl("https://origin.test/a")
    job.curl("http://unknown.test/denied")
    wait_until(lambda: len(world.records("flow.outcome")) == 1)
    world.sidecar.stop(timeout=20)
    trail = world.sidecar.records()

    taken = [sent for sent in collector.seen if sent.path == "/v1/logs"][1:]
    logs = [
        record
        for sent in taken
        for resource in ExportLogsServiceRequest.FromString(sent.body).resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]
    assert [log.event_name for log in logs] == [f"jobgate.{each['kind']}" for each in trail]
    assert {sent.headers["x-api-key"] for sent in collector.seen} == {"secret-of-a-collector"}
    spans = [
        span
        for sent in collector.seen
        if sent.path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(sent.body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert [span.name for span in spans] == ["GET origin.test", "GET unknown.test"] or len(spans) == 2
    assert {(span.trace_id.hex(), span.parent_span_id.hex()) for span in spans} == {("ab" * 16, "cd" * 8)}
    assert all(len(span.trace_id) == 16 and len(span.span_id) == 8 for span in spans)
    by_span = {log.span_id for log in logs if log.span_id}
    assert {span.span_id for span in spans} <= by_span
    named = {each.key: each.value for each in next(s for s in spans if "origin" in s.name).attributes}
    assert named["http.response.status_code"].int_value == world.records("flow.outcome")[0]["status"]
    assert named["url.path"].string_value == "/a"
    sums: dict[str, int] = {}
    for sent in collector.seen:
        if sent.path == "/v1/metrics":
            for resource in ExportMetricsServiceRequest.FromString(sent.body).resource_metrics:
                for metric in resource.scope_metrics[0].metrics:
                    for point in metric.sum.data_points:
                        sums[metric.name] = sums.get(metric.name, 0) + point.as_int
    assert sums["jobgate.records"] == len(trail)
    assert sums["jobgate.flows"] == len([each for each in trail if each["kind"] == "flow.decision"])
    assert "rejected 1" in world.sidecar.errors.read_text()
