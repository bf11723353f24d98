"""The agent's hooks, run as the agent runs them, against a real proxy and an issuer: no part here is pretended but the
agent itself, and that one keeps the agent's order, environment capture, APIs and redaction."""

import contextlib
import json
import os
import re
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from proxy.cli.environment import job_environment
from proxy.control.client import ControlClient, ControlError
from proxy.demo.issuer import ISSUER, BuildJob, Issuer, TokenWish
from proxy.demo.tls import StageRoot
from proxy.demo.web import Exchange, Site
from proxy.model.authority import Authority
from tests.fakes.agent import Ended, FakeAgent

ROOT = Path(__file__).resolve().parents[2]
AUDIENCE = "https://jobgate.example.test"
HOST = "artifacts.example.test"
RULES = {
    "rules": [
        {
            "id": "read-artifacts",
            "why": "builds read released artifacts",
            "job": {"pipeline": "storefront", "branch": "main"},
            "to": HOST,
            "path": "/released/**",
        }
    ]
}
FETCH = f'curl -sS -o /dev/null -w "%{{http_code}} " https://{HOST}'


class _Released(Exchange):
    def answer(self) -> None:
        self.reply(200, b"released")


@dataclass(slots=True)
class Stage:
    """A running proxy, its issuer, and the job its agent works on."""

    folder: Path
    issuer: Issuer
    origin: Site
    job: BuildJob
    log: Path

    @property
    def control(self) -> Path:
        return self.folder / "control.sock"

    def agent(self, name: str, **options: str) -> FakeAgent:
        """Return an agent that has just taken a job of its own."""
        folder = self.folder / name
        folder.mkdir()
        self.job = self.issuer.add_job(pipeline_slug="storefront", build_branch="main")
        return FakeAgent(
            folder=folder,
            mint=lambda audience, lifetime: self.issuer.mint(self.job, TokenWish(audience=audience, lifetime=lifetime)),
            plugin=ROOT,
            environment={
                f"BUILDKITE_PLUGIN_JOBGATE_{key}": value
                for key, value in {
                    "AUDIENCE": AUDIENCE,
                    "CONTROL": str(self.control),
                    "CERTS": str(self.folder / "certs"),
                    **options,
                }.items()
            },
        )

    def run(self, agent: FakeAgent, command: str) -> Ended:
        return agent.run_job(command, job_id=self.job.job_id)

    def open_sessions(self) -> int:
        done = subprocess.run(
            ["curl", "-qsS", "--unix-socket", self.control, "http://jobgate/v1/sessions"],
            capture_output=True,
            check=True,
            timeout=10,
        )
        return len(json.loads(done.stdout)["sessions"])

    def records(self) -> list[dict[str, object]]:
        segments = sorted((self.folder / "audit").glob("trail-*.jsonl"))
        lines = [line for segment in segments for line in segment.read_text("ascii").splitlines()]
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("hooks")
    root = StageRoot(folder)
    issuer = Issuer(root.server_side("issuer", ("agent.buildkite.com",)))
    origin = Site(_Released, root.server_side("origin", (HOST,)))
    issuer.start()
    origin.start()
    (folder / "rules.yaml").write_text(json.dumps(RULES))
    (folder / "jobgate.yaml").write_text(
        json.dumps(
            {
                "listen": f"127.0.0.1:{_free_port()}",
                "control": "control.sock",
                "rules": ["rules.yaml"],
                "certs": "certs",
                "audit": {"directory": "audit"},
                "issuers": [{"provider": "buildkite", "audience": AUDIENCE, "bound": {"organization_slug": "acme"}}],
                "upstream": {
                    "trust": str(root.certificate),
                    "allow_addresses": ["127.0.0.0/8"],
                    "connect_to": {
                        f"{ISSUER.removeprefix('https://')}:443": issuer.site.place,
                        f"{HOST}:443": origin.place,
                    },
                },
            }
        )
    )
    log = folder / "proxy.log"
    try:
        with _running(folder, log, folder / "control.sock"):
            yield Stage(
                folder=folder,
                issuer=issuer,
                origin=origin,
                job=issuer.add_job(),
                log=log,
            )
    finally:
        issuer.stop()
        origin.stop()


