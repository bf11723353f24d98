"""The kill switch of a running sidecar: on the next request, on what is under way, and after a restart."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.control.client import ControlError
from proxy.control.kill_file import load_kills
from proxy.demo.aws import DemoPartError
from proxy.model.errors import ConfigError
from proxy.model.grant import Secret
from tests.fakes.sidecar import Job, World, rule, wait_until

MakeWorld = Callable[..., World]
HELLO = "https://origin.test/hello"
STATUS = ("-o", "/dev/null", "-w", "%{http_code} %{http_connect}")
TOKEN = "operator-token-of-the-kill-switch-tests"


@pytest.fixture
def world(make_world: MakeWorld, tmp_path: Path) -> World:
    operator = tmp_path / "operator"
    operator.write_text(TOKEN)
    operator.chmod(0o600)
    credential = {"header": {"from": {"file": str(operator)}}}
    made: World = make_world(
        rules=[rule("open", "origin.test"), rule("secret", "other.test", credential=credential)],
        settings={"session": {"operator_token": str(operator)}, "kills": str(tmp_path / "kills.json")},
    )
    return made


def slow(job: Job) -> "subprocess.Popen[bytes]":
    """A download whose second half does not come."""
    return subprocess.Popen(
        ["curl", "-sS", "https://origin.test/slow"],
        cwd=job.folder,
        env=job.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("scope, value", [("pipeline", "storefront"), ("host", "*.test"), ("rule", "open")])
def test_a_kill_ends_what_is_under_way_and_what_follows(world: World, scope: str, value: str) -> None:
    """The stream is cut at once, the next request is denied, and the record says who stopped what and why."""
    job = world.open(pipeline_slug="storefront")
    stream = slow(job)
    assert world.origin.waiting.wait(20)
    kill = world.sidecar.api.kill(scope, value, "stolen laptop")
    out, _ = stream.communicate(timeout=10)
    assert out == b"first."
    # A rule's tunnel may be another rule's too: what is asked inside is denied.
    assert job.curl(*STATUS, HELLO, code=None) in {"000 403", "000 407", "403 200"}
    asked = [seen.target for seen in world.origin.site.seen]
    assert "/hello" not in asked
    (record,) = world.records("kill.set")
    assert (record["kill"], record["scope"], record["value"], record["why"]) == (
        kill["id"],
        scope,
        value,
        "stolen laptop",
    )
    ended = world.ended(path="/slow")
    assert ended.reason in {"killed", "session-expired"}
    world.origin.gate.set()


def test_other_jobs_go_on(world: World) -> None:
    """A killed pipeline opens no session and keeps none; another one notices nothing."""
    first, second = world.open(pipeline_slug="first"), world.open(pipeline_slug="second")
    world.sidecar.api.kill("pipeline", "first", "x")
    assert first.curl(*STATUS, HELLO, code=None).split()[1] == "407"
    assert second.curl(*STATUS, HELLO) == "200 200"
    with pytest.raises(ControlError) as caught:
        world.open(pipeline_slug="first")
    assert caught.value.slug == "killed"
    assert world.records("session.closed")[-1]["why"] == "killed"
    refused = wait_until(lambda: world.records("session.refused"))
    assert refused[-1]["reason"] == "killed"


def test_a_kill_outlives_a_restart_until_it_is_lifted(world: World, tmp_path: Path) -> None:
    """kill -9 does not lift it; the operator's token does, and nothing else."""
    api = world.sidecar.api
    kill = api.kill("host", "origin.test", "outage")
    world.sidecar.kill()
    world.sidecar.start()
    job = world.open()
    assert job.curl(*STATUS, HELLO, code=None) == "000 403"
    assert world.ended(place="origin.test").reason == "killed"
    for secret in (None, Secret("x" * 40)):
        with pytest.raises(ControlError) as caught:
            api.lift(kill["id"], secret)
        assert caught.value.status == 401
    api.lift(kill["id"], Secret(TOKEN))
    assert job.curl(*STATUS, HELLO) == "200 200"
    assert load_kills(tmp_path / "kills.json") == ()
    with pytest.raises(ControlError) as caught:
        api.lift(kill["id"], Secret(TOKEN))
    assert caught.value.status == 404
    assert [record["kind"] for kind in ("kill.set", "kill.lifted") for record in world.records(kind)] == [
        "kill.set",
        "kill.lifted",
    ]


