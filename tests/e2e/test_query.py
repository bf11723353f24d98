"""SQL over a real trail, and over its copy in S3: right answers, nothing else in reach, nothing left behind."""

import csv
import io
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyrage
import pytest

from proxy.cli.query_sql import QUESTIONS
from tests.fakes.open_aws import KEYS, REGION, OpenAws, environment
from tests.fakes.sidecar import DENIED, OPEN, World, rule, wait_until

BUCKET = "acme-audit"


def run(*arguments: str | Path, code: int = 0, more: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "audit", *map(str, arguments)],
        env={**os.environ, **(more or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def ask(place: Path | str, sql: str, *options: str | Path, **how: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("query", place, sql, "--json", *options, **how).stdout.splitlines()]


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The trail of a few jobs: allowed, denied, in small segments, over a restart."""
    world = World(rules=[OPEN, rule("private", "secret.test")], settings={"audit": {"segment_bytes": 4096}})
    try:
        world.start()
        for number, step in enumerate(("build", "release")):
            job = world.open(step_key=step, build_number=number)
            for path in ("/a", "/b"):
                job.curl(f"https://origin.test{path}")
            job.curl(f"http://{DENIED}/x")
        job.curl("https://secret.test/hidden")
        wait_until(lambda: len(world.records("flow.outcome")) == 5)
        world.sidecar.stop(timeout=10)
        world.sidecar.start()
        world.sidecar.stop(timeout=10)
        copy = tmp_path_factory.mktemp("trail") / "audit"
        shutil.copytree(world.sidecar.audit, copy)
        yield copy
    finally:
        world.stop()


def test_flows_are_decisions_with_their_outcomes(trail: Path) -> None:
    """One row a flow, the job's facts as columns; SQL does the rest."""
    sql = "SELECT step, effect, count(*) AS n FROM flows GROUP BY ALL ORDER BY ALL"
    assert ask(trail, sql) == [
        {"step": "build", "effect": "allow", "n": 2},
        {"step": "build", "effect": "deny", "n": 1},
        {"step": "release", "effect": "allow", "n": 3},
        {"step": "release", "effect": "deny", "n": 1},
    ]
    rows = ask(
        trail, "SELECT host, path, status, ms > 0 AS took, ended > time AS later FROM flows WHERE effect = 'allow'"
    )
    assert {row["host"] for row in rows} == {"origin.test", "secret.test"}
    assert all(row["status"] and row["took"] and row["later"] for row in rows)


def test_the_other_tables(trail: Path) -> None:
    """Sessions with their ends, all records with their whole JSON, in many segments as in one."""
    assert len(list(trail.glob("trail-*"))) > 3
    (row,) = ask(trail, "SELECT count(*) AS n, count(closed) AS over, min(subject) AS who FROM sessions")
    assert (row["n"], row["over"]) == (2, 2)
    lines = sum(path.read_bytes().count(b"\n") for path in trail.glob("trail-*"))
    assert ask(trail, "SELECT count(*) AS n, count(DISTINCT seq) AS m FROM records") == [{"n": lines, "m": lines}]
    assert ask(trail, "SELECT data->>'version' AS v FROM records WHERE kind = 'proxy.started'")[0]["v"]
    for table in ("credentials", "events"):
        assert ask(trail, f"SELECT * FROM {table}") == []


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_ready_made_question_has_an_answer(trail: Path, name: str) -> None:
    """For people, as a table."""
    run("query", trail, "--question", name)
    assert name in run("query", "--questions").stdout


def test_answers_for_programs(trail: Path, tmp_path: Path) -> None:
    """CSV with a header; Parquet for its owner alone, never over another file."""
    found = run("query", trail, "SELECT host, count(*) AS n FROM flows GROUP BY host ORDER BY host", "--csv").stdout
    assert list(csv.reader(io.StringIO(found)))[:2] == [["host", "n"], [DENIED, "2"]]
    output = tmp_path / "it's.parquet"
    run("query", trail, "--parquet", output)
    assert output.read_bytes()[:4] == b"PAR1"
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert "is there already" in run("query", trail, "--parquet", output, code=2).stderr


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "COPY flows TO '/tmp/jobgate-never.csv'",
        "SELECT 1; SELECT 2",
        "ATTACH '/tmp/jobgate-never.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SELECT * FROM read_csv('https://origin.test/x')",
        "PRAGMA version",
        "DELETE FROM flows",
        "SELEC",
        "",
    ],
)
def test_a_query_reaches_nothing_but_the_trail(trail: Path, sql: str) -> None:
    """No file, no network, no extension, no second statement: a query that somebody pasted only reads."""
    run("query", trail, sql, "--no-verify", code=2 if not sql else 3)
    assert not Path("/tmp/jobgate-never.csv").exists()


