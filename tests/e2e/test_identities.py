"""Who is talking: sessions, raw tokens, sidecar mode, and an issuer that is not ours."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from proxy.control.client import ControlError
from proxy.demo.issuer import BuildJob
from proxy.model.grant import Secret
from tests.fakes.sidecar import AUDIENCE, Job, World, rule, wait_until
from tests.fakes.tools import RequireTool, skip_loudly

MakeWorld = Callable[..., World]
NODE = Path(__file__).resolve().parents[1] / "fakes" / "node"
STATUS = ("-o", "/dev/null", "-w", "%{http_code} %{http_connect}", "https://origin.test/hello")


def test_a_closed_session_is_over_at_once(world: World) -> None:
    """After the job's end its password is worth nothing, on open connections too."""
    job = world.open()
    assert job.curl(*STATUS) == "200 200"
    assert job.session is not None
    world.sidecar.close_session(job.session)
    assert job.curl(*STATUS, code=56) == "000 407"
    closed = world.records("session.closed")
    assert job.session.id in {record["session"] for record in closed}


def test_a_session_ends_only_by_its_own_secret(world: World) -> None:
    """One job cannot end another's session."""
    mine, theirs = world.open(), world.open()
    assert mine.session is not None
    assert theirs.session is not None
    path = f"/v1/sessions/{theirs.session.id}"
    assert world.sidecar.api.call("DELETE", path).status == 401
    assert world.sidecar.api.call("DELETE", path, secret=Secret(mine.session.secret)).status == 404
    assert theirs.curl(*STATUS) == "200 200"


def test_a_raw_token_is_a_password(world: World) -> None:
    """A job without the hook may put its token into the proxy URL."""
    token = world.token(world.issuer.add_job())
    proxy = {"https_proxy": world.sidecar.proxy_url(token)}
    assert world.open().curl(*STATUS, environment=proxy) == "200 200"


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"aud": "https://somebody.else"}, "identity-audience"),
        ({"organization_slug": "evil"}, "identity-claims"),
        ({"exp": 1}, "identity-expired"),
        ({"iss": "https://issuer.evil"}, "identity-issuer"),
        ({"job_id": ...}, "identity-claims"),
    ],
)
def test_a_wrong_token_opens_nothing(world: World, changes: dict[str, Any], reason: str) -> None:
    """A token for another audience, organization or time, or of another issuer, is refused, and why is on record."""
    token = world.token(world.issuer.add_job(), **changes)
    with pytest.raises(ControlError) as refused:
        world.sidecar.open_session(token)
    assert refused.value.slug == reason
    wait_until(lambda: reason in {record["reason"] for record in world.records("session.refused")[-1:]})


def test_a_token_opens_one_session(world: World) -> None:
    """A token that has opened a session opens no second one: a copy from a log is worth nothing."""
    token = world.token(world.issuer.add_job())
    world.sidecar.open_session(token)
    with pytest.raises(ControlError) as refused:
        world.sidecar.open_session(token)
    assert refused.value.slug == "identity-replayed"


def test_a_rotated_key_is_found(world: World) -> None:
    """A token signed with a key published after the start is accepted."""
    world.issuer.rotate()
    assert world.open().curl(*STATUS) == "200 200"


def test_jobs_are_told_apart(make_world: MakeWorld) -> None:
    """Two jobs on one sidecar: the same request, two decisions, two names on record."""
    world = make_world(rules=[{**rule("main", "origin.test"), "job": {"organization": "acme", "branch": "main"}}])
    allowed, denied = world.open(), world.open(build_branch="cheaper-prices", build_number=7)
    assert allowed.curl(*STATUS) == "200 200"
    assert denied.curl(*STATUS, code=56) == "000 403"
    decisions = [(record["effect"], record["job"]["branch"]) for record in world.records("flow.decision")]
    assert decisions == [("allow", "main"), ("deny", "cheaper-prices")]


def test_sidecar_mode(make_world: MakeWorld) -> None:
    """One job per sidecar: the identity comes from a file, and clients need no proxy password."""
    world = make_world(start=False)
    known = world.issuer.add_job(step_key="package")
    (world.folder / "token").touch(mode=0o600)
    (world.folder / "token").write_text(world.token(known))
    world.settings["identity"] = {"file": str(world.folder / "token")}
    world.start()
    job = world.job(None)
    assert job.curl(*STATUS) == "200 200"
    assert world.records("flow.decision")[-1]["job"]["step"] == "package"


