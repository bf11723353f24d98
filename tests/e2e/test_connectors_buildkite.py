"""The agent API through a real sidecar: the agent's token stays with it, identities are for pinned audiences."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from proxy.demo.issuer import BuildJob, TokenWish
from tests.fakes.agent_api import HOST, AgentApi
from tests.fakes.canary import find_leaks, places_of
from tests.fakes.sidecar import Job, World, rule

TOKEN: Final = "planted-agent-token-0123456789"
AUDIENCE: Final = "sts.amazonaws.com"
SEEN: Final = ("-w", "\n%{http_code}")


@dataclass(slots=True)
class AgentStage:
    """A sidecar in front of the agent API."""

    world: World = field(default_factory=World)
    api: AgentApi = field(init=False)
    known: dict[str, BuildJob] = field(default_factory=dict)

    def __post_init__(self) -> None:
        world = self.world
        self.api = AgentApi(world.root.server_side("agent-api", (HOST,)), TOKEN, self.mint)
        held = world.folder / "agent-token"
        held.touch(mode=0o600)
        held.write_text(TOKEN)
        lines = ["ci oidc.mint **", "ci meta.set **", "ci secret.get secret/DEPLOY"]
        world.rules = [
            self.rule("handed", lines, {"audiences": [AUDIENCE]}),
            self.rule("held", ["ci oidc.mint **", "ci credential **", "ci meta.set **"], {"from": {"file": str(held)}}),
        ]
        world.places = {f"{HOST}:443": self.api.site.place}
        self.api.site.start()
        world.start()

    def rule(self, pipeline: str, intent: list[str], block: dict[str, Any]) -> dict[str, Any]:
        made = rule(pipeline, HOST, intent=intent, credential={"buildkite": block})
        return {**made, "job": {"organization": "acme", "pipeline": pipeline}}

    def mint(self, job_id: str, audience: str) -> str:
        return self.world.issuer.mint(self.known[job_id], TokenWish(audience=audience))

    def open(self, pipeline: str, agent_token: str | None = None) -> tuple[Job, BuildJob]:
        known = self.world.issuer.add_job(pipeline_slug=pipeline)
        self.known[known.job_id] = known
        token = self.world.token(known)
        return self.world.job(self.world.sidecar.open_session(token, agent_token=agent_token)), known


@pytest.fixture(scope="module")
def stage() -> Iterator[AgentStage]:
    made = AgentStage()
    yield made
    made.world.stop()
    made.api.site.stop()


def call(job: Job, path: str, told: Any = None) -> tuple[str, Any]:
    """Call the agent API with the placeholder that the job was given, as `buildkite-agent` does."""
    placeholder = job.environment["JOBGATE_PLACEHOLDER"]
    words = ["-H", f"Authorization: Token {placeholder}", "-H", "Content-Type: application/json", *SEEN]
    if told is not None:
        words += ["--data-binary", json.dumps(told)]
    body, _, code = job.curl(*words, f"https://{HOST}/v3/jobs/{path}").rpartition("\n")
    return code, json.loads(body or "{}")


def test_an_identity_is_minted_for_a_pinned_audience_alone(stage: AgentStage) -> None:
    """The API sees the agent's token, the job never does; for another audience, or none, nothing leaves."""
    job, known = stage.open("handed", TOKEN)
    code, told = call(job, f"{known.job_id}/oidc/tokens", {"audience": AUDIENCE})
    assert (code, len(told["token"].split("."))) == ("200", 3)
    for other in ({"audience": "https://vault.example"}, {}):
        code, told = call(job, f"{known.job_id}/oidc/tokens", other)
        assert (code, told["reason"]) == ("403", "credential-scope")
    assert stage.api.minted == [AUDIENCE]
    assert find_leaks(places_of(stage.world), [TOKEN]) == []


def test_what_a_rule_names_is_served_and_nothing_else(stage: AgentStage) -> None:
    """Meta-data, a named secret; another secret, another job's path, an unknown call: denied before they leave."""
    job, known = stage.open("handed", TOKEN)
    assert call(job, f"{known.job_id}/data/set", {"key": "release", "value": "7"})[0] == "200"
    assert stage.api.data == {"release": "7"}
    assert call(job, f"{known.job_id}/secrets?key=DEPLOY") == ("200", {"key": "DEPLOY", "value": "deploy-secret"})
    seen = len(stage.api.site.seen)
    other = stage.open("handed", TOKEN)[1]
    for path, told, reason in (
        (f"{known.job_id}/secrets?key=OTHER", None, "no-rule"),
        (f"{other.job_id}/data/set", {"key": "release", "value": "8"}, "foreign-job"),
        (f"{known.job_id}/nothing", None, "no-rule"),
    ):
        code, answer = call(job, path, told)
        assert (code, answer["reason"]) == ("403", reason), path
    assert len(stage.api.site.seen) == seen


def test_a_held_token_names_what_it_hands_out(stage: AgentStage) -> None:
    """From a file: no audience is pinned, so none is minted; a class names no secret. Without any: denied."""
    job, known = stage.open("held")
    for path, told in (
        (f"{known.job_id}/oidc/tokens", {"audience": AUDIENCE}),
        (f"{known.job_id}/secrets?key=A", None),
    ):
        code, answer = call(job, path, told)
        assert (code, answer["reason"]) == ("403", "credential-scope")
    assert call(job, f"{known.job_id}/data/set", {"key": "held", "value": "1"})[0] == "200"
    job, known = stage.open("handed")
    code, answer = call(job, f"{known.job_id}/data/set", {"key": "a", "value": "b"})
    assert (code, answer["reason"]) == ("403", "credential-refused")


def test_the_api_refuses_what_buildkite_refuses(stage: AgentStage) -> None:
    """The counterpart is no doormat."""
    path = "/v3/jobs/00000000-0000-4000-8000-000000000000/data/set"
    body = b'{"key":"a","value":"b"}'
    right = f"Token {TOKEN}"
    for method, target, header, status in (
        ("POST", path, "", 401),
        ("POST", path, f"Bearer {TOKEN}", 401),
        ("POST", path, "Token wrong", 401),
        ("GET", path, right, 405),
        ("POST", "/v3/jobs/x/data/set", right, 404),
        ("GET", path.replace("data/set", "secrets?key=NONE"), right, 404),
        ("POST", path, right, 200),
    ):
        assert stage.api.answer(method, target, header, body)[0] == status