def test_a_connectors_credential_is_withheld(world: World) -> None:
    """What needs the connector is denied before anything is minted; what needs none goes on."""
    job = world.open()
    world.sidecar.api.kill("connector", "header", "leaked")
    assert job.curl(*STATUS, "https://other.test/hello").split()[0] == "403"
    assert world.records("credential.minted") == []
    assert job.curl(*STATUS, HELLO) == "200 200"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"scope": "job", "value": "x"},
        {"scope": "job", "value": "x", "why": 1},
        {"scope": "job", "value": "x", "why": "y", "more": "z"},
        {"scope": "team", "value": "x", "why": "y"},
        {"scope": "host", "value": "A", "why": "y"},
    ],
)
def test_what_is_no_kill_is_refused(world: World, body: dict[str, object]) -> None:
    """400 with a sentence, and nothing is stopped."""
    answer = world.sidecar.api.call("POST", "/v1/kills", body=body)
    assert (answer.status, answer.json()["error"]) == (400, "body-malformed")
    assert world.sidecar.api.list_kills() == []


def test_a_kill_that_cannot_be_stored_holds_and_is_told(world: World, tmp_path: Path) -> None:
    """The operator learns that a restart would lift it; what cannot be stored is not lifted either."""
    (tmp_path / "kills.json").mkdir()
    with pytest.raises(ControlError, match="would not be after a restart") as caught:
        world.sidecar.api.kill("host", "origin.test", "x")
    assert caught.value.status == 503
    (kill,) = world.sidecar.api.list_kills()
    assert world.open().curl(*STATUS, HELLO, code=None) == "000 403"
    with pytest.raises(ControlError, match="stays stopped"):
        world.sidecar.api.lift(kill["id"], Secret(TOKEN))


def test_the_command(world: World, tmp_path: Path) -> None:
    """One command stops, lists and lifts; it says what it needs."""
    control = str(world.sidecar.control)

    def run(*words: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "proxy", "kill", "--control", control, *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert run() == "nothing is stopped\n"
    (made,) = json.loads(run("--job", "j-1", "--why", "stolen token", "--json"))
    assert (made["scope"], made["value"], made["why"]) == ("job", "j-1", "stolen token")
    assert "job j-1  since" in run()
    assert "operator-only" in run("--lift", made["id"], code=3)
    assert run("--lift", made["id"], "--token", str(tmp_path / "operator")) == ""
    assert run() == "nothing is stopped\n"
    assert "say why" in run("--job", "j-1", code=2)
    assert "one thing at a time" in run("--job", "j-1", "--host", "a.test", "--why", "x", code=2)
    assert "cannot be read as a token" in run("--token", str(tmp_path / "none"), code=2)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"kills": [1]}',
        b'{"kills": [{}]}',
        b'{"kills": [{"id": "a", "scope": "team", "value": "x", "why": "y", "at": "2030-01-01T00:00:00+00:00"}]}',
        b'{"kills": [{"id": "a", "scope": "job", "value": "x", "why": "y", "at": "soon"}]}',
        b"\xff",
        b" " * (1 << 20) + b"{}",
    ],
)
def test_a_file_that_cannot_be_read_is_no_empty_one(tmp_path: Path, content: bytes) -> None:
    """The proxy does not start: what is stopped is not known."""
    file = tmp_path / "kills.json"
    assert load_kills(file) == ()
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="is not a list of kills"):
        load_kills(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_kills(tmp_path)


def test_a_broken_file_keeps_the_proxy_from_starting(world: World, tmp_path: Path) -> None:
    """It ends with a sentence that names the file."""
    world.sidecar.stop()
    (tmp_path / "kills.json").write_text("{")
    with pytest.raises(DemoPartError, match=r"kills\.json is not a list of kills"):
        world.sidecar.start()
