"""Jobs' logs at a running sidecar: from a real OpenTelemetry exporter, or fetched; kept, shipped, without secrets."""

import base64
import gzip
import hmac
import http.client
import json
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyrage
import pytest
from opentelemetry._logs import LogRecord as ApiRecord
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.resources import Resource

from proxy.demo.issuer import BuildJob
from proxy.demo.web import Exchange, Site
from proxy.sources.trail import read_keys, read_lines, verify_trail
from tests.fakes.collector import Collector
from tests.fakes.sidecar import OPEN, Job, World, rule, wait_until

TOKEN = "the-token-of-the-agents-exporter"
HOST = "collector.test"
API = "api.buildkite.com"
HOOK = "the-webhooks-token-0123456789"
API_TOKEN = "bkua_the-token-of-the-api"


class ApiSite(Site):
    """Buildkite's REST API; `contents` by the job's id."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.asked: list[tuple[str, str | None]] = []
        self.contents: dict[str, str] = {}


class BuildkiteApi(Exchange):
    """The one call that is needed, with the one token that may make it."""

    def answer(self) -> None:
        site: Any = self.server
        site.asked.append((self.path, self.headers.get("Authorization")))
        content = site.contents.get(self.path.split("/")[-2])
        if self.headers.get("Authorization") != f"Bearer {API_TOKEN}" or content is None:
            self.reply(404, b"{}", {"Content-Type": "application/json"})
            return
        told = {"url": f"https://{API}{self.path}", "content": content, "size": len(content), "header_times": []}
        self.reply(200, json.dumps(told).encode(), {"Content-Type": "application/json"})


class Stage:
    """A sidecar that takes logs every way there is, and what they are shipped to."""

    def __init__(self) -> None:
        self.world = World(rules=[OPEN])
        self.world.rules.append(rule("bearer", ["bearer.test"], credential=self.world.bearer()))
        self.collector = Collector(self.world.root.server_side("collector", (HOST,)))
        self.collector.start()
        self.api = ApiSite(BuildkiteApi, self.world.root.server_side("api", (API,)))
        self.api.start()
        self.world.places = {f"{HOST}:443": self.collector.place, f"{API}:443": self.api.place}
        routes = self._file(
            "routes.yaml",
            json.dumps(
                {
                    "routes": [
                        {"id": "logs", "why": "a test wants them", "to": "central", "of": ["logs"], "kinds": "job.*"}
                    ]
                }
            ),
        )
        self.world.settings = {
            "audit": {"origin": "agents/one", "job_tags": ["pipeline"]},
            "sinks": {"central": {"kind": "http", "url": f"https://{HOST}", "linger": "0s"}},
            "routes": routes,
            "logs": {
                "listen": "127.0.0.1:0",
                "token": self._file("log-token", TOKEN),
                "directory": str(self.directory),
                "tags": {"classification": "logs"},
                "fetch": {"organization": "acme", "token": self._file("api-token", API_TOKEN)},
            },
            "events": {
                "listen": "127.0.0.1:0",
                "buildkite": {"organization": "acme", "token": self._file("hook-token", HOOK)},
            },
        }

    @property
    def directory(self) -> Path:
        return self.world.folder / "job-logs"

    def _file(self, name: str, text: str) -> str:
        path = self.world.folder / name
        path.write_text(text)
        return str(path)

    def port(self, what: str) -> int:
        said = rf"{what} +http://127.0.0.1:([0-9]+)/"
        return int(wait_until(lambda: re.search(said.encode(), self.world.sidecar.errors.read_bytes()))[1])

    def open(self) -> tuple[BuildJob, Job]:
        known = self.world.issuer.add_job()
        return known, self.world.job(self.world.sidecar.open_session(self.world.token(known)))

    def export(self, known: BuildJob, *lines: str, token: str = TOKEN, **changes: Any) -> bool:
        """Export as an agent does, by OpenTelemetry's own exporter; whether it was taken."""
        exporter = OTLPLogExporter(
            endpoint=f"http://127.0.0.1:{self.port('logs')}/v1/logs",
            headers={"authorization": f"Bearer {token}"},
            timeout=5,
            **changes,
        )
        try:
            return exporter.export(readable(known, lines)) is LogRecordExportResult.SUCCESS
        finally:
            exporter.shutdown()  # type: ignore[no-untyped-call]

    def post(self, body: bytes, kind: str = "application/x-protobuf", **fields: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port("logs"), timeout=10)
        headers = {"content-type": kind, "authorization": f"Bearer {TOKEN}"}
        headers |= {name.replace("_", "-"): value for name, value in fields.items()}
        connection.request("POST", "/v1/logs", body, {k: v for k, v in headers.items() if v})
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        return answer.status, said

    def finish(self, known: BuildJob) -> None:
        """Tell the sidecar that a job is over, as Buildkite does."""
        told = {
            "event": "job.finished",
            "job": {"id": known.job_id, "state": "finished", "step_key": "release"},
            "build": {"id": str(uuid.uuid4()), "number": known.build_number},
            "pipeline": {"slug": known.pipeline_slug},
        }
        body, stamp = json.dumps(told).encode(), str(int(time.time()))
        signature = hmac.new(HOOK.encode(), stamp.encode() + b"." + body, sha256).hexdigest()
        headers = {
            "X-Buildkite-Event": "job.finished",
            "X-Buildkite-Signature": f"timestamp={stamp},signature={signature}",
            "Content-Type": "application/json",
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port("events"), timeout=10)
        connection.request("POST", "/v1/events/buildkite", body, headers)
        assert connection.getresponse().status == 204
        connection.close()

    def logs(self, known: BuildJob | None = None) -> list[dict[str, Any]]:
        """The records of the trail of logs, of one job's lines or all."""
        records = [json.loads(line) for line in read_lines(self.directory)]
        lines = [record for record in records if record["kind"] == "job.log"]
        return lines if known is None else [each for each in lines if each["job"]["job_id"] == known.job_id]


