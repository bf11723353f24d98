"""pypi, npm, crates and rubygems through a real sidecar: twine, npm and raw uploads to registries that trust few."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from jwt import PyJWK

from proxy.connectors.parts import fingerprint
from proxy.demo.issuer import ISSUER
from tests.fakes.canary import find_leaks, places_of
from tests.fakes.publishing import AUDIENCES, HOSTS, ROLE, Publisher, Registries
from tests.fakes.raw import RawClient, Reply
from tests.fakes.sidecar import Job, World, rule, wait_until
from tests.fakes.tools import RequireTool
from tests.fakes.wheels import wheel
from tests.unit.intents.test_rubygems_package import GEM

pytestmark = pytest.mark.real
HELD: Final = "planted-held-secret-0123456789"
LINES: Final = {
    "pypi": ["pypi publish upload.pypi.org/gatelet", "pypi publish upload.pypi.org/other"],
    "npm": ["npm publish registry.npmjs.org/@acme/ui", "npm publish registry.npmjs.org/other"],
    "crates": ["cargo publish crates.io/**", "cargo delete crates.io/**"],
    "rubygems": ["gem publish rubygems.org/acme-lib"],
}
PACKAGES: Final = {"pypi": "Gate.Let", "npm": "@acme/ui", "crates": "gatelet", "rubygems": "acme-lib"}
SPELLED: Final = {**PACKAGES, "pypi": "gate-let"}


def crate(name: str) -> bytes:
    """The body of `PUT /api/v1/crates/new`."""
    told = json.dumps({"name": name, "vers": "1.0.0", "deps": [], "features": {}, "authors": []}).encode()
    content = b"a crate"
    return len(told).to_bytes(4, "little") + told + len(content).to_bytes(4, "little") + content


@dataclass(slots=True)
class PublishingStage:
    """A sidecar in front of four registries."""

    world: World = field(default_factory=World)
    registries: Registries = field(init=False)
    shown: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        world = self.world
        key = PyJWK(world.issuer.jwks()["keys"][0]).key  # type: ignore[index]
        self.registries = Registries(world.root.server_side("registries", HOSTS), ISSUER, key)
        for kind, package in SPELLED.items():
            self.registries.publishers.append(
                Publisher(kind=kind, package=package, claims={"pipeline_slug": "trusted"})
            )
            self.registries.held[f"{HELD}-{kind}"] = (kind, package)
            place = world.folder / kind
            place.touch(mode=0o600)
            place.write_text(f"{HELD}-{kind}")
        world.rules = [
            *(self.rule(kind, "trusted", {"trusted": True}) for kind in PACKAGES),
            *(self.rule(kind, "held", {"secret": {"file": str(world.folder / kind)}}) for kind in PACKAGES),
            *(self.rule(kind, "stranger", {"trusted": True}) for kind in PACKAGES),
            self.rule("rubygems", "role", {"trusted": True, "role": ROLE}),
            {
                **rule("reads", list(HOSTS), intent=[f"{word} read **" for word in ("pypi", "npm", "cargo", "gem")]),
                "job": {"organization": "acme"},
            },
        ]
        world.places |= {f"{host}:443": self.registries.site.place for host in HOSTS}

    def rule(self, kind: str, pipeline: str, way: dict[str, Any]) -> dict[str, Any]:
        lines = [line.replace("gatelet", "gate-let") if kind == "pypi" else line for line in LINES[kind]]
        scope = {"packages": [PACKAGES[kind]], **way}
        hosts = [host for host in HOSTS if any(host in line for line in lines)]
        made = rule(f"{kind}-{pipeline}", hosts, intent=lines, credential={kind: scope})
        return {**made, "job": {**made["job"], "pipeline": pipeline}}

    def start(self) -> None:
        self.registries.site.start()
        self.world.start()

    def stop(self) -> None:
        self.world.stop()
        self.registries.site.stop()

    def settle(self) -> None:
        all_of_them = self.registries
        all_of_them.delay, all_of_them.gives = 0.0, {}
        for seen in (all_of_them.instead, all_of_them.bought, all_of_them.published):
            seen.clear()

    def open(self, pipeline: str) -> Job:
        known = self.world.issuer.add_job(pipeline_slug=pipeline)
        held = [self.world.token(known, audience) for audience in AUDIENCES.values()]
        self.shown += held
        return self.world.job(self.world.sidecar.open_session(self.world.token(known), held))

    def upload(self, job: Job, kind: str, name: str = "") -> Reply:
        """Send what a client sends, with a token of the job's choice."""
        package = name or SPELLED[kind]
        host, target, method, media, body = {
            "crates": ("crates.io", "/api/v1/crates/new", "PUT", "application/octet-stream", crate(package)),
            "rubygems": ("rubygems.org", "/api/v1/gems", "POST", "application/octet-stream", GEM),
            "npm": (
                "registry.npmjs.org",
                f"/{package.replace('/', '%2f')}",
                "PUT",
                "application/json",
                document(package),
            ),
        }[kind]
        head = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Authorization: own", f"Content-Type: {media}"]
        with RawClient(self.world, job.session) as client:
            client.tunnel(host)
            client.send("\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body)
            return client.reply(method)

    def refused(self, answer: Reply, reason: str, told: str) -> None:
        assert answer.reason == reason, answer.body
        assert self.registries.published == []
        record = wait_until(partial(self.said, answer.denial["decision"], reason))[-1]
        assert told in str(record.get("detail", "")), record
        assert self.leaks() == []

    def said(self, flow: str, reason: str) -> list[dict[str, Any]]:
        records = self.world.sidecar.records()
        return [each for each in records if (each.get("flow"), each.get("reason")) == (flow, reason)]

    def closings(self, session: str) -> list[dict[str, Any]]:
        return [each for each in self.world.records("session.closed") if each["session"] == session]

    def leaks(self) -> list[str]:
        return find_leaks(places_of(self.world), [HELD, *self.registries.tokens, *(each[-60:] for each in self.shown)])


def document(name: str) -> bytes:
    """What `npm publish` puts."""
    version = {"name": name, "version": "1.0.0", "dist": {"integrity": "sha512-x", "tarball": "https://x.test/x.tgz"}}
    file = {"content_type": "application/octet-stream", "data": "eA==", "length": 1}
    told = {
        "_id": name,
        "name": name,
        "dist-tags": {"latest": "1.0.0"},
        "versions": {"1.0.0": version},
        "access": "public",
        "_attachments": {f"{name}-1.0.0.tgz": file},
    }
    return json.dumps(told).encode()


@pytest.fixture(scope="module")
def publishing_stage() -> Iterator[PublishingStage]:
    made = PublishingStage()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def stage(publishing_stage: PublishingStage) -> Iterator[PublishingStage]:
    publishing_stage.settle()
    yield publishing_stage
    publishing_stage.settle()


def twine(job: Job, name: str, code: int | None = 0) -> str:
    """Let twine upload a wheel with the placeholder that a job has."""
    file = f"{name}-1.0.0-py3-none-any.whl"
    (job.folder / file).write_bytes(wheel(name, "1.0.0"))
    program = Path(sys.executable).with_name("twine")
    words = (
        "upload",
        "--non-interactive",
        "--disable-progress-bar",
        "--repository-url",
        "https://upload.pypi.org/legacy/",
    )
    done = job.run(str(program), *words, file, code=code, environment={"HOME": str(job.folder)})
    return (done.stdout + done.stderr).decode()


@pytest.mark.parametrize("pipeline", ["trusted", "held"])
def test_twine_publishes_to_pypi(stage: PublishingStage, pipeline: str) -> None:
    """With the placeholder of its environment; PyPI sees a token of its own, or the held one."""
    job = stage.open(pipeline)
    twine(job, "gate_let")
    assert stage.registries.published == [("pypi", "gate-let")]
    assert stage.registries.bought == ([("pypi", "gate-let")] if pipeline == "trusted" else [])
    assert job.session is not None
    (minted,) = [each for each in stage.world.records("credential.minted") if each["session"] == job.session.id]
    assert minted["facts"]["source"] == pipeline
    assert stage.leaks() == []


def test_twine_publishes_nothing_else(stage: PublishingStage) -> None:
    """A package of the rule's intents that its credential does not name: PyPI is not asked."""
    said = twine(stage.open("trusted"), "other", code=None)
    assert "403" in said
    assert (stage.registries.published, stage.registries.bought) == ([], [])


@pytest.mark.parametrize("pipeline", ["trusted", "held"])
def test_npm_publishes(stage: PublishingStage, pipeline: str, require_tool: RequireTool) -> None:
    """npm's own requests, with the placeholder in its configuration."""
    job = stage.open(pipeline)
    (job.folder / "package.json").write_text(json.dumps({"name": "@acme/ui", "version": "1.0.0"}))
    (job.folder / ".npmrc").write_text("//registry.npmjs.org/:_authToken=${NPM_TOKEN}\n")
    environment = {"HOME": str(job.folder), "npm_config_cache": str(job.folder / "cache")}
    words = ("publish", "--access", "public", "--registry", "https://registry.npmjs.org/", "--provenance=false")
    job.run(require_tool("npm"), *words, environment=environment)
    assert stage.registries.published == [("npm", "@acme/ui")]
    assert stage.leaks() == []


@pytest.mark.parametrize("kind", ["npm", "crates", "rubygems"])
@pytest.mark.parametrize("pipeline", ["trusted", "held"])
def test_an_upload_has_the_registrys_token(stage: PublishingStage, kind: str, pipeline: str) -> None:
    """Each registry takes it in its own field; the job's own goes nowhere."""
    assert stage.upload(stage.open(pipeline), kind).status in {200, 201}
    assert stage.registries.published == [(kind, SPELLED[kind])]
    assert stage.leaks() == []


def test_a_gem_is_pushed_through_an_api_key_role(stage: PublishingStage) -> None:
    """For issuers that RubyGems does not know as trusted publishers."""
    stage.registries.publishers.append(Publisher(kind="rubygems", package="acme-lib", claims={"pipeline_slug": "role"}))
    assert stage.upload(stage.open("role"), "rubygems").status == 200
    assert stage.registries.published == [("rubygems", "acme-lib")]


@pytest.mark.parametrize("kind", ["npm", "crates", "rubygems"])
def test_a_job_that_is_no_publisher_gets_nothing(stage: PublishingStage, kind: str) -> None:
    """The registry says no to its token; what it says is not repeated."""
    stage.refused(stage.upload(stage.open("stranger"), kind), "credential-refused", f"{kind}: status 403")


def test_a_package_that_is_not_named(stage: PublishingStage) -> None:
    """The rule's intents allow any crate; its credential is for one."""
    stage.refused(stage.upload(stage.open("trusted"), "crates", "another"), "credential-scope", "goes nowhere else")
    assert stage.registries.bought == []


def test_a_wildcard_yanks_nothing(stage: PublishingStage) -> None:
    """What takes a version away needs a line that names the action."""
    job = stage.open("trusted")
    with RawClient(stage.world, job.session) as client:
        client.tunnel("crates.io")
        client.send(b"DELETE /api/v1/crates/gatelet/1.0.0/yank HTTP/1.1\r\nHost: crates.io\r\n\r\n")
        answer = client.reply("DELETE")
    stage.refused(answer, "credential-scope", "yank needs an `intent` line")
    assert stage.registries.bought == []


def test_a_crates_token_ends_with_its_session(stage: PublishingStage) -> None:
    """crates.io takes tokens back; PyPI does not, and a held secret is not ours to end."""
    for pipeline, kind, fate in (
        ("trusted", "crates", "revoked"),
        ("trusted", "rubygems", "expires"),
        ("held", "crates", "expires"),
    ):
        job = stage.open(pipeline)
        assert stage.upload(job, kind).status == 200
        session, token = job.session, next(reversed(stage.registries.tokens))
        assert session is not None
        stage.world.sidecar.close_session(session)
        closed = wait_until(partial(stage.closings, session.id))[0]
        assert [each["fate"] for each in closed["dropped"]] == [fate], (pipeline, kind)
        assert (token in stage.registries.tokens) is (fate != "revoked")


@pytest.mark.parametrize(
    "gives, told",
    [
        ({"scopes": ["push_rubygem", "yank_rubygem"]}, "can do more than push"),
        ({"gem": {"name": "other"}}, "for another gem"),
        ({"gem": "other"}, "for another gem"),
    ],
)
def test_a_key_that_is_more_than_was_asked_for(stage: PublishingStage, gives: dict[str, Any], told: str) -> None:
    """It is used for nothing."""
    stage.registries.gives = gives
    stage.refused(stage.upload(stage.open("trusted"), "rubygems"), "credential-refused", told)


FAILING: list[Any] = [
    (500, b"", "credential-unavailable", "status 500"),
    (429, b"", "credential-unavailable", "status 429"),
    (302, b"", "credential-refused", "status 302"),
    (200, b"<html>", "credential-unavailable", "no JSON object"),
    (200, b"{}", "credential-unavailable", "no usable token"),
]


@pytest.mark.parametrize("status, body, reason, told", FAILING)
def test_a_registry_that_fails(stage: PublishingStage, status: int, body: bytes, reason: str, told: str) -> None:
    """The job is refused with the reason; two seconds later the same session is served again."""
    job = stage.open("trusted")
    stage.registries.instead = [(status, body)]
    stage.refused(stage.upload(job, "npm"), reason, f"npm: {told}" if "status" in told else told)
    time.sleep(2.1)
    assert stage.upload(job, "npm").status == 201


def test_a_registry_that_is_slow(stage: PublishingStage) -> None:
    """Within five seconds the job has its answer."""
    job = stage.open("trusted")
    stage.registries.delay = 6.0
    began = time.monotonic()
    assert stage.upload(job, "npm").reason == "credential-unavailable"
    assert time.monotonic() - began < 5.5


def test_after_all_of_it(stage: PublishingStage) -> None:
    """The sidecar still serves; no token, however long ago, is anywhere; facts name what was bought."""
    job = stage.open("trusted")
    assert stage.upload(job, "npm").status == 201
    minted = [each for each in stage.world.records("credential.minted") if each["connector"] == "npm"][-1]
    assert minted["facts"] == {"package": "@acme/ui", "source": "trusted"}
    assert minted["credential"] == fingerprint(next(reversed(stage.registries.tokens)))
    assert stage.leaks() == []
