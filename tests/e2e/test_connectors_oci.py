"""The oci connector through a real sidecar: skopeo against a real registry that wants tokens of a realm.

The client logs in nowhere. Each request has a token for what it needs and no more; the password stays with the sidecar.
"""

import socket
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from proxy.connectors.parts import fingerprint
from proxy.sources.trail import read_keys, verify_trail
from tests.fakes.canary import find_leaks, places_of
from tests.fakes.images import make_image, until_it_listens
from tests.fakes.raw import RawClient, Reply
from tests.fakes.realm import SERVICE, Realm, registry_settings
from tests.fakes.sidecar import Job, World, rule, wait_until
from tests.fakes.tools import RequireTool

pytestmark = pytest.mark.real
HOST: Final = SERVICE
REALM: Final = "auth.test"
URL: Final = f"https://{REALM}/token"
PASSWORD: Final = "planted-registry-password-0123456789"
REFRESH: Final = "planted-refresh-token-0123456789"
TAGS: Final = "/v2/acme/app/tags/list"


@dataclass(slots=True)
class RegistryStage:
    """A sidecar, a registry and its realm."""

    program: str
    world: World = field(default_factory=World)
    realm: Realm = field(init=False)
    _running: "subprocess.Popen[bytes]" = field(init=False)

    def __post_init__(self) -> None:
        world = self.world
        self.realm = Realm(
            world.root.server_side("realm", (REALM, HOST)), *world.root.issue("realm-signer", ("realm.test",))
        )
        self.realm.users["acme-ci"] = PASSWORD
        self.realm.refresh_tokens[REFRESH] = "acme-ci"
        rights = [("acme/app", "pull"), ("acme/app", "push"), ("acme/app", "delete")]
        rights += [("acme/base", "pull"), ("acme/base", "push"), ("catalog", "*")]
        self.realm.may |= {("acme-ci", name, right) for name, right in rights} | {("", "acme/base", "pull")}
        for name, text in (("password", PASSWORD), ("refresh", REFRESH)):
            place = world.folder / name
            place.touch(mode=0o600)
            place.write_text(text)
        login = {"login": {"username": "acme-ci", "password": {"file": str(world.folder / "password")}}}
        wrong = {"login": {"username": "nobody", "password": {"file": str(world.folder / "password")}}}
        refresh = {"refresh_token": {"file": str(world.folder / "refresh")}}
        every = [f"oci * {HOST}/**", f"oci ping {HOST}", f"oci catalog {HOST}"]
        world.rules = [
            self.rule("storefront", every, **login),
            self.rule("reader", [f"oci read {HOST}/**", f"oci list {HOST}/**", f"oci ping {HOST}"], **login),
            self.rule("refresh", every, **refresh),
            self.rule("anybody", every, anonymous=True),
            self.rule("nobody", every, **wrong),
            self.rule("unnamed", every, realm=None, **login),
            self.rule("astray", None, to=[HOST, "other.test"], **login),
            {**rule("follows", "other.test"), "job": {"organization": "acme", "pipeline": "storefront"}},
        ]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        settings = registry_settings(
            world.folder, port, URL, world.root.issue("registry", (HOST,)), world.root.certificate
        )
        self._running = subprocess.Popen(
            [self.program, "serve", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        world.places |= {f"{HOST}:443": f"127.0.0.1:{port}", f"{REALM}:443": self.realm.site.place}
        until_it_listens(port)

    def rule(self, name: str, intent: Any, *, to: Any = HOST, **block: Any) -> dict[str, Any]:
        scope = {name: value for name, value in {"registry": HOST, "realm": URL, **block}.items() if value is not None}
        more = {} if intent is None else {"intent": intent}
        made = rule(name, to, credential={"oci": scope}, **more)
        return {**made, "job": {**made["job"], "pipeline": name}, "method": "any"}

    def start(self) -> None:
        self.realm.site.start()
        self.world.start()

    def stop(self) -> None:
        self.world.stop()
        self.realm.site.stop()
        self._running.terminate()
        self._running.wait(10)

    def settle(self) -> None:
        realm = self.realm
        realm.delay, realm.gives, realm.changes = 0.0, {}, list
        for seen in (realm.instead, realm.asked, realm.tokens):
            seen.clear()

    def ask(self, job: Job, target: str = TAGS, method: str = "GET", host: str = HOST, *lines: str) -> Reply:
        """Send one request through a tunnel of its own, with credentials of the job's choice."""
        own = b64encode(b"job:own").decode()
        head = [f"{method} {target} HTTP/1.1", f"Host: {host}", f"Authorization: Basic {own}", *lines, "", ""]
        with RawClient(self.world, job.session) as client:
            client.tunnel(host)
            client.send("\r\n".join(head).encode())
            return client.reply(method)

    def minted(self, job: Job) -> list[dict[str, Any]]:
        assert job.session is not None
        found = self.world.records("credential.minted")
        return [record for record in found if record["session"] == job.session.id]

    def refused(self, answer: Reply, path: str, reason: str, told: str) -> None:
        """What holds of every refusal: the answer and the record say why, and nothing leaked."""
        assert answer.reason == reason, answer.body
        flow = self.world.ended(path=path)
        assert (flow.reason, flow.credential, flow.flow_id) == (reason, None, answer.denial["decision"])
        records = [record for record in self.world.sidecar.records() if record.get("flow") == flow.flow_id]
        assert told in str(records[-1].get("detail", "")), records[-1]
        assert self.leaks() == []

    def leaks(self) -> list[str]:
        """Where a token or the password can be read."""
        return find_leaks(places_of(self.world), [PASSWORD, REFRESH, *(each[-60:] for each in self.realm.tokens)])


@pytest.fixture(scope="module")
def registry_stage(require_tool: RequireTool) -> Iterator[RegistryStage]:
    require_tool("skopeo")
    made = RegistryStage(require_tool("docker-registry"))
    made.start()
    job = made.world.open(pipeline_slug="storefront")
    make_image(job.folder / "image", b"first")
    for name in ("app", "base"):
        job.run("skopeo", "copy", "-q", "oci:image", f"docker://{HOST}/acme/{name}:v1")
    yield made
    made.stop()


@pytest.fixture
def stage(registry_stage: RegistryStage) -> Iterator[RegistryStage]:
    registry_stage.settle()
    yield registry_stage
    registry_stage.settle()


def test_skopeo_pushes_pulls_lists_and_deletes(stage: RegistryStage) -> None:
    """The real client needs no login; each request's token is for what it does, and no more."""
    job = stage.world.open(pipeline_slug="storefront")
    digest = make_image(job.folder / "image", b"x" * 200_000)
    job.run("skopeo", "copy", "-q", "--preserve-digests", "oci:image", f"docker://{HOST}/acme/app:v2")
    assert digest.encode() in job.run("skopeo", "inspect", f"docker://{HOST}/acme/app:v2").stdout
    assert b'"v2"' in job.run("skopeo", "list-tags", f"docker://{HOST}/acme/app").stdout
    job.run("skopeo", "copy", "-q", f"docker://{HOST}/acme/app:v2", "dir:back")
    job.run("skopeo", "delete", f"docker://{HOST}/acme/app:v2")
    asked = {scopes for _, scopes in stage.realm.asked}
    assert asked == {
        (),
        ("repository:acme/app:pull",),
        ("repository:acme/app:pull,push",),
        ("repository:acme/app:delete",),
    }
    assert {user for user, _ in stage.realm.asked} == {"acme-ci"}
    assert len(stage.realm.asked) == 4  # one token for each, not one for each request
    facts = [record["facts"] for record in stage.minted(job)]
    assert {"registry": HOST, "realm": URL, "scope": "repository:acme/app:pull"} in facts
    assert stage.leaks() == []


def test_a_blob_is_mounted_from_where_it_may_be_pulled(stage: RegistryStage) -> None:
    """A mount needs both repositories, and the token names both."""
    job = stage.world.open(pipeline_slug="storefront")
    job.run("skopeo", "copy", "-q", f"docker://{HOST}/acme/base:v1", f"docker://{HOST}/acme/app:mounted")
    blob = f"sha256:{'0' * 64}"
    target = f"/v2/acme/app/blobs/uploads/?mount={blob}&from=acme/base"
    assert stage.ask(job, target, "POST", HOST, "Content-Length: 0").status in {201, 202}
    assert ("repository:acme/app:pull,push", "repository:acme/base:pull") in {scopes for _, scopes in stage.realm.asked}


def test_the_catalog_is_a_right_of_its_own(stage: RegistryStage) -> None:
    """Listing repositories asks for the registry's own scope."""
    job = stage.world.open(pipeline_slug="storefront")
    answer = stage.ask(job, "/v2/_catalog")
    assert (answer.status, b"acme/app" in answer.body) == (200, True)
    assert stage.realm.asked == [("acme-ci", ("registry:catalog:*",))]


@pytest.mark.parametrize("pipeline, user, name", [("refresh", "acme-ci", "acme/app"), ("anybody", "", "acme/base")])
def test_other_ways_to_a_token(stage: RegistryStage, pipeline: str, user: str, name: str) -> None:
    """A refresh token, and nothing at all where the realm gives to anybody."""
    job = stage.world.open(pipeline_slug=pipeline)
    assert stage.ask(job, f"/v2/{name}/tags/list").status == 200
    assert stage.realm.asked == [(user, (f"repository:{name}:pull",))]
    assert stage.leaks() == []


def test_what_the_rule_does_not_name_is_not_asked_for(stage: RegistryStage) -> None:
    """A rule for reading pulls, and a push never reaches realm or registry."""
    job = stage.world.open(pipeline_slug="reader")
    make_image(job.folder / "image", b"y" * 1000)
    job.run("skopeo", "copy", "-q", f"docker://{HOST}/acme/app:v1", "dir:back")
    done = job.run("skopeo", "copy", "-q", "oci:image", f"docker://{HOST}/acme/app:v3", code=None)
    assert done.returncode != 0
    assert not any("push" in scope for _, scopes in stage.realm.asked for scope in scopes)


def test_the_realm_is_not_for_jobs(stage: RegistryStage) -> None:
    """A job that asks for a token itself gets neither token nor password, whatever host it asks."""
    job = stage.world.open(pipeline_slug="storefront")
    path = "/token"
    answer = stage.ask(job, f"{path}?service={HOST}&scope=repository:acme/app:push")
    stage.refused(answer, path, "credential-scope", "the token is jobgate's to get")
    assert stage.realm.asked == []


def test_a_rule_for_other_hosts_too_sends_the_token_to_the_registry_alone(stage: RegistryStage) -> None:
    """`to` may name more than the registry; the token goes nowhere else, and none is bought."""
    job = stage.world.open(pipeline_slug="astray")
    stage.refused(stage.ask(job, "/echo", host="other.test"), "/echo", "credential-scope", "goes nowhere else")
    assert stage.realm.asked == []


def test_one_token_for_many_requests_and_none_for_another_job(stage: RegistryStage) -> None:
    """Parallel requests wait for one token; another job's requests get another."""
    jobs = [stage.world.open(pipeline_slug="storefront") for _ in range(2)]
    stage.realm.delay = 0.2
    answers: list[int] = []
    threads = [threading.Thread(target=lambda job=job: answers.append(stage.ask(job).status)) for job in jobs * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 8
    assert len(stage.realm.asked) == 2
    assert {record["credential"] for job in jobs for record in stage.minted(job)} == {
        fingerprint(token) for token in stage.realm.tokens
    }


def wider(access: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*access, {"type": "repository", "name": "acme/base", "actions": ["pull"]}]


def more(access: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**each, "actions": ["pull", "push"]} for each in access]


def less(access: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**each, "actions": []} for each in access]


def torn(_: list[dict[str, Any]]) -> Any:
    return ["x"]


@pytest.mark.parametrize(
    "change, reason, told",
    [
        (wider, "credential-refused", "for more than was asked"),
        (more, "credential-refused", "for more than was asked"),
        (less, "credential-refused", "does not give repository:acme/app:pull"),
        (torn, "credential-unavailable", "cannot be read"),
    ],
)
def test_a_token_that_is_not_what_was_asked_for(stage: RegistryStage, change: Any, reason: str, told: str) -> None:
    """More, or less, than was asked: it is used for nothing."""
    stage.realm.changes = change
    stage.refused(stage.ask(stage.world.open(pipeline_slug="storefront")), TAGS, reason, told)


FAILING: list[Any] = [
    (500, b"", "credential-unavailable", "status 500"),
    (429, b"", "credential-unavailable", "status 429"),
    (302, b"", "credential-refused", "status 302"),
    (401, b'{"errors":[]}', "credential-refused", "status 401"),
    (200, b"<html>", "credential-unavailable", "no JSON object"),
    (200, b"{}", "credential-unavailable", "no usable access_token"),
    (200, b'{"token":"a b"}', "credential-unavailable", "no usable token"),
    (200, b'{"token":"a","expires_in":"soon"}', "credential-unavailable", "expires_in is not"),
    (200, b'{"token":"a","expires_in":864000}', "credential-unavailable", "expires_in is not"),
]


@pytest.mark.parametrize("status, body, reason, told", FAILING)
def test_a_realm_that_fails(stage: RegistryStage, status: int, body: bytes, reason: str, told: str) -> None:
    """The job is refused with the reason; two seconds later the same session is served again."""
    job = stage.world.open(pipeline_slug="storefront")
    stage.realm.instead = [(status, body)]
    stage.refused(stage.ask(job), TAGS, reason, told)
    time.sleep(2.1)
    assert stage.ask(job).status == 200


def test_a_password_that_is_wrong(stage: RegistryStage) -> None:
    """The realm says no, and the job is told that, not to whom."""
    stage.refused(stage.ask(stage.world.open(pipeline_slug="nobody")), TAGS, "credential-refused", "status 401")


def test_a_realm_that_the_rule_does_not_name_is_not_believed(stage: RegistryStage) -> None:
    """The registry points at another host: no password goes there, and the operator reads what to write."""
    answer = stage.ask(stage.world.open(pipeline_slug="unnamed"))
    stage.refused(answer, TAGS, "credential-refused", f"its realm is on {REALM}:443; if that is right, write it")
    assert stage.realm.asked == []


def test_a_realm_that_is_slow(stage: RegistryStage) -> None:
    """Within five seconds the job has its answer."""
    stage.realm.delay = 6.0
    job, began = stage.world.open(pipeline_slug="storefront"), time.monotonic()
    assert stage.ask(job).reason == "credential-unavailable"
    assert time.monotonic() - began < 5.5


def test_what_a_session_had_only_expires(stage: RegistryStage) -> None:
    """Registries take no token back: the record of the session's end says until when it may live."""
    job = stage.world.open(pipeline_slug="storefront")
    assert stage.ask(job).status == 200
    assert job.session is not None
    session = job.session
    stage.world.sidecar.close_session(session)
    (closed,) = wait_until(
        lambda: [each for each in stage.world.records("session.closed") if each["session"] == session.id]
    )
    (dropped,) = closed["dropped"]
    assert (dropped["connector"], dropped["fate"]) == ("oci", "expires")
    assert dropped["expires_at"]


def test_after_all_of_it(stage: RegistryStage) -> None:
    """The sidecar still serves, nothing leaked, and the trail is whole."""
    assert stage.ask(stage.world.open(pipeline_slug="storefront")).status == 200
    assert stage.world.sidecar.api.readiness() == ()
    assert stage.leaks() == []
    audit = stage.world.sidecar.audit
    keys = read_keys(sorted(audit.glob("key-*.pub")))
    wait_until(lambda: verify_trail(audit, keys).open_flows == ())
    report = verify_trail(audit, keys)
    assert report.is_intact, report.findings
