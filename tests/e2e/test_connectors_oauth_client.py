"""The oauth-client connector through a real sidecar, against an authorization server that goes by the book."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proxy.connectors.parts import fingerprint
from tests.fakes.authorization import URL, AuthorizationServer
from tests.fakes.canary import find_leaks, places_of
from tests.fakes.keys import signing_key
from tests.fakes.raw import RawClient, Reply
from tests.fakes.sidecar import Job, World, rule, wait_until

API: Final = "secret.test"
SECRET: Final = "planted client secret: 0123456789"
REFRESH: Final = "planted-refresh-token-0123456789"


@dataclass(slots=True)
class OAuthStage:
    """A sidecar, an authorization server, and an API that takes whatever token it is sent."""

    world: World = field(default_factory=World)
    login: AuthorizationServer = field(init=False)

    def __post_init__(self) -> None:
        world, key = self.world, signing_key("RS256", "client", bits=2048)
        self.login = AuthorizationServer(world.root.server_side("login", ("login.test",)))
        self.login.secrets["ci/jobs"] = SECRET
        self.login.keys["signer"] = key.public
        self.login.scopes = {"ci/jobs": {"read", "write"}, "signer": {"read"}}
        self.login.refresh_tokens[REFRESH] = "ci/jobs"
        pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        for name, text in (("client-secret", SECRET), ("refresh", REFRESH), ("key.pem", pem), ("wrong", "wrong")):
            place = world.folder / name
            place.touch(mode=0o600)
            place.write_text(text)
        secret = {"secret": {"file": str(world.folder / "client-secret")}}
        basic, post = {"id": "ci/jobs", **secret}, {"id": "ci/jobs", "method": "post", **secret}
        revoked = {"revocation": "https://login.test/revoke"}
        world.rules = [
            self.rule("storefront", client=basic, scope=["read"], **revoked),
            self.rule("post", client=post, resource=["https://api.test"]),
            self.rule("signed", client={"id": "signer", "key": {"file": str(world.folder / "key.pem")}}),
            self.rule("refresh", client=basic, refresh_token={"file": str(world.folder / "refresh")}),
            self.rule("wide", client=basic, scope=["admin"]),
            self.rule("target", client=basic, resource=["https://other.test"]),
            self.rule("wrong", client={"id": "ci/jobs", "secret": {"file": str(world.folder / "wrong")}}),
            self.rule("astray", to=[API, "other.test"], client=basic),
        ]
        world.places["login.test:443"] = self.login.site.place

    def rule(self, name: str, *, to: Any = API, **scope: Any) -> dict[str, Any]:
        made = rule(name, to, credential={"oauth-client": {"endpoint": URL, "hosts": [API], **scope}})
        return {**made, "job": {**made["job"], "pipeline": name}}

    def start(self) -> None:
        self.login.site.start()
        self.world.start()

    def stop(self) -> None:
        self.world.stop()
        self.login.site.stop()

    def settle(self) -> None:
        login = self.login
        login.delay, login.gives = 0.0, {}
        for seen in (login.instead, login.asked, login.tokens, self.world.origin.site.seen):
            seen.clear()

    def ask(self, job: Job, path: str = "/echo", host: str = API) -> Reply:
        with RawClient(self.world, job.session) as client:
            client.tunnel(host)
            client.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer own\r\n\r\n".encode())
            return client.reply()

    def refused(self, answer: Reply, reason: str, told: str) -> None:
        assert answer.reason == reason, answer.body
        assert self.world.origin.site.seen == []
        flow = self.world.ended(path="/echo")
        assert (flow.reason, flow.credential, flow.flow_id) == (reason, None, answer.denial["decision"])
        records = [record for record in self.world.sidecar.records() if record.get("flow") == flow.flow_id]
        assert told in str(records[-1].get("detail", "")), records[-1]
        assert self.leaks() == []

    def leaks(self) -> list[str]:
        return find_leaks(places_of(self.world), [SECRET, REFRESH, *self.login.tokens])


@pytest.fixture(scope="module")
def oauth_stage() -> Iterator[OAuthStage]:
    made = OAuthStage()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def stage(oauth_stage: OAuthStage) -> Iterator[OAuthStage]:
    oauth_stage.settle()
    yield oauth_stage
    oauth_stage.settle()


@pytest.mark.parametrize(
    "pipeline, client, said",
    [
        ("storefront", "ci/jobs", {"grant_type": "client_credentials", "scope": "read"}),
        ("post", "ci/jobs", {"grant_type": "client_credentials", "resource": "https://api.test"}),
        ("signed", "signer", {"grant_type": "client_credentials"}),
        ("refresh", "ci/jobs", {"grant_type": "refresh_token"}),
    ],
)
def test_a_client_gets_a_token_for_the_job(stage: OAuthStage, pipeline: str, client: str, said: Any) -> None:
    """By Basic, in the form, by a signed assertion, by a refresh token: the API sees the token, the job does not."""
    job = stage.world.open(pipeline_slug=pipeline)
    answer = stage.ask(job)
    assert answer.status == 200
    (token,) = stage.login.tokens
    assert stage.login.tokens[token] == client
    assert stage.world.origin.seen[-1].headers["authorization"] == f"Bearer {token}"
    assert token.encode() not in answer.body
    form = dict(stage.login.asked[0])
    assert said.items() <= form.items()
    assert job.session is not None
    (minted,) = [each for each in stage.world.records("credential.minted") if each["session"] == job.session.id]
    assert minted["credential"] == fingerprint(token)
    assert minted["facts"] == {"endpoint": URL, "client": client}
    assert stage.leaks() == []


def test_a_token_ends_with_its_session(stage: OAuthStage) -> None:
    """Taken back at the revocation endpoint; another session's lives on."""
    jobs = [stage.world.open(pipeline_slug="storefront") for _ in range(2)]
    assert [stage.ask(job).status for job in jobs] == [200, 200]
    mine, theirs = stage.login.tokens
    session = jobs[0].session
    assert session is not None
    stage.world.sidecar.close_session(session)
    (closed,) = wait_until(
        lambda: [each for each in stage.world.records("session.closed") if each["session"] == session.id]
    )
    assert [(each["fate"], each["credential"]) for each in closed["dropped"]] == [("revoked", fingerprint(mine))]
    assert list(stage.login.tokens) == [theirs]