@contextmanager
def _running(folder: Path, log: Path, control: Path | Authority) -> Iterator[None]:
    with log.open("w") as output:
        program = subprocess.Popen(
            [sys.executable, "-m", "proxy", "run", "--config", str(folder / "jobgate.yaml")],
            stdout=output,
            stderr=output,
            cwd=ROOT,
        )
    try:
        client = ControlClient(control)
        for _ in range(600):
            with contextlib.suppress(ControlError):
                if client.readiness() == () or program.poll() is not None:
                    break
            time.sleep(0.05)
        assert program.poll() is None, log.read_text()
        yield
    finally:
        program.terminate()
        program.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class ProcessList:
    """Reads every command line on this machine, as any user of it can, for as long as it watches."""

    seen: set[bytes] = field(default_factory=set)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watching(self) -> Iterator[None]:
        watcher = threading.Thread(target=self._watch)
        watcher.start()
        try:
            yield
        finally:
            self._stop.set()
            watcher.join()

    def _watch(self) -> None:
        while not self._stop.is_set():
            for entry in os.scandir("/proc"):
                if entry.name.isdigit():
                    try:
                        self.seen.add(Path(entry.path, "cmdline").read_bytes())
                    except OSError:
                        continue  # it ended while we looked


def secrets_of(agent: FakeAgent) -> list[str]:
    return [*agent.minted, *agent.redacted]


def test_a_job_works_under_its_own_identity_from_hook_to_hook(stage: Stage) -> None:
    """The command may do what the rule says and nothing else, and the session ends with the job."""
    agent = stage.agent("whole")

    ended = stage.run(agent, f"{FETCH}/released/app.tar; {FETCH}/private/key")

    assert ended.stopped_by is None, ended.log
    assert ended.code == 0, ended.log
    assert "200 403 " in ended.log
    assert re.search(r"jobgate: session \S+ is open", ended.log)
    assert re.search(r"jobgate: session \S+ is closed", ended.log)
    assert stage.open_sessions() == 0
    decided = [record for record in stage.records() if record["kind"] == "flow.decision"]
    assert {record["effect"] for record in decided} >= {"allow", "deny"}
    assert [seen.target for seen in stage.origin.seen] == ["/released/app.tar"]


def test_no_secret_is_in_a_log_or_a_process_list(stage: Stage) -> None:
    """Tokens and the session's password reach no program's arguments, no log of ours and no record; `set -x` or not."""
    agent = stage.agent("quiet", AUDIENCES_0="sts.amazonaws.com")
    agent.environment["SHELLOPTS"] = "xtrace"
    watched = ProcessList()

    with watched.watching():
        ended = stage.run(agent, f"echo THE COMMAND; env | grep -i proxy; {FETCH}/released/app.tar")

    assert ended.code == 0, ended.log
    assert len(agent.minted) == 2
    assert len(agent.redacted) == 1
    assert watched.seen
    for secret in secrets_of(agent):
        assert not any(secret.encode() in line for line in watched.seen)
        assert secret not in ended.log
        assert secret not in stage.log.read_text()
        assert secret not in json.dumps(stage.records())
    # What the hooks themselves said, before anything was redacted.
    before, _, after = agent.raw_log.partition("THE COMMAND")
    assert "is open" in before
    assert "is closed" in after
    assert not any(secret in before for secret in secrets_of(agent))
    assert not any(token in after for token in agent.minted)


def test_a_mediated_job_holds_a_placeholder_for_the_agents_token(stage: Stage) -> None:
    """The token goes to the proxy with the session; the command has a placeholder, and no way round."""
    agent = stage.agent("mediated", MEDIATE="true")
    ended = stage.run(agent, "env")

    assert ended.code == 0, ended.log
    assert re.search(r"^BUILDKITE_AGENT_ACCESS_TOKEN=jobgate-JOBGATE[0-9A-F]{13}$", ended.log, re.MULTILINE)
    assert re.search(r"^NO_PROXY=localhost,127.0.0.1,::1$", ended.log, re.MULTILINE)
    opened = [record for record in stage.records() if record["kind"] == "session.opened"][-1]
    assert opened["audiences"] == ["buildkite-agent"]
    assert agent.token not in agent.raw_log + stage.log.read_text() + json.dumps(stage.records())
    agent = stage.agent("unmediated", MEDIATE="true")
    agent.token = "two words"
    assert "is not a token" in stage.run(agent, "env").log


def test_several_runs_of_the_hook_open_one_session(stage: Stage) -> None:
    """As agent hook and as plugin's in one job, `environment` opens one session."""
    agent = stage.agent("twice")
    agent.hooks = ROOT / "hooks"

    ended = stage.run(agent, "true")

    assert ended.code == 0, ended.log
    assert len(agent.minted) == 1
    assert ended.log.count("is open") == 1
    assert ended.log.count("is closed") == 1