def test_parquet_output_is_the_one_file_it_writes(trail: Path, tmp_path: Path) -> None:
    """Naming a file opens that file and no other."""
    run("query", trail, "SELECT * FROM read_text('/etc/passwd')", "--parquet", tmp_path / "x.parquet", code=3)
    run("query", trail, "SELECT 1) TO '/tmp/jobgate-never.csv' --", "--parquet", tmp_path / "y.parquet", code=3)
    assert not Path("/tmp/jobgate-never.csv").exists()


def test_a_broken_trail_is_said_loudly(trail: Path, tmp_path: Path) -> None:
    """The answer comes, marked, and with exit code 1; unverified is said too."""
    copy = tmp_path / "audit"
    shutil.copytree(trail, copy)
    segment = sorted(copy.glob("trail-*"))[1]
    segment.write_bytes(segment.read_bytes().replace(b"origin.test", b"another.test", 1))
    done = run("query", copy, "SELECT 1 AS one", code=1)
    assert "NOT INTACT" in done.stderr
    assert "was not verified" in run("query", copy, "SELECT 1 AS one", "--no-verify").stderr


def test_a_torn_end_is_no_record(trail: Path, tmp_path: Path) -> None:
    """What a crash left at the end is not counted, and does not keep the rest from being read."""
    copy = tmp_path / "audit"
    shutil.copytree(trail, copy)
    last = max(copy.glob("trail-*"))
    before = ask(copy, "SELECT count(*) AS n FROM records")
    last.write_bytes(last.read_bytes() + b'{"v":1,"seq":9')
    assert ask(copy, "SELECT count(*) AS n FROM records") == before


def test_what_is_sealed_is_asked_with_an_identity(tmp_path: Path) -> None:
    """Without one the clear fields answer, and how many records are sealed is said; with one all of them do."""
    identity = pyrage.x25519.Identity.generate()
    key = tmp_path / "key"
    key.write_text(f"{identity}\n")
    seal = {"classes": {"all": {"recipients": [str(identity.to_public())]}}, "default": "all"}
    world = World(settings={"audit": {"seal": seal}})
    try:
        world.start()
        world.open().curl("https://origin.test/a")
        wait_until(lambda: len(world.records("flow.outcome")) == 1)
        world.sidecar.stop(timeout=10)
        sql = "SELECT effect, host, sealed FROM flows"
        done = run("query", world.sidecar.audit, sql, "--json")
        assert json.loads(done.stdout) == {"effect": "allow", "host": None, "sealed": "all"}
        assert "records are sealed" in done.stderr
        assert ask(world.sidecar.audit, sql, "--identity", key) == [
            {"effect": "allow", "host": "origin.test", "sealed": None}
        ]
    finally:
        world.stop()


# --- the copy in S3 ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> Iterator[tuple[OpenAws, dict[str, str], World]]:
    """A trail that a sink brought to S3, over a restart."""
    world = World()
    for name, value in KEYS.items():
        os.environ[name] = value
    aws = OpenAws(world.root, (f"{BUCKET}.s3.{REGION}.amazonaws.com",))
    aws.start()
    aws.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    routes = world.folder / "routes.yaml"
    routes.write_text(json.dumps({"routes": [{"id": "all", "why": "a test", "to": "copy"}]}))
    world.places = aws.places
    world.settings = {
        "audit": {"origin": "agents/one"},
        "sinks": {"copy": {"kind": "s3", "bucket": BUCKET, "region": REGION, "prefix": "ci", "linger": "0s"}},
        "routes": str(routes),
    }
    try:
        world.start()
        for _ in range(2):
            world.open().curl("https://origin.test/a")
            world.sidecar.stop(timeout=20)
            world.sidecar.start()
        world.sidecar.stop(timeout=20)
        yield aws, environment(aws, world.root.certificate), world
    finally:
        for name in KEYS:
            os.environ.pop(name, None)
        aws.stop()
        world.stop()


