"""`jobgate env`: each format means the same in its shell; sessions open and close; secrets stay where they must."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.cli.environment import FORMATS, job_environment
from tests.fakes.sidecar import World, wait_until

ODD = {"A": "it's", "B": 'a "b" $HOME `id` \\ \\n', "C": "", "D": "* ? [x] ; & | < > ( ) # ! ~", "E": "caf\u00e9"}
DUMP = "import json,os; print(json.dumps({n: os.environ.get(n) for n in 'ABCDE'}))"


def run_env(
    world: World, *words: str, stdin: str = "", code: int = 0, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("JOBGATE_")}
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "env", "--config", str(world.sidecar.config), *words],
        input=stdin,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
        env={**inherited, **(environment or {})},
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.parametrize("shell, style", [("bash", "sh"), ("dash", "sh"), ("zsh", "sh"), ("fish", "fish")])
def test_every_value_survives_its_shell(shell: str, style: str, tmp_path: Path) -> None:
    """Quotes, dollars, backslashes and globs mean themselves."""
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"MISSING PART: {shell} is not installed")
    script = tmp_path / "script"
    script.write_text(f'{FORMATS[style](ODD)}{sys.executable} -c "{DUMP.replace(chr(34), chr(39))}"\n')
    done = subprocess.run([path, str(script)], capture_output=True, check=True, timeout=30)
    assert json.loads(done.stdout) == ODD


def test_plain_formats_hold_the_same_values() -> None:
    """JSON for programs, NAME=value lines for CI files."""
    plain = job_environment("http://127.0.0.1:1", Path("/certs"))
    assert json.loads(FORMATS["json"](plain)) == plain
    assert dict(line.split("=", 1) for line in FORMATS["dotenv"](plain).splitlines()) == plain


def test_sidecar_mode_prints_no_secret(world: World) -> None:
    """Without --open nothing is asked and no password stands in the proxy URL."""
    printed = json.loads(run_env(world, "--format", "json", environment={"JOBGATE_LISTEN": "127.0.0.1:3128"}).stdout)
    assert printed["HTTPS_PROXY"] == "http://127.0.0.1:3128"
    assert printed["SSL_CERT_FILE"] == str(world.sidecar.certs / "bundle.pem")
    assert "JOBGATE_SESSION_SECRET" not in printed


def test_an_agents_token_is_handed_over(world: World) -> None:
    """With --agent a placeholder takes its place and the agent API is no exception; without the variable, an error."""
    token = world.token(world.issuer.add_job())
    words = ("--open", "-", "--agent", "--format", "json")
    done = run_env(world, *words, stdin=token, environment={"BUILDKITE_AGENT_ACCESS_TOKEN": "planted-agent-token"})
    variables = json.loads(done.stdout)
    assert variables["BUILDKITE_AGENT_ACCESS_TOKEN"] == variables["JOBGATE_PLACEHOLDER"]
    assert "buildkite" not in variables["NO_PROXY"] + variables["no_proxy"]
    assert "planted" not in done.stdout
    opened = world.records("session.opened")[-1]
    assert opened["audiences"] == ["buildkite-agent"]
    assert (
        "is not set"
        in run_env(world, *words, stdin=token, code=2, environment={"BUILDKITE_AGENT_ACCESS_TOKEN": ""}).stderr
    )


def test_a_port_picked_at_start_cannot_be_printed(world: World) -> None:
    """It is said so, with what to do."""
    done = run_env(world, code=2, environment={"JOBGATE_LISTEN": "127.0.0.1:0"})
    assert "choose one" in done.stderr
    assert done.stdout == ""


def test_a_session_is_opened_used_and_closed(world: World, tmp_path: Path) -> None:
    """The token comes by stdin; what is printed works as the job's environment until --close."""
    token = world.token(world.issuer.add_job())
    opened = run_env(world, "--open", "-", "--format", "json", stdin=f"{token}\n")
    variables = json.loads(opened.stdout)
    secret = variables["JOBGATE_SESSION_SECRET"]
    assert secret in variables["HTTPS_PROXY"]
    assert {name for name, value in variables.items() if secret in value} <= {
        "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "YARN_HTTP_PROXY", "YARN_HTTPS_PROXY",
        "JOBGATE_SESSION_SECRET", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "IDENTITY_HEADER",
    }  # fmt: skip
    assert token not in opened.stdout + opened.stderr
    ask = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "https://origin.test/hello"]
    job = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **variables}
    assert subprocess.run(ask, env=job, capture_output=True, check=True, timeout=30).stdout == b"200"
    closed = run_env(world, "--close", environment=variables)
    assert closed.stdout == ""
    assert secret not in closed.stderr
    after = subprocess.run(ask, env=job, capture_output=True, check=False, timeout=30)
    assert after.returncode != 0
    wait_until(lambda: world.records("session.closed"))
    trail = "".join(path.read_text() for path in world.sidecar.audit.rglob("*") if path.is_file())
    assert secret not in trail
    assert token not in trail


def test_a_token_file_and_others_are_read(world: World, tmp_path: Path) -> None:
    """--open FILE, and --also FILE for each further audience."""
    job = world.issuer.add_job()
    (tmp_path / "token").write_text(world.token(job) + "\n")
    (tmp_path / "sts").write_text(world.token(job, "sts.amazonaws.com"))
    words = ["--open", str(tmp_path / "token"), "--also", str(tmp_path / "sts"), "--format", "dotenv"]
    assert "JOBGATE_SESSION_ID=" in run_env(world, *words).stdout


@pytest.mark.parametrize(
    "words, stdin, code, said",
    [
        (["--open", "/nonexistent/token"], "", 2, "cannot be read as a token"),
        (["--open", "-"], "planted.not-a.token", 3, "identity-"),
        (["--open", "-"], "", 3, ""),
        (["--close"], "", 2, "JOBGATE_SESSION_ID and JOBGATE_SESSION_SECRET are not set"),
        (["--format", "csh"], "", 2, "csh"),
    ],
)
def test_a_failure_prints_nothing_to_evaluate(world: World, words: list[str], stdin: str, code: int, said: str) -> None:
    """`eval` of a failure exports nothing, and the message repeats no token."""
    done = run_env(world, *words, stdin=stdin, code=code)
    assert done.stdout == ""
    assert said in done.stderr
    assert "planted" not in done.stderr
    assert "Traceback" not in done.stderr