@pytest.fixture
def provider(make_world: MakeWorld, require_tool: RequireTool) -> Iterator[tuple[World, int]]:
    """npm `oidc-provider` as an issuer; the port it listens on."""
    node, npm = require_tool("node"), require_tool("npm")
    installed = subprocess.run(
        [npm, "ci", "--no-audit", "--no-fund", "--prefer-offline"],
        cwd=NODE,
        capture_output=True,
        check=False,
        timeout=90,
    )
    if installed.returncode != 0:
        skip_loudly(f"npm oidc-provider cannot be had: {installed.stderr.decode()[-300:]}")
    world = make_world(start=False)
    claims = {"org": "acme", "pipe": "storefront", "build": 12, "ref": "main", "task": "release"}
    certificate, key = world.root.issue("provider", ("issuer.test", "127.0.0.1"))
    running = subprocess.Popen(
        [node, "issuer.mjs", str(certificate), str(key), "https://issuer.test", AUDIENCE, json.dumps(claims)],
        cwd=NODE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert running.stdin is not None
    assert running.stdout is not None
    with running, running.stdout, running.stdin:
        port = int(running.stdout.readline())
        world.places["issuer.test:443"] = f"127.0.0.1:{port}"
        yield world, port
        running.stdin.close()


@pytest.mark.real
def test_an_independent_issuer(provider: tuple[World, int]) -> None:
    """A token of npm's oidc-provider opens a session through the `generic` profile and its mapping."""
    world, port = provider
    mapping = {"organization": "org", "pipeline": "pipe", "build_number": "build", "branch": "ref", "step": "task"}
    world.settings["issuers"] = [
        {
            "provider": "generic",
            "issuer": "https://issuer.test",
            "audience": AUDIENCE,
            "bound": {"org": "acme"},
            "mapping": mapping,
        }
    ]
    world.start()
    answered = requests.post(
        f"https://127.0.0.1:{port}/token",
        data={"grant_type": "client_credentials"},
        auth=("job", "job-secret"),
        headers={"Host": "issuer.test"},
        verify=str(world.root.certificate),
        timeout=10,
    )
    token = answered.json()["access_token"]
    job = world.job(world.sidecar.open_session(token))
    assert job.curl(*STATUS) == "200 200"
    named = world.records("flow.decision")[-1]["job"]
    assert named == {
        "organization": "acme",
        "pipeline": "storefront",
        "build_number": 12,
        "branch": "main",
        "step": "release",
    }


def test_the_issuer_is_down(make_world: MakeWorld) -> None:
    """Without the issuer's keys nobody is let in, and the answer says that it is not the job's fault."""
    world = make_world(start=False)
    world.places["agent.buildkite.com:443"] = "127.0.0.1:9"
    world.start()
    token = world.token(world.issuer.add_job())
    with pytest.raises(ControlError) as refused:
        world.sidecar.open_session(token)
    assert refused.value.slug == "issuer-unavailable"


def test_the_agent_api_is_as_documented(world: World) -> None:
    """The stage's issuer asks for the agent's token and mints the documented claims, no `jti` among them."""
    known: BuildJob = world.issuer.add_job()
    url = f"https://127.0.0.1:{world.issuer.site.port}/v3/jobs/{known.job_id}/oidc/tokens"
    trust = str(world.root.certificate)
    assert requests.post(url, json={}, verify=trust, timeout=10).status_code == 401
    agent = {"Authorization": f"Token {known.agent_token}"}
    answered = requests.post(url, json={"audience": AUDIENCE, "lifetime": 60}, headers=agent, verify=trust, timeout=10)
    assert answered.json()["token"].count(".") == 2
    long = requests.post(url, json={"lifetime": 7201}, headers=agent, verify=trust, timeout=10)
    assert long.status_code == 422


def test_a_job_sees_its_own_denial_only(world: World) -> None:
    """Other jobs' names never show in an answer."""
    other: Job = world.open(pipeline_slug="payroll-secret-pipeline")
    assert other.curl(*STATUS) == "200 200"
    said = world.open().curl("http://denied.test/")
    assert "payroll" not in said
    wait_until(lambda: world.flows(place="denied.test"))