def test_one_token_for_many_requests_and_none_for_another_job(stage: OAuthStage) -> None:
    """Parallel requests wait for one token; another job's requests get another."""
    jobs = [stage.world.open(pipeline_slug="storefront") for _ in range(2)]
    stage.login.delay = 0.2
    answers: list[int] = []
    threads = [threading.Thread(target=lambda job=job: answers.append(stage.ask(job).status)) for job in jobs * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 8
    assert len(stage.login.tokens) == 2


def test_a_rule_for_other_hosts_too_sends_the_token_to_its_hosts_alone(stage: OAuthStage) -> None:
    """`to` may name more than `hosts`; the token goes nowhere else, and none is bought."""
    answer = stage.ask(stage.world.open(pipeline_slug="astray"), host="other.test")
    stage.refused(answer, "credential-scope", "goes nowhere else")
    assert stage.login.asked == []


@pytest.mark.parametrize(
    "pipeline, told", [("wide", "invalid_scope"), ("target", "invalid_target"), ("wrong", "invalid_client")]
)
def test_what_the_server_refuses(stage: OAuthStage, pipeline: str, told: str) -> None:
    """Its code and nothing else of what it says: its text repeats what it was sent."""
    answer = stage.ask(stage.world.open(pipeline_slug=pipeline))
    stage.refused(answer, "credential-refused", f"authorization server: {told}")


@pytest.mark.parametrize(
    "pipeline, gives, told",
    [
        ("storefront", {"scope": "read write"}, "more scopes than were asked for"),
        ("refresh", {"refresh_token": "planted-next-one"}, "replaces refresh tokens"),
    ],
)
def test_an_answer_that_is_more_than_was_asked_for(stage: OAuthStage, pipeline: str, gives: Any, told: str) -> None:
    """Wider, or with a refresh token that takes the old one's place: it is used for nothing."""
    stage.login.gives = gives
    stage.refused(stage.ask(stage.world.open(pipeline_slug=pipeline)), "credential-refused", told)


def test_an_answer_that_repeats_what_was_asked_is_taken(stage: OAuthStage) -> None:
    """The same scopes, or the same refresh token again, are no more."""
    stage.login.gives = {"scope": "read"}
    assert stage.ask(stage.world.open(pipeline_slug="storefront")).status == 200
    stage.login.gives = {"refresh_token": REFRESH}
    assert stage.ask(stage.world.open(pipeline_slug="refresh")).status == 200


FAILING: list[Any] = [
    (500, b"", "credential-unavailable", "status 500"),
    (429, b"", "credential-unavailable", "status 429"),
    (302, b"", "credential-refused", "status 302"),
    (200, b"<html>", "credential-unavailable", "no JSON object"),
    (200, b'{"access_token":"a","token_type":"mac"}', "credential-unavailable", "not a bearer token"),
]


@pytest.mark.parametrize("status, body, reason, told", FAILING)
def test_a_server_that_fails(stage: OAuthStage, status: int, body: bytes, reason: str, told: str) -> None:
    """The job is refused with the reason; two seconds later the same session is served again."""
    job = stage.world.open(pipeline_slug="storefront")
    stage.login.instead = [(status, body)]
    stage.refused(stage.ask(job), reason, told)
    time.sleep(2.1)
    assert stage.ask(job).status == 200


def test_a_server_that_is_slow(stage: OAuthStage) -> None:
    """Within five seconds the job has its answer."""
    stage.login.delay = 6.0
    job, began = stage.world.open(pipeline_slug="storefront"), time.monotonic()
    assert stage.ask(job).reason == "credential-unavailable"
    assert time.monotonic() - began < 5.5