def readable(known: BuildJob, lines: Sequence[str]) -> list[ReadableLogRecord]:
    """Lines as the agent describes them."""
    attributes: dict[str, Any] = {
        "source": "job",
        "buildkite.organization.slug": "acme",
        "buildkite.pipeline.slug": known.pipeline_slug,
        "buildkite.build.number": str(known.build_number),
        "buildkite.job.id": known.job_id,
        "buildkite.job.key": "release",
    }
    resource = Resource.create({"service.name": "buildkite-agent"})
    made = [
        ApiRecord(timestamp=time.time_ns(), body=line, severity_number=SeverityNumber.INFO, attributes=attributes)
        for line in lines
    ]
    return [ReadableLogRecord(log_record=each, resource=resource) for each in made]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    made = Stage()
    try:
        made.world.start()
        yield made
    finally:
        made.world.stop()
        made.collector.stop()
        made.api.stop()


def works(job: Job) -> bool:
    return job.curl("-o", "/dev/null", "-w", "%{http_code}", "http://plain.test/hello", code=None) == "200"


def test_lines_are_kept_shipped_and_joined_to_the_job(stage: Stage) -> None:
    """By a real exporter: on a trail of their own that verifies, tagged, with the job's session, at the sink."""
    known, job = stage.open()
    assert works(job)
    long = "x" * 70_000
    assert stage.export(known, "hello", "wörld \x1b[31mred\x1b[0m", "", long)
    records = stage.logs(known)
    text = [line for record in records for line in record["text"]]
    assert text[:3] == ["hello", "wörld \x1b[31mred\x1b[0m", ""]
    assert "".join(text[3:]) == long
    assert sum(len(record.get("cut", ())) for record in records) == 34
    first = records[0]
    assert (first["job"]["pipeline"], first["job"]["build_number"]) == (known.pipeline_slug, known.build_number)
    assert first["source"] == "otlp"
    assert first["from"] <= first["until"]
    assert first["tags"] == {"classification": "logs", "pipeline": known.pipeline_slug}
    flow = stage.world.records("flow.decision")[-1]
    assert (flow["session"], flow["job"]["job_id"]) == (first["session"], known.job_id)
    keys = read_keys(list(stage.directory.glob("*.pub")))
    assert verify_trail(stage.directory, keys).is_intact
    assert verify_trail(stage.world.sidecar.audit, read_keys(list(stage.world.sidecar.audit.glob("*.pub")))).is_intact
    shipped = wait_until(lambda: [row for sent in stage.collector.seen for row in sent.json])
    assert {row["kind"] for row in shipped} == {"job.log"}
    assert works(job)
    sql = f"SELECT l.line, f.host FROM logs l JOIN flows f USING (job_id) WHERE job_id = '{known.job_id}' LIMIT 1"
    command = [sys.executable, "-m", "proxy", "audit", "query", str(stage.world.sidecar.audit), "--also"]
    asked = subprocess.run([*command, str(stage.directory), "--json", sql], capture_output=True, check=True)
    assert json.loads(asked.stdout) == {"line": "hello", "host": "plain.test"}