def test_two_containers_of_one_job_each_get_a_session(stage: Stage) -> None:
    """A token made in the same second as the last one is the same token: the hook asks for another, once."""
    first = stage.agent("checkout")
    assert stage.run(first, "true").code == 0
    second = stage.agent("command")
    used, fresh = first.minted[0], second.mint
    answers = iter([used])
    second.mint = lambda audience, lifetime: next(answers, None) or fresh(audience, lifetime)

    ended = stage.run(second, f"{FETCH}/released/app.tar")

    assert ended.code == 0, ended.log
    assert "200 " in ended.log
    assert len(second.minted) == 2


def test_a_used_token_opens_nothing(stage: Stage) -> None:
    """An agent that gives the same token again and again gets no session, and its job stops."""
    first = stage.agent("first-use")
    assert stage.run(first, "true").code == 0
    second = stage.agent("second-use")
    second.mint = lambda *_: first.minted[0]

    ended = stage.run(second, "true")

    assert not ended.ran_command
    assert "identity-replayed" in ended.log


def test_tokens_are_asked_for_each_audience_and_live_five_minutes(stage: Stage) -> None:
    """The hook asks for the proxy's audience first, then for those handed over; all as short as can be."""
    agent = stage.agent("audiences", AUDIENCES_0="sts.amazonaws.com", AUDIENCES_1="https://vault.example.test")

    ended = stage.run(agent, "true")

    assert ended.code == 0, ended.log
    asked = [words for words in agent.calls() if words[:2] == ["oidc", "request-token"]]
    assert asked == [
        ["oidc", "request-token", "--audience", audience, "--lifetime", "300"]
        for audience in (AUDIENCE, "sts.amazonaws.com", "https://vault.example.test")
    ]


def test_what_a_step_declares_is_handed_over(stage: Stage) -> None:
    """The plugin's option and JOBGATE_INTENT become the session's declaration, and the job is held to it."""
    agent = stage.agent("declares", INTENT_0="npm install *", INTENT_1="http GET http://elsewhere.test/**")
    agent.environment["JOBGATE_INTENT"] = "aws s3:PutObject arn:aws:s3:::b/*; unknown"

    ended = stage.run(agent, f"{FETCH}/released/app.tar")

    assert ended.code == 0, ended.log
    opened = [record for record in stage.records() if record["kind"] == "session.opened"][-1]
    assert opened["declared"] == [
        "aws s3:PutObject arn:aws:s3:::b/*",
        "unknown",
        "npm install *",
        "http GET http://elsewhere.test/**",
    ]
    denied = [record for record in stage.records() if record["kind"] == "flow.decision"][-1]
    assert (denied["reason"], denied["declared"]) == ("undeclared", "beyond")


type Spoil = Callable[[FakeAgent, Stage], None]


def _wrong_audience(agent: FakeAgent, stage: Stage) -> None:
    agent.environment["BUILDKITE_PLUGIN_JOBGATE_AUDIENCE"] = "https://somebody.example.test"


def _no_audience(agent: FakeAgent, stage: Stage) -> None:
    del agent.environment["BUILDKITE_PLUGIN_JOBGATE_AUDIENCE"]


def _no_proxy(agent: FakeAgent, stage: Stage) -> None:
    agent.environment["BUILDKITE_PLUGIN_JOBGATE_CONTROL"] = str(stage.folder / "nobody.sock")


def _not_a_token(agent: FakeAgent, stage: Stage) -> None:
    agent.mint = lambda *_: 'x","tokens":["y'


def _odd_intent(agent: FakeAgent, stage: Stage) -> None:
    agent.environment["JOBGATE_INTENT"] = 'npm install *"],"tokens":["x'


def _no_intent(agent: FakeAgent, stage: Stage) -> None:
    agent.environment["BUILDKITE_PLUGIN_JOBGATE_INTENT"] = "nmp install *"


def _other_organization(agent: FakeAgent, stage: Stage) -> None:
    agent.mint = lambda audience, _: stage.issuer.mint(
        stage.job, TokenWish(audience=audience), organization_slug="somebody-else"
    )


