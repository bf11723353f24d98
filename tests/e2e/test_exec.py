"""`jobgate exec -- CMD`: one command behind a proxy of its own, its exit code, and an account of what it did."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.sources.trail import read_lines
from tests.fakes.sidecar import World, rule


@pytest.fixture(scope="module")
def stage() -> Iterator[World]:
    """Origins and rules without a sidecar: `exec` starts its own."""
    made = World(rules=[rule("web", "origin.test", job={"pipeline": "web"})])
    for part in (made.issuer, made.origin, made.plain, made.internet):
        part.start()
    made.write_rules(made.rules)
    settings: dict[str, Any] = {name: value for name, value in made.whole_settings().items() if name != "issuers"}
    (made.folder / "jobgate.yaml").write_text(json.dumps(settings))
    yield made
    made.stop()


def run_exec(stage: World, *words: str, report: str = "json") -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("JOBGATE_")}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "proxy",
            "exec",
            "--config",
            str(stage.folder / "jobgate.yaml"),
            "--report",
            report,
            *words,
        ],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env={**inherited, "AWS_SESSION_TOKEN": "planted", "AWS_PROFILE": "planted"},
    )


CURL = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}"]


def flows(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done.stderr[done.stderr.index("[") :])
    return found


def test_an_allowed_request_passes_and_is_reported(stage: World, tmp_path: Path) -> None:
    """The command's own output stays its own; the account goes to stderr; the trail says: unverified."""
    words = ["--audit", str(tmp_path / "trail"), "--job", "pipeline=web"]
    done = run_exec(stage, *words, "--", *CURL, "https://origin.test/hello")
    assert (done.returncode, done.stdout) == (0, "200"), done.stderr
    (flow,) = flows(done)
    assert flow["decision"]["effect"] == "allow"
    assert flow["decision"]["job"] == {"pipeline": "web"}
    assert flow["outcome"]["status"] == 200
    opened = [
        record for record in map(json.loads, read_lines(tmp_path / "trail")) if record["kind"] == "session.opened"
    ]
    assert [record["verified"] for record in opened] == [False]


@pytest.mark.parametrize("words", [["--job", "pipeline=web"], ["--job", "pipeline=other"]])
def test_a_denied_request_is_reported(stage: World, words: list[str]) -> None:
    """What no rule allows ends the client with an error, and the account says why."""
    host = "other.test" if "pipeline=web" in words else "origin.test"
    done = run_exec(stage, *words, "--", *CURL, f"https://{host}/hello")
    assert done.returncode != 0
    assert [flow["decision"]["effect"] for flow in flows(done)] == ["deny"]


@pytest.mark.parametrize("script, code", [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)])
def test_the_exit_code_is_the_commands_own(stage: World, script: str, code: int) -> None:
    """Also when a signal ended it, as shells have it."""
    assert run_exec(stage, "--", "sh", "-c", script, report="none").returncode == code


def test_a_table_is_the_default_account(stage: World) -> None:
    """One line of sums, and a row per flow."""
    done = run_exec(stage, "--job", "pipeline=web", "--", *CURL, "https://origin.test/hello", report="table")
    assert "1 flows, 1 allowed, 0 denied" in done.stderr
    assert "origin.test" in done.stderr


def test_the_command_gets_the_jobs_environment_and_no_session_of_ours(stage: World) -> None:
    """Proxy variables and placeholders; session tokens and profiles that would not fit them are gone."""
    script = "import json,os; print(json.dumps(dict(os.environ)))"
    seen = json.loads(run_exec(stage, "--", sys.executable, "-c", script, report="none").stdout)
    assert seen["HTTPS_PROXY"].startswith("http://127.0.0.1:")
    assert seen["JOBGATE"] == "1"
    assert {"AWS_SESSION_TOKEN", "AWS_PROFILE"}.isdisjoint(seen)
    assert not Path(seen["SSL_CERT_FILE"]).exists()


def test_sdks_of_the_command_are_told_the_public_placeholders(stage: World) -> None:
    """Without a proxy password whoever asks is the one job: by AWS's way and by Google's."""
    script = (
        'curl -s --noproxy "*" "$AWS_CONTAINER_CREDENTIALS_FULL_URI"; echo; '
        'curl -s --noproxy "*" -H "Metadata-Flavor: Google" '
        '"http://$GCE_METADATA_HOST/computeMetadata/v1/instance/service-accounts/default/token"'
    )
    aws, google = map(json.loads, run_exec(stage, "--", "sh", "-c", script, report="none").stdout.splitlines())
    assert (aws["AccessKeyId"], aws["SecretAccessKey"]) == ("JOBGATEPLACEHOLDER00", "jobgate-placeholder")
    assert google["access_token"] == "ya29.JOBGATEPLACEHOLDER00"


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["--job", "pipeline"], 2, "write NAME=VALUE"),
        (["--job", "surprise=1"], 2, "write NAME=VALUE"),
        (["--job", "claims={}"], 2, "write NAME=VALUE"),
        (["--job", "build_number=x"], 2, "is a whole number"),
        (["--job", "protected=yes"], 2, "is true or false"),
        (["--listen", "x"], 2, "host:port"),
    ],
)
def test_a_wrong_word_starts_nothing(stage: World, words: list[str], code: int, said: str) -> None:
    """It is named, with what to write."""
    done = run_exec(stage, *words, "--", "sh", "-c", "echo started")
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr


def test_numbers_and_truths_are_read_as_such(stage: World) -> None:
    """`--job` values have the type of what they name."""
    words = ["--job", "build_number=42", "--job", "protected=true", "--job", "branch=a=b"]
    done = run_exec(stage, *words, "--job", "pipeline=web", "--", *CURL, "https://origin.test/hello")
    assert done.returncode == 0, done.stderr


def test_a_command_that_is_none_is_named(stage: World) -> None:
    """And nothing is left behind."""
    done = run_exec(stage, "--", "no-such-command-here")
    assert done.returncode != 0
    assert "no-such-command-here: no such command" in done.stderr
    assert "Traceback" not in done.stderr
