"""`jobgate audit verify` and `show` as a person and a program meet them; and the documented checks of a stranger."""

import asyncio
import json
import os
import pty
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from proxy.model.record import AuditRecord, Fact, Kind
from proxy.sinks.file import FileTrail, TrailSettings
from proxy.sinks.keys import make_signer

ROOT = Path(__file__).resolve().parents[2]
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
JOB: dict[str, Fact] = {"pipeline": "payments", "step": "upload", "branch": "main", "job_id": "job-1"}
EVIL = "\x1b[31mred\x1b]0;title\x07\r\n\u202etxt[bold]"


def jobgate(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "proxy", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def decision(flow: str, effect: str, **facts: Fact) -> AuditRecord:
    base: dict[str, Fact] = {
        "flow": flow,
        "effect": effect,
        "reason": "allowed" if effect == "allow" else "no-rule",
        "rules": ["to-releases"] if effect == "allow" else [],
        "job": JOB,
        "method": "PUT",
        "scheme": "https",
        "host": "releases.example.com",
        "port": 443,
        "path": "/a.tgz",
    }
    return AuditRecord(kind=Kind.DECISION, at=AT, facts={**base, **facts})


def outcome(flow: str, **facts: Fact) -> AuditRecord:
    base: dict[str, Fact] = {"flow": flow, "reason": "allowed", "status": 201, "sent": 1_500_000, "received": 12}
    return AuditRecord(kind=Kind.OUTCOME, at=AT, facts={**base, "ms": {"total": 41.7}, **facts})


RECORDS = (
    decision("f1", "allow"),
    outcome("f1"),
    decision("f2", "deny", path=f"/{EVIL}", detail=EVIL),
    decision("f3", "allow", host="other.example.com", port=8443, job={**JOB, "pipeline": "docs", "job_id": "job-2"}),
    AuditRecord(kind=Kind.SESSION_OPENED, at=AT, facts={"session": "s1", "job": JOB}),
    outcome("f3", reason="upstream-timeout", status=504),
    decision("f4", "allow", query_sha256="0" * 64),
)


async def write(directory: Path, records: tuple[AuditRecord, ...] = RECORDS, **settings: Any) -> None:
    ticks = iter(range(10_000))
    chosen = TrailSettings(directory=directory, **{"reserve": 0, "segment_bytes": 1500, **settings})
    signer = make_signer("jobgate/test")
    trail = await FileTrail.open(chosen, signer, lambda: AT + timedelta(seconds=next(ticks)))
    for each in records:
        await trail.append(each)
    await trail.close()


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    asyncio.run(write(tmp_path / "audit"))
    return tmp_path / "audit"


def test_an_intact_trail_exits_0(trail: Path) -> None:
    """The verdict, the figures, and what to know about it."""
    found = jobgate("audit", "verify", str(trail))
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("intact: 9 records (0 to 8) in ")
    assert "--key with your own copy" in found.stdout
    report = json.loads(jobgate("audit", "verify", "--json", str(trail)).stdout)
    assert (report["intact"], report["records"], report["covered"], report["open_flows"]) == (True, 9, 9, ["f4"])


def test_a_tampered_trail_exits_1(trail: Path) -> None:
    """One changed digit, and the report names file and line."""
    segment = min(trail.glob("trail-*.jsonl"))
    segment.write_bytes(segment.read_bytes().replace(b'"status":201', b'"status":200'))
    found = jobgate("audit", "verify", str(trail))
    assert found.returncode == 1
    assert found.stdout.startswith("trail-0000000000")
    assert "NOT INTACT" in found.stdout
    report = json.loads(jobgate("audit", "verify", "--json", str(trail)).stdout)
    assert not report["intact"]
    assert report["findings"][0]["line"] > 0


def test_another_key_exits_1(trail: Path, tmp_path: Path) -> None:
    """With --key only that key is believed."""
    other = tmp_path / "other.pub"
    other.write_text(make_signer("jobgate/test").verifier.to_file())
    assert jobgate("audit", "verify", "--key", str(other), str(trail)).returncode == 1
    (ours,) = trail.glob("key-*.pub")
    assert jobgate("audit", "verify", "--key", str(ours), str(trail)).returncode == 0


def test_a_checkpoint_kept_elsewhere_shows_a_cut(trail: Path, tmp_path: Path) -> None:
    """A trail cut together with its own checkpoints is found by one that was kept in another place."""
    kept = tmp_path / "kept"
    shutil.copy(trail / "checkpoints", kept)
    short = (trail / "checkpoints").read_text().split("\n\njobgate/test\n")[0] + "\n\n"
    (trail / "checkpoints").write_text(short)
    first, *rest = sorted(trail.glob("trail-*.jsonl"))
    for segment in rest:
        segment.unlink()
    first.write_bytes(b"".join(first.read_bytes().splitlines(keepends=True)[:1]))
    assert jobgate("audit", "verify", str(trail)).returncode == 0
    found = jobgate("audit", "verify", "--checkpoint", str(kept), str(trail))
    assert found.returncode == 1
    assert "the trail is cut: 9 records signed, 1 present" in found.stdout


@pytest.mark.parametrize(
    "arguments, code",
    [
        (["verify", "{}/none"], 2),
        (["verify", "{}", "--key", "{}/none"], 2),
        (["verify"], 2),
        (["show", "{}/none"], 2),
        (["show", "{}", "--since", "yesterday"], 2),
        (["show", "{}", "--since", "2026-01-01"], 2),
        (["show", "{}", "--effect", "maybe"], 2),
        (["verify", "{}"], 3),
        (["show", "{}"], 3),
    ],
)
def test_wrong_usage_exits_2_and_no_trail_exits_3(tmp_path: Path, arguments: list[str], code: int) -> None:
    """Each with one line that says what is wrong, and no traceback."""
    found = jobgate("audit", *(each.format(tmp_path) for each in arguments))
    assert found.returncode == code
    assert found.stderr
    assert "Traceback" not in found.stderr


def test_show_joins_a_decision_with_its_outcome(trail: Path) -> None:
    """One row per flow: who, what, why, how it ended; other records have a row of their own."""
    found = jobgate("audit", "show", str(trail), TZ="UTC")
    rows = [line.split() for line in found.stdout.splitlines()]
    assert ["01-02", "03:04:05", "payments/upload/main", "allow", "PUT", "https://releases.example.com/a.tgz",
            "to-releases", "201", "1.5M", "12", "42"] in rows  # fmt: skip
    assert any("https://other.example.com:8443/a.tgz" in row and "upstream-timeout" in row for row in rows)
    assert any("session.opened" in row for row in rows)
    assert any("https://releases.example.com/a.tgz?..." in row and "open" in row for row in rows)


def test_nothing_a_job_wrote_acts_on_the_terminal(trail: Path) -> None:
    """Escape sequences, line breaks and direction marks are shown, on a terminal too, and markup is plain text."""
    reading, writing = pty.openpty()
    command = [sys.executable, "-m", "proxy", "audit", "show", str(trail), "--effect", "deny"]
    environment = {**os.environ, "COLUMNS": "300", "TERM": "xterm-256color"}
    subprocess.run(command, cwd=ROOT, env=environment, stdout=writing, check=True)
    os.close(writing)
    shown = os.read(reading, 65536).decode()
    os.close(reading)
    assert r"\x1b[31mred\x1b]0;title\x07\r\n\u202etxt[bold]" in shown
    assert "\x1b[31mred" not in shown
    assert "\u202e" not in shown
    assert "\x1b[1;31m" in shown, "our own colours are there"


def test_following_on_a_terminal_is_a_table_that_lives(tmp_path: Path) -> None:
    """An open flow's row is completed where it stands, counts go up, no word of a job acts on the terminal."""
    directory = tmp_path / "audit"
    asyncio.run(write(directory))
    reading, writing = pty.openpty()
    command = [sys.executable, "-m", "proxy", "audit", "show", "--follow", str(directory)]
    environment = {**os.environ, "COLUMNS": "200", "LINES": "40", "TERM": "xterm-256color"}
    shown = b""
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=writing) as follower:
        while b"0 denied" not in shown:
            shown += os.read(reading, 65536)
        asyncio.run(write(directory))
        while b"1 denied" not in shown or b"3 allowed" not in shown:
            shown += os.read(reading, 65536)
        follower.terminate()
        os.close(writing)
        assert follower.wait(10) == 0
    os.close(reading)
    assert b"payments/upload/main" in shown
    assert b"\x1b[31mred" not in shown