def test_the_copy_answers_like_the_trail(shipped: tuple[OpenAws, dict[str, str], World]) -> None:
    """Verified, shown and asked where it is, with the reader's own credentials; nothing of it stays behind."""
    _, reader, world = shipped
    place = f"s3://{BUCKET}/ci/agents/one"
    assert "intact" in run("verify", place, more=reader).stdout
    sql = "SELECT seq, kind FROM records ORDER BY seq"
    assert ask(place, sql, more=reader) == ask(world.sidecar.audit, sql)
    lines = run("show", place, "--json", more=reader).stdout.splitlines()
    assert [json.loads(line) for line in lines] == world.sidecar.records()


@pytest.mark.parametrize(
    "place, said",
    [
        (f"s3://{BUCKET}/elsewhere", "holds no copy of a trail"),
        ("s3://no-such-bucket-of-ours/x", "NoSuchBucket"),
    ],
)
def test_what_is_not_there_is_said(shipped: tuple[OpenAws, dict[str, str], World], place: str, said: str) -> None:
    """With the code that S3 gives."""
    assert said in run("verify", place, code=3, more=shipped[1]).stderr


def test_a_copy_with_a_fault_is_not_put_together(shipped: tuple[OpenAws, dict[str, str], World]) -> None:
    """A missing object, an altered one, another trail beside it, a part only: each is named."""
    aws, reader, _ = shipped
    client = aws.client("s3")
    source = {
        each["Key"]: client.get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read()
        for each in client.list_objects_v2(Bucket=BUCKET, Prefix="ci/agents/one/")["Contents"]
    }
    lines = sorted(key for key in source if "/trail-" in key)
    assert len(lines) > 2

    def lay(folder: str, objects: dict[str, bytes]) -> str:
        for key, body in objects.items():
            client.put_object(Bucket=BUCKET, Key=key.replace("ci/agents/one", folder), Body=body)
        return f"s3://{BUCKET}/{folder}"

    gap = lay("gap/a", {key: body for key, body in source.items() if key != lines[1]})
    assert "are missing before it" in run("verify", gap, code=3, more=reader).stderr
    altered = {**source, lines[1]: source[lines[1]].replace(b'"kind"', b'"Kind"', 1)}
    assert "holds what is no record" in run("verify", lay("odd/a", altered), code=3, more=reader).stderr
    first = source[lines[0]].splitlines(keepends=True)
    twice = {**source, lines[0][:-18] + "999999999998.jsonl": b"".join(first)}
    assert "intact" in run("verify", lay("twice/a", twice), more=reader).stdout
    differs = {**source, lines[0][:-18] + "999999999998.jsonl": first[0].replace(b"agents", b"Agents")}
    assert "differs from another object" in run("verify", lay("differs/a", differs), code=3, more=reader).stderr
    lay("two/a", source)
    assert "several trails" in run("verify", lay("two/b", source).rpartition("/")[0], code=3, more=reader).stderr
    part = {lines[0].replace("/trail-", "/records-"): source[lines[0]]}
    assert "some records only" in run("verify", lay("part/a", part), code=3, more=reader).stderr


def test_segments_of_another_time_are_left_out(trail: Path) -> None:
    """What is asked about a time reads what may hold it, and finds the same there."""
    everything = ask(trail, "SELECT seq, time FROM records ORDER BY seq")
    middle = everything[len(everything) // 2]
    stamp = middle["time"].replace(" ", "T") + "Z"
    for window in (("--since", stamp), ("--until", stamp), ("--since", stamp, "--until", stamp)):
        found = ask(trail, "SELECT seq, time FROM records ORDER BY seq", *window)
        assert 0 < len(found) < len(everything)
        assert middle in found
        wanted = [
            each
            for each in everything
            if ("--since" not in window or each["time"] >= middle["time"])
            and ("--until" not in window or each["time"] <= middle["time"])
        ]
        assert [each for each in wanted if each not in found] == []
    assert ask(trail, "SELECT seq FROM records", "--until", "2020-01-01T00:00:00Z") == []
    assert len(ask(trail, "SELECT seq FROM records", "--since", "2020-01-01T00:00:00Z")) == len(everything)