@pytest.mark.parametrize(
    "spoil,sentence",
    [
        (_wrong_audience, "identity-audience"),
        (_no_audience, "no audience is set"),
        (_no_proxy, "the control API does not answer"),
        (_not_a_token, "is not a token"),
        (_odd_intent, "holds a character that none has"),
        (_no_intent, "is no protocol that is read"),
        (_other_organization, "identity-claims"),
    ],
)
def test_without_a_session_the_job_stops(stage: Stage, spoil: Spoil, sentence: str) -> None:
    """Whatever keeps the session from being opened ends the job before its command, with a sentence that says what."""
    agent = stage.agent(f"spoilt-{sentence.replace(' ', '-')}")
    spoil(agent, stage)

    ended = stage.run(agent, "echo the command ran")

    assert ended.stopped_by is not None
    assert ended.code != 0
    assert not ended.ran_command
    assert "the command ran" not in ended.log
    assert sentence in ended.log
    assert "the job stops here" in ended.log
    assert stage.open_sessions() == 0


def test_a_session_that_cannot_be_closed_does_not_fail_the_job(stage: Stage) -> None:
    """`pre-exit` says what it could not do, and the job keeps its own result."""
    agent = stage.agent("unclosed")
    (agent.folder / "hooks").mkdir()
    (agent.folder / "hooks" / "pre-command").write_text("#!/bin/bash\nexport JOBGATE_SESSION_SECRET=gone-astray\n")
    agent.hooks = agent.folder / "hooks"

    ended = stage.run(agent, "exit 7")

    assert ended.code == 7
    assert "was not closed" in ended.log


def test_an_agent_of_another_user_comes_over_loopback(stage: Stage, tmp_path: Path) -> None:
    """Both hooks speak to a control address as they do to a socket, past any proxy variable of the job."""
    settings = json.loads((stage.folder / "jobgate.yaml").read_text())
    control = Authority("127.0.0.1", _free_port())
    settings |= {"listen": f"127.0.0.1:{_free_port()}", "control": str(control)}
    (tmp_path / "jobgate.yaml").write_text(json.dumps(settings))
    (tmp_path / "rules.yaml").write_text(json.dumps(RULES))
    agent = stage.agent("loopback", CONTROL=str(control), CERTS=str(tmp_path / "certs"))
    agent.environment |= {"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}

    with _running(tmp_path, tmp_path / "log", control):
        ended = stage.run(agent, f"{FETCH}/released/app.tar")

    assert ended.code == 0, ended.log
    assert "200 " in ended.log
    assert "is closed" in ended.log


def test_the_hook_exports_what_the_command_prints(stage: Stage) -> None:
    """The hook's list of variables is that of `jobgate env`: a tool works the same way under both."""
    agent = stage.agent("exports")

    ended = stage.run(agent, "env -0 > exported")

    assert ended.code == 0, ended.log
    exported = dict(
        pair.split("=", 1) for pair in (agent.folder / "build" / "exported").read_text().split("\0") if "=" in pair
    )
    secret = next(iter(agent.redacted))
    port = exported["HTTPS_PROXY"].rpartition(":")[2]
    wanted = job_environment(f"http://job:{secret}@127.0.0.1:{port}", stage.folder / "certs")
    assert {name: exported.get(name) for name in wanted} == wanted


def test_the_plugin_declares_every_option_the_hooks_read() -> None:
    """plugin.yml knows exactly the options the hooks use, and refuses others."""
    declared = yaml.safe_load((ROOT / "plugin.yml").read_text())["configuration"]
    hooks = (ROOT / "hooks" / "environment").read_text() + (ROOT / "hooks" / "pre-exit").read_text()
    read = set(re.findall(r"_jobgate_option ([A-Z]+)", hooks)) | set(re.findall(r"PLUGIN_JOBGATE_([A-Z]+)", hooks))

    assert {name.lower() for name in read} == set(declared["properties"])
    assert declared["additionalProperties"] is False
    assert declared["required"] == ["audience"]


def test_the_hooks_are_executable() -> None:
    """The agent runs only hooks that may be run."""
    for name in ("environment", "pre-exit"):
        assert (ROOT / "hooks" / name).stat().st_mode & stat.S_IXUSR


def test_the_agent_of_these_tests_refuses_strangers(tmp_path: Path) -> None:
    """The fake is strict: its API mints for the job's access token only, so the hook cannot pass by accident."""
    agent = FakeAgent(folder=tmp_path, mint=lambda *_: "minted")
    agent.environment["BUILDKITE_AGENT_ACCESS_TOKEN"] = "wrong"

    ended = agent.run_job("buildkite-agent oidc request-token --audience a --lifetime 300", job_id="j")

    assert ended.code != 0
    assert "answered 401" in ended.log