def test_no_color_is_respected(trail: Path) -> None:
    """NO_COLOR leaves no colour, on a terminal too."""
    reading, writing = pty.openpty()
    command = [sys.executable, "-m", "proxy", "audit", "show", str(trail)]
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200", "TERM": "xterm-256color"}
    subprocess.run(command, cwd=ROOT, env=environment, stdout=writing, check=True)
    os.close(writing)
    shown = os.read(reading, 65536).decode()
    os.close(reading)
    assert "\x1b[31m" not in shown
    assert "\x1b[32m" not in shown


@pytest.mark.parametrize(
    "filters, flows",
    [
        ([], ["f1", "f1", "f2", "f3", "f3", "f4"]),
        (["--pipeline", "payments"], ["f1", "f1", "f2", "f4"]),
        (["--job", "job-2"], ["f3", "f3"]),
        (["--host", "*.example.com"], ["f1", "f1", "f2", "f3", "f3", "f4"]),
        (["--host", "other.*"], ["f3", "f3"]),
        (["--effect", "deny"], ["f2"]),
        (["--reason", "no-rule"], ["f2"]),
        (["--reason", "upstream-timeout"], ["f3"]),
        (["--flow", "f1"], ["f1", "f1"]),
        (["--kind", "flow.outcome"], ["f1", "f3"]),
        (["--kind", "session.*"], []),
        (["--limit", "3"], ["f3", "f4"]),
        (["--since", "2026-01-02T03:04:06Z"], []),
        (["--since", "1s"], []),
    ],
)
def test_filters_choose_records(trail: Path, filters: list[str], flows: list[str]) -> None:
    """--json prints the chosen lines exactly as they stand in the trail; an outcome goes with its decision."""
    found = jobgate("audit", "show", "--json", str(trail), *filters)
    assert found.returncode == 0
    written = b"".join(path.read_bytes() for path in trail.glob("trail-*.jsonl"))
    lines = found.stdout.splitlines()
    assert all(line.encode() + b"\n" in written for line in lines)
    assert [record["flow"] for record in map(json.loads, lines) if "flow" in record] == flows