def closed(stage: Stage, known: BuildJob) -> list[str]:
    found = [each for each in stage.world.records("session.closed") if each["job"]["job_id"] == known.job_id]
    return [each["why"] for each in found]


@pytest.mark.parametrize("form", ["plain", "url", "basic", "cut"])
def test_a_proxy_password_that_shows_ends_its_session(stage: Stage, form: str) -> None:
    """As `env` or `curl -v` prints it, or in two halves: redacted, on record, and good for nothing any more."""
    known, job = stage.open()
    assert works(job)
    assert job.session is not None
    password = job.session.secret
    shown = {
        "plain": [f"password {password} ends"],
        "url": [f"HTTPS_PROXY=http://jobgate:{password}@127.0.0.1:8080"],
        "basic": ["> Proxy-Authorization: Basic " + base64.b64encode(f"jobgate:{password}".encode()).decode()],
        "cut": ["a" * 900 + password[:20], password[20:] + "b" * 900],
    }[form]
    assert stage.export(known, "before", *shown, "after")
    assert not works(job)
    assert closed(stage, known) == ["exposed"]
    exposed = [each for each in stage.world.records("secret.exposed") if each["job"]["job_id"] == known.job_id]
    assert [(each["what"], each["ended"], each["source"]) for each in exposed] == [("proxy-password", True, "otlp")]
    record = stage.logs(known)[0]
    assert record["redacted"] == 1
    assert "[redacted]" in record["text"][1]
    assert (record["text"][0], record["text"][-1]) == ("before", "after")
    for written in stage.directory.glob("*.jsonl"):
        assert password.encode() not in written.read_bytes()
        assert password[20:].encode() not in written.read_bytes()
    curl = ["curl", "-sS", "--unix-socket", str(stage.world.sidecar.control), "http://localhost/metrics"]
    metrics = subprocess.run(curl, capture_output=True, check=True).stdout
    assert b'jobgate_events_total{event="secret-exposed"}' in metrics


def test_a_minted_credential_that_shows_ends_its_session_even_in_halves(stage: Stage) -> None:
    """What no job was ever given: in base64, cut between two exports, and once more after the session is over."""
    known, job = stage.open()
    assert job.curl("-o", "/dev/null", "-w", "%{http_code}", "https://bearer.test/basic/planted", code=None) != "000"
    secret = stage.world.secret
    assert stage.export(known, "nothing yet " + secret[:15])
    assert works(job)
    assert stage.export(known, secret[15:] + " and the rest")
    assert not works(job)
    assert closed(stage, known) == ["exposed"]
    assert stage.export(known, base64.b64encode(f"xy:{secret}".encode()).decode())
    text = [line for record in stage.logs(known) for line in record["text"]]
    assert text[1] == "[redacted] and the rest"
    assert "[redacted]" in text[2]
    exposed = [each for each in stage.world.records("secret.exposed") if each["job"]["job_id"] == known.job_id]
    assert [(each["what"], each["connector"]) for each in exposed] == [("credential", "header")]


def test_what_is_no_export_of_an_agents_changes_nothing(stage: Stage) -> None:
    """Without the token nothing is read; what cannot be read is said so; what is no job's is left out and told."""
    known, _ = stage.open()
    assert not stage.export(known, "forged", token="wrong-token-0123456789")
    body = ExportLogsServiceRequest().SerializeToString()
    assert stage.post(body, authorization="")[0] == 401
    assert stage.post(b"\xff\xff", "application/x-protobuf")[0] == 400
    assert stage.post(b"{", "application/json")[0] == 400
    assert stage.post(b'{"resourceLogs": 7}', "application/json")[0] == 400
    assert stage.post(b"[" * 100_000, "application/json")[0] == 400
    assert stage.post(b"", "text/plain")[0] == 415
    assert stage.post(b"", content_encoding="br")[0] == 415
    assert stage.post(b"no gzip", content_encoding="gzip")[0] == 400
    assert stage.post(gzip.compress(b"")[:-3], content_encoding="gzip")[0] == 400
    assert stage.post(gzip.compress(bytes(40 * 1024 * 1024)), content_encoding="gzip")[0] == 413
    assert stage.logs(known) == []
    attributes = [{"key": "buildkite.job.id", "value": {"stringValue": known.job_id}}]
    told = {
        "resourceLogs": [
            {
                "resource": {"attributes": attributes},
                "scopeLogs": [
                    {
                        "logRecords": [
                            {
                                "timeUnixNano": str(time.time_ns()),
                                "body": {"stringValue": "in JSON\n"},
                                "traceId": "0af7651916cd43dd8448eb211c80319c",
                            }
                        ]
                    }
                ],
            },
            {"scopeLogs": [{"logRecords": [{"body": {"stringValue": "nobody's"}}]}]},
        ]
    }
    status, said = stage.post(gzip.compress(json.dumps(told).encode()), "application/json", content_encoding="gzip")
    assert (status, json.loads(said)["partialSuccess"]["rejectedLogRecords"]) == (200, "1")
    assert [record["text"] for record in stage.logs(known)] == [["in JSON"]]
    empty = stage.post(body)
    assert (empty[0], ExportLogsServiceResponse.FromString(empty[1])) == (200, ExportLogsServiceResponse())