def test_follow_goes_on_across_segments_and_restarts(tmp_path: Path) -> None:
    """Every record is printed once and in order, whatever rotates or restarts meanwhile; ^C ends it well."""
    directory = tmp_path / "audit"
    asyncio.run(write(directory))
    command = [sys.executable, "-m", "proxy", "audit", "show", "--json", "--follow", str(directory)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        seen = [json.loads(follower.stdout.readline()) for _ in range(9)]
        asyncio.run(write(directory))
        asyncio.run(write(directory, segment_bytes=1))
        seen += [json.loads(follower.stdout.readline()) for _ in range(9 + 1 + 9 + 1)]
        follower.terminate()
        assert follower.wait(10) == 0
    assert [record["seq"] for record in seen] == list(range(29))


def test_follow_prints_a_flow_when_it_ends(tmp_path: Path) -> None:
    """For people: a denial at once, an allowed flow with its outcome."""
    directory = tmp_path / "audit"
    asyncio.run(write(directory, ()))
    command = [sys.executable, "-m", "proxy", "audit", "show", "--follow", "--kind", "flow.*", str(directory)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert "time" in follower.stdout.readline()
        asyncio.run(write(directory))
        lines = [follower.stdout.readline() for _ in range(3)]
        follower.terminate()
    assert "201" in lines[0]
    assert "no-rule" in lines[1]
    assert "504" in lines[2]


def test_a_reader_may_leave(trail: Path) -> None:
    """`| head` is no failure."""
    command = f"{sys.executable} -m proxy audit show --json {trail} | head -1"
    found = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0
    assert found.stderr == ""


def test_a_long_trail_is_verified_whole(tmp_path: Path) -> None:
    """Ten thousand records over several segments, each one walked."""
    asyncio.run(write(tmp_path / "audit", RECORDS[:2] * 5000, segment_bytes=1 << 20, durability="write"))
    report = json.loads(jobgate("audit", "verify", "--json", str(tmp_path / "audit")).stdout)
    assert (report["intact"], report["records"]) == (True, 10_002)
    assert report["segments"] > 2