def test_a_log_that_no_agent_exported_is_fetched(stage: Stage) -> None:
    """When its job is over, with the lines' times, looked through as well; not where lines have come."""
    known, _ = stage.open()
    exported, _ = stage.open()
    late, job = stage.open()
    assert job.session is not None
    stage.api.contents[known.job_id] = "\x1b_bk;t=1700000000000\x07one\r\n\x1b_bk;t=1700000001500\x07two\nthree\n"
    assert stage.export(exported, "by the agent")
    for each in (known, exported, late):
        stage.finish(each)
    found = wait_until(lambda: stage.logs(known), 30)
    assert found[0]["text"] == ["one", "two", "three"]
    assert (found[0]["from"], found[0]["until"]) == ("2023-11-14T22:13:20+00:00", "2023-11-14T22:13:21.500000+00:00")
    assert (found[0]["source"], found[0]["job"]["build_number"]) == ("api", known.build_number)
    asked = {path for path, _ in stage.api.asked}
    place = f"/v2/organizations/acme/pipelines/{known.pipeline_slug}/builds/{known.build_number}/jobs"
    assert f"{place}/{known.job_id}/log" in asked
    assert not any(exported.job_id in path for path in asked)
    stage.world.sidecar.stop(timeout=20)
    missing = stage.logs(late)
    assert [record.get("missing") for record in missing] == ["jobgate stopped before it was fetched"]
    assert verify_trail(stage.directory, read_keys(list(stage.directory.glob("*.pub")))).is_intact


def test_logs_are_sealed_and_reach_a_collector_as_lines(tmp_path: Path) -> None:
    """Of another class than the audit trail, for another reader; OpenTelemetry gets a line's text as the body."""
    made = Stage()
    made.world.settings["sinks"] = {"central": {"kind": "otlp", "url": f"https://{HOST}", "linger": "0s"}}
    try:
        made.world.start()
        known, _ = made.open()
        assert made.export(known, "one", "x" * 2500)
        wait_until(lambda: made.collector.seen)
        sent = next(each for each in made.collector.seen if each.path == "/v1/logs")
        message = ExportLogsServiceRequest.FromString(sent.body)
        record = message.resource_logs[0].scope_logs[0].log_records[0]
        assert record.body.string_value == "one\n" + "x" * 2500
        assert not [each for each in record.attributes if each.key == "jobgate.text"]
    finally:
        made.world.stop()
        made.collector.stop()
        made.api.stop()
    identity = pyrage.x25519.Identity.generate()
    file = tmp_path / "identity"
    file.write_text(str(identity))
    file.chmod(0o600)
    made = Stage()
    made.world.settings["audit"] |= {"seal": {"classes": {"logs": {"recipients": [str(identity.to_public())]}}}}
    try:
        made.world.start()
        known, _ = made.open()
        assert made.export(known, "a line that is nobody's business")
        made.world.sidecar.stop(timeout=20)
        written = b"".join(each.read_bytes() for each in made.directory.glob("*.jsonl"))
        assert b"nobody's business" not in written
        assert b"key.sealed" in written
        command = [sys.executable, "-m", "proxy", "audit", "show", str(made.directory)]
        command += ["--json", "--identity", str(file)]
        shown = subprocess.run(command, capture_output=True, check=True).stdout
        assert b"nobody's business" in shown
    finally:
        made.world.stop()
        made.collector.stop()
        made.api.stop()
